"""compress on integers from end to end: the file, the report, and what goes with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from plain_models import DENSE, DIGITS, TEST
from quantized_models import distance, kernels, run

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights
from netsurgeon.passes.quantization.quantized_layers import find_integer_weights
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.profiling import timing_table


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Nothing is measured: every model on integers is twice as fast. The measurements asked for."""
    asked: list[int] = []

    def twice(models: Any, *_: Any) -> Any:
        asked.append(len(models))
        return None, [np.tile([2e-3, 1e-3], (2, 3, 1))]

    monkeypatch.setattr(timing_table, "time_models", twice)
    monkeypatch.setattr(timing_table, "node_times", lambda *_: [])
    return asked


def on_integers(output: Path, **options: Any) -> Compression:
    with np.load(DIGITS / "calibration.npz") as archive:
        images = archive["image"][:80]
    return compress(DENSE, {"image": images}, output=output, **{"quantize": "int8", **options})


def pictures() -> Any:
    with np.load(TEST) as archive:
        return archive["image"]


@pytest.mark.parametrize("sparsity", [None, 0.5])
def test_digits_run_on_integers_from_a_smaller_file(sparsity: float | None, tmp_path: Path, times: list[int]) -> None:
    result = on_integers(tmp_path / "small.onnx", report=tmp_path / "report.json", sparsity=sparsity)
    facts = result.report.integers
    assert facts is not None
    assert facts.on_integers == len(facts.layers) > 3
    assert {layer.kernel for layer in facts.layers} == {"QLinearConv", "QGemm"}
    proto = onnx.load(tmp_path / "small.onnx")
    onnx.checker.check_model(proto, full_check=True)
    written, dense = ir.from_proto(proto), ir.load(DENSE)
    assert [(v.name, str(v.type), str(v.shape)) for v in written.graph.outputs] == [
        (v.name, str(v.type), str(v.shape)) for v in dense.graph.outputs
    ]
    assert distance(run(written, pictures()), run(dense, pictures())) < (0.03 if sparsity is None else 0.3)
    assert kernels(written).count("QLinearConv") + kernels(written).count("QGemm") == facts.on_integers
    assert (tmp_path / "small.onnx").stat().st_size < DENSE.stat().st_size / (3.0 if sparsity is None else 4.0)

    plain = written.clone()
    UnpackWeights()(plain)
    assert packed_weights(plain) == []
    assert packed_weights(written)
    np.testing.assert_array_equal(run(plain, pictures()), run(written, pictures()))
    stored = find_integer_weights(plain.graph)
    assert max(np.abs(weight.codes).max() for weight in stored.values()) == 63, "the default target has 7 bits"
    kept = sum(np.count_nonzero(weight.codes) for weight in stored.values())
    assert kept / sum(layer.weights for layer in result.report.layers) < 1.0 - (sparsity or 0.0)
    assert {layer.name: layer.kept for layer in result.report.layers} == {
        name: int(np.count_nonzero(weight.codes)) for name, weight in stored.items()
    }

    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert document["integers"]["on_integers"] == facts.on_integers
    if sparsity is None:
        assert len(times) > 1
        times.clear()
        on_integers(tmp_path / "again.onnx", timings=tmp_path / "report.json")
        assert times == [2], "times that decide are replayed; the delivered model is timed anew, beside the dense one"
        assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()


def test_pruned_weights_stay_zero(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sparsity": 0.5, "values": "float32", "method": "magnitude", "uniform": True}
    floats = on_integers(tmp_path / "floats.onnx", **options, quantize="none", pack=False)
    integers = on_integers(tmp_path / "small.onnx", **options, pack=False)
    assert floats.report.integers is None
    for name, weight in find_integer_weights(integers.model.graph).items():
        (layer,) = [part for part in floats.model.graph if part.name == name]
        pruned = layer.inputs[1]
        assert pruned is not None
        assert not weight.codes[tensor(pruned).numpy() == 0.0].any()


def test_times_are_replayed_where_they_left_all_on_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def half_as_fast(models: Any, *_: Any) -> Any:
        asked.append(len(models))
        return None, [np.tile([1e-3, 2e-3], (2, 3, 1))]

    monkeypatch.setattr(timing_table, "time_models", half_as_fast)
    slow = on_integers(tmp_path / "small.onnx", report=tmp_path / "report.json").report
    assert slow.integers is None
    assert "not-quantized" in {note.code for note in slow.notes}
    assert slow.timings is not None
    assert asked
    assert len(slow.timings.models) == len(asked)
    asked.clear()
    again = on_integers(tmp_path / "again.onnx", timings=tmp_path / "report.json").report
    assert (asked, again.timings) == ([], slow.timings)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()


def test_the_delivered_model_is_timed_anew_in_a_work_folder_and_its_time_is_kept_nowhere(
    tmp_path: Path, times: list[int]
) -> None:
    first = on_integers(tmp_path / "small.onnx", work=tmp_path / "work", sparsity=0.3)
    times.clear()
    again = on_integers(tmp_path / "again.onnx", work=tmp_path / "work", sparsity=0.3)
    assert times == [2], "the delivered model beside the dense one"
    assert first.report.timings is not None
    assert again.report.timings == first.report.timings, "else the next run would take it for the time of its own"


def test_none_leaves_floats_and_times_nothing(tmp_path: Path, times: list[int]) -> None:
    result = on_integers(tmp_path / "small.onnx", quantize="none", sparsity=0.3, damping=0.01)
    assert (result.report.integers, result.report.timings) == (None, None)
    assert times == []
    assert find_integer_weights(result.model.graph) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, "quantize is 'int4', expected one of int8, w4a8, dynamic, w8, w4, none"),
        ({"target": "tpu"}, "target is 'tpu', expected one of cpu, cpu-vnni"),
        ({"ranges": "mean"}, "ranges is 'mean', expected one of error, percentile, min-max"),
        ({"prefer": "looks"}, "prefer is 'looks', expected one of speed, size"),
    ],
)
def test_other_values_are_refused_in_a_sentence(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        on_integers(tmp_path / "small.onnx", **options)
    assert not (tmp_path / "small.onnx").exists()


@pytest.mark.parametrize("mode", ["int8", "w4a8"])
@pytest.mark.parametrize("pack", [False, True])
def test_a_file_on_integers_is_packed_or_comes_back_with_its_outputs(mode: str, pack: bool, tmp_path: Path) -> None:
    path, again = tmp_path / "integers.onnx", tmp_path / "again.onnx"
    on_integers(path, quantize=mode, pack=pack)
    with np.load(DIGITS / "calibration.npz") as archive:
        result = compress(path, {"image": archive["image"][:80]}, keep_zeros=True, output=again)
    assert ("nothing-removed" in [warning.code for warning in result.report.warnings]) == pack
    (output,) = result.report.validation.outputs
    assert output.relative_error == 0.0
    np.testing.assert_array_equal(run(ir.load(again), pictures()), run(ir.load(path), pictures()))
    assert result.report.compressed.bytes == again.stat().st_size
    assert (again.stat().st_size < path.stat().st_size) != pack
