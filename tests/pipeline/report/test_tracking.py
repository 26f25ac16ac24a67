"""Logging to MLflow, in a local file store; skipped where MLflow is not installed."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.cli import run
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.report.tracking import Tracker

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")


def command(folder: Path, uri: str) -> list[str]:
    fast = ["--method", "obs", "--damping", "0.01", "--uniform", "--sparsity", "0.5", "--limit", "80", "--quiet"]
    inputs = [str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz")]
    report = ["--report", str(folder / "report.json")]
    return ["compress", *inputs, "-o", str(folder / "small.onnx"), *report, *fast, "--mlflow", uri]


@needs_mlflow
def test_a_run_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "runs").as_uri()
    assert run(command(tmp_path, uri)) == 0
    client: Any = importlib.import_module("mlflow.tracking").MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("netsurgeon")
    (logged,) = client.search_runs([experiment.experiment_id])
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert logged.info.status == "FINISHED"
    assert logged.data.params["sparsity"] == "0.5"
    assert logged.data.params["method"] == "obs"
    assert logged.data.metrics["bytes"] == report["compressed"]["bytes"] == (tmp_path / "small.onnx").stat().st_size
    assert logged.data.metrics["ratio"] == pytest.approx(report["ratio"])
    assert logged.data.metrics["top1"] == pytest.approx(report["validation"]["compressed"]["top1"])
    assert {each.path for each in client.list_artifacts(logged.info.run_id)} == {"report.html", "report.json"}
    kept = Path(client.download_artifacts(logged.info.run_id, "report.json", str(tmp_path)))
    assert json.loads(kept.read_text("utf-8"))["compressed"] == report["compressed"]


@needs_mlflow
def test_a_server_that_cannot_be_used_is_said_before_any_work(tmp_path: Path, capsys: Any) -> None:
    assert run(command(tmp_path, "nonsense://nowhere")) == 2
    assert "MLflow cannot be used at nonsense://nowhere" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(InputError, match=r"MLflow is not installed: run `pip install 'netsurgeon\[mlflow\]'`"):
        Tracker("file:///tmp")
