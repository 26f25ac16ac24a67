"""What the benchmark of large models builds, and what it asks of its rows."""

import json
import sys
from pathlib import Path
from typing import Any

import _decoder
import gigabytes
import numpy as np
import pytest
import wide_layer
from _rows import RESULTS

from netsurgeon.pipeline.runtime import Runtime

ROW: dict[str, Any] = {
    "parameters": 615_000_000, "bytes": 2_460_000_000, "processor": 2300.0, "anonymous": 5_000_000_000,
    "files": 4_000_000_000, "exit_code": 0, "loads": True, "wall": 1250.0,
    "stages": {"pruning layers": [9.0, 1e9, 2e9]},
}  # fmt: skip


@pytest.mark.parametrize("parameters", [3_000_000, 615_000_000])
def test_a_decoder_has_the_parameters_that_are_asked_for(parameters: int) -> None:
    assert _decoder.Shape.of(parameters).parameters == pytest.approx(parameters, rel=0.01)


def test_a_decoder_looks_back_alone(tmp_path: Path) -> None:
    _decoder.build(tmp_path / "model.onnx", _decoder.Shape(width=128, inner=192, layers=2, vocabulary=300))
    tokens = np.random.default_rng(0).integers(0, 300, (1, _decoder.TOKENS))
    changed = tokens.copy()
    changed[0, 70] = (tokens[0, 70] + 1) % 300
    session = Runtime(threads=1).session(tmp_path / "model.onnx")
    before, after = (next(iter(session.run({"tokens": ids}).values())) for ids in (tokens, changed))
    np.testing.assert_array_equal(before[0, :70], after[0, :70])
    assert np.abs(before[0, 70:] - after[0, 70:]).max() > 0.01


@pytest.mark.parametrize(
    ("changed", "miss"),
    [
        ({}, []),
        ({"processor": 2401.0}, ["2401 processor seconds, at most 2400"]),
        ({"processor": 2401.0, "parameters": 60_000_000}, []),
        ({"anonymous": 7_000_000_000}, ["7.0 GB, at most 6"]),
        ({"files": 5_000_000_000}, ["files of 2.03 model sizes, at most 2"]),
        ({"loads": False}, ["the output does not run"]),
        ({"exit_code": 2}, ["exit code 2"]),
    ],
)
def test_a_large_model_has_time_memory_and_files_to_keep_to(changed: dict[str, Any], miss: list[str]) -> None:
    assert gigabytes.misses({**ROW, **changed}) == miss


SLOW = [sys.executable, "-c", "import time; time.sleep(1.2)"]


def test_a_run_of_which_nothing_was_seen_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(gigabytes, "_bytes_of_files", refuse)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(SystemExit, match=r"nothing was measured, because /proc/.* not permitted"):
        gigabytes.watched(SLOW, tmp_path / "scratch", None)


def test_a_run_that_ends_before_the_stage_to_kill_it_in_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    code = "import time\nwhile time.process_time() < 0.7: pass"
    with pytest.raises(SystemExit, match="was not ended in stage 'pruning layers'"):
        gigabytes.watched([sys.executable, "-c", code], tmp_path / "scratch", "pruning layers")


def test_the_page_shows_rows_with_and_without_stages(tmp_path: Path) -> None:
    gigabytes.render(tmp_path, {"a": ROW, "b": {key: ROW[key] for key in list(ROW)[:5]}})
    page = (tmp_path / "gigabytes.md").read_text("utf-8")
    assert "| a | 2.46 | 2300 | 1250 | 5.00 | 1.63 | yes |" in page
    assert "| b | 2.46 | 2300 |  | 5.00 | 1.63 | yes |" in page
    assert "| a | pruning layers | 9 | 1.00 | 0.81 |" in page


def test_the_results_are_those_of_the_page(tmp_path: Path) -> None:
    gigabytes.render(tmp_path, json.loads((RESULTS / "gigabytes.json").read_text("utf-8")))
    assert (tmp_path / "gigabytes.md").read_text("utf-8") == (RESULTS / "gigabytes.md").read_text("utf-8")


def test_a_layer_is_pruned_and_compared_with_the_exact_refit(tmp_path: Path) -> None:
    rows = wide_layer.measure(64, is_exact=True)
    assert set(rows) == {f"64 x 64 {what}" for what in ("moments", "pruning", "exact refit")}
    assert abs(rows["64 x 64 pruning"]["more"]) < 1e-6, "narrow layers are refitted exactly"
    assert rows["64 x 64 pruning"]["error"] == pytest.approx(rows["64 x 64 exact refit"]["error"])
    wide_layer.render(tmp_path, rows)
    assert "| 64 x 64 | pruning |" in (tmp_path / "wide_layer.md").read_text("utf-8")
    late = {"4096 x 4096 pruning": {**rows["64 x 64 pruning"], "seconds": 31.0, "more": 0.02}}
    ((name, row),) = late.items()
    assert wide_layer.misses(name, row) == ["31 s, at most 30", "2.0% more error, at most 1%"]
