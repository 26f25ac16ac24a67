"""Many compressions in one go, side by side on the workers of a cluster where there is one, and one page over all."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.errors import CheckFailedError, InputError, NetsurgeonError
from netsurgeon.pipeline.execution import Executor, open_executor
from netsurgeon.pipeline.jobs import Job, JobResult, failed, run_job
from netsurgeon.pipeline.model_files import write_text
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import OptionValues, are_numbers, check_names, checks_names
from netsurgeon.pipeline.progress import ProgressLike, following
from netsurgeon.pipeline.result import Overview, Result, as_json
from netsurgeon.pipeline.side_by_side import read_report, render_runs, run_of

PAGE, SUMMARY = "index.html", "summary.json"
MOST_JOBS = 64
"""More would make a page that is neither legible nor quick."""
MOST_RETRIES = 100
SOURCES, OF_ONE = ("model", "data", "test"), ("output", "report", "progress", "steps", "step_options")
"""Arguments of `compress` beside its options that a job has, and that it has not."""
OF_WORKERS = ("cluster", "cluster_store")
"""Options that do not count in a job which itself runs on a worker."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class ManyCompressions(Result):
    """What became of several jobs.

    Attributes:
        jobs: how each has ended, in the order in which they were given.
        page: over all results side by side; None where no job has one.
    """

    jobs: tuple[JobResult, ...]
    page: str | None

    @property
    def exit_code(self) -> int:
        """That of the worst."""
        return max((job.exit_code for job in self.jobs), default=0)

    def error(self) -> NetsurgeonError:
        """What a command ends with whose jobs have failed."""
        names = ", ".join(job.name for job in self.failed)
        kind = InputError if self.exit_code == InputError.exit_code else CheckFailedError
        return kind(f"{len(self.failed)} of {counted(len(self.jobs), 'job')} failed: {names}")

    @property
    def failed(self) -> tuple[JobResult, ...]:
        """Those without a result."""
        return tuple(job for job in self.jobs if job.status == "failed")

    def overview(self) -> Overview:
        """How many are there, and how each has ended."""
        there = len(self.jobs) - len(self.failed)
        return Overview(
            headline=f"{there} of {len(self.jobs)} models are there",
            sentences=tuple(f"{job.name}: {job.why}" for job in self.failed),
            titles=("job", "status", "seconds"),
            rows=tuple((job.name, job.status, f"{job.seconds:.1f}") for job in self.jobs),
        )


@checks_names
def compress_many(
    jobs: Mapping[str, Mapping[str, Any]],
    out: str | os.PathLike[str],
    *,
    cluster: str | None = None,
    retries: int = 0,
    progress: ProgressLike = None,
) -> ManyCompressions:
    """Compress several models, each into a folder of its own, and lay the results side by side on a page.

    A job that fails stops no other. A job whose result is there, made from the same contents with the same options and
    versions, is not done again; one that was stopped goes on from what it has kept. Bytes are the same on any cluster.

    Args:
        jobs: by name the keyword arguments of `compress`: model and data, as paths or "module:function", perhaps test,
            and options.
        out: folder of the results: `NAME/NAME.onnx` and `NAME/report.json` of each job, index.html and summary.json.
        cluster: where jobs run: "local:N" = N processes here; the address of a Dask scheduler, such as
            "tcp://host:8786", whose workers see models, data and `out` under the same paths; "module:function" that
            gives a `distributed.Client`; None = in this process, one after the other. Where it is given, `cluster` and
            `cluster_store` of a job do not count.
        retries: how often a job is begun again that has failed, unless what it made did not pass verification.
        progress: True = shown as suits where it runs; or a function that is called with stage, jobs done and jobs in
            all.

    Raises:
        InputError: there are no jobs or too many, a name is no name of a folder, a job lacks model or data or has an
            argument that jobs have not, or the cluster cannot be used.
    """
    folder = Path(out).absolute()
    listed = [Job(name=name, out=folder, arguments=with_absolute_paths(values)) for name, values in jobs.items()]
    with following(progress) as followed:
        ticks = functools.partial(followed, "jobs")
        return run_jobs(listed, folder, cluster=cluster, retries=retries, tell=lambda at, _: ticks(at, len(listed)))


