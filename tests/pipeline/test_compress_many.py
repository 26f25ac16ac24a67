"""compress-many: a folder for each recipe, one page over all, and the same bytes on workers as in this process."""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from netsurgeon.cli import run
from netsurgeon.pipeline import compress_many as module
from netsurgeon.pipeline.compress_many import ManyCompressions, compress_many, with_absolute_paths
from netsurgeon.pipeline.errors import ClusterError, InputError
from netsurgeon.pipeline.execution import InProcess
from netsurgeon.pipeline.jobs import Job, JobResult

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
RECIPE = f"""
model = "{DIGITS / "digits.onnx"}"
data = "{DIGITS / "calibration.npz"}"
test = "{DIGITS / "test.npz"}"
limit = 64
damping = 0.01
method = "lobs"
"""

SOURCES = {"model": "m", "data": "d"}


@pytest.fixture
def recipes(tmp_path: Path) -> list[str]:
    paths = {"half": "sparsity = 0.5", "ninety": 'sparsity = "90%"', "typo": "sparsityy = 0.5"}
    for name, line in paths.items():
        (tmp_path / f"{name}.toml").write_text(f"{RECIPE}{line}\n")
    return [str(tmp_path / f"{name}.toml") for name in paths]


def bytes_of(out: Path) -> list[bytes]:
    return [(out / name / f"{name}.onnx").read_bytes() for name in ("half", "ninety")]


