"""`compress` with `repair`: nearer to the dense model on inputs held out; zeros and what is left alone stay."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import integer_models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from masked_models import encoder, padded, sentences, unpadded
from perceptron_models import built, random
from searched_models import labelled, small_network
from trimmable_models import pictures, residual_network

from netsurgeon import compress
from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.quantization.choose import IntegerChoice
from netsurgeon.pipeline.repair import repair, torch_checks

UNIFORM: dict[str, Any] = {"method": "obs", "damping": 0.01, "uniform": True}
FAST: dict[str, Any] = {**UNIFORM, "values": "float32", "pack": False}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "FEWEST_STEPS", 100)
    monkeypatch.setattr(repair, "MOST_STEPS", 100)


def weights(model: ir.Model) -> dict[str, Any]:
    plain = model.clone()
    UnpackWeights()(plain)
    arrays = {name: value.const_value for name, value in plain.graph.initializers.items()}
    return {name: array.numpy() for name, array in arrays.items() if array is not None}


def test_the_outputs_come_nearer_and_the_zeros_stay() -> None:
    data, test, options = pictures(384)[:256], pictures(384)[256:], {**FAST, "uniform": False}
    plain, repaired = (
        compress(residual_network(), data, test=test, sparsity=0.7, repair=on, **options) for on in (False, True)
    )
    facts = repaired.report.repair
    assert plain.report.repair is None
    assert facts is not None
    assert facts.error_after < 0.95 * facts.error_before
    assert (facts.inputs, facts.held_out) == (224, 32)
    assert facts.augmentation == "noise of 0.1 standard deviations"
    errors = [result.report.validation.outputs[0].relative_error for result in (plain, repaired)]
    assert errors[1] < 0.99 * errors[0]
    before, after = weights(plain.model), weights(repaired.model)
    matrices = [name for name, array in before.items() if array.ndim > 1]
    assert len(matrices) > 3
    assert all(np.array_equal(before[name] == 0, after[name] == 0) for name in matrices)
    assert not np.array_equal(before[matrices[0]], after[matrices[0]])
    (record,) = [record for record in repaired.report.steps if record.name == "repair"]
    assert record.applied
    assert record.facts == {"steps": 100}
    (bound,) = repaired.report.bound.outputs
    assert bound.bound is None or bound.bound >= bound.measured


@pytest.mark.parametrize("values", ["float16", "codebook"])
def test_tuned_weights_are_stored_as_short_as_others(values: str) -> None:
    options: dict[str, Any] = {"sparsity": 0.7, "values": values, "method": "obs", "damping": 0.01}
    plain, repaired = (compress(residual_network(), pictures(256), repair=on, **options) for on in (False, True))
    facts = repaired.report.repair
    assert facts is not None
    assert facts.has_helped
    assert repaired.report.compressed.bytes < 1.15 * plain.report.compressed.bytes
    assert [layer.kept for layer in repaired.report.layers] == [layer.kept for layer in plain.report.layers]
    (record,) = [record for record in repaired.report.steps if record.name == "repair"]
    assert record.applied


def test_layers_that_are_left_alone_stay() -> None:
    first = compress(residual_network(), pictures(96), sparsity=0.7, **FAST).report.layers[0].name
    result = compress(residual_network(), pictures(256), sparsity=0.7, repair=True, exclude=(first,), **FAST)
    assert result.report.repair is not None
    assert result.report.repair.has_helped
    before, after = (weights(model) for model in (ir.from_proto(residual_network()), result.model))
    same = [
        name for name in before if before[name].ndim > 1 and name in after and np.array_equal(before[name], after[name])
    ]
    assert len(same) == 1


def test_trimmed_units_are_gone_and_integers_stay_integers() -> None:
    x = pictures(96)
    trimmed = compress(residual_network(), x, trim=0.3, round_to=4, repair=True, augment="none", **FAST)
    assert trimmed.report.repair is not None
    assert trimmed.report.repair.has_helped
    assert trimmed.report.trim is not None
    assert trimmed.report.trim.proof is not None
    assert trimmed.report.trim.proof.is_informative
    integers = compress(residual_network(), x, sparsity=0.5, quantize="int8", target="qnn", repair=True, **UNIFORM)
    assert integers.report.repair is not None
    assert integers.report.integers is not None
    assert "QuantizeLinear" in {node.op_type for node in integers.model.graph}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"x": random(40, 32)}, "there are 40 calibration inputs, expected 64 or more"),
        ({"x": random(128, 32)}, "PyTorch does not know TopK, and no layer lies in front of it"),
    ],
)
def test_what_cannot_be_repaired_is_delivered_with_the_reason(data: Any, reason: str) -> None:
    nodes = [
        onnx.helper.make_node("TopK", ["x", "k"], ["h", "places"]),
        onnx.helper.make_node("Gemm", ["h", "w"], ["g"], name="first"),
        onnx.helper.make_node("Cast", ["places"], ["beside"], to=1),
        onnx.helper.make_node("Concat", ["g", "beside"], ["y"], axis=1),
    ]
    model = built(nodes, {"w": random(3, 12)}, end=("N", 15))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3]), "k"))
    result = compress(model, data, sparsity=0.5, repair=True, **FAST)
    assert result.report.repair is None
    (warning,) = [warning for warning in result.report.warnings if warning.code == "not-repaired"]
    assert reason in warning


def test_what_lies_in_front_of_an_unknown_operator_is_repaired() -> None:
    model = residual_network()
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(onnx.helper.make_node("Celu", ["scores"], ["h"]))
    model.graph.node.append(onnx.helper.make_node("Gemm", ["h", "last"], ["y"], name="last"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(5, dtype=np.float32), "last"))
    options: dict[str, Any] = {"exclude": ("last",), "sparsity": 0.7, **FAST}
    plain, repaired = (compress(model, pictures(256), repair=on, **options) for on in (False, True))
    facts = repaired.report.repair
    assert facts is not None
    assert facts.beyond == ("Celu",)
    assert facts.has_helped
    assert "behind Celu, which PyTorch does not know, all stays" in str(facts)
    before, after = weights(plain.model), weights(repaired.model)
    assert not np.array_equal(before["stem"], after["stem"])
    assert np.array_equal(before["last"], after["last"])


@pytest.mark.parametrize(
    ("nodes", "output", "lacking"),
    [
        ([("ArgMax", ["r"], ["place"]), ("Cast", ["place"], ["name"])], ("name", 8, ["N", 1]), "Cast to STRING"),
        ([("LayerNormalization", ["r", "scale"], ["n", "m"])], ("m", 1, ["N", 1]), "LayerNormalization with 2 outputs"),
    ],
)
def test_what_pytorch_does_not_give_of_an_operator_is_left_out(
    nodes: list[tuple[str, list[str], list[str]]], output: tuple[str, int, list[Any]], lacking: str
) -> None:
    attributes: dict[str, Any] = {"ArgMax": {"axis": 1}, "Cast": {"to": 8}}
    made = [onnx.helper.make_node(*node, **attributes.get(node[0], {})) for node in nodes]
    first = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
    ]
    last = [onnx.helper.make_node("MatMul", ["r", "v"], ["y"], name="second")]
    weights_of = {"w": random(32, 24), "v": random(24, 10, seed=2), "scale": np.ones(24)}
    model = built([*first, *made, *last], weights_of)
    model.graph.output.append(onnx.helper.make_tensor_value_info(*output))
    _, repaired = repaired_pair(model)
    facts = repaired.report.repair
    assert facts.beyond == (lacking,)
    assert facts.has_helped


def fail_unforeseen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("qi")

    monkeypatch.setattr("netsurgeon.models.onnx_module.module.OnnxModule.values", fail)


def test_an_error_that_nobody_foresaw_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_unforeseen(monkeypatch)
    model, data = small_network(), labelled(small_network(), 256, 1)
    plain, result = (compress(model, data, sparsity=0.7, repair=on, **FAST) for on in (False, True))
    (warning,) = [warning for warning in result.report.warnings if warning.code == "not-repaired"]
    assert "PyTorch failed on it (KeyError: 'qi')" in warning
    before, after = weights(plain.model), weights(result.model)
    assert all(np.array_equal(array, after[name]) for name, array in before.items())


def test_an_error_that_nobody_foresaw_ends_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_unforeseen(monkeypatch)
    model, data = small_network(), labelled(small_network(), 400, 1)
    options: dict[str, Any] = {"max_drop": "5%", "quantize": "none", "method": "obs", "damping": 0.01}
    report = compress(model, data, repair=True, **options).report
    assert any("PyTorch failed on it (KeyError: 'qi')" in note for note in report.notes if note.code == "not-repaired")
    assert report.search is not None
    assert not any(point.repaired for point in report.search.points)
    assert any(point.chosen for point in report.search.points)


def network_behind(place: str) -> onnx.ModelProto:
    """The residual network with an operator that PyTorch lacks behind one of its values."""
    model = residual_network()
    for node in model.graph.node:
        node.input[:] = ["unknown" if name == place else name for name in node.input]
    at = next((at + 1 for at, node in enumerate(model.graph.node) if place in node.output), 0)
    model.graph.node.insert(at, onnx.helper.make_node("Celu", [place], ["unknown"]))
    return model


@pytest.mark.parametrize(("place", "layers"), [("x", 6), ("t0", 5)])
def test_what_lies_behind_an_unknown_operator_is_repaired_too(place: str, layers: int) -> None:
    model, data = network_behind(place), pictures(256)
    plain, repaired = (compress(model, data, sparsity=0.7, repair=on, **FAST) for on in (False, True))
    facts = repaired.report.repair
    assert facts is not None
    assert facts.beyond == ("Celu",)
    (stretch,) = facts.stretches
    assert (stretch.start, stretch.ends, len(stretch.layers)) == ("unknown", ("y",), layers)
    assert stretch.has_helped
    assert facts.error_after < 0.95 * facts.error_before
    assert (facts.steps == stretch.steps) == (place == "x")
    assert "of 1 stretch of layers 1 gained" in str(facts)
    before, after = weights(plain.model), weights(repaired.model)
    matrices = [name for name, array in before.items() if array.ndim > 1]
    assert all(np.array_equal(before[name] == 0, after[name] == 0) for name in matrices)
    assert not np.array_equal(before["a1"], after["a1"])


def given_losses(monkeypatch: pytest.MonkeyPatch, *errors: float) -> None:
    """Let the outputs' relative errors be these, in turn, while stretches are tuned, whatever the model gives."""
    losses = ({"relative error": error, "divergence": error} for error in errors)
    monkeypatch.setattr("netsurgeon.pipeline.repair.output_errors.output_losses", lambda dense, other: next(losses))


