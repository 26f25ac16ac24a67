"""Convolutions, normalisations and poolings give what ONNX Runtime gives."""

import pytest
import torch
from onnx import helper
from onnx_cases import PICTURES, Case, difference, difference_between_layers, ints, made, node, weight

from netsurgeon.models.onnx_module.module import OnnxModule

CASES: dict[str, Case] = {
    "Conv": (node("Conv", "w", "b", pads=[1, 2, 1, 2], strides=[2, 1]), {"w": weight(6, 4, 3, 3), "b": weight(6)}, 17),
    "uneven Conv": (node("Conv", "w", pads=[0, 1, 2, 0], group=2), {"w": weight(6, 2, 3, 3)}, 17),
    "SAME_UPPER Conv": (node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]), {"w": weight(6, 4, 4, 4)}, 17),
    "SAME_LOWER Conv": (node("Conv", "w", auto_pad="SAME_LOWER", strides=[2, 2]), {"w": weight(6, 4, 2, 2)}, 17),
    "ConvTranspose": (
        node("ConvTranspose", "w", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        {"w": weight(4, 3, 3, 3)},
        17,
    ),
    "BatchNormalization": (
        node("BatchNormalization", "s", "b", "m", "v"),
        {"s": weight(4), "b": weight(4), "m": weight(4), "v": weight(4) ** 2 + 0.1},
        17,
    ),
    "InstanceNormalization": (node("InstanceNormalization", "s", "b"), {"s": weight(4), "b": weight(4)}, 17),
    "LayerNormalization": (node("LayerNormalization", "s", "b", axis=2), {"s": weight(9, 9), "b": weight(9, 9)}, 17),
    "LRN": (node("LRN", size=3, alpha=0.1, beta=0.7, bias=2.0), {}, 17),
    "MaxPool": (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), {}, 17),
    "uneven MaxPool": (node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]), {}, 17),
    "AveragePool": (node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {}, 17),
    "counting AveragePool": (
        node("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1),
        {},
        17,
    ),
    "GlobalAveragePool": (node("GlobalAveragePool"), {}, 17),
    "Softmax of all axes": (node("Softmax", axis=1), {}, 11),
    "Softmax of one axis": (node("Softmax", axis=1), {}, 17),
    "ReduceMean by attribute": (node("ReduceMean", axes=[2, 3], keepdims=0), {}, 17),
    "ReduceMean by input": (node("ReduceMean", "axes"), {"axes": ints(1, -1)}, 18),
    "ReduceMax of all": (node("ReduceMax", keepdims=1), {}, 17),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str) -> None:
    assert difference_between_layers(CASES[name]) < 1e-5


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_and_matmul_with_a_bias(transposed: int) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=transposed, alpha=0.5, beta=2.0),
        helper.make_node("MatMul", ["h", "v"], ["g"]),
        helper.make_node("Add", ["g", "c"], ["y"]),
    ]
    arrays = {"w": weight(5, 7).T if transposed else weight(5, 7), "b": weight(7), "v": weight(7, 3), "c": weight(3)}
    assert difference(nodes, arrays, (6, 5), 17) < 1e-5
    assert set(OnnxModule(made(nodes, arrays, (6, 5))).trained) == set(arrays)


def test_a_form_that_is_not_known_is_refused_with_its_node() -> None:
    deconvolution = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", auto_pad="SAME_UPPER")
    module = OnnxModule(made([deconvolution], {"w": weight(4, 4, 3, 3)}, PICTURES))
    with pytest.raises(ValueError, match="ConvTranspose 'up' cannot be trained: ConvTranspose with auto_pad"):
        module(torch.zeros(PICTURES))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_largest_is_found_at_the_same_place(keepdims: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("ArgMax", ["h"], ["at"], axis=1, keepdims=keepdims),
        helper.make_node("Cast", ["at"], ["y"], to=1),
    ]
    assert difference(nodes, {"w": weight(4, 4, 1, 1)}, PICTURES, 17) == 0.0
