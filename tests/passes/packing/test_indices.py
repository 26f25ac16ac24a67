"""Indices of several levels: every index comes back, and frequent ones take few bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.packing.indices import LEVEL_BYTES, LEVEL_WIDTHS, IndexCode, choose_code
from netsurgeon.passes.packing.packed_integers import NODE_OVERHEAD, integer_bytes

Indices = NDArray[np.int64]


def read(code: IndexCode, fields: list[NDArray[np.uint8]]) -> Indices:
    """What the fields say, one index after the other, without sums."""
    levels = [iter(level.tolist()) for level in fields[: len(code.levels)]]
    for level in levels[1:]:
        assert next(level) == 0, "stands for what has not escaped"
    numbers = []
    for field in levels[0]:
        number = 0
        for width, level in zip(code.levels, (iter([field]), *levels[1:]), strict=True):
            step = next(level)
            number += step
            if step != (1 << width) - 1:
                break
        numbers.append(number)
    assert not any(list(level) for level in levels)
    low = fields[-1].astype(np.int64) if code.low else 0
    return (np.array(numbers, np.int64) << code.low) + low


@given(
    levels=st.lists(st.sampled_from(LEVEL_WIDTHS), max_size=3),
    last=st.integers(1, 5),
    low=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_every_index_comes_back(levels: list[int], last: int, low: int, seed: int) -> None:
    code = IndexCode((*levels, last), low)
    indices = np.random.default_rng(seed).integers(0, code.entries, 200)
    fields = code.split(indices)
    widths = (*code.levels, low) if low else code.levels
    assert [int(field.max(initial=0)) >> width for field, width in zip(fields, widths, strict=True)] == [0] * len(
        widths
    )
    np.testing.assert_array_equal(read(code, fields), indices)


def entropy(counts: Indices) -> float:
    """Bytes that no code of one index after the other goes below."""
    shares = counts / counts.sum()
    return float(-(counts * np.log2(shares)).sum() / 8)


def gaussian_counts(most: int, spread: float, zeros: float) -> Indices:
    codes = np.clip(np.rint(np.random.default_rng(0).standard_normal(200_000) * spread), -most, most)
    codes[: int(zeros * len(codes))] = 0
    return -np.sort(-np.unique(codes, return_counts=True)[1])


@pytest.mark.parametrize(
    ("most", "spread", "zeros", "levels", "margin"),
    [(7, 2.5, 0.0, 4, 1.05), (7, 2.5, 0.5, 4, 1.1), (127, 40.0, 0.0, 4, 1.03), (127, 40.0, 0.0, 1, 1.15)],
)
def test_codes_come_close_to_the_entropy(most: int, spread: float, zeros: float, levels: int, margin: float) -> None:
    counts = gaussian_counts(most, spread, zeros)
    _, size = choose_code(counts, levels)
    assert entropy(counts) < size < margin * entropy(counts) + 1000
    assert size <= choose_code(counts, 1)[1]


def test_indices_that_are_equally_frequent_or_few_have_one_level() -> None:
    assert choose_code(np.full(16, 10_000), 4)[0] == IndexCode((4,))
    assert choose_code(gaussian_counts(7, 2.5, 0.0) // 200, 4)[0] == IndexCode((4,))


@pytest.mark.parametrize(("most", "levels"), [(1, 1), (7, 4), (127, 2), (127, 4)])
def test_the_bytes_of_a_code_are_those_of_its_fields(most: int, levels: int) -> None:
    counts = gaussian_counts(most, most / 3, 0.3)
    code, size = choose_code(counts, levels)
    fields = code.split(np.repeat(np.arange(counts.size), counts))
    packed = sum(
        integer_bytes(width, field.size) for width, field in zip((*code.levels, code.low), fields, strict=False)
    )
    sums = 2 * (len(code.levels) > 1) + (code.low > 0)
    assert size == packed + sums * NODE_OVERHEAD + sum(LEVEL_BYTES + (1 << width) for width in code.levels[1:])


def test_how_a_code_is_named() -> None:
    assert str(IndexCode((4,))) == "4 bit"
    assert str(IndexCode((2, 1, 2), low=5)) == "2 + 1 + 2 and 5 bit"