def perceptron_behind(*, front: bool, two: bool = False) -> onnx.ModelProto:
    """Layers behind an operator that PyTorch lacks, perhaps one in front or two such operators; a constant output."""
    lines = [("MatMul", ["x", "u"], "f", "zero")] if front else []
    lines += [("Celu", ["f" if front else "x"], "a", ""), ("MatMul", ["a", "w"], "h", "first")]
    lines += [("Celu" if two else "Relu", ["h"], "r", ""), ("MatMul", ["r", "v"], "y", "second")]
    nodes = [onnx.helper.make_node(kind, entering, [end], name=name) for kind, entering, end, name in lines]
    arrays = {"w": random(32, 24), "v": random(24, 10, seed=2), "c": np.arange(3.0)}
    model = built(nodes, arrays | ({"u": random(32, 32, seed=5)} if front else {}))
    model.graph.output.append(onnx.helper.make_tensor_value_info("c", 1, [3]))
    return model


def repaired_pair(model: onnx.ModelProto) -> Any:
    """The results without and with repair, of uncorrected weights; the inputs depend on each other."""
    data, options = {"x": random(256, 8) @ random(8, 32, seed=3)}, FAST | {"method": "magnitude"}
    return (compress(model, data, sparsity=0.8, repair=on, **options) for on in (False, True))


