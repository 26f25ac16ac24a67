"""Shuffles of channels go where convolutions take channels in any order, and stay where something else reads them."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from netsurgeon.passes.rewriting import DissolveShuffles

SHUFFLE = """
    {name}_0 = Reshape ({source}, s{groups}{channels})
    {name}_1 = Transpose <perm = [0, 2, 1, 3, 4]> ({name}_0)
    {name} = Reshape ({name}_1, s{channels})
"""


def shuffle(source: str, name: str, channels: int = 16, groups: int = 2) -> str:
    return SHUFFLE.format(source=source, name=name, channels=channels, groups=groups)


def block(left: str, right: str, name: str) -> str:
    """A block of ShuffleNet: the right half goes through convolutions, then both are joined, shuffled and split."""
    return f"""
    {name}_a = Conv <kernel_shape = [1, 1]> ({right}, w88, b8)
    {name}_b = Relu ({name}_a)
    {name}_c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8> ({name}_b, wd, b8)
    {name}_d = Conv <kernel_shape = [1, 1]> ({name}_c, w88, b8)
    {name}_r = Relu ({name}_d)
    {name}_j = Concat <axis = 1> ({left}, {name}_r)
    {shuffle(f"{name}_j", f"{name}_s")}
    {name}_left, {name}_right = Split <axis = 1> ({name}_s, halves)
    """


START = """
    left = Conv <kernel_shape = [1, 1]> (x, w83, b8)
    right = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, wk, b8)
"""


def model_of(body: str, output: str = "y") -> ir.Model:
    """A model of x (N, 3, 6, 6) from lines of onnx.parser's language."""
    rng = np.random.default_rng(0)
    constants: dict[str, NDArray[np.generic]] = {
        "w88": rng.standard_normal((8, 8, 1, 1)).astype(np.float32) / 3,
        "w83": rng.standard_normal((8, 3, 1, 1)).astype(np.float32),
        "wk": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "wd": rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "wd16": rng.standard_normal((16, 1, 3, 3)).astype(np.float32),
        "b16": rng.standard_normal(16).astype(np.float32),
        "b8": rng.standard_normal(8).astype(np.float32),
        "wlast": rng.standard_normal((4, 16, 1, 1)).astype(np.float32),
        "wgroups": rng.standard_normal((4, 8, 1, 1)).astype(np.float32),
        "s216": np.array([0, 2, 8, 6, 6]),
        "s416": np.array([-1, 4, 4, 6, 6]),
        "s16": np.array([-1, 16, 6, 6]),
        "halves": np.array([8, 8]),
    }
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    shuffles (float[N, 3, 6, 6] x) => (float[N, C, H, W] {output}) {{ {body} }}"""
    proto = parser.parse_model(text)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.checker.check_model(proto)
    model = ir.from_proto(proto)
    for number, node in enumerate(model.graph):
        node.name = f"node{number}"
    ir.passes.common.RemoveUnusedNodesPass()(model)
    return model


def outputs_of(model: ir.Model, names: list[str] | None = None) -> list[NDArray[np.float32]]:
    data = ir.to_proto(model).SerializeToString()
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6)).astype(np.float32)
    return list(ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(names, {"x": x}))


def shapes_of(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Shapes of all values as a run shows them."""
    clone = model.clone()
    values = [value for node in clone.graph for value in node.outputs]
    for value in values:
        value.shape = None
    clone.graph.outputs[:] = values
    names = [value.name or "" for value in values]
    return {"x": (2, 3, 6, 6), **dict(zip(names, (array.shape for array in outputs_of(clone, names)), strict=True))}


def dissolve(model: ir.Model) -> tuple[bool, list[str]]:
    """Whether a shuffle went, and the operators that are left; outputs must stay the same."""
    expected = outputs_of(model)
    modified = DissolveShuffles(shapes_of(model))(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    for value, other in zip(expected, outputs_of(model), strict=True):
        np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-5 * np.abs(value).max())
    return modified, [node.op_type for node in model.graph]


