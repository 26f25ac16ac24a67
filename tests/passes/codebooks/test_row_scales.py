"""Rows that share a codebook up to powers of two: what the scales are, and that they are found again in the values."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.codebooks.row_scales import MOST_VALUES, row_scales, split_scales
from netsurgeon.passes.packing.encodings import choose_encoding, encode

Array = NDArray[Any]


def scaled_weight(rows: int, columns: int, size: int, dtype: str = "float32", seed: int = 0) -> Array:
    """About half zeros; each row 2^k times values of a codebook of `size` values."""
    rng = np.random.default_rng(seed)
    codebook = np.unique(rng.standard_normal(size).astype(np.float16))
    weight = codebook[rng.integers(0, codebook.size, (rows, columns))].astype(dtype)
    weight[rng.random(weight.shape) < 0.5] = 0
    return np.asarray(weight * 2.0 ** rng.integers(-9, 4, (rows, 1)), dtype)


def test_scales_bring_rows_to_about_one() -> None:
    weight = np.random.default_rng(0).standard_normal((2, 30, 50)) * 10.0 ** np.arange(-15, 15)[:, None]
    weight[1, 3] = 0.0
    scales = row_scales(weight)
    assert scales.shape == (2, 30, 1)
    assert np.array_equal(np.frexp(scales)[0], np.full(scales.shape, 0.5)), "powers of two"
    size = np.sqrt(np.mean((weight / scales) ** 2, axis=-1))
    assert scales[1, 3, 0] == 1.0
    assert size[1, 3] == 0.0
    live = np.delete(size.ravel(), 33)
    assert live.min() >= 0.5
    assert live.max() < 1.0


def test_zeros_do_not_count() -> None:
    weight = np.array([[0.75, 0.75, 0.75, 0.75]])
    padded = np.concatenate([weight, np.zeros((1, 100))], axis=1)
    assert np.array_equal(row_scales(weight), row_scales(padded))


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(20, 60),
    columns=st.integers(60, 90),
    size=st.integers(1, 63),
    dtype=st.sampled_from(["float32", "float64"]),
    axis=st.sampled_from([0, 1]),
    seed=st.integers(0, 999),
)
def test_scales_are_found_in_the_values(rows: int, columns: int, size: int, dtype: str, axis: int, seed: int) -> None:
    weight = scaled_weight(rows, columns, size, dtype, seed)
    given = weight if axis == 0 else np.ascontiguousarray(weight.T)
    found = split_scales(given, axis)
    assert found is not None
    assert (found.weight.dtype.name, found.scales.dtype.name) == (dtype, "float16")
    assert (found.weight * found.scales.astype(dtype)).tobytes() == given.tobytes()
    assert found.values.size <= size


def test_rows_on_the_other_side_of_a_power_of_two_are_found() -> None:
    weight = scaled_weight(40, 200, 31)
    size = np.abs(weight) / row_scales(weight)
    weight[3, size[3] > 0.6] = 0.0  # without its largest a row's scale is half of the others'
    weight[5, size[5] < 0.9] = 0.0
    assert row_scales(weight)[3, 0] < row_scales(scaled_weight(40, 200, 31))[3, 0]
    found = split_scales(weight, 0)
    assert found is not None
    assert found.values.size <= 31


def test_the_largest_codebook_is_found_where_rows_moved_both_ways() -> None:
    """Three kinds of rows use the same values, but small, any, or large ones more often."""
    rng = np.random.default_rng(0)
    codebook = np.unique(rng.standard_normal(255).astype(np.float16)).astype(np.float32)
    kinds = [np.abs(codebook) ** power for power in (-1.0, 0.0, 2.0)]
    weight = np.stack([rng.choice(codebook, 2000, p=kinds[row % 3] / kinds[row % 3].sum()) for row in range(60)])
    scales = row_scales(weight)
    assert np.unique(scales).size == 3
    assert np.unique(weight / scales).size > 2 * MOST_VALUES
    found = split_scales(weight, 0)
    assert found is not None
    assert found.values.size <= 255


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -0.0])
def test_what_no_codebook_has_is_left(spoilt: float) -> None:
    weight = scaled_weight(20, 50, 31)
    weight[3, 4] = spoilt
    assert split_scales(weight, 0) is None
    encoding, _ = choose_encoding(weight, 1)
    assert encoding.scaled_axis is None
    assert encode(weight, encoding).scales is None


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_float64_of_any_size_has_scales(size: float) -> None:
    weight = scaled_weight(20, 50, 15, "float64")
    assert np.array_equal(row_scales(weight * 2.0**600), row_scales(weight) * 2.0**600)
    assert 0.5 <= np.sqrt(np.mean((np.full((1, 9), size) / row_scales(np.full((1, 9), size))) ** 2)) < 1.0


def test_too_many_values_are_left() -> None:
    free = np.random.default_rng(0).standard_normal((40, 60)).astype(np.float32)
    assert split_scales(free, 0) is None
    one_too_many = scaled_weight(300, 300, 400)
    assert np.unique(one_too_many).size > MOST_VALUES
    assert split_scales(one_too_many, 0) is None
    assert split_scales(np.zeros((4, 5), np.float32), 0) is None


@pytest.mark.parametrize("exponent", [-40, 40])
def test_scales_that_float16_does_not_hold(exponent: int) -> None:
    """A channel that is as good as dead must not cost the others their codebook."""
    weight = scaled_weight(20, 50, 15)
    weight[2] = np.ldexp(weight[2], exponent)
    found = split_scales(weight, 0)
    assert found is not None
    assert (found.scales.dtype.name, found.values.size) == ("float32", 15)
    assert np.array_equal(found.weight * found.scales, weight)
