"""All families of operators are registered, under names that ONNX has, and one more can be added."""

import onnx
import torch
from onnx import helper
from onnx_cases import made, weight

from netsurgeon.models.onnx_module.module import TRAINED, OnnxModule
from netsurgeon.models.onnx_module.operators import OPERATORS, operator
from netsurgeon.models.onnx_module.registry import some


def test_every_family_is_there() -> None:
    assert {"Erf", "Conv", "Reshape"} <= OPERATORS.keys()
    assert TRAINED.keys() <= OPERATORS.keys()


def test_names_are_those_of_onnx_with_other_domains_in_front() -> None:
    assert all(onnx.defs.has(name) for name in OPERATORS if "." not in name)


def test_an_operator_that_is_added_can_be_trained() -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Twice", ["h"], ["y"], domain="my.own")]
    array = weight(5, 3)
    operator("my.own.Twice")(lambda inputs, attributes: 2 * some(inputs[0]))
    try:
        module, x = OnnxModule(made(nodes, {"w": array}, (4, 5))), torch.from_numpy(weight(4, 5))
        torch.testing.assert_close(module(x), 2 * x @ torch.from_numpy(array))
    finally:
        del OPERATORS["my.own.Twice"]
