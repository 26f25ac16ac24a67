"""What lies in front of an operator that is not known is a model of its own, with what enters it as outputs."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.repair.known_part import known_part, lacking_operator
from netsurgeon.pipeline.runtime import Runtime

TEXT = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,4] x) => (float[N,4] y, float[N,4] early) {
    [first] a = Gemm (x, w)
    early = Relu (a)
    b = Celu (early)
    [second] c = Gemm (early, w)
    d = Add (b, c)
    [third] y = Gemm (d, w)
}"""
FEED = {"x": np.ones((2, 4), np.float32)}
LAYERS = ("first", "second", "third")


def model() -> ir.Model:
    proto = parser.parse_model(TEXT)
    for node, name in zip(proto.graph.node, ("first", "", "", "second", "", "third"), strict=True):
        node.name = name
    result = ir.from_proto(proto)
    weight = ir.Tensor(np.diag(np.arange(1.0, 5.0)).astype(np.float32), name="w")
    value = ir.Value(name="w", const_value=weight)
    result.graph.register_initializer(value)
    for node in result.graph:
        for place, used in enumerate(node.inputs):
            if used is not None and used.name == "w":
                node.replace_input_with(place, value)
    return result


def test_what_enters_an_unknown_operator_or_meets_its_results_is_an_output() -> None:
    part, beyond = known_part(model(), {"Gemm", "Relu", "Add"}, LAYERS, FEED)
    assert beyond == ("Celu",)
    assert [value.name for value in part.graph.outputs] == ["early", "c"]
    assert [node.name for node in part.graph if node.op_type == "Gemm"] == ["first", "second"]
    whole, outputs = (dict(Runtime().session(graph).run(FEED)) for graph in (model(), part))
    assert np.array_equal(outputs["early"], whole["early"])
    assert np.array_equal(outputs["c"], outputs["early"] * np.arange(1.0, 5.0))


def test_a_model_of_known_operators_is_whole() -> None:
    whole = model()
    assert known_part(whole, {"Gemm", "Relu", "Add", "Celu"}, LAYERS, FEED) == (whole, ())


def test_without_a_layer_in_front_there_is_nothing_to_learn() -> None:
    with pytest.raises(CheckFailedError, match="PyTorch does not know Relu, Celu, and no layer lies in front of it"):
        known_part(model(), {"Gemm", "Add"}, ("second", "third"), FEED)


@pytest.mark.parametrize(
    ("body", "lacking"),
    [
        ("a = Celu (x) y = Relu (a)", "Celu"),
        ("a = Cast <to = 8> (x) y = Cast <to = 1> (a)", "Cast to STRING"),
        ("a = Cast <to = 16> (x) y = Cast <to = 1> (a)", None),  # bfloat16
        ("a, places = MaxPool <kernel_shape = [2]> (x) y = Relu (places)", "MaxPool with 2 outputs"),
        ("y, places = MaxPool <kernel_shape = [2]> (x)", None),  # which nobody takes
        ("a, b = Split <axis = 1> (x) y = Add (a, b)", None),
        ("y, a = LayerNormalization (x, scale)", "LayerNormalization with 2 outputs"),  # a is an output of the graph
        ("a = Gather (names, x) y = Relu (x)", "Gather of strings"),
        ("a = Cast <to = 1> (names) y = Relu (x)", "Cast of strings"),
    ],
)
def test_what_pytorch_does_not_give_of_an_operator_makes_a_node_unknown(body: str, lacking: str | None) -> None:
    outputs = "float[N,4] y, float a" if "LayerNormalization" in body else "float y"
    header = '<ir_version: 10, opset_import: ["" : 17]>'
    weights = '<float[4] scale = {1,1,1,1}, string[2] names = {"a", "b"}>'
    graph = ir.from_onnx_text(f"{header} net (float[N,4] x) => ({outputs}) {weights} {{ {body} }}").graph
    known = {"Relu", "Cast", "MaxPool", "Split", "Add", "LayerNormalization", "Gather"}
    assert lacking_operator(next(iter(graph)), known) == lacking


def test_weights_that_only_the_rest_takes_are_no_outputs() -> None:
    """What DequantizeLinear makes of a weight has a node in front of it, but no input of the model reaches it."""
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N,4] x) => (float[N,4] y)
        <int8[4,4] codes = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}, float scale = {0.5}, int8 zero = {0}> {
            first = DequantizeLinear (codes, scale, zero)
            a = MatMul (x, first)
            b = Celu (a)
            second = DequantizeLinear (codes, scale, zero)
            y = MatMul (b, second)
        }"""
    )
    for node, name in zip(proto.graph.node, ("", "one", "", "", "two"), strict=True):
        node.name = name
    part, beyond = known_part(ir.from_proto(proto), {"MatMul", "DequantizeLinear"}, ("one", "two"), FEED)
    assert beyond == ("Celu",)
    assert [value.name for value in part.graph.outputs] == ["a"]
