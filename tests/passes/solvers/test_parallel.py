"""Work in parts: every index comes once, and what a part raises is raised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.solvers.parallel import for_each_part


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(1, 60))
def test_every_index_is_worked_once_in_runs_of_the_size(count: int, size: int) -> None:
    visits = np.zeros(count, np.int64)
    lengths = []

    def work(part: NDArray[np.int64]) -> None:
        visits[part] += 1
        lengths.append(len(part))

    for_each_part(work, count, size)
    assert (visits == 1).all()
    assert sorted(lengths, reverse=True) == [size] * (count // size) + [count % size] * (count % size > 0)


def test_what_a_part_raises_is_raised() -> None:
    def work(part: NDArray[np.int64]) -> None:
        if 7 in part:
            raise ArithmeticError(f"part of {len(part)}")

    with pytest.raises(ArithmeticError, match="part of 4"):
        for_each_part(work, 20, 4)
