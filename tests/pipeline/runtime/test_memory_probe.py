"""A process of its own that loads a model and runs it once, and says how much memory that took."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.runtime.memory_probe import _peak
from netsurgeon.pipeline.runtime.session import Runtime


def probed(model: Path, feed: Path, runtime: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "netsurgeon.pipeline.runtime.memory_probe"],
        input=json.dumps({"model": str(model), "feed": str(feed), "runtime": runtime}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_one_run_is_measured(tmp_path: Path) -> None:
    """50 MB that the model makes of one number are in the peak; an input may be called as numpy's own argument is."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> network (float[N] file) => (float y) '
        "<int64[1] size = {12500000}> { many = Expand(file, size)\n y = ReduceSum<keepdims = 0>(many) }"
    )
    ir.save(model, tmp_path / "model.onnx")
    feed: dict[str, Any] = {"feed file": np.ones(1, np.float32)}
    np.savez(tmp_path / "feed.npz", **feed)
    runtime = dataclasses.asdict(Runtime(threads=1, optimisation="off"))
    process = probed(tmp_path / "model.onnx", tmp_path / "feed.npz", runtime)
    assert process.returncode == 0, process.stderr
    before, peak = json.loads(process.stdout)
    assert 10_000_000 < before < peak
    assert 50_000_000 < peak - before < 500_000_000


def test_a_model_that_does_not_load_is_told_in_the_last_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    np.savez(tmp_path / "feed.npz")
    process = probed(tmp_path / "model.onnx", tmp_path / "feed.npz", dataclasses.asdict(Runtime()))
    assert process.returncode != 0
    assert process.stdout == ""
    assert "ONNX Runtime cannot load the model" in process.stderr.splitlines()[-1]


def test_the_peak_holds_what_was_let_go_of() -> None:
    block = np.ones(4_000_000)
    during = _peak()
    assert during > block.nbytes
    del block
    assert _peak() > 0.99 * during
