"""Parts of a graph give what the whole graph gives there; what a node reads is seen in its bodies, too."""

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.calibration.extractor import Extractor, used_values
from netsurgeon.pipeline.runtime.session import Runtime

RUNTIME = Runtime(threads=1)
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)


def choosing() -> ir.Model:
    """An If whose bodies capture a constant and values of the graph, and layers around it."""
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal((6, 6)).astype(np.float32) for name in ("w", "v", "u")}
    bodies = {
        "then_branch": [helper.make_node("MatMul", ["early", "v"], ["chosen"])],
        "else_branch": [helper.make_node("Add", ["early", "aside"], ["other"])],
    }
    graphs = {
        name: helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)])
        for name, nodes in bodies.items()
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["early"]),
        helper.make_node("Tanh", ["x"], ["aside"]),
        helper.make_node("ReduceMax", ["early"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "zero"], ["is_positive"]),
        helper.make_node("If", ["is_positive"], ["z"], "choice", **graphs),
        helper.make_node("MatMul", ["z", "u"], ["y"]),
    ]
    arrays["zero"] = np.array(0.0, np.float32)
    graph = helper.make_graph(
        nodes,
        "choosing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def run_part(model: ir.Model, inputs: list[str], outputs: list[str], feed: dict[str, Any]) -> dict[str, Any]:
    part = Extractor(model.graph).extract(inputs, outputs, feed)
    return RUNTIME.session(ir.Model(part, ir_version=model.ir_version)).run(feed)


def test_captured_values_are_used_values() -> None:
    choice = next(node for node in choosing().graph if node.op_type == "If")
    assert {value.name for value in used_values(choice)} == {"is_positive", "early", "v", "aside"}


def test_parts_behind_each_other_give_what_the_whole_gives() -> None:
    model = choosing()
    whole = RUNTIME.session(model).run({"x": X})
    across = ["aside", "early", "is_positive"]
    before = run_part(model, ["x"], across, {"x": X})
    behind = run_part(model, across, ["y"], before)
    np.testing.assert_array_equal(behind["y"], whole["y"])
    changed = run_part(model, across, ["y"], {**before, "early": before["early"] + 1.0})
    assert not np.allclose(changed["y"], whole["y"]), "the part reads what it is given"


def test_a_part_has_only_what_its_outputs_need_and_says_no_shapes() -> None:
    part = Extractor(choosing().graph).extract(["x"], ["aside"], {"x": X.astype(np.float64)})
    assert [node.op_type for node in part] == ["Tanh"]
    assert not part.initializers
    (entering,) = part.inputs
    assert (entering.dtype, entering.shape) == (ir.DataType.DOUBLE, None), "as it is fed, whatever the graph says"


def test_constants_may_change_between_two_parts() -> None:
    model = choosing()
    extractor = Extractor(model.graph)
    model.graph.initializers["w"].const_value = ir.tensor(np.zeros((6, 6), np.float32))
    part = extractor.extract(["x"], ["early"], {"x": X})
    early = RUNTIME.session(ir.Model(part, ir_version=model.ir_version)).run({"x": X})["early"]
    np.testing.assert_array_equal(early, np.zeros((4, 6), np.float32))


def test_a_constant_may_be_an_output_of_a_part() -> None:
    part = Extractor(choosing().graph).extract(["x"], ["aside", "zero"], {"x": X})
    outputs = RUNTIME.session(ir.Model(part, ir_version=9)).run({"x": X})
    assert outputs["zero"] == 0.0
    np.testing.assert_allclose(outputs["aside"], np.tanh(X), rtol=1e-5)
