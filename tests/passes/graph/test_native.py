"""onnx's own code may abort: the run survives it, and what it gives is what onnx gives in this process."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hostile_models import model, sliced
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.graph import NativeCrashError, NativeError, compute_constants, convert_version, infer_shapes


def shapes(model: ir.Model) -> dict[str | None, list[int | str | None]]:
    return {
        value.name: [extent if isinstance(extent, int) else extent.value for extent in value.shape]
        for node in model.graph
        for value in node.outputs
        if value.shape is not None
    }


def test_shapes_are_those_of_onnx() -> None:
    proto = model(weights={"w": np.ones((8, 400), np.float32)}, z=("n", 400))
    assert shapes(infer_shapes(ir.from_proto(proto))) == {"y": ["n", 400], "z": ["n", 400]}


def test_a_model_that_aborts_inference_is_left_as_it_is_and_the_next_one_is_inferred() -> None:
    hostile = ir.from_proto(sliced(-1))
    before = ir.to_proto(hostile).SerializeToString()
    assert ir.to_proto(infer_shapes(hostile)).SerializeToString() == before
    assert shapes(infer_shapes(ir.from_proto(sliced(8)))) == {"y": ["n", 8], "z": ["n", 4]}


def test_a_model_that_aborts_conversion_is_an_error() -> None:
    with pytest.raises(NativeError, match=r"onnx's convert_version has crashed on it \(SIGABRT\)"):
        convert_version(ir.from_proto(sliced(-1)), 18)


def old(opset: int, batch: str | int | None = None) -> onnx.ModelProto:
    """Upsample and Softmax as they were, with a weight that is a graph input as well."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((3, 2, 3, 3)), "wide": rng.standard_normal((12 * 9, 40))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Upsample", ["c"], ["u"], "up", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]),
        helper.make_node("Flatten", ["u"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "wide"], ["m"], "layer"),
        helper.make_node("Softmax", ["m"], ["z"], "soft"),
    ]
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, 3, 3])]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in arrays.items()]
    graph = helper.make_graph(
        nodes,
        "old",
        inputs,
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)
    helper.set_model_props(proto, {"author": "somebody"})
    return proto


@pytest.mark.parametrize("batch", [None, "n", 2])
def test_conversion_keeps_weights_metadata_and_what_is_free(batch: str | int | None) -> None:
    source = ir.from_proto(old(8, batch))
    converted = convert_version(source, 11)
    assert converted.graph.opset_imports[""] == 11
    assert converted.metadata_props == {"author": "somebody"}
    assert str(converted.graph.outputs[0].shape) == str(source.graph.outputs[0].shape)
    assert [(v.name, str(v.shape)) for v in converted.graph.inputs] == [
        (v.name, str(v.shape)) for v in source.graph.inputs
    ]
    for name, value in source.graph.initializers.items():
        constant, kept = value.const_value, converted.graph.initializers[name].const_value
        assert constant is not None
        assert kept is not None
        np.testing.assert_array_equal(kept.numpy(), constant.numpy())


def test_names_that_stand_twice_are_an_error() -> None:
    proto = old(8)
    proto.graph.input.append(proto.graph.input[1])
    with pytest.raises(NativeError):
        convert_version(ir.from_proto(proto), 11)


def test_what_has_no_adapter_is_an_error() -> None:
    proto = model([helper.make_node("Nonsense", ["x"], ["z"])], {}, z=("n", 8))
    proto.opset_import[0].version = 9
    with pytest.raises(NativeError):
        convert_version(ir.from_proto(proto), 11)


def constants(node: onnx.NodeProto, **values: object) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph([node], "constants", [], [onnx.ValueInfoProto(name="y")], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def filled(count: int) -> onnx.ModelProto:
    return constants(helper.make_node("ConstantOfShape", ["shape"], ["y"], "fill"), shape=np.array([count]))


def test_constants_are_computed_up_to_a_limit_and_the_limit_is_lifted_again() -> None:
    assert compute_constants(filled(2**24), 2**27) == 2**26
    with pytest.raises(MemoryError, match=r"running ConstantOfShape node\. Name:'fill'"):
        compute_constants(filled(2**26), 2**27)
    assert compute_constants(filled(2**26), 2**29) == 2**28


def test_constants_that_cannot_be_computed_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NativeError, match="Own") as error:
        compute_constants(constants(helper.make_node("Own", ["x"], ["y"]), x=np.ones(2)), 2**20)
    assert not isinstance(error.value, NativeCrashError)
    monkeypatch.setattr("netsurgeon.passes.graph.native.SECONDS_OF_CONSTANTS", 0.0)
    with pytest.raises(NativeCrashError, match="computing constants has ended the process"):
        compute_constants(filled(2**24), 2**27)
