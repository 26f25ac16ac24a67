"""Resize and Upsample give what ONNX Runtime gives, by every transformation of coordinates that is known."""

import numpy as np
import pytest
import torch
from onnx_cases import PICTURES, Case, difference_between_layers, ints, made, node

from netsurgeon.models.onnx_module.module import OnnxModule

SCALES = np.array([1.0, 1.0, 2.0, 1.7], np.float32)
NONE = np.zeros(0, np.float32)


def resize(**attributes: object) -> Case:
    return node("Resize", "", "scales", **attributes), {"scales": SCALES}, 13


CASES: dict[str, Case] = {
    f"{mode} by {transformation}": resize(mode=mode, coordinate_transformation_mode=transformation)
    for mode in ("nearest", "linear")
    for transformation in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
}
CASES |= {
    f"nearest, {way}": resize(mode="nearest", nearest_mode=way, coordinate_transformation_mode="asymmetric")
    for way in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
}
CASES |= {
    "to sizes": (
        node("Resize", "none", "none", "sizes", mode="linear"),
        {"none": NONE, "sizes": ints(*PICTURES[:2], 13, 5)},
        13,
    ),
    "Resize of opset 10": (node("Resize", "scales", mode="nearest"), {"scales": SCALES}, 10),
    "Upsample": (node("Upsample", "scales", mode="linear"), {"scales": SCALES}, 9),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str) -> None:
    assert difference_between_layers(CASES[name]) < 1e-5


def test_what_is_not_known_is_refused_by_name() -> None:
    first, arrays, opset = resize(mode="cubic")
    first.output[0] = "y"
    arrays = {**arrays, "w": np.ones((4, 4, 1, 1), np.float32)}
    conv = node("Conv", "w")
    first.input[0] = "h"
    module = OnnxModule(made([conv, first], arrays, PICTURES, opset))
    with pytest.raises(ValueError, match="cannot be trained: Resize by cubic"):
        module(torch.zeros(PICTURES))
