"""The most memory of this process, in bytes, at least what it holds now and never falling; and what is left."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from netsurgeon.pipeline.runtime import peak_memory
from netsurgeon.pipeline.runtime.peak_memory import available_bytes, peak_bytes


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


@pytest.mark.parametrize("names", peak_memory.LIMITS)
def test_a_container_has_what_its_limit_leaves(
    names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_memory, "CONTROL_GROUPS", tmp_path)
    of_the_machine = available_bytes()
    assert 0 < of_the_machine <= psutil.virtual_memory().total
    limit, taken = (tmp_path / name for name in names)
    limit.parent.mkdir(exist_ok=True)
    limit.write_text("5000\n")
    taken.write_text("3000\n")
    assert available_bytes() == 2000
    taken.write_text("6000\n")
    assert available_bytes() == 0
    limit.write_text("max\n")
    assert available_bytes() > 6000