def test_a_stretch_by_which_the_outputs_lose_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    given_losses(monkeypatch, 0.2, 0.1, 0.15)
    plain, repaired = repaired_pair(perceptron_behind(front=False, two=True))
    facts = repaired.report.repair
    kept, undone = facts.stretches
    assert kept.has_helped
    assert kept.reason is None
    assert not undone.has_helped
    assert undone.reason == "the outputs' relative error would become 0.15, and is 0.1"
    before, after = weights(plain.model), weights(repaired.model)
    assert not np.array_equal(before["w"], after["w"])
    assert np.array_equal(before["v"], after["v"])


def test_stretches_that_do_not_help_are_listed_with_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    given_losses(monkeypatch, 0.1, 0.2)
    plain, repaired = repaired_pair(perceptron_behind(front=False))
    facts = repaired.report.repair
    (stretch,) = facts.stretches
    assert stretch.reason == "the outputs' relative error would become 0.2, and is 0.1"
    assert (facts.error_before, facts.error_after) == (0.1, 0.1)
    (warning,) = [warning for warning in repaired.report.warnings if warning.code == "not-repaired"]
    assert "no layer lies in front of it, and no stretch behind it got better" in warning
    assert np.array_equal(weights(plain.model)["w"], weights(repaired.model)["w"])


