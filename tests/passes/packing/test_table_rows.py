"""Tables as integers with a scale a row: found again to the last bit, or not at all."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from netsurgeon.passes.packing import table_rows
from netsurgeon.passes.packing.table_rows import MOST, StoredRows, blocks_of, nibbles, stored_rows


def table_of(most: int, rows: int = 90, columns: int = 8) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(most)
    codes = rng.integers(-most, most + 1, (rows, columns))
    codes[:, 0] = most
    scales = np.exp2(rng.uniform(-8.0, 2.0, (rows, 1))).astype(np.float16).astype(np.float32)
    return (codes * scales).astype(np.float32)


def given_back(stored: StoredRows) -> npt.NDArray[Any]:
    if stored.scales is None:
        return stored.codes.astype(np.float32)
    codes = stored.codes
    if stored.form == "int4":
        codes = np.concatenate([nibbles(False)[codes], nibbles(True)[codes]], axis=1)
    return codes.astype(np.float32) * stored.scales.astype(np.float32)


@pytest.mark.parametrize(("form", "share"), [("int4", 1 / 8), ("int8", 1 / 4)])
def test_integers_are_found_again_in_their_shortest_form(form: str, share: float) -> None:
    table = table_of(MOST[form])
    stored = stored_rows(table)
    assert stored is not None
    assert stored.form == form
    assert stored.codes.nbytes == share * table.nbytes
    assert stored.nbytes == stored.codes.nbytes + 2 * len(table)
    np.testing.assert_array_equal(given_back(stored), table)


def test_an_odd_number_of_columns_has_no_halves() -> None:
    stored = stored_rows(table_of(MOST["int4"], columns=7))
    assert stored is not None
    assert stored.form == "int8"


def test_scales_beyond_float16_stay_as_they_are() -> None:
    table = (table_of(MOST["int8"]) * np.float32(2.0**-30)).astype(np.float32)
    stored = stored_rows(table)
    assert stored is not None
    assert stored.scales is not None
    assert stored.scales.dtype == np.float32
    np.testing.assert_array_equal(given_back(stored), table)


def test_halves_are_halves_and_what_has_more_digits_is_left_alone() -> None:
    table = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float16).astype(np.float32)
    stored = stored_rows(table)
    assert stored is not None
    assert (stored.form, stored.scales) == ("float16", None)
    np.testing.assert_array_equal(given_back(stored), table)
    table[13, 2] += np.float32(1e-6)
    assert stored_rows(table) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0])
def test_what_no_form_gives_back_keeps_a_table_as_it_is(value: float) -> None:
    table = table_of(MOST["int8"])
    table[5, 3] = value
    assert stored_rows(table) is None


def test_rows_of_zeros_are_given_back() -> None:
    table = table_of(MOST["int4"])
    table[::3] = 0.0
    stored = stored_rows(table)
    assert stored is not None
    np.testing.assert_array_equal(given_back(stored), table)


def test_blocks_are_all_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "BLOCK", 20)
    parts = blocks_of(table_of(7, rows=9))
    assert [len(part) for part in parts] == [2, 2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), table_of(7, rows=9))
