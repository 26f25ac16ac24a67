"""Logging to MLflow, in a database and in folders; skipped where MLflow is not installed."""

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.cli import run
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.report.tracking import PACKAGES, Tracker

ROOT = Path(__file__).parent.parent.parent.parent
DIGITS = ROOT / "models" / "digits"
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")


def command(folder: Path, uri: str) -> list[str]:
    fast = ["--method", "obs", "--damping", "0.01", "--uniform", "--sparsity", "0.5", "--limit", "80", "--quiet"]
    inputs = [str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz")]
    report = ["--report", str(folder / "report.json")]
    return ["compress", *inputs, "-o", str(folder / "small.onnx"), *report, *fast, "--mlflow", uri]


@needs_mlflow
@pytest.mark.filterwarnings("ignore")  # of MLflow about the packages that it uses, which the command line hides
@pytest.mark.parametrize("place", ["sqlite:///{folder}/mlflow.db", "file://{folder}/runs", "{folder}/runs", "runs"])
def test_a_run_is_logged(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    uri = place.format(folder=tmp_path)
    assert run(command(tmp_path, uri)) == 0
    assert capfd.readouterr() == ("", "")
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


def test_without_mlflow_its_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(
        InputError, match=r"MLflow is not installed: run `pip install mlflow-skinny sqlalchemy alembic`"
    ):
        Tracker("file:///tmp")


@needs_mlflow
def test_a_database_without_sqlalchemy_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sqlalchemy" else real(name))
    with pytest.raises(InputError, match=r"no database without SQLAlchemy: run `pip install sqlalchemy alembic`"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db")


def test_the_packages_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = project["optional-dependencies"]["mlflow"]
    assert {requirement.partition(">=")[0] for requirement in extra} == set(PACKAGES)
