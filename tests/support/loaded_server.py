"""Processes that tests start are forked from one that has loaded what takes seconds to load."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:  # not there where processes cannot be forked
    from multiprocessing.context import ForkServerContext, ForkServerProcess

LOADED = (
    "netsurgeon.cli",
    "netsurgeon.pipeline.compress",
    "netsurgeon.pipeline.training",
    "netsurgeon.models.training",
    "torch.distributed.nn",
    "distributed",
)
"""What is loaded once, where it is installed. What a shell starts is in tests/test_cluster_examples.py."""
SECONDS = 300.0
"""How long a script may take."""


@functools.cache
def loaded_server() -> ForkServerContext:
    """Of processes that have `LOADED`; the one that they are forked from starts with the first call."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):  # read by what is loaded
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Workers of Dask's clusters of this process are forked from the same one."""
    import dask
    import distributed.utils

    loaded_server()
    # what is loaded has been said: Dask would load other things
    with (
        mock.patch.object(distributed.utils, "_forkserver_preload_set", True),
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
    ):
        yield


def start_script(
    command: Sequence[object], streams: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start a script and its arguments in a folder; what it prints is added to the files 1 and 2 of `streams`."""
    for name in ("1", "2"):
        (streams / name).touch()
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    arguments = ([str(word) for word in command], streams, folder, variables)
    process = loaded_server().Process(target=_run, args=arguments)
    process.start()
    return process


def run_script(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a script with arguments in a folder, as Python does with a process of its own."""
    with tempfile.TemporaryDirectory() as streams:
        process = start_script(command, Path(streams), folder)
        (code,) = exit_codes([process], SECONDS)
        printed = [(Path(streams) / name).read_text("utf-8") for name in ("1", "2")]
        assert code is not None, f"{command[0]} has not ended after {SECONDS:g} seconds; it printed: {printed}"
        return subprocess.CompletedProcess([*map(str, command)], code, *printed)


def exit_codes(processes: Sequence[ForkServerProcess], seconds: float) -> list[int | None]:
    """How scripts end, None for one that takes longer than so many seconds; nothing that they started goes on."""
    try:
        for process in processes:
            process.join(seconds)
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            with contextlib.suppress(ProcessLookupError):  # it has ended, or not come so far
                if process.pid:
                    os.killpg(process.pid, signal.SIGKILL)
            process.join()


def _run(command: Sequence[str], streams: Path, folder: Path, environment: Mapping[str, str]) -> None:
    os.setsid()  # a group of its own, which ends with it
    for descriptor in (1, 2):
        os.dup2(os.open(streams / str(descriptor), os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()  # what the server was started with
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")
