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


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where control groups are; `groups.txt` beside them names those of this process."""
    monkeypatch.setattr(peak_memory, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(peak_memory, "GROUPS", tmp_path / "groups.txt")
    return tmp_path / "cgroup"


Names = tuple[str, str, str, str]
BOTH_VERSIONS = pytest.mark.parametrize("names", peak_memory.LIMITS)


def limit_group(groups: Path, names: Names, path: str, limit: str, taken: int, inactive: int = 0) -> None:
    folder = groups / names[0] / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[1]).write_text(f"{limit}\n")
    (folder / names[2]).write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 17\n{names[3]} {inactive}\nactive_file 900\n")


@BOTH_VERSIONS
def test_a_container_has_what_its_limit_leaves(names: Names, groups: Path) -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total
    limit_group(groups, names, ".", "5000", 3000)
    assert available_bytes() == 2000
    limit_group(groups, names, ".", "5000", 3000, inactive=500)
    assert available_bytes() == 2500, "what is kept of files gives way"
    limit_group(groups, names, ".", "5000", 6000)
    assert available_bytes() == 0
    limit_group(groups, names, ".", "max", 6000)
    assert available_bytes() > 6000


@BOTH_VERSIONS
def test_the_least_that_a_group_on_the_way_to_the_root_leaves_counts(names: Names, groups: Path) -> None:
    controller = "cpuset,memory" if names[0] else ""
    (groups.parent / "groups.txt").write_text(f"9:name=systemd:/other\n4:{controller}:/slurm/job_7/step_0\n")
    limit_group(groups, names, "slurm/job_7/step_0", "max", 3000)
    limit_group(groups, names, "slurm/job_7", "4000", 3000)
    limit_group(groups, names, "slurm", "90000", 3000)
    limit_group(groups, names, "other", "10", 10)
    assert available_bytes() == 1000
    limit_group(groups, names, "slurm", "3500", 3000)
    assert available_bytes() == 500


@BOTH_VERSIONS
@pytest.mark.parametrize("path", ["/docker/7f", "/../../user.slice"])
def test_a_group_that_is_not_seen_under_its_name_is_that_at_the_root(path: str, names: Names, groups: Path) -> None:
    (groups.parent / "groups.txt").write_text(f"4:{names[0]}:{path}\n")
    limit_group(groups, names, ".", "5000", 3000)
    assert available_bytes() == 2000
