"""One job: a compression that ends in a folder, or in a sentence that says why not."""

from __future__ import annotations

import dataclasses
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError, NetsurgeonError, in_words
from netsurgeon.pipeline.execution import wait_until_free
from netsurgeon.pipeline.jobs.record import JobFolder, identity_of
from netsurgeon.pipeline.model_files import check_outputs
from netsurgeon.pipeline.options import Options

PATIENCE = 60.0
"""Seconds that a job waits for one still at work in its folder, such as on a worker that has lost its connection."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A compression to be made.

    Attributes:
        name: of the job, its folder and its model.
        out: folder that the job's own folder lies in; whoever runs the job sees it.
        arguments: keyword arguments of `compress`: model, data, perhaps test, and options.
        problem: why it cannot begin; None where it can.
    """

    name: str
    out: Path
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problem: NetsurgeonError | None = None

    @property
    def folder(self) -> JobFolder:
        """Where the result goes."""
        return JobFolder(self.out / self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job has ended.

    Attributes:
        name: of the job.
        status: "done"; "kept" = the same job's result was there already; "failed".
        why: what a failed job ended with, in one sentence; else empty.
        code: of the error of a failed job, such as "cluster-lost" (docs/messages.md); else empty.
        exit_code: 0, or what `compress` would have ended with.
        seconds: that the last attempt took.
        attempts: how often it was begun.
        is_final: whether another attempt would end in the same way.
    """

    name: str
    status: Literal["done", "kept", "failed"]
    why: str = ""
    code: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    attempts: int = 1
    is_final: bool = True


def run_job(job: Job) -> JobResult:
    """Do a job, unless its result is there; whatever goes wrong is this job's end, and no other's."""
    if job.problem is not None:
        return dataclasses.replace(failed(job, job.problem), is_final=True)
    started = time.perf_counter()
    try:
        result = JobResult(name=job.name, status="done" if _run(job) else "kept")
    except Exception as error:
        result = failed(job, error)
    return dataclasses.replace(result, seconds=round(time.perf_counter() - started, 3))


def failed(job: Job, error: Exception) -> JobResult:
    """The end of a job without a result; a verdict on what was made would be the same again."""
    if os.environ.get("NETSURGEON_DEBUG") and not isinstance(error, NetsurgeonError | OSError):
        traceback.print_exception(error)
    why, exit_code = in_words(error)
    return JobResult(
        name=job.name,
        status="failed",
        why=why,
        code=error.code if isinstance(error, NetsurgeonError) else NetsurgeonError.code,
        exit_code=exit_code,
        is_final=isinstance(error, CheckFailedError),
    )


def _run(job: Job) -> bool:
    """Compress, unless the same job's result is there already; whether it was not.

    Raises:
        NetsurgeonError: as `compress`; or the folder of results is not to be seen from here, holds what is not of jobs,
            or stays in use.
    """
    if not job.out.is_dir():
        raise InputError(
            f"{os.uname().nodename} sees no folder {job.out}: models, data and results must lie where all workers see "
            "them"
        )
    arguments = dict(job.arguments)
    model, data, test = arguments.pop("model"), arguments.pop("data"), arguments.pop("test", None)
    options, folder = Options(**arguments), job.folder
    identity = identity_of(Path(model), {"data": data, "test": test}, options)
    read = (data, test, options.metric, options.classes, options.timings, *options.custom_ops)
    check_outputs((folder.model, folder.report), *read, models=[model])  # before what another job has left is removed
    folder.take()
    work = Path(arguments.pop("work", None) or folder.work)
    wait_until_free(work, PATIENCE)
    if folder.holds(identity):
        folder.tidy()
        return False
    folder.clear(identity)
    compress(model, data, test=test, output=folder.model, report=folder.report, work=work, **arguments)
    folder.finish(identity)
    return True