LAST = "y = Conv <kernel_shape = [1, 1]> ({}, wlast)"
ALL_GO = {
    "one shuffle in front of a convolution": START
    + "j = Concat <axis = 1> (left, right)"
    + shuffle("j", "s")
    + LAST.format("s"),
    "three blocks": START
    + block("left", "right", "one")
    + block("one_left", "one_right", "two")
    + block("two_left", "two_right", "three")
    + "j = Concat <axis = 1> (three_left, three_right)"
    + LAST.format("j"),
    "a shuffle of one value in four groups": START
    + "j = Concat <axis = 1> (left, right)"
    + "r = Relu (j)"
    + shuffle("r", "s", groups=4)
    + LAST.format("s"),
    "a depthwise convolution behind a shuffle": START
    + "j = Concat <axis = 1> (left, right)"
    + shuffle("j", "s")
    + "d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 16> (s, wd16, b16)"
    + LAST.format("d"),
    "two shuffles in a row": START
    + "j = Concat <axis = -3> (left, right)"
    + shuffle("j", "s")
    + shuffle("s", "t", groups=4)
    + LAST.format("t"),
}
STAY = {
    "an output of the model": START + "j = Concat <axis = 1> (left, right)" + shuffle("j", "y"),
    "a Relu": START + "j = Concat <axis = 1> (left, right)" + shuffle("j", "s") + "r = Relu (s)" + LAST.format("r"),
    "a convolution in groups": START
    + "j = Concat <axis = 1> (left, right)"
    + shuffle("j", "s")
    + "y = Conv <kernel_shape = [1, 1], group = 2> (s, wgroups)",
    "an Add behind a depthwise convolution": START
    + "j = Concat <axis = 1> (left, right)"
    + shuffle("j", "s")
    + "d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 16> (s, wd16, b16)"
    + "a = Add (d, j)"
    + LAST.format("a"),
}


@pytest.mark.parametrize("body", ALL_GO.values(), ids=ALL_GO.keys())
def test_shuffles_in_front_of_convolutions_go_and_outputs_stay(body: str) -> None:
    modified, operators = dissolve(model_of(body))

    assert modified
    assert not {"Reshape", "Transpose"} & set(operators)


@pytest.mark.parametrize("body", STAY.values(), ids=STAY.keys())
def test_shuffles_that_something_else_reads_stay(body: str) -> None:
    modified, operators = dissolve(model_of(body))

    assert not modified
    assert operators.count("Transpose") == 1


def test_every_value_is_split_once_and_every_convolution_joins_once() -> None:
    model = model_of(ALL_GO["three blocks"])

    _, operators = dissolve(model)

    # two values are there at the start, and each of three blocks makes one
    assert operators.count("Split") <= 4
    assert operators.count("Concat") <= 3


def test_a_shuffle_stays_while_another_one_goes() -> None:
    body = (
        START
        + "j = Concat <axis = 1> (left, right)"
        + shuffle("j", "s")
        + "c = Conv <kernel_shape = [1, 1]> (s, wlast)"
        + "k = Concat <axis = 1> (c, left, c)"
        + shuffle("k", "y")
    )

    modified, operators = dissolve(model_of(body))

    assert modified
    assert operators.count("Transpose") == 1


def test_a_weight_that_is_shared_keeps_its_order_elsewhere() -> None:
    body = (
        START
        + "j = Concat <axis = 1> (left, right)"
        + shuffle("j", "s")
        + "p = Conv <kernel_shape = [1, 1]> (s, wlast)"
        + "q = Conv <kernel_shape = [1, 1]> (j, wlast)"
        + "y = Add (p, q)"
    )

    modified, operators = dissolve(model_of(body))

    assert modified
    assert "Transpose" not in operators


def test_groups_that_are_computed_keep_the_shuffle() -> None:
    body = (
        START
        + """
    j = Concat <axis = 1> (left, right)
    count = Shape <start = 1, end = 2> (x)
    one = Constant <value_ints = [1]> ()
    two = Sub (count, one)
    zero = Constant <value_ints = [0]> ()
    rest = Constant <value_ints = [-1, 6, 6]> ()
    sizes = Concat <axis = 0> (zero, two, rest)
    s_0 = Reshape (j, sizes)
    s_1 = Transpose <perm = [0, 2, 1, 3, 4]> (s_0)
    s = Reshape (s_1, s16)
    """
        + LAST.format("s")
    )

    modified, _ = dissolve(model_of(body))

    assert not modified
