"""Planned edits of a graph: what it computes afterwards in ONNX Runtime, and that nothing else changes."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.graph.edits import Edit, GatherBefore, Override, SetAttribute, SetConstant

Floats = NDArray[np.float32]


def model_of(body: str, x: str = "float[2,4] x") -> ir.Model:
    model = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> g ({x}) => (y) {{ {body} }}')
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}{number}"
    return model


def apply(model: ir.Model, edit: Edit) -> None:
    edit.apply({node.name or "": node for node in model.graph})


def run(model: ir.Model, x: Floats) -> Floats:
    data = ir.to_proto(model).SerializeToString()
    (result,) = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return np.asarray(result)


X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_gather_selects_for_one_reader_only() -> None:
    model = model_of("h = Neg(x) s = ReduceSum <keepdims = 0> (h) t = ReduceMax <keepdims = 0> (x) y = Add(s, t)")
    apply(model, GatherBefore("Neg0", 0, 1, np.array([3, 0])))
    assert run(model, X) == -X[:, [3, 0]].sum() + X.max()


def test_an_override_replaces_only_the_masked_entries() -> None:
    model = model_of("s = Shape(x) y = Neg(s)")
    mask, values = np.array([False, True]), np.array([7, 9], np.int64)
    apply(model, Override("Neg1", 0, mask, values))
    assert run(model, X).tolist() == [-2, -9]


def test_a_constant_takes_the_place_of_a_computed_input() -> None:
    model = model_of("h = Neg(x) y = Add(x, h)")
    assert not run(model, X).any()
    apply(model, SetConstant("Add1", 1, np.array([10.0], np.float32)))
    np.testing.assert_array_equal(run(model, X), X + 10)


@pytest.mark.parametrize(("value", "shape"), [(0, (1, 8)), (2, (8, 1)), (None, (2, 4))])
def test_an_attribute_is_set_or_removed(value: int | None, shape: tuple[int, int]) -> None:
    model = model_of("y = Flatten <axis = 0> (x)")
    apply(model, SetAttribute("Flatten0", "axis", value))
    assert run(model, X).shape == shape


def test_lists_of_numbers_keep_their_kind() -> None:
    model = model_of("y = Transpose <perm = [0, 1]> (x)")
    apply(model, SetAttribute("Transpose0", "perm", (1, 0)))
    np.testing.assert_array_equal(run(model, X), X.T)
    apply(model, SetAttribute("Transpose0", "scales", (0.5, 2.0)))
    (node,) = model.graph
    assert node.attributes["scales"].type == ir.AttributeType.FLOATS
    apply(model, SetAttribute("Transpose0", "scale", 0.5))
    assert node.attributes["scale"].as_float() == 0.5
    assert node.attributes["perm"].type == ir.AttributeType.INTS


def test_a_node_outside_a_graph_is_refused() -> None:
    node = ir.Node("", "Neg", [ir.Value(name="x")], name="alone")
    with pytest.raises(ValueError, match="node 'alone' is not in a graph"):
        GatherBefore("alone", 0, 0, np.array([0])).apply({"alone": node})
