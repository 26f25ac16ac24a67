"""How weights are stored: rounded, packed, and left unpacked where an output would change."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import DIGITS, FAST, UNIFORM, inputs, perceptron, run_model, top1, weights_of

from netsurgeon.passes.graph import native
from netsurgeon.passes.packing.pack_weights import PackWeights
from netsurgeon.passes.packing.unpack_weights import packed_weights
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.compression import packing
from netsurgeon.pipeline.model_files import opset


def test_float16_values_are_exact_in_float16() -> None:
    weight = weights_of(compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM).model)["w1"]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, weight.astype(np.float16).astype(np.float32))


def test_float32_values_keep_all_digits() -> None:
    weight = weights_of(compress(perceptron(), inputs(), sparsity=0.5, values="float32", **UNIFORM).model)["w1"]
    assert (weight != weight.astype(np.float16)).any()


def test_codebook_values_are_few() -> None:
    weight = weights_of(compress(perceptron(), inputs(), sparsity=0.2, values="codebook", **UNIFORM).model)["w1"]
    assert len(np.unique(weight)) <= 256


def test_without_packing_weights_stay_plain(tmp_path: Path) -> None:
    result = compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.9, pack=False, **UNIFORM)
    assert not packed_weights(result.model)
    assert {"w1", "w2"} <= set(result.model.graph.initializers)
    packed = compress(perceptron(), inputs(), output=tmp_path / "packed.onnx", sparsity=0.9, **UNIFORM)
    assert packed.report.compressed.bytes < result.report.compressed.bytes
    assert packed.report.compressed.parameters == result.report.compressed.parameters
    assert packed.report.compressed.nonzero == result.report.compressed.nonzero
    assert {layer.stored for layer in result.report.layers} == {"dense"}
    np.testing.assert_array_equal(run_model(result.model, inputs()), run_model(packed.model, inputs()))


@pytest.mark.parametrize("opset", [9, 10])
def test_old_opset_is_raised_for_packing(opset: int) -> None:
    result = compress(perceptron(opset=opset), inputs(), sparsity=0.9, **UNIFORM)
    assert packed_weights(result.model)
    assert result.model.graph.opset_imports[""] == 11
    raised = [note.data for note in result.report.notes if note.code == "opset-raised"]
    assert raised == [{"before": opset, "after": 11}]
    assert result.report.dense.opset == opset
    assert result.model.metadata_props["author"] == "somebody"


def test_an_output_without_a_shape_is_raised_as_well() -> None:
    model = perceptron(opset=9)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = compress(model, inputs(), sparsity=0.9, **UNIFORM)
    assert packed_weights(result.model)
    assert result.model.graph.outputs[0].shape is None


@pytest.mark.parametrize("failure", ["refuses", "changes the interface", "breaks"])
def test_old_opset_that_cannot_be_raised_stays_unpacked(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = native.convert_version

    def fails(model: ir.Model, opset: int) -> ir.Model:
        if failure == "refuses":
            raise native.NativeError("no adapter\nfor it")
        converted = convert(model, opset)
        if failure == "breaks":
            converted.graph[0].op_type = "Nonsense"
        else:
            converted.graph.outputs[0].shape = ir.Shape(["M", 10])
        return converted

    monkeypatch.setattr(opset, "convert_version", fails)
    result = compress(perceptron(opset=10), inputs(), sparsity=0.9, **UNIFORM)
    assert not packed_weights(result.model)
    assert result.model.graph.opset_imports[""] == 10
    assert "stored-unpacked" in [note.code for note in result.report.notes]


@pytest.mark.parametrize("damage", ["other values", "does not load"])
def test_packing_that_changes_an_output_is_undone(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damages(PackWeights):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            bias = model.graph.initializers["b1"]
            assert bias.const_value is not None
            count = bias.const_value.size - (damage == "does not load")
            bias.const_value = ir.tensor(np.ones(count, np.float32), name="b1")
            return super().call(model)

    monkeypatch.setattr(packing, "PackWeights", Damages)
    result = compress(perceptron(), inputs(), sparsity=0.9, **UNIFORM)
    assert not packed_weights(result.model)
    (cause,) = [note.data["cause"] for note in result.report.notes if note.code == "stored-unpacked"]
    assert cause == ("outputs-differ" if damage == "other values" else "model-fails")
    assert result.report.validation.samples == 10


def test_digits_stay_accurate_with_a_codebook() -> None:
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        sparsity=0.8,
        values="codebook",
        limit=100,
        **FAST,
    )
    dense, compressed = top1(result.report.validation)
    assert compressed >= dense - 0.02
    matrices = [array for array in weights_of(result.model).values() if array.ndim > 1]
    assert max(len(np.unique(array)) for array in matrices) <= 256
