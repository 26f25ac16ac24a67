"""Shuffles are found by what a run shows, and their order is that of the values they give."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.rewriting.channel_shuffles import Shuffle, find_shuffles
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime

RUNTIME = Runtime(threads=1)
X = np.random.default_rng(0).standard_normal((2, 6, 3, 3)).astype(np.float32)
CONSTANTS = """
    <int64[5] split = {2, 2, 3, 3, 3}, int64[4] whole = {2, 6, 3, 3}, int64[1] zero = {0}, int64[1] one = {1},
    int64[1] two = {2}, int64[2] rest = {3, 3}>
"""
COMPUTED = """
    s = Shape(x)
    n = Gather <axis = 0> (s, one)
    w = Div(n, two)
    groups = Concat <axis = 0> (zero, w, two, rest)
    a = Reshape(x, groups)
"""
SHUFFLE = """
    a = Reshape(x, split)
    b = Transpose <perm = [%s]> (a)
    y = Reshape(b, whole)
"""
IN_ORDER = SHUFFLE % "0, 2, 1, 3, 4"


def model_of(body: str, outputs: str = "float[N,6,3,3] y") -> ir.Model:
    header = '<ir_version: 8, opset_import: ["" : 17]> made (float[N,6,3,3] x)'
    model = ir.from_onnx_text(f"{header} => ({outputs}) {CONSTANTS} {{ {body} }}")
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
    return model


def found_in(model: ir.Model) -> list[Shuffle]:
    return find_shuffles(model.graph, observe(model, {"x": X}, RUNTIME).shapes)


def test_the_order_is_that_of_the_values() -> None:
    model = model_of(IN_ORDER)
    (shuffle,) = found_in(model)
    assert (shuffle.groups, shuffle.channels) == (2, 6)
    assert shuffle.order == [0, 3, 1, 4, 2, 5]
    np.testing.assert_array_equal(RUNTIME.session(model).run({"x": X})["y"], X[:, shuffle.order])


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (SHUFFLE % "0, 2, 1, 4, 3", "float[N,6,3,3] y"),
        (SHUFFLE % "0, 1, 2, 3, 4", "float[N,6,3,3] y"),
        (IN_ORDER, "float[N,6,3,3] y, float[N,3,2,3,3] b"),
        (IN_ORDER.replace("a = Reshape(x, split)", COMPUTED), "float[N,6,3,3] y"),
    ],
    ids=["positions turned", "not turned", "read elsewhere", "groups computed"],
)
def test_what_is_no_shuffle_is_none(body: str, outputs: str) -> None:
    assert found_in(model_of(body, outputs)) == []


def test_a_value_that_the_run_has_not_shown_is_no_part_of_one() -> None:
    assert find_shuffles(model_of(IN_ORDER).graph, {}) == []
