"""Operators that move entries give what ONNX Runtime gives."""

import numpy as np
import pytest
import torch
from onnx import helper
from onnx_cases import PICTURES, RNG, Case, difference, difference_between_layers, ints, made, node, weight

from netsurgeon.models.onnx_module.module import OnnxModule

CASES: dict[str, Case] = {
    "Reshape": (node("Reshape", "to"), {"to": ints(0, -1, 3)}, 17),
    "Flatten": (node("Flatten", axis=2), {}, 17),
    "Transpose": (node("Transpose", perm=[0, 2, 3, 1]), {}, 17),
    "Slice": (
        node("Slice", "a", "b", "c", "d"),
        {"a": ints(-1, 1), "b": ints(-99, 2**62), "c": ints(2, 1), "d": ints(-2, 2)},
        17,
    ),
    "Gather": (node("Gather", "at", axis=1), {"at": ints(3, -1)}, 17),
    "Gather of one": (node("Gather", "at", axis=1), {"at": np.int64(2)}, 17),
    "Pad with zeros": (node("Pad", "p"), {"p": ints(0, 1, 2, 0, 0, 0, 1, 1)}, 17),
    "Pad by reflection": (node("Pad", "p", mode="reflect"), {"p": ints(0, 0, 2, 1, 0, 0, 1, 1)}, 17),
    "Pad by reflection of channels": (node("Pad", "p", mode="reflect"), {"p": ints(0, 1, 0, 2, 0, 2, 0, 1)}, 17),
    "Pad by edges of samples": (node("Pad", "p", "", "at", mode="edge"), {"p": ints(1, 2), "at": ints(1)}, 18),
    "Pad by nothing": (node("Pad", "p", mode="edge"), {"p": ints(0, 0, 0, 0, 0, 0, 0, 0)}, 17),
    "Expand": (node("Expand", "to"), {"to": ints(2, 1, 4, 9, 9)}, 17),
    "GatherElements": (node("GatherElements", "at", axis=-1), {"at": RNG.integers(-9, 9, PICTURES)}, 17),
    "GatherND": (node("GatherND", "at"), {"at": RNG.integers(-2, 2, (3, 2))}, 17),
    "Trilu": (node("Trilu", "k", upper=0), {"k": np.int64(-2)}, 17),
    "Trilu, upper": (node("Trilu"), {}, 17),
    "DepthToSpace": (node("DepthToSpace", blocksize=2), {}, 17),
    "DepthToSpace CRD": (node("DepthToSpace", blocksize=2, mode="CRD"), {}, 17),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str) -> None:
    assert difference_between_layers(CASES[name]) < 1e-5


@pytest.mark.parametrize(("axis", "shape"), [(1, (6, 9)), (1, (2, 9, 5)), (0, (9, 5))])
def test_any_axis_is_padded_by_reflection(axis: int, shape: tuple[int, ...]) -> None:
    pads = [3 * (at == axis) for at in range(len(shape))]
    nodes = [helper.make_node("Add", ["x", "none"], ["h"]), helper.make_node("Pad", ["h", "p"], ["r"], mode="reflect")]
    nodes.append(helper.make_node("MatMul", ["r", "w"], ["y"]))
    arrays = {"none": np.zeros(1, np.float32), "p": ints(*pads, *pads)}
    last = shape[-1] + 6 * (axis == len(shape) - 1)
    assert difference(nodes, arrays | {"w": weight(last, 4)}, shape, 17) < 1e-5


def test_too_many_axes_of_reflection_are_refused() -> None:
    pad = helper.make_node("Pad", ["h", "p"], ["y"], name="pad", mode="reflect")
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), pad]
    module = OnnxModule(made(nodes, {"w": weight(4, 4, 1, 1), "p": ints(*[1] * 8)}, PICTURES))
    with pytest.raises(ValueError, match="Pad 'pad' cannot be trained: Pad by reflect on more than three axes"):
        module(torch.zeros(PICTURES))


def test_positions_are_counted_from_the_shape_of_the_input() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("Shape", ["h"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["extent"]),
        helper.make_node("Range", ["start", "extent", "step"], ["places"]),
        helper.make_node("Cast", ["places"], ["floats"], to=1),
        helper.make_node("Add", ["h", "floats"], ["y"]),
    ]
    arrays = {"w": weight(4, 4, 1, 1), "last": np.int64(3), "start": np.int64(0), "step": np.int64(1)}
    assert difference(nodes, arrays, PICTURES, 17) < 1e-5