def run_jobs(
    jobs: Sequence[Job], out: Path, *, cluster: str | None, retries: int, tell: Callable[[int, JobResult], None]
) -> ManyCompressions:
    """Do jobs, and write the page and the summary; `tell` is called with the number of jobs done, and the last one.

    Raises:
        InputError: as `compress_many`.
    """
    _check(jobs, out, retries)
    if cluster is not None:
        jobs = [_without_workers(job) for job in jobs]
    ended = []
    with open_executor(cluster) as executor:
        for result in _results(jobs, executor, retries):
            ended.append(result)
            tell(len(ended), result)
    page = _write_page(jobs, ended, out)
    many = ManyCompressions(jobs=tuple(ended), page=None if page is None else str(page))
    write_text(as_json(many), out / SUMMARY)
    return many


def _without_workers(job: Job) -> Job:
    """A job on a worker has no workers of its own."""
    arguments = {name: value for name, value in job.arguments.items() if name not in OF_WORKERS}
    return dataclasses.replace(job, arguments=arguments)


def with_absolute_paths(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `compress` that mean the same from every working directory."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Path):
            return value.absolute()
        if isinstance(value, str) and value and Path(value).exists():
            return str(Path(value).absolute())
        return type(value)(map(absolute, value)) if type(value) in (tuple, list) else value

    def absolute_rows(value: Any) -> Any:
        return value if isinstance(value, str) and are_numbers(value) else absolute(value)

    names = (*SOURCES, "classes", "timings", "work", "custom_ops")
    changed = {name: absolute(value) if name in names else value for name, value in arguments.items()}
    if isinstance(changed.get("drop_rows"), Mapping):
        changed["drop_rows"] = {table: absolute_rows(rows) for table, rows in changed["drop_rows"].items()}
    return changed


def _check(jobs: Sequence[Job], out: Path, retries: int) -> None:
    if not 1 <= len(jobs) <= MOST_JOBS:
        raise InputError(f"{len(jobs)} jobs were given, expected 1 to {MOST_JOBS}")
    if not 0 <= retries <= MOST_RETRIES:
        raise InputError(f"retries is {retries}, expected 0 to {MOST_RETRIES}")
    for job in jobs:
        if not job.name or Path(job.name).name != job.name or job.name.startswith(".") or job.name in (PAGE, SUMMARY):
            raise InputError(f"a job is called {job.name!r}, expected the name of a folder")
        if job.problem is None:
            _check_arguments(job)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {out} cannot be made: {error.strerror or error}") from error


def _check_arguments(job: Job) -> None:
    for name in ("model", "data"):
        if job.arguments.get(name) is None:
            raise InputError(f"the job {job.name!r} has no {name}: give it, as to compress")
    for name in OF_ONE:
        if name in job.arguments:
            raise InputError(f"the job {job.name!r} has {name}, which jobs have not: leave it out")
    check_names(f"the job {job.name!r}", job.arguments, (*SOURCES, *OptionValues.__annotations__))


def _results(jobs: Sequence[Job], executor: Executor, retries: int) -> Iterator[JobResult]:
    """How each job ends, in order."""
    for job, wait in [(job, _begin(job, executor)) for job in jobs]:
        result, attempts = wait(), 1
        while not result.is_final and attempts <= retries:
            attempts += 1
            result = _begin(job, executor)()
        yield dataclasses.replace(result, attempts=attempts)


def _begin(job: Job, executor: Executor) -> Callable[[], JobResult]:
    """Hand a job to the executor; a function that waits for its end, and tells as an end whatever goes wrong."""
    try:
        pending = executor.submit(run_job, job, about=job.name)
    except Exception as error:
        return functools.partial(failed, job, error)

    def wait() -> JobResult:
        try:
            return pending.result()
        except Exception as error:
            return failed(job, error)

    return wait


def _write_page(jobs: Sequence[Job], ended: Sequence[JobResult], out: Path) -> Path | None:
    runs, missing = [], {result.name: result.why for result in ended if result.status == "failed"}
    for job in jobs:
        if job.name in missing:
            continue
        try:
            runs.append(run_of(read_report(job.folder.report), job.name))
        except InputError as error:  # changed by somebody since
            missing[job.name] = str(error)
    if not runs:
        if (out / SUMMARY).exists():  # the page is one of an earlier command, too
            (out / PAGE).unlink(missing_ok=True)
        return None
    write_text(render_runs(runs, missing), out / PAGE)
    return out / PAGE
