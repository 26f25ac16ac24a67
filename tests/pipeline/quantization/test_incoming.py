"""A model that comes quantized is pruned on its integers, or left with a reason and a way out."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from incoming_models import (
    DATA,
    in_few_bits,
    perceptron,
    quantized_digits,
    quantized_perceptron,
    weight_codes,
)

from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect import inspect_model, inspect_units
from netsurgeon.pipeline.inspect_quantization import inspect_quantization
from netsurgeon.pipeline.training.retraining import retrain

X = {"x": np.random.default_rng(5).normal(size=(200, 20)).astype(np.float32)}


@pytest.mark.parametrize("method", ["obs", "magnitude"])
def test_a_model_in_qdq_form_is_pruned_on_the_integers_it_has(method: str) -> None:
    model = quantized_perceptron()
    result = compress(model, X, sparsity=0.5, method=method, damping=0.01, uniform=True, pack=False)
    before, after = weight_codes(model), weight_codes(ir.to_proto(result.model))
    assert len(before) == 2
    changed = 0
    for name, (codes, scale, zero) in before.items():
        new_codes, new_scale, new_zero = after[name]
        np.testing.assert_array_equal(scale, new_scale)
        np.testing.assert_array_equal(zero, new_zero)
        assert new_codes.dtype == codes.dtype
        assert np.count_nonzero(new_codes) <= codes.size // 2
        assert new_codes.min() >= codes.min()
        assert new_codes.max() <= codes.max()
        changed += int(np.count_nonzero((new_codes != codes) & (new_codes != 0)))
    assert bool(changed) == (method == "obs")
    assert result.report.sparsity == pytest.approx(0.5, abs=0.01)
    (note,) = [note for note in result.report.notes if note.code == "came-quantized"]
    assert sorted(note.data["pruned"]) == sorted(before)
    bound = compare(model, ir.to_proto(result.model), X).bound
    assert bound is not None


def test_correction_on_the_integers_loses_less_than_leaving_weights_out() -> None:
    model = quantized_perceptron()
    errors = [
        compress(model, X, sparsity=0.5, method=method, damping=0.01, uniform=True)
        .report.validation.outputs[0]
        .relative_error
        for method in ("obs", "magnitude")
    ]
    assert errors[0] < 0.8 * errors[1]


def test_a_goal_is_met_on_the_integers_that_are_there() -> None:
    model = quantized_perceptron()
    result = compress(model, X, max_drop="5%", method="obs", damping=0.01)
    before, after = weight_codes(model), weight_codes(ir.to_proto(result.model))
    assert result.report.search is not None
    assert result.report.search.evidence.high <= 0.05
    assert result.report.sparsity > 0.1
    for name, (_, scale, _) in before.items():
        np.testing.assert_array_equal(after[name][1], scale)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantize": "int8"}, "--quantize makes integers of floats"),
        ({"trim": 0.2}, "units of it are not trimmed"),
        ({"speedup": 2}, "units of it are not trimmed"),
    ],
)
def test_what_is_not_done_to_integers_is_refused_with_a_way_out(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=r"the model is quantized already .2 MatMul; form: QDQ") as refusal:
        compress(quantized_perceptron(), X, **options)  # type: ignore[arg-type]
    assert said in str(refusal.value)
    assert "float model that it was made from" in str(refusal.value)


@pytest.mark.parametrize("form", ["QOperator", "dynamic"])
def test_other_forms_are_left_and_named(form: str) -> None:
    with pytest.raises(InputError, match=rf"quantized already .*form: {form}.*give the float model"):
        compress(quantized_digits(form), DATA, sparsity=0.5, limit=20)


@pytest.mark.parametrize("is_symmetric", [True, False])
def test_blocks_of_a_few_bits_are_left_and_named(is_symmetric: bool) -> None:
    with pytest.raises(InputError, match=r"2 MatMulNBits.*give the float model"):
        compress(in_few_bits(perceptron(), is_symmetric), X, sparsity=0.5)


@pytest.mark.parametrize("model", [quantized_perceptron(), in_few_bits(perceptron(), True)])
def test_inspect_quantization_says_what_can_be_done_there(model: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match=r"quantized already .*leave it out, or .*give the float model") as compressed:
        compress(model, X, quantize="int8")
    with pytest.raises(InputError) as inspected:
        inspect_quantization(model)
    is_so, _, _ = str(compressed.value).partition(", and --quantize")
    assert str(inspected.value) == f"{is_so}: give the float model that it was made from"


def test_inspect_lists_integers_that_are_pruned_and_what_can_be_done() -> None:
    inspection = inspect_model(quantized_digits("per channel"))
    assert {layer.dtype for layer in inspection.layers} == {"INT8"}
    assert [layer.name for layer in inspection.layers] == [layer.name for layer in inspection.quantized]
    assert not inspection.declined
    (note,) = inspection.notes
    assert "--sparsity prunes 8 of them on their integers" in note


def test_inspect_lists_integers_that_are_left() -> None:
    inspection = inspect_model(quantized_digits("QOperator"))
    assert not inspection.layers
    assert [left.node for left in inspection.declined] == [layer.name for layer in inspection.quantized]
    assert "8 can only be pruned in the float model" in inspection.notes[0]


@pytest.mark.parametrize("form", ["QOperator", "dynamic"])
def test_integers_are_not_trained_and_the_way_out_is_told(form: str, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    path.write_bytes(quantized_digits(form).SerializeToString())
    with pytest.raises(InputError, match=r"integers cannot be trained: retrain the float model"):
        retrain(path, DATA, tmp_path / "out.onnx", steps=1)
    assert not (tmp_path / "out.onnx").exists()


def test_inspect_units_says_why_there_are_none() -> None:
    units = inspect_units(quantized_perceptron())
    assert units.parameters >= 384
    assert "not trimmed" in units.notes[0]


def test_a_float_model_is_told_nothing_of_integers() -> None:
    inspection = inspect_model(perceptron())
    assert (inspection.quantized, inspection.notes) == ((), ())
