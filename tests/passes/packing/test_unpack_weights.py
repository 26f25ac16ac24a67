"""Unpacking gives the original back and leaves alone what no packing made."""

from pathlib import Path

import onnx_ir as ir
import pytest
from onnx_ir.passes import common as common_passes
from packed_models import assert_same, model_of, packed_before, plain, sparse

from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights


def test_a_saved_file_unpacks_to_the_original(tmp_path: Path) -> None:
    original = model_of(sparse((60, 50), 0.9), "Gemm")
    before = plain(original)
    PackWeights()(original)
    ir.save(original, tmp_path / "packed.onnx")
    loaded = ir.load(tmp_path / "packed.onnx")
    assert loaded.ir_version == 7
    assert UnpackWeights()(loaded).modified
    assert plain(loaded) == before
    assert not UnpackWeights()(loaded).modified


def test_external_data_is_packed_and_left_alone(tmp_path: Path) -> None:
    weight = sparse((60, 50), 0.9)
    ir.save(model_of(weight, "Gemm"), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    data = (tmp_path / "m.data").read_bytes()
    model = ir.load(tmp_path / "m.onnx")
    assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)
    PackWeights(plan_packing(model))(model)
    assert_same(model_of(weight, "Gemm"), model)
    assert (tmp_path / "m.data").read_bytes() == data


def test_a_chain_that_is_not_constant_stays() -> None:
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    PackWeights()(model)
    [scatter] = [node for node in model.graph if node.op_type == "ScatterElements"]
    assert scatter.inputs[2] is not None
    model.graph.inputs.append(scatter.inputs[2])
    before = plain(model)
    assert packed_weights(model) == []
    assert not UnpackWeights()(model).modified
    assert plain(model) == before


def test_chains_that_share_nodes_unpack() -> None:
    """A tool that merges equal tensors and nodes makes two chains use the same ones."""
    model = model_of(sparse((60, 60), 0.9), "Gemm")
    weight = ir.val("v", const_value=ir.tensor(2 * sparse((60, 60), 0.9), name="v"))
    model.graph.register_initializer(weight)
    first = model.graph[0]
    second = ir.node("Gemm", [first.outputs[0], weight], outputs=[ir.val("z", ir.DataType.FLOAT, [3, 60])], name="op2")
    model.graph.append(second)
    model.graph.outputs[:] = second.outputs
    before = plain(model)
    PackWeights()(model)
    merge = ir.passes.Sequential(
        common_passes.DeduplicateInitializersPass(), common_passes.CommonSubexpressionEliminationPass()
    )
    assert merge(model).modified
    assert sorted(packed_weights(model)) == ["v", "w"]
    UnpackWeights()(model)
    assert plain(model) == before


@pytest.mark.parametrize(("layout", "sparsity"), [("gaps", 0.3), ("bitmap", 0.5)])
def test_what_earlier_versions_packed_unpacks_and_is_packed_anew(layout: str, sparsity: float) -> None:
    weight = sparse((60, 50), sparsity, grid=15)
    model = packed_before(weight, layout)
    assert_same(model_of(weight, "Gemm"), model)
    assert packed_weights(model) == ["w"]
    UnpackWeights()(model)
    assert [node.op_type for node in model.graph] == ["Gemm"]
    assert plain(model)[1] == plain(model_of(weight, "Gemm"))[1]
    PackWeights()(model)
    assert packed_weights(model) == ["w"]
    assert not any(array.dtype == ir.DataType.UINT8 and array.shape[-1] == 1 for array in _tensors(model))
    assert_same(model_of(weight, "Gemm"), model)


def _tensors(model: ir.Model) -> list[ir.TensorProtocol]:
    return [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