def test_a_front_by_which_the_outputs_lose_is_undone_and_the_stretch_behind_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_losses(monkeypatch, 0.2, 0.3, 0.1)
    plain, repaired = repaired_pair(perceptron_behind(front=True))
    facts = repaired.report.repair
    assert facts.has_helped
    (note,) = [note for note in repaired.report.notes if note.code == "not-repaired"]
    assert "in front of Celu, which PyTorch does not know: the outputs' relative error would become 0.3" in note
    before, after = weights(plain.model), weights(repaired.model)
    assert np.array_equal(before["u"], after["u"])
    assert not np.array_equal(before["w"], after["w"])


def test_why_the_front_was_not_tuned_is_said_beside_the_stretches_that_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("PyTorch gives other outputs")

    monkeypatch.setattr(repair, "_tune_front", refuse)
    _, repaired = repaired_pair(perceptron_behind(front=True))
    facts = repaired.report.repair
    assert facts.has_helped
    assert facts.augmentation == "noise of 0.1 standard deviations"
    (note,) = [note for note in repaired.report.notes if note.code == "not-repaired"]
    assert "in front of Celu, which PyTorch does not know: PyTorch gives other outputs" in note


def test_a_stretch_that_cannot_be_tuned_has_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("no memory")

    monkeypatch.setattr("netsurgeon.pipeline.repair.behind._tuned", refuse)
    _, repaired = repaired_pair(perceptron_behind(front=False))
    (stretch,) = repaired.report.repair.stretches
    assert (stretch.error_before, stretch.error_after, stretch.reason) == (None, None, "no memory")
    assert repaired.report.repair.error_before > 0.0


def test_a_model_without_an_output_of_floats_is_refused_at_once() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("ArgMax", ["h"], ["y"], axis=1),
    ]
    model = built(nodes, {"w": random(32, 24)})
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("y", 7, ["N", 1]))
    result = compress(model, {"x": random(128, 32)}, sparsity=0.5, repair=True, **FAST)
    (warning,) = [warning for warning in result.report.warnings if warning.code == "not-repaired"]
    assert "no output is a float" in warning


def test_a_killed_stretch_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.models.repair.tuning.SAVE_SECONDS", 0.0)
    model, data = network_behind("x"), pictures(256)
    options: dict[str, Any] = {"sparsity": 0.7, "repair": True, "work": tmp_path / "work", **FAST}
    seen: list[int] = []

    def stop(stage: str, done: int, count: int) -> None:
        if stage == "repairing stretch 1" and done == 60:
            raise KeyboardInterrupt

    def note(stage: str, done: int, count: int) -> None:
        seen.extend([done] if stage == "repairing stretch 1" and done else [])

    with pytest.raises(KeyboardInterrupt):
        compress(model, data, progress=stop, **options)
    resumed = compress(model, data, progress=note, **options)
    whole = compress(model, data, sparsity=0.7, repair=True, **FAST)
    assert min(seen) > 30
    assert all(np.array_equal(array, weights(resumed.model)[name]) for name, array in weights(whole.model).items())


