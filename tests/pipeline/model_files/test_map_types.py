"""Outputs of maps: untyped while a model is open, and typed again in the file that is written."""

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.map_types import has_maps, put_maps_back, remember_maps, without_maps

MAPS = helper.make_sequence_type_proto(
    helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
)


def classifier(*, takes_map: bool = False) -> onnx.ModelProto:
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])
    entry = helper.make_value_info("x", MAPS) if takes_map else helper.make_tensor_value_info("x", 1, ["n", 3])
    nodes = [
        helper.make_node("Softmax", ["x"], ["scores"]),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    graph = helper.make_graph(nodes, "classifier", [entry], [scores, helper.make_value_info("maps", MAPS)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_types_come_back_in_the_file_of_a_clone() -> None:
    proto = classifier()
    untyped, types = without_maps(proto, "the model")
    assert proto.graph.output[1].HasField("type"), "the model that came is left as it is"
    assert types.keys() == {"maps"}
    assert not untyped.graph.output[1].HasField("type")
    model = ir.from_proto(untyped)
    remember_maps(model, types)
    assert has_maps(model)
    written = ir.to_proto(model.clone())
    put_maps_back(written, model.clone())
    assert written.graph.output[1].type == MAPS
    assert written.graph.output[0].type == proto.graph.output[0].type


def test_a_model_without_maps_is_the_same_object() -> None:
    proto = classifier()
    del proto.graph.output[1], proto.graph.node[1]
    same, types = without_maps(proto, "the model")
    assert same is proto
    model = ir.from_proto(same)
    remember_maps(model, types)
    assert not has_maps(model)


def test_an_input_that_is_a_map_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"input 'x' of the model takes a map .* cut the vectorizer off"):
        without_maps(classifier(takes_map=True), "the model")
