"""The most memory of this process: in bytes, at least what it holds now, and never falling."""

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
