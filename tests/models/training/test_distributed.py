"""Processes that train together: what they leave behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = """
import os
from pathlib import Path

import torch
from torch import nn

from netsurgeon.models.training import Process, process_group


def step(process: Process) -> None:
    network = process.wrapped(nn.Linear(4, 2))
    network(torch.ones(3, 4)).sum().backward()
    process.broadcast_from_main(lambda: bytes(1000))


def talking() -> list[str]:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return [name for name in names if "gloo" in name]


with process_group("cpu") as process:
    step(process)
    during = len(talking())
os.write(1, f"{during > 0} {talking()}\\n".encode())  # a line in one write: the processes share a pipe
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not name a process's threads")
def test_no_thread_of_the_group_is_left_to_meet_the_end_of_python(
    two_processes: Callable[..., str], tmp_path: Path
) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    assert two_processes(script).splitlines() == ["True []"] * 2