def test_positions_that_a_mask_excludes_are_not_learnt() -> None:
    rows, other_tokens = sentences(200), np.random.default_rng(3)
    data = padded(rows)
    results = []
    for filler in (0, 1):
        data["ids"] = np.where(data["attention_mask"] == 1, data["ids"], filler * other_tokens.integers(20))
        results.append(compress(encoder(length=16), data, sparsity=0.6, repair=True, device="cpu", **FAST))
    facts = results[0].report.repair
    assert facts is not None
    assert facts.has_helped
    arrays, others = (weights(result.model) for result in results)
    assert all(np.allclose(array, others[name], atol=1e-5) for name, array in arrays.items())


def test_sequences_may_be_cut_short_while_weights_are_tuned() -> None:
    options: dict[str, Any] = {"sparsity": 0.6, "repair": True, "device": "cpu", **FAST}
    result = compress(encoder(), unpadded(sentences(200)), augment="lengths, crop", **options)
    facts = result.report.repair
    assert facts is not None
    assert facts.augmentation == "sequences cut short"
    assert facts.has_helped
    (note,) = [note for note in result.report.notes if note.code == "not-varied"]
    assert note == "--augment crop was left out: no input holds pictures of floats or bytes"


def test_an_index_that_pytorch_finds_out_of_bounds_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise IndexError("index 9 is out of bounds\nfor dimension 1")

    monkeypatch.setattr(repair, "_tune_front", fail)
    monkeypatch.setattr(repair, "unknown_operators", lambda *_: ())
    job: Any = SimpleNamespace(dense=SimpleNamespace(graph=None), model=None)
    assert repair._repaired(job, None).reason == "index 9 is out of bounds"


@pytest.fixture
def all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer that can runs on integers, whatever this machine's clock says of so small a model."""
    module = __import__("netsurgeon.pipeline.quantization.quantize", fromlist=["quantize"])
    monkeypatch.setattr(module, "choose_integer_layers", lambda model, stay, *_, **__: IntegerChoice(stay=stay))


@pytest.mark.usefixtures("all_layers")
def test_integers_learn_to_which_side_they_are_rounded() -> None:
    data = integer_models.pictures(400)
    options: dict[str, Any] = {"sparsity": 0.5, "quantize": "w4a8", "values": "float32", "pack": False}
    dense = integer_models.float_net()
    plain, repaired = (compress(dense, data, repair=on, **options) for on in (False, True))
    facts = repaired.report.integer_repair
    assert facts is not None
    assert facts.has_helped
    assert repaired.report.repair is not None
    before, after = (find_integer_weights(result.model.graph) for result in (plain, repaired))
    assert before.keys() == after.keys()
    assert [node.op_type for node in plain.model.graph] == [node.op_type for node in repaired.model.graph]
    assert any(not np.array_equal(before[name].codes, after[name].codes) for name in before)
    of_plain, of_repaired = (result.report.integers for result in (plain, repaired))
    assert of_plain is not None
    assert of_repaired is not None
    errors = [[layer.error for layer in integers.layers] for integers in (of_plain, of_repaired)]
    assert all(error for error in errors[1])
    assert all(now != was for was, now in zip(*errors, strict=True))
    assert of_plain.kernel_difference != of_repaired.kernel_difference
    bits = [[int(np.abs(weight.codes).max()).bit_length() for weight in side.values()] for side in (before, after)]
    assert all(now <= was for was, now in zip(*bits, strict=True))
    count = sum(weight.codes.size for weight in after.values())
    assert sum(weight.nonzero for weight in after.values()) <= 0.5 * count + len(after)


@pytest.mark.usefixtures("all_layers")
def test_pruned_zeros_stay_where_columns_stand_in_another_order_on_integers() -> None:
    """A shuffle of channels goes, and the weight behind it has its columns in their order."""
    data, options = integer_models.pictures(400), {"sparsity": 0.5, "quantize": "w4a8", **FAST}
    net = integer_models.float_net(is_shuffled=True)
    result = compress(net, data, repair=True, **options)
    facts = result.report.integer_repair
    assert facts is not None
    assert facts.has_helped
    assert "shuffles-dissolved" in [note.code for note in result.report.notes]
    for weight in find_integer_weights(result.model.graph).values():
        assert weight.nonzero <= 0.5 * weight.codes.size


