"""Threads that run sessions at a time: each gets what one alone gets."""

from __future__ import annotations

import threading

import numpy as np
from _sparse_models import resnet50
from sparse_sessions import inputs, session

THREADS, RUNS = 8, 13


def test_eight_threads_on_three_sessions_of_two_models() -> None:
    models = [resnet50(zeros, size=32, narrower=8) for zeros in (0.7, 0.9)]
    sessions = [session(models[0], threads=1), session(models[0], threads=2), session(models[1], threads=2)]
    feeds = [inputs(models[0], seed, batch=1 + seed % 3) for seed in range(THREADS)]
    expected = [[alone.run(None, feed)[0] for feed in feeds] for alone in sessions]
    wrong: list[tuple[int, int]] = []
    start = threading.Barrier(THREADS)

    def work(number: int) -> None:
        start.wait()
        for turn in range(RUNS):
            at = (number + turn) % len(sessions)
            if not np.array_equal(sessions[at].run(None, feeds[number])[0], expected[at][number]):
                wrong.append((number, at))

    threads = [threading.Thread(target=work, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not np.array_equal(expected[0][0], expected[2][0])
