"""The most memory of this process: in bytes, at least what it holds now, and never falling."""

import subprocess
import sys

import numpy as np
import psutil

from netsurgeon.pipeline.runtime.peak_memory import peak_bytes


def test_it_is_at_least_what_is_resident_now() -> None:
    block = np.ones(4_000_000)
    resident = psutil.Process().memory_info().rss
    during = peak_bytes()
    assert block.nbytes < resident
    assert 0.95 * resident < during < psutil.virtual_memory().total
    del block
    assert peak_bytes() > 0.99 * during


def test_a_program_is_not_charged_with_the_memory_of_the_one_that_starts_it() -> None:
    script = "from netsurgeon.pipeline.runtime.peak_memory import peak_bytes; print(peak_bytes())"

    def peak_of_a_child() -> int:
        return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)

    alone = peak_of_a_child()
    block = np.ones(max(50_000_000, alone // 4))  # at least twice what the child takes
    assert peak_of_a_child() < 1.5 * alone < block.nbytes