@pytest.mark.usefixtures("all_layers")
def test_integers_that_lose_are_as_the_closed_form_left_them(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([{"relative error": 0.2, "divergence": 0.1}, {"relative error": 0.1, "divergence": 0.2}])
    monkeypatch.setattr(
        "netsurgeon.pipeline.compression.repair_weights.output_losses", lambda dense, other: next(losses)
    )
    options: dict[str, Any] = {"quantize": "w4a8", "values": "float32", "pack": False}
    data = integer_models.pictures(256)
    plain, undone = (compress(integer_models.float_net(), data, repair=on, **options) for on in (False, True))
    (record,) = [record for record in undone.report.steps if record.name == "repair integers"]
    assert (record.applied, undone.report.integer_repair) == (False, None)
    assert record.undone is not None
    assert "divergence" in record.undone
    before, after = (find_integer_weights(result.model.graph) for result in (plain, undone))
    assert all(np.array_equal(before[name].codes, after[name].codes) for name in before)


def test_the_errors_said_are_those_of_what_is_delivered() -> None:
    data = pictures(256)
    for values in ("float16", "codebook"):
        result = compress(residual_network(), data, sparsity=0.7, values=values, repair=True, **UNIFORM)
        facts = result.report.repair
        assert facts is not None
        (record,) = [record for record in result.report.steps if record.name == "repair"]
        assert record.applied == (facts.error_after < facts.error_before)


def test_a_search_that_repairs_nothing_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "LEAST_INPUTS", 10_000)
    model, data = small_network(), labelled(small_network(), 400, 1)
    result = compress(model, data, max_drop="5%", quantize="none", repair=True, method="obs", damping=0.01)
    (note,) = [note for note in result.report.notes if note.code == "not-repaired"]
    assert "expected 10000 or more" in note
    assert result.report.search is not None
    assert not any(point.repaired for point in result.report.search.points)


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99", "cuda"])
def test_devices_that_are_not_there_are_refused_at_once(device: str) -> None:
    with pytest.raises(InputError, match="device"):
        compress(small_network(), labelled(small_network(), 64, 1), sparsity=0.5, repair=True, device=device)


def test_outputs_of_any_kind_and_shape_may_stand_beside_the_floats() -> None:
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("Gemm", ["r", "v"], ["y"], name="second"),
        onnx.helper.make_node("Greater", ["y", "zero"], ["is_positive"]),
        onnx.helper.make_node("ReduceMax", ["r"], ["most"], keepdims=0),
    ]
    model = built(nodes, {"w": random(32, 24), "v": random(24, 10, seed=2), "zero": np.zeros(1)})
    kinds: dict[str, Any] = {"is_positive": (9, ["N", 10]), "most": (1, []), "r": (1, ["N", 24])}
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items())
    result = compress(model, {"x": random(256, 32)}, sparsity=0.8, repair=True, **FAST)
    assert result.report.repair is not None
    assert result.report.repair.error_before > 0.0


def test_an_output_that_is_not_finite_keeps_nothing_from_being_repaired() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("MatMul", ["r", "v"], ["y"], name="second"),
        onnx.helper.make_node("Sub", ["x", "x"], ["nothing"]),
        onnx.helper.make_node("Log", ["nothing"], ["log"]),
    ]
    model = built(nodes, {"w": random(32, 24), "v": random(24, 10, seed=2)})
    model.graph.output.append(onnx.helper.make_tensor_value_info("log", 1, ["N", 32]))
    _, repaired = repaired_pair(model)
    facts = repaired.report.repair
    assert facts.has_helped
    assert np.isfinite(facts.error_before)
    assert [record.applied for record in repaired.report.steps if record.name == "repair"] == [True]


def test_what_is_compared_afterwards_is_part_of_the_choice_of_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter(range(1000))
    monkeypatch.setattr("netsurgeon.pipeline.repair.behind.score_divergence", lambda dense, other: next(figures))
    model, data = small_network(), labelled(small_network(), 256, 1)
    facts = compress(model, data, sparsity=0.7, repair=True, **FAST).report.repair
    assert facts is not None
    assert not facts.has_helped
    assert (facts.tries, facts.steps) == (4, 400)


