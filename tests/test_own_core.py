"""Processes of pytest-xdist keep to a core each, also in what they start; without it tests have the whole machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from own_core import own_core

SUPPORT = Path(__file__).parent / "support"
IMPORTED = """
import json, os, subprocess, sys
import own_core
import numpy
from threadpoolctl import threadpool_info
code = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
child = json.loads(subprocess.check_output([sys.executable, "-c", code]))
threads = [library["num_threads"] for library in threadpool_info()]
print(json.dumps({"cores": sorted(os.sched_getaffinity(0)), "child": child, "threads": threads}))
"""


@pytest.mark.parametrize(
    ("workers", "cores", "expected"),
    [
        (2, {0, 1}, [0, 1]),
        (2, {3}, [3, 3]),
        (2, {4, 2, 9, 7}, [2, 4]),
        (3, {0, 1}, [0, 1, 0]),
        (12, set(range(12)), list(range(12))),
    ],
)
def test_each_worker_has_a_core_as_long_as_there_are_enough(workers: int, cores: set[int], expected: list[int]) -> None:
    assert [own_core(f"gw{number}", cores) for number in range(workers)] == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot confine a process")
@pytest.mark.parametrize("worker", ["gw0", "gw1", None])
def test_a_worker_its_children_and_its_libraries_keep_to_one_core(worker: str | None) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    variables.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        env={**variables, "PYTHONPATH": str(SUPPORT), **({"PYTEST_XDIST_WORKER": worker} if worker else {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    result, allowed = json.loads(done.stdout), os.sched_getaffinity(0)
    assert result["child"] == result["cores"] == ([own_core(worker, allowed)] if worker else sorted(allowed))
    assert result["threads"]
    assert worker is None or set(result["threads"]) == {1}
