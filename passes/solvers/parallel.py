"""Many small factorisations at once: one BLAS thread each, one Python thread a core.

A threaded BLAS spends more time synchronising than solving on matrices of a few hundred columns, and crawls when
another process holds a core.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded() -> AbstractContextManager[Any]:
    """One BLAS thread in this block, for many small products in turn."""
    limits: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limits


def for_each_part(work: Callable[[npt.NDArray[np.int64]], None], count: int, size: int) -> None:
    """Call `work` with the indices of each run of `size` out of `count`, on all cores; results go to arrays of its own.

    Raises:
        Exception: the first one that `work` raises.
    """
    parts = [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
    if len(parts) == 1:
        with single_threaded():
            work(parts[0])
        return
    with (
        single_threaded(),
        ThreadPoolExecutor(min(len(parts), allowed_cores()) or 1) as pool,
    ):
        for done in [pool.submit(work, part) for part in parts]:
            done.result()


def allowed_cores() -> int:
    """Cores that this process may use: all, or where it was confined (taskset, a cpuset of a container) to fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