def test_a_batch_that_is_fixed_needs_a_whole_one_held_out() -> None:
    nodes = [onnx.helper.make_node("Gemm", ["x", "w"], ["y"], name="first")]
    model = built(nodes, {"w": random(32, 10)}, entry=(32, 32), end=(32, 10))
    result = compress(model, {"x": random(128, 32)}, sparsity=0.5, repair=True, **FAST)
    assert "not-repaired" in [warning.code for warning in result.report.warnings]


@pytest.mark.parametrize("mode", ["w4", "w8"])
def test_weights_are_repaired_where_activations_stay_floats_and_a_note_says_that_integers_stay(mode: str) -> None:
    options: dict[str, Any] = {**UNIFORM, "pack": False}
    report = compress(residual_network(), pictures(256), quantize=mode, sparsity=0.7, repair=True, **options).report
    assert report.integers is not None
    assert report.repair is not None
    assert report.repair.has_helped
    assert report.integer_repair is None
    assert "not-repaired" not in [warning.code for warning in report.warnings]
    (note,) = [note for note in report.notes if note.code == "not-repaired"]
    assert note.startswith(f"the integers were not repaired: with {mode} only weights are tuned, before they become")
    assert "<li>Weights: repaired with " in report.to_html()
    assert "<li>Integers: " not in report.to_html()


def mode_notes(report: Any) -> list[str]:
    """Those on integers that stay as they were rounded."""
    return [note for note in report.notes if note.startswith("the integers were not repaired")]


def test_where_weights_are_not_repaired_nothing_is_said_of_what_tunes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {**UNIFORM, "pack": False, "quantize": "w4", "sparsity": 0.7, "repair": True}
    refused = compress(residual_network(), pictures(64), **options).report
    assert "not-repaired" in [warning.code for warning in refused.warnings]
    assert (refused.integers is not None, mode_notes(refused)) == (True, [])
    losses = iter([{"relative error": 0.2, "divergence": 0.1}, {"relative error": 0.1, "divergence": 0.2}])
    monkeypatch.setattr(
        "netsurgeon.pipeline.compression.repair_weights.output_losses", lambda dense, other: next(losses)
    )
    undone = compress(residual_network(), pictures(256), **options).report
    assert "step-undone" in [note.code for note in undone.notes]
    assert (undone.repair, mode_notes(undone)) == (None, [])


def test_without_zeros_a_note_says_why_nothing_is_repaired_before_matrices_become_integers() -> None:
    report = compress(residual_network(), pictures(256), **UNIFORM, pack=False, quantize="w4", repair=True).report
    assert report.repair is None
    assert len(mode_notes(report)) == 1


def test_what_loses_by_another_measure_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([{"relative error": 0.2, "divergence": 0.1}, {"relative error": 0.1, "divergence": 0.2}])
    monkeypatch.setattr(
        "netsurgeon.pipeline.compression.repair_weights.output_losses", lambda dense, other: next(losses)
    )
    model, data = small_network(), labelled(small_network(), 256, 1)
    result = compress(model, data, sparsity=0.7, repair=True, **FAST)
    (record,) = [record for record in result.report.steps if record.name == "repair"]
    assert not record.applied
    assert record.undone is not None
    assert "would become 0.2, and is 0.1" in record.undone
    assert np.array_equal(weights(compress(model, data, sparsity=0.7, **FAST).model)["w1"], weights(result.model)["w1"])


def test_without_pytorch_it_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(torch_checks, "importlib", SimpleNamespace(import_module=missing))
    with pytest.raises(InputError, match="repair needs torch, which is not installed"):
        compress(small_network(), labelled(small_network(), 64, 1), sparsity=0.5, repair=True)


