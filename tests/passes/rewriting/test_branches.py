"""Branches that are decided beforehand lie in line afterwards, and weights of bodies in the graph: same outputs."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from control_flow_models import (
    CLASSES,
    FLOAT,
    WIDTH,
    Array,
    choosing,
    inputs,
    looping,
    model_of,
    stored,
    weight,
)
from onnx import helper
from onnx.helper import make_node as node

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.runtime.session import Runtime


def outputs_of(model: ir.Model | onnx.ModelProto) -> Array:
    # As it is: while ONNX Runtime puts decided branches in line itself, it mixes up names that two of them share.
    result: Array = Runtime().session(model, optimise=False).run({"x": inputs(8)})["y"]
    return result


def operators(model: ir.Model) -> list[str]:
    return [inner.op_type for inner in model.graph.all_nodes()]


def branch(name: str, seed: int, *, end: str = "y_out") -> onnx.GraphProto:
    """A Gemm and a Relu; both branches of an If use the same names."""
    return helper.make_graph(
        [node("Gemm", ["x", "w"], ["g"], name), node("Relu", ["g"], [end])],
        name,
        [],
        [helper.make_tensor_value_info(end, FLOAT, None)],
        stored(w=weight(WIDTH, CLASSES, seed=seed)),
    )


def decided(condition: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    """Two Ifs on one condition "c", whose branches use the same names, added up."""
    ifs = [
        node(
            "If", ["c"], [f"z{at}"], f"if_{at}", then_branch=branch("yes", 2 * at), else_branch=branch("no", 2 * at + 1)
        )
        for at in range(2)
    ]
    return model_of([*condition, *ifs, node("Add", ["z0", "z1"], ["y"], "sum")], constants)


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("negated", [True, False])
def test_a_branch_that_a_constant_decides_lies_in_line(value: bool, negated: bool) -> None:
    condition = [node("Not", ["given"], ["c"])] if negated else []
    proto = decided(condition, stored(**{"given" if negated else "c": np.array(value)}))
    model = normal_form()(ir.from_proto(proto)).model
    assert sorted(operators(model)) == ["Add", "Gemm", "Gemm", "Relu", "Relu"]
    names = [output.name for inner in model.graph for output in inner.outputs]
    assert len(set(names)) == len(names)
    assert all(layer.host is None for layer in find_layers(model.graph)[0])
    np.testing.assert_allclose(outputs_of(model), outputs_of(proto), rtol=1e-5)


def test_a_branch_that_the_fixed_shape_of_an_input_decides_lies_in_line() -> None:
    condition = [
        node("Shape", ["x"], ["extents"]),
        node("Gather", ["extents", "one"], ["width"]),
        node("Equal", ["width", "expected"], ["c"]),
    ]
    proto = decided(condition, stored(one=np.array(1), expected=np.array(WIDTH)))
    free = normal_form()(ir.from_proto(proto)).model
    assert operators(free).count("If") == 2, "the batch is free, so that the shape is not known"
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    model = normal_form()(ir.from_proto(proto)).model
    assert "If" not in operators(model)
    np.testing.assert_allclose(outputs_of(model), outputs_of(proto), rtol=1e-5)


def test_a_decided_if_inside_a_decided_branch_goes_as_well_and_outputs_keep_names_and_types() -> None:
    inner = node("If", ["c"], ["y_in"], "inner", then_branch=branch("yes", 0), else_branch=branch("no", 1))
    outer_branch = helper.make_graph([inner], "outer", [], [helper.make_tensor_value_info("y_in", FLOAT, None)])
    choice = node("If", ["c"], ["y"], "choice", then_branch=outer_branch, else_branch=branch("never", 2))
    proto = model_of([choice], stored(c=np.array(True)))
    model = normal_form()(ir.from_proto(proto)).model
    assert operators(model) == ["Gemm", "Relu"]
    (output,) = model.graph.outputs
    assert (output.name, str(output.type), str(output.shape)) == ("y", "FLOAT", f"[N,{CLASSES}]")
    np.testing.assert_allclose(outputs_of(model), outputs_of(proto), rtol=1e-5)


def test_results_that_are_constants_or_stand_twice_keep_a_value_each() -> None:
    ends = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("r", "r", "k")]
    then = helper.make_graph(
        [node("Gemm", ["x", "w"], ["r"], "yes")], "then", [], ends, stored(k=np.array(3.0, np.float32))
    )
    choice = node("If", ["c"], ["a", "b", "k_out"], "choice", then_branch=then, else_branch=then)
    nodes = [choice, node("Add", ["a", "b"], ["s"]), node("Mul", ["s", "k_out"], ["y"])]
    model = ir.from_proto(model_of(nodes, stored(c=np.array(True), w=weight(WIDTH, CLASSES))))
    result = normal_form()(model).model
    np.testing.assert_allclose(outputs_of(result), 6 * inputs(8) @ weight(WIDTH, CLASSES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [choosing, looping])
def test_weights_of_bodies_lie_in_the_graph_and_outputs_stay(make: Callable[[], onnx.ModelProto]) -> None:
    proto = make()
    model = normal_form()(ir.from_proto(proto)).model
    assert [list(body.initializers) for body in model.graph.subgraphs() if body.initializers] == []
    in_bodies = [layer for layer in find_layers(model.graph)[0] if layer.host is not None]
    assert len({layer.weight.name for layer in in_bodies}) == len(in_bodies) > 0
    assert all(layer.weight.graph is model.graph for layer in in_bodies)
    np.testing.assert_allclose(outputs_of(model), outputs_of(proto), rtol=1e-5)
