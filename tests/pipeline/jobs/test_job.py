"""A job ends in a folder with its result, or in one sentence."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.jobs import Job, JobResult, run_job

ROOT = Path(__file__).parent.parent.parent.parent
DIGITS = ROOT / "models" / "digits"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `compress` is called with; it writes two files."""
    calls: list[dict[str, Any]] = []

    def compress(model: Path, data: str, **arguments: Any) -> None:
        calls.append({"model": model, "data": data, **arguments})
        arguments["output"].write_bytes(b"model")
        arguments["report"].write_text("{}")

    monkeypatch.setattr("netsurgeon.pipeline.jobs.job.compress", compress)
    return calls


def job(out: Path, **arguments: Any) -> Job:
    given = {"model": DIGITS / "digits.onnx", "data": str(DIGITS / "calibration.npz"), "sparsity": 0.5}
    return Job(name="small", out=out, arguments={**given, **arguments})


def test_a_job_is_done_once(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    first, second = run_job(job(tmp_path)), run_job(job(tmp_path))
    assert (first.status, second.status, len(calls)) == ("done", "kept", 1)
    assert calls[0]["output"] == tmp_path / "small" / "small.onnx"
    assert calls[0]["work"] == tmp_path / "small" / "work"
    assert run_job(job(tmp_path, sparsity=0.6)).status == "done"
    assert run_job(job(tmp_path)).status == "done"


@pytest.mark.parametrize(
    ("error", "exit_code", "code", "why", "is_final"),
    [
        (InputError("no data:\ngive some"), 2, "input-error", "no data: give some", False),
        (CheckFailedError("it is worse"), 1, "check-failed", "it is worse", True),
        (OSError(28, "No space left on device", "x"), 2, "error", "No space left on device: x", False),
        (
            ZeroDivisionError("odd"),
            1,
            "error",
            "unexpected ZeroDivisionError: odd (a bug: NETSURGEON_DEBUG=1 shows where)",
            False,
        ),
    ],
)
def test_whatever_goes_wrong_is_a_sentence(
    error: Exception,
    exit_code: int,
    code: str,
    why: str,
    is_final: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def compress(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("netsurgeon.pipeline.jobs.job.compress", compress)
    result = run_job(job(tmp_path))
    end = (result.status, result.exit_code, result.code, result.why, result.is_final)
    assert end == ("failed", exit_code, code, why, is_final)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("NETSURGEON_DEBUG", "1")
    assert run_job(job(tmp_path)).status == "failed"
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, ZeroDivisionError)


def test_what_cannot_begin_and_a_folder_out_of_sight_are_told(tmp_path: Path) -> None:
    refused = Job(name="small", out=tmp_path, problem=InputError("no such key"))
    end = JobResult(name="small", status="failed", why="no such key", code="input-error", exit_code=2)
    assert run_job(refused) == end
    unseen = run_job(job(tmp_path / "elsewhere"))
    assert "sees no folder" in unseen.why
    assert "must lie where all workers see them" in unseen.why


def test_options_are_checked_before_anything_is_read(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    assert run_job(job(tmp_path, sparsity=2)).why.startswith("sparsity is 2")
    assert calls == []


def test_a_job_waits_for_one_that_is_still_at_work(
    tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job(tmp_path).folder
    folder.take()
    folder.clear({})
    with RunFolder(folder.work, {}):
        monkeypatch.setattr("netsurgeon.pipeline.jobs.job.PATIENCE", 0.01)
        assert "is in use by another run" in run_job(job(tmp_path)).why
    assert calls == []
    assert run_job(job(tmp_path)).status == "done"


def test_what_an_interrupted_end_has_left_is_removed(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    assert run_job(job(tmp_path)).status == "done"
    (tmp_path / "small" / "work").mkdir()
    assert run_job(job(tmp_path)).status == "kept"
    assert not (tmp_path / "small" / "work").exists()
    assert len(calls) == 1


def test_what_a_killed_delivery_has_left_is_removed(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    assert run_job(job(tmp_path)).status == "done"
    unfinished, other = tmp_path / "small" / ".small.onnx-a1b2c3d4", tmp_path / "small" / ".small.onnx"
    for folder in (unfinished, other):
        folder.mkdir()
        (folder / "small.onnx").write_bytes(b"half a model")
    assert run_job(job(tmp_path, sparsity=0.6)).status == "done"
    assert not unfinished.exists()
    assert other.exists()
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["small.onnx", "report.json"])
def test_what_a_job_reads_is_never_removed_from_its_folder(
    name: str, tmp_path: Path, calls: list[dict[str, Any]]
) -> None:
    """Neither from a folder of somebody else, nor from that of an earlier job."""
    own = tmp_path / "small" / name
    own.parent.mkdir()
    shutil.copy(DIGITS / "digits.onnx", own)
    model = own.read_bytes()
    assert "is an input" in run_job(job(tmp_path, model=own)).why
    assert "holds something else" in run_job(job(tmp_path)).why
    assert own.read_bytes() == model
    own.unlink()
    assert run_job(job(tmp_path)).status == "done"
    shutil.copy(DIGITS / "digits.onnx", own)
    assert "is an input" in run_job(job(tmp_path, model=own, sparsity=0.6)).why
    assert own.read_bytes() == model
    assert len(calls) == 1
