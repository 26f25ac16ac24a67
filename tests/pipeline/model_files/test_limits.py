"""What would crash the process, or nobody could run, is refused while it is opened, or put right with a note."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hostile_models import (
    DENSE,
    convolution,
    filled,
    model,
    nested_functions,
    outer_product,
    reversed_nodes,
    sliced,
    with_tensor,
)
from layer_files import RUNTIME, X, assert_a_sentence
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect import inspect_model
from netsurgeon.pipeline.model_files.constant_graph import reads_of
from netsurgeon.pipeline.model_files.loading import open_model


def circle() -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "z"], ["y"], "first"), helper.make_node("Relu", ["y"], ["z"], "second")]
    return model(nodes, {}, z=("n", 8))


def without_outputs() -> onnx.ModelProto:
    proto = model()
    del proto.graph.output[:]
    return proto


def deep_bodies(depth: int) -> onnx.ModelProto:
    node = helper.make_node("Relu", ["x"], ["z"])
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    for _ in range(depth):
        result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        body = helper.make_graph([node], "body", [], [result])
        other = helper.make_graph([helper.make_node("Abs", ["x"], ["z"])], "other", [], [result])
        node = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=other)
    return model([condition, node], {}, z=("n", 8))


def hidden_fill() -> onnx.ModelProto:
    """A function that makes a huge constant, and stands unsorted."""
    one = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("ConstantOfShape", ["shape"], ["w"], "fill", value=one),
        helper.make_node("Constant", [], ["shape"], value_ints=[8, 2**28]),
    ]
    function = helper.make_function("own", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])
    return model([helper.make_node("F", ["x"], ["z"], domain="own")], {}, functions=[function])


def gap(operator: str) -> onnx.ModelProto:
    return model([helper.make_node(operator, ["x", "", "x"], ["z"], "list", axis=1)], {}, z=("n", "m"))


def segment() -> onnx.ModelProto:
    """A weight that says it is a part of a larger one."""
    whole = model()
    whole.graph.initializer[0].segment.end = 4
    return whole


def reads_nothing_in_a_body() -> onnx.ModelProto:
    """An If whose body reads a value that nobody makes, beside a Pad."""
    body = helper.make_graph(
        [helper.make_node("Relu", ["nobody"], ["inner"])], "body", [], [helper.make_empty_tensor_value_info("inner")]
    )
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Pad", ["y", "pads"], ["z"]),
    ]
    return model(nodes, {"yes": np.array(True), "pads": np.array([0, 0, 0, 0])})


def doubled(times: int) -> onnx.ModelProto:
    """A weight that Concat doubles again and again."""
    nodes = [helper.make_node("Concat", [f"w{at}"] * 2, [f"w{at + 1}"], axis=1) for at in range(times)]
    nodes.append(helper.make_node("MatMul", ["x", f"w{times}"], ["z"], "layer"))
    return model(nodes, {"w0": DENSE["w"]}, z=("n", "m"))


def generated(*nodes: onnx.NodeProto, shape: tuple[int, ...] = (8, 2**28)) -> onnx.ModelProto:
    """A weight that nodes make of a column of ones, of integers, and of numbers."""
    constants: dict[str, np.ndarray] = {
        "ones": np.ones((8, 1), np.float32),
        "shape": np.array(shape),
        "half": np.array([8, 2**14]),
        "twice": np.array([1, 2**14]),
        "zero": np.array(0.0, np.float32),
        "count": np.array(8.0 * 2**28, np.float32),
        "one": np.array(1.0, np.float32),
        "times": np.array(40),
        "zero_times": np.array(0),
        "endless": np.array(2**40),
        "true": np.array(True),
        "first": np.array([0]),
        "long": np.array(2**31 - 1),
    }
    read = {name for node in nodes for name in reads_of(node)}
    weights = {name: array for name, array in constants.items() if name in read}
    return model([*nodes, helper.make_node("MatMul", ["x", "w"], ["z"], "layer")], weights, z=("n", "m"))


def loop(operator: str, times: str) -> onnx.NodeProto:
    """So many times Concat of a value with itself, or another operator that reads it twice."""
    attributes: dict[str, Any] = {"axis": 1} if operator == "Concat" else {}
    nodes = [
        helper.make_node(operator, ["before", "before"], ["after"], "inside", **attributes),
        helper.make_node("Identity", ["is_on"], ["goes_on"]),
    ]
    values = {
        name: helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("at", TensorProto.INT64, []),
            ("is_on", TensorProto.BOOL, []),
            ("before", TensorProto.FLOAT, None),
            ("goes_on", TensorProto.BOOL, []),
            ("after", TensorProto.FLOAT, None),
        )
    }
    body = helper.make_graph(
        nodes, "body", [values["at"], values["is_on"], values["before"]], [values["goes_on"], values["after"]]
    )
    return helper.make_node("Loop", [times, "true", "ones"], ["w"], "grow", body=body)


def expanded_activation() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "layer"),
        helper.make_node("Expand", ["y", "shape"], ["z"], "wide"),
    ]
    return model(nodes, {"w": DENSE["w"], "shape": np.array([2**30, 1, 1])}, z=("m", "n", 4))


def uses_function() -> onnx.ModelProto:
    """A function that is given constants, and makes a huge weight of them."""
    node = helper.make_node("Resize", ["a", "", "", "b"], ["c"])
    function = helper.make_function("own", "Grow", ["a", "b"], ["c"], [node], [helper.make_opsetid("", 17)])
    made = generated(helper.make_node("Grow", ["ones", "shape"], ["w"], "call", domain="own"))
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


NODE = helper.make_node
GENERATED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a range of floats": (
        lambda: generated(
            NODE("Range", ["zero", "count", "one"], ["r"], "fill"), NODE("Reshape", ["r", "shape"], ["w"])
        ),
        "'fill' makes a constant of more than",
    ),
    "random numbers": (
        lambda: generated(NODE("RandomUniform", [], ["w"], "fill", shape=[8, 2**28])),
        "'fill' makes a constant of more than",
    ),
    "a resized weight": (
        lambda: generated(NODE("Resize", ["ones", "", "", "shape"], ["w"], "grow")),
        "'grow' makes a constant of more than",
    ),
    "a window": (
        lambda: generated(NODE("HannWindow", ["long"], ["r"], "window"), NODE("Unsqueeze", ["r", "first"], ["w"])),
        "'window' makes a constant of more than",
    ),
    "a weight that grows in a loop": (lambda: generated(loop("Concat", "times")), "makes a constant of more than"),
    "a computed shape": (
        lambda: generated(NODE("Mul", ["half", "twice"], ["s"]), NODE("Expand", ["ones", "s"], ["w"], "grow")),
        "'grow' makes a constant of more than",
    ),
    "a function of constants": (uses_function, "makes a constant of more than"),
    "an activation beyond all memory": (expanded_activation, "node 'wide' .* makes 1073741824 x 4 elements"),
}
HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "deep functions": (lambda: nested_functions(3000), "nests functions or bodies more than 100 deep"),
    "functions without end": (
        lambda: nested_functions(40, 2),
        "nodes once its functions are inlined, expected at most",
    ),
    "wide functions": (lambda: nested_functions(12, 4), "nodes once its functions are inlined, expected at most"),
    "functions in a circle": (lambda: nested_functions(3, circle=True), "has a function that calls itself"),
    "nodes in a circle": (circle, "has nodes that wait for each other in a circle, 'first' among them"),
    "no outputs": (without_outputs, "has no outputs"),
    "two data fields": (lambda: with_tensor(float_data=[1.0] * 32), "data twice, as raw_data and float_data"),
    "dims above the data": (lambda: with_tensor(dims=[2**40, 4]), "1099511627776 x 4 and 128 bytes, expected 17,592"),
    "dims below the data": (lambda: with_tensor(dims=[2, 4]), "has the dimensions 2 x 4 and 128 bytes, expected 32"),
    "dims below zero": (lambda: with_tensor(dims=[-8, -4]), "has dimensions -8 x -4, expected none below 0"),
    "unknown type": (lambda: with_tensor(data_type=99), "has the data type 99, which ONNX does not know"),
    "data without elements": (lambda: with_tensor(dims=[0, 4]), "has the dimensions 0 x 4 and 128 bytes, expected 0"),
    "a segment": (segment, "is a segment of a larger one"),
    "no data": (lambda: with_tensor(raw_data=b""), "has the dimensions 8 x 4 and 0 bytes, expected 128"),
    "batch of 2^40": (lambda: model(x=(2**40, 8), z=(2**40, 4)), "'x' of the model has 1099511627776 x 8 elements"),
    "a huge fill": (lambda: filled(8, 2**25), "'fill' makes a constant of 1,073,741,824 bytes out of 16"),
    "a fill in a function": (hidden_fill, "'fill' makes a constant of 8,589,934,592 bytes"),
    "an outer product": (
        lambda: outer_product(2**15),
        "'outer' makes a constant of 4,294,967,296 bytes out of 262,144",
    ),
    "a gap in a sum": (lambda: gap("Sum"), "node 'list' of the model .Sum. has an input without a name"),
    "a gap in a join": (lambda: gap("Concat"), "node 'list' of the model .Concat. has an input without a name"),
    "doubling": (lambda: doubled(40), "makes a constant of"),
    "a value that nobody makes": (
        lambda: model([helper.make_node("Expand", ["nobody", "shape"], ["z"])], {"shape": np.array([8])}),
        "Invalid model. Node input 'nobody' is not a graph input",
    ),
    "a value that nobody makes, in a body": (reads_nothing_in_a_body, "nobody"),
    **GENERATED,
}


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_a_hostile_model_is_refused_in_a_sentence(kind: str) -> None:
    make, message = HOSTILE[kind]
    with pytest.raises(InputError, match=message) as error:
        open_model(make(), RUNTIME)
    assert_a_sentence(error)


@pytest.mark.parametrize("old", [b"\x0a\x01x", b"\x12\x05first", b"\x12\x01z"], ids=["input", "constant", "output"])
def test_a_name_that_is_not_utf8_is_refused(old: bytes, tmp_path: Path) -> None:
    node = helper.make_node("RandomNormal", [], ["first"], "made", shape=[2, 2])
    graph = helper.make_graph([node, helper.make_node("Add", ["x", "first"], ["z"])], "g", [], [])
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2]))
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 2]))
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    damaged = old[:-1] + b"\xf0"
    assert old in data
    (tmp_path / "model.onnx").write_bytes(data.replace(old, damaged))
    with pytest.raises(InputError, match="is not UTF-8") as error:
        open_model(tmp_path / "model.onnx", RUNTIME)
    assert_a_sentence(error)


def test_constants_that_are_never_done_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.passes.graph.native.SECONDS_OF_CONSTANTS", 1.0)
    with pytest.raises(InputError, match="constants of nodes 'grow' cannot be computed beforehand") as error:
        open_model(generated(loop("Add", "endless")), RUNTIME)
    assert_a_sentence(error)
    monkeypatch.undo()
    assert open_model(generated(loop("Add", "times")), RUNTIME).notes == ()


def test_a_shape_beside_the_model_is_read(tmp_path: Path) -> None:
    """The extents of a weight lie in a file, and are computed with before they are used."""
    for twice, message in ((2**14, "'grow' makes a constant of more than"), (2, None)):
        made = generated(NODE("Mul", ["half", "twice"], ["s"]), NODE("Expand", ["ones", "s"], ["w"], "grow"))
        next(t for t in made.graph.initializer if t.name == "twice").raw_data = np.array([1, twice]).tobytes()
        onnx.save(made, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
        if message is None:
            assert open_model(tmp_path / "model.onnx", RUNTIME).notes == ()
            continue
        with pytest.raises(InputError, match=message):
            open_model(tmp_path / "model.onnx", RUNTIME)
        (tmp_path / "weights").unlink()


def test_a_hostile_model_in_memory_is_refused_too() -> None:
    with pytest.raises(InputError, match="has a function that calls itself"):
        open_model(ir.from_proto(nested_functions(3, circle=True)), RUNTIME)
    with pytest.raises(InputError, match=r"put them in order with model\.graph\.sort\(\)"):
        open_model(ir.from_proto(reversed_nodes(model())), RUNTIME)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nested_functions(90),
        lambda: nested_functions(4, 4),
        lambda: deep_bodies(12),
        lambda: filled(8, 4096),
        lambda: outer_product(64),
        lambda: doubled(8),
        lambda: generated(NODE("RandomUniform", [], ["w"], "fill", shape=[8, 64])),
        lambda: generated(NODE("Resize", ["ones", "", "", "shape"], ["w"], "grow"), shape=(8, 64)),
        lambda: generated(loop("Concat", "zero_times")),
        lambda: with_tensor(raw_data=None, float_data=DENSE["w"].ravel().tolist()),
    ],
)
def test_what_is_only_unusual_opens(make: Callable[[], onnx.ModelProto]) -> None:
    assert open_model(make(), RUNTIME).notes == ()


@pytest.mark.parametrize("as_file", [True, False])
def test_unsorted_nodes_are_put_in_order(as_file: bool, tmp_path: Path) -> None:
    proto = reversed_nodes(model())
    before = proto.SerializeToString()
    (tmp_path / "model.onnx").write_bytes(before)
    opened = open_model(tmp_path / "model.onnx" if as_file else proto, RUNTIME)
    assert [note.code for note in opened.notes] == ["nodes-sorted"]
    expected = np.maximum(X @ DENSE["w"], 0.0)
    for form in (opened.original, opened.model):
        np.testing.assert_allclose(RUNTIME.session(form).run({"x": X})["z"], expected, rtol=1e-5)
    assert proto.SerializeToString() == before


def test_unsorted_nodes_of_a_body_and_a_function_are_put_in_order() -> None:
    inner = [helper.make_node("Relu", ["t"], ["z"]), helper.make_node("MatMul", ["x", "w"], ["t"])]
    body = helper.make_graph(inner, "body", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))),
    ]
    call = [helper.make_node("F", ["y"], ["z"], domain="own")]
    twice = [helper.make_node("Add", ["t", "t"], ["b"]), helper.make_node("Identity", ["a"], ["t"])]
    function = helper.make_function("own", "F", ["a"], ["b"], twice, [helper.make_opsetid("", 17)])
    opened = open_model(model([*call, *nodes], functions=[function]), RUNTIME)
    result = RUNTIME.session(opened.model).run({"x": X})["z"]
    np.testing.assert_allclose(result, 2.0 * np.maximum(X @ DENSE["w"], 0.0), rtol=1e-5)


def test_negative_dimensions_are_free_ones() -> None:
    opened = open_model(sliced(), RUNTIME)
    assert [(note.code, note.data["count"]) for note in opened.notes] == [("dimensions-freed", 1)]
    shape = opened.original.graph.inputs[0].shape
    assert shape is not None
    assert not isinstance(shape[1], int)
    np.testing.assert_allclose(RUNTIME.session(opened.model).run({"x": X})["z"], X @ DENSE["w"], rtol=1e-5)


LEFT_ALONE: dict[str, tuple[onnx.ModelProto, str]] = {
    "group 0": (convolution(group=0), "its weight's 4 rows do not fall into 0 groups"),
    "group -1": (convolution(group=-1), "its weight's 4 rows do not fall into -1 groups"),
    "group 2^40": (convolution(group=2**40), "its weight's 4 rows do not fall into 1099511627776 groups"),
    "an empty weight": (model(weights={"w": np.ones((8, 0), np.float32)}, z=("n", 0)), "its weight is empty"),
    "no columns": (model(weights={"w": np.ones((0, 4), np.float32)}, x=("n", 0)), "its weight is empty"),
}


@pytest.mark.parametrize("kind", list(LEFT_ALONE))
def test_a_layer_that_cannot_be_one_is_left_alone(kind: str) -> None:
    proto, reason = LEFT_ALONE[kind]
    inspection = inspect_model(proto)
    assert not inspection.layers
    assert [(entry.node, entry.reason) for entry in inspection.declined] == [("layer", reason)]


def test_a_constant_node_that_reads_a_value_is_refused_in_a_sentence() -> None:
    hostile = model()
    value = numpy_helper.from_array(np.ones(2, np.float32), "value")
    hostile.graph.node.insert(0, helper.make_node("Constant", ["nowhere"], ["unread"], value=value))
    with pytest.raises(InputError, match="the Constant node 'unread' that reads a value") as error:
        open_model(hostile, RUNTIME)
    assert_a_sentence(error)