def test_a_killed_repair_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.models.repair.tuning.SAVE_SECONDS", 0.0)
    model, data = small_network(), labelled(small_network(), 256, 1)
    options: dict[str, Any] = {"sparsity": 0.7, "repair": True, "work": tmp_path / "work", **FAST}

    def stop(stage: str, done: int, count: int) -> None:
        if stage == "repairing" and done == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(model, data, progress=stop, **options)
    steps: list[int] = []
    resumed = compress(
        model, data, progress=lambda stage, done, _: steps.append(done) if stage == "repairing" else None, **options
    )
    whole = compress(model, data, sparsity=0.7, repair=True, **FAST)
    assert min(step for step in steps if step) > 30
    assert all(np.array_equal(array, weights(resumed.model)[name]) for name, array in weights(whole.model).items())


@pytest.mark.usefixtures("all_layers")
def test_killed_integers_go_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.models.repair.tuning.SAVE_SECONDS", 0.0)
    model, data = integer_models.float_net(), integer_models.pictures(128)
    options: dict[str, Any] = {"quantize": "w4a8", "values": "float32", "pack": False, "repair": True}
    steps: list[int] = []

    def stop(stage: str, done: int, count: int) -> None:
        if stage == "repairing integers" and done == 60:
            raise KeyboardInterrupt

    def note(stage: str, done: int, count: int) -> None:
        steps.extend([done] if stage == "repairing integers" and done else [])

    with pytest.raises(KeyboardInterrupt):
        compress(model, data, progress=stop, work=tmp_path / "work", **options)
    resumed = compress(model, data, progress=note, work=tmp_path / "work", **options)
    whole = compress(model, data, **options)
    assert min(steps) > 30
    assert ir.to_proto(resumed.model).SerializeToString() == ir.to_proto(whole.model).SerializeToString()


WITHOUT_REPAIR = (
    'sparsity=0.7, quantize="int8"', 'max_drop="5%", effort="fast"', 'max_size="900KB", effort="full", repair=False'
)  # fmt: skip


def test_nothing_imports_torch_unless_it_is_asked_for() -> None:
    script = ["import sys", "from searched_models import labelled, small_network", "from netsurgeon import compress"]
    for options in WITHOUT_REPAIR:
        script += [
            f"compress(small_network(), labelled(small_network(), 200, 1), {options}, method='obs', damping=0.01)",
            "print('torch' in sys.modules)",
        ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", "\n".join(script)], capture_output=True, text=True, env=environment)
    assert run.stdout.split() == ["False"] * len(WITHOUT_REPAIR), run.stderr


def test_a_search_goes_further_with_repair() -> None:
    model, data = small_network(), labelled(small_network(), 600, 1)
    test = labelled(small_network(), 600, 2)
    result = compress(model, data, test=test, max_drop="3%", quantize="none", repair=True, method="magnitude")
    assert result.report.search is not None
    candidates = [point for point in result.report.search.points if point.kind == "candidate"]
    (chosen,) = [point for point in candidates if point.chosen]
    assert chosen.repaired
    assert "not-repaired" not in [note.code for note in result.report.notes]
    shares = [point.kept or 0.0 for point in candidates if not point.repaired and (point.bound or 0.0) <= 0.03]
    assert chosen.kept is not None
    assert chosen.kept < min(shares)


def test_a_search_judges_structures_after_a_repair_with_full_effort() -> None:
    model, data = small_network(), labelled(small_network(), 900, 1)
    goals: dict[str, Any] = {"max_macs": 720, "max_drop": "8%", "quantize": "none", "uniform": True, "round_to": 1}
    options: dict[str, Any] = {**goals, "method": "obs", "damping": 0.01, "test": labelled(small_network(), 300, 2)}
    firsts = []
    for chosen in ({"effort": "full"}, {"effort": "full", "repair": False}, {"repair": True}):
        report = compress(model, data, **options, **chosen).report
        assert report.search is not None
        assert report.options["repair"] == chosen.get("repair")
        candidates = [point for point in report.search.points if point.kind == "candidate"]
        firsts.append(candidates[0])
        (taken,) = [point for point in candidates if point.chosen]
        assert (report.repair is not None and report.repair.has_helped) == taken.repaired
        is_said = "not-repaired" in [note.code for note in report.notes]
        assert is_said == (chosen.get("repair", True) and not taken.repaired)
    assert [point.repaired for point in firsts] == [True, False, False]
    assert len({point.macs for point in firsts}) == 1, "the same structure"
