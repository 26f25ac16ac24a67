"""Two processes that train together, as torchrun starts them, forked from one that has loaded PyTorch already."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

LOADED = ("netsurgeon.cli", "netsurgeon.pipeline.training", "netsurgeon.models.training", "torch.distributed.nn")
"""What takes seconds to load, and is loaded once; `torchrun` itself runs in tests/test_cluster_examples.py."""
SECONDS = 150.0
"""How long a process may take."""


def run_pair(script: Path, *arguments: object) -> str:
    """Run a script in two processes that must end well, and give what they print."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address, output = listening.getsockname(), Path(folder)
        listening.close()
        command = [str(script), *map(str, arguments)]
        for stream in ("1", "2"):
            (output / stream).touch()
        processes = [context.Process(target=_run, args=(rank, address, command, output)) for rank in range(2)]
        with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):  # read by what is loaded once
            for process in processes:
                process.start()
        try:
            for process in processes:
                process.join(SECONDS)
            assert [process.exitcode for process in processes] == [0, 0], (output / "2").read_text("utf-8")
        finally:
            for process in processes:
                process.kill()
                process.join()
        return (output / "1").read_text("utf-8")


def _run(rank: int, address: tuple[str, int], command: Sequence[str], output: Path) -> None:
    """One of them: what it prints goes to a file of both for each stream."""
    for descriptor in (1, 2):
        os.dup2(os.open(output / str(descriptor), os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ |= {
        **dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)),
        **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2"),
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
    }
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")