def test_recipes_become_folders_and_a_page_and_are_not_run_twice(
    recipes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert run(["compress-many", *recipes, "--out", str(out)]) == 2
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:2] == ["1/3 half: done", "2/3 ninety: done"]
    assert lines[2].startswith("3/3 typo: the recipe ")
    assert lines[2].endswith("has the unknown key 'sparsityy': did you mean 'sparsity'?")
    assert lines[3] == f"the page is {out / 'index.html'}"
    assert printed.err == "error: 1 of 3 jobs failed: typo\n"
    page = (out / "index.html").read_text("utf-8")
    assert "2 models side by side" in page
    assert "typo is not here: the recipe" in page
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert [job["status"] for job in summary["jobs"]] == ["done", "done", "failed"]
    before = bytes_of(out)
    assert run(["compress-many", *recipes[:2], "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["1/2 half: kept", "2/2 ninety: kept"]
    Path(recipes[0]).write_text(f"{RECIPE}sparsity = 0.6\n")
    assert run(["compress-many", *recipes[:2], "--out", str(out), "--json", "-"]) == 0
    assert [job["status"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["done", "kept"]
    assert bytes_of(out)[0] != before[0]


@pytest.mark.usefixtures("quick_workers")
def test_workers_give_the_same_bytes(recipes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, more in (("alone", []), ("two", ["--cluster", "local:2"])):
        assert run(["compress-many", *recipes[:2], "--out", str(tmp_path / out), *more]) == 0
        assert capsys.readouterr().out.splitlines()[:2] == ["1/2 half: done", "2/2 ninety: done"]
    assert bytes_of(tmp_path / "alone") == bytes_of(tmp_path / "two")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["--cluster", "local:0"], "cluster is 'local:0', expected local:N"),
        (["--retries", "-1"], "retries is -1, expected 0 to 100"),
    ],
)
def test_a_bad_option_ends_before_anything_runs(
    line: list[str], sentence: str, recipes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert run(["compress-many", *recipes, "--out", str(out), *line]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_two_recipes_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress-many", "a/one.toml", "b/one.toml", "--out", str(tmp_path / "results")]) == 2
    assert "2 recipes are called one: their results would share a folder" in capsys.readouterr().err


class FailingAtFirst(InProcess):
    """Loses the worker of each of the first tasks."""

    def __init__(self, losses: int):
        self.losses = losses

    def submit(self, function: Any, *arguments: Any, about: str = "", peers: str = "") -> Any:
        return super().submit(self._run, function, *arguments)

    def _run(self, function: Any, *arguments: Any) -> Any:
        self.losses -= 1
        if self.losses >= 0:
            raise ClusterError("the worker is gone")
        return function(*arguments)


@pytest.mark.parametrize(("retries", "status", "attempts"), [(0, "failed", 1), (1, "failed", 2), (2, "done", 3)])
def test_a_job_is_begun_again_as_often_as_is_said(
    retries: int, status: str, attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_job(job: Job) -> JobResult:
        return JobResult(name=job.name, status="done")

    monkeypatch.setattr(module, "open_executor", lambda _: FailingAtFirst(2))
    monkeypatch.setattr(module, "run_job", run_job)
    monkeypatch.setattr(module, "_write_page", lambda *_: None)
    result = compress_many({"one": SOURCES}, tmp_path / "out", retries=retries)
    assert [(job.status, job.attempts) for job in result.jobs] == [(status, attempts)]
    assert result.exit_code == (1 if status == "failed" else 0)


@pytest.mark.parametrize(("cluster", "kept"), [("local:1", None), (None, "local:1")])
def test_a_job_on_a_worker_has_no_workers_of_its_own(
    cluster: str | None, kept: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []

    def run_job(job: Job) -> JobResult:
        begun.append(dict(job.arguments))
        return JobResult(name=job.name, status="done")

    monkeypatch.setattr(module, "open_executor", lambda _: InProcess())
    monkeypatch.setattr(module, "run_job", run_job)
    monkeypatch.setattr(module, "_write_page", lambda *_: None)
    compress_many({"one": {**SOURCES, "cluster": "local:1"}}, tmp_path / "python", cluster=cluster)
    recipe = tmp_path / "one.toml"
    recipe.write_text(f'{RECIPE}cluster = "local:1"\nsparsity = 0.5\n')
    line = [] if cluster is None else ["--cluster", cluster]
    assert run(["compress-many", str(recipe), "--out", str(tmp_path / "command"), *line]) == 0
    assert [arguments.get("cluster") for arguments in begun] == [kept] * 2


def test_a_verdict_is_not_asked_for_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_job(job: Job) -> JobResult:
        return JobResult(name=job.name, status="failed", why="worse", exit_code=1, is_final=True)

    monkeypatch.setattr(module, "run_job", run_job)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("of a command, or of somebody else")
    compress_many({"one": SOURCES}, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").exists(), "nothing tells that the page is of an earlier command"
    result = compress_many({"one": SOURCES, "two": SOURCES}, tmp_path / "out", retries=5)
    assert [job.attempts for job in result.jobs] == [1, 1]
    assert result.page is None
    assert not (tmp_path / "out" / "index.html").exists()
    assert "0 of 2 models are there" in result.summary()
    assert str(result.error()) == "2 of 2 jobs failed: one, two"


def test_the_exit_code_is_that_of_the_worst() -> None:
    jobs = [JobResult(name=str(code), status="failed" if code else "done", exit_code=code) for code in (0, 2, 1)]
    assert ManyCompressions(jobs=tuple(jobs), page=None).exit_code == 2
    assert isinstance(ManyCompressions(jobs=tuple(jobs), page=None).error(), InputError)
    assert ManyCompressions(jobs=tuple(jobs[::2]), page=None).error().exit_code == 1


def test_no_jobs_too_many_and_odd_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 jobs were given, expected 1 to 64"):
        compress_many({}, tmp_path)
    with pytest.raises(InputError, match="65 jobs were given"):
        compress_many({str(number): {} for number in range(65)}, tmp_path)
    with pytest.raises(InputError, match=r"a job is called '\.\./up', expected the name of a folder"):
        compress_many({"../up": {}}, tmp_path)
    with pytest.raises(InputError, match="a job is called '', expected the name of a folder"):
        compress_many({"": {}}, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"data": "d"}, "the job 'one' has no model: give it, as to compress"),
        ({"model": "m"}, "the job 'one' has no data"),
        ({**SOURCES, "report": "r.html"}, "the job 'one' has report, which jobs have not: leave it out"),
        ({**SOURCES, "sparsityy": 0.5}, "the job 'one' has no option 'sparsityy': did you mean 'sparsity'?"),
    ],
)
def test_arguments_are_checked_before_anything_runs(arguments: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        compress_many({"one": arguments}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class LosingOne(InProcess):
    """Cannot take the first job, and loses the second in a way of its own."""

    submitted = 0

    def submit(self, function: Any, *arguments: Any, about: str = "", peers: str = "") -> Any:
        self.submitted += 1
        if self.submitted == 1:
            raise ClusterError("the scheduler is gone")
        return super().submit(self._lose if self.submitted == 2 else function, *arguments)

    def _lose(self, *_: Any) -> None:
        raise ModuleNotFoundError("No module named 'mine'")


def test_a_job_that_is_lost_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_job(job: Job) -> JobResult:
        return JobResult(name=job.name, status="done")

    monkeypatch.setattr(module, "open_executor", lambda _: LosingOne())
    monkeypatch.setattr(module, "run_job", run_job)
    result = compress_many(dict.fromkeys(("one", "two", "three"), SOURCES), tmp_path)
    assert [job.status for job in result.jobs] == ["failed", "failed", "done"]
    assert [job.code for job in result.jobs] == ["cluster-lost", "error", ""]
    assert "No module named 'mine'" in result.jobs[1].why
    assert json.loads((tmp_path / "summary.json").read_text())["jobs"][0]["code"] == "cluster-lost"


def test_paths_mean_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.npz").touch()
    (tmp_path / "5").touch()
    monkeypatch.chdir(tmp_path)
    arguments = {
        "model": Path("m.onnx"),
        "data": "data.npz",
        "test": "my:function",
        "metric": "top-1",
        "custom_ops": ["data.npz"],
        "drop_rows": {"words": "data.npz", "tags": "5", "places": [1, 2]},
    }
    absolute = {
        **arguments,
        "model": tmp_path / "m.onnx",
        "data": str(tmp_path / "data.npz"),
        "custom_ops": [str(tmp_path / "data.npz")],
        "drop_rows": {"words": str(tmp_path / "data.npz"), "tags": "5", "places": [1, 2]},
    }
    assert with_absolute_paths(arguments) == absolute


class FakeTracker:
    """Takes what one recipe has made, and refuses what the other has."""

    made: ClassVar[list[str]] = []

    def __init__(self, uri: str):
        FakeTracker.made.append(uri)
        if uri == "nowhere":
            raise InputError("MLflow cannot be used at nowhere")

    def log(self, report: Any) -> None:
        if report.sparsity > 0.8:
            raise InputError("MLflow did not take the result")
        FakeTracker.made.append("logged")


def test_trackers_are_connected_first_and_what_they_do_not_take_is_told_last(
    recipes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for recipe, uri in zip(recipes, ("runs", "runs", "nowhere"), strict=True):
        text = Path(recipe).read_text().replace("sparsityy", "sparsity")
        Path(recipe).write_text(f'{text}mlflow = "{uri}"\n')
    monkeypatch.setattr("netsurgeon.pipeline.report.Tracker", FakeTracker)
    monkeypatch.setattr(FakeTracker, "made", [])
    out = tmp_path / "results"
    assert run(["compress-many", *recipes, "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert FakeTracker.made == ["runs", "nowhere", "logged"]
    assert printed.out.splitlines()[:3] == [
        "1/3 half: done",
        "2/3 ninety: done",
        "3/3 typo: MLflow cannot be used at nowhere",
    ]
    assert f"the page is {out / 'index.html'}" in printed.out
    assert printed.err == "error: ninety: MLflow did not take the result; 1 of 3 jobs failed: typo\n"
