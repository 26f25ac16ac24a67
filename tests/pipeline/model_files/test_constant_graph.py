"""The part of a model that makes some constants: whole, in order, and without the bytes of large weights."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from netsurgeon.pipeline.model_files import constant_graph as module
from netsurgeon.pipeline.model_files.constant_graph import Source, bodies_of, constant_graph, reads_of


def model(weight: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["w", "two"], ["doubled"]),
        helper.make_node("Neg", ["doubled"], ["made"]),
        helper.make_node("Add", ["x", "made"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array(2.0, np.float32), "two")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def sources_of(proto: onnx.ModelProto) -> dict[str, Source]:
    made: dict[str, Source] = {output: node for node in proto.graph.node[:2] for output in node.output}
    return {**made, **{tensor.name: tensor for tensor in proto.graph.initializer}}


def test_it_gives_the_constants_from_what_they_are_made_of() -> None:
    weight = np.array([1.0, -3.0], np.float32)
    proto = model(weight)
    part, stored = constant_graph(proto, [proto.graph.node[1]], sources_of(proto), None)
    assert [node.op_type for node in part.graph.node] == ["Mul", "Neg"], "what is made comes before what reads it"
    assert not part.graph.input
    assert stored == weight.nbytes + 4
    (made,) = ReferenceEvaluator(part).run(None, {})
    np.testing.assert_array_equal(made, -2.0 * weight)


def test_of_a_large_weight_only_the_size_is_taken() -> None:
    weight = np.full(module.MOST_SENT // 4 + 1, 7.0, np.float32)
    proto = model(weight)
    part, stored = constant_graph(proto, [proto.graph.node[1]], sources_of(proto), None)
    assert stored == weight.nbytes + 4
    assert part.ByteSize() < 1000
    (made,) = ReferenceEvaluator(part).run(None, {})
    assert np.shape(made) == weight.shape


def test_a_node_reads_what_its_bodies_capture_but_not_what_they_make() -> None:
    inner = [helper.make_node("Neg", ["outer"], ["own"]), helper.make_node("Relu", ["own"], ["result"])]
    body = helper.make_graph(inner, "body", [], [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)])
    node = helper.make_node("If", ["choice"], ["y"], then_branch=body, else_branch=body)
    assert set(reads_of(node)) == {"choice", "outer"}
    assert [graph.name for graph in bodies_of(node)] == ["body", "body"]
