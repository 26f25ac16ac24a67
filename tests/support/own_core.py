"""A core of its own for each process of pytest-xdist: imported before numpy, whose threads are as many as the cores.

Tests are many small computations: threads of several processes that meet on the same cores wait for each other, and
take several times as long as one thread in each. Processes that tests start are confined as well. Tests that need
several threads ask for them.
"""

import os

THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What libraries read where a system cannot confine a process, as macOS."""


def own_core(worker: str, cores: set[int]) -> int:
    """The core of a worker, which pytest-xdist names gw0, gw1, …; with fewer cores than workers some share one."""
    return sorted(cores)[int(worker.removeprefix("gw")) % len(cores)]


def take_own_core() -> None:
    """Confine this process and its children, if pytest-xdist has started it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return
    os.environ.update(dict.fromkeys(THREAD_COUNTS, "1"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {own_core(worker, os.sched_getaffinity(0))})


take_own_core()
