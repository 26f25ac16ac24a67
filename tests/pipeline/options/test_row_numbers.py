"""Rows by number: every way to write them gives one text, and what is none is a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options, spans_of
from netsurgeon.pipeline.options.row_numbers import read_rows


def test_numbers_text_and_files_are_one_text(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("# never used\n7\n3 - 5, 6  # a range\n\n12\n")
    np.save(tmp_path / "rows.npy", np.array([12, 3, 4, 5, 6, 7, 7]))
    sources: list[Any] = [
        "3-7,12",
        "12, 5-7\n3-6",
        [12, 3, 4, 5, 6, 7],
        np.array([3, 4, 5, 6, 7, 12], np.uint16),
        tmp_path / "rows.txt",
        str(tmp_path / "rows.npy"),
    ]
    assert {read_rows("table", source) for source in sources} == {"3-7,12"}
    assert spans_of("3-7,12") == [(3, 7), (12, 12)]
    assert Options(drop_rows={"table": tmp_path / "rows.txt"}).described()["drop_rows"] == {"table": "3-7,12"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("7-3", "hold '7-3', expected a number or a range"),
        ("1,-2", "hold '-2', expected"),
        ("missing.txt", "cannot be read from missing.txt"),
        ([], "there are no rows of 'table' to drop"),
        ([1, -1], "hold -1, expected numbers from 0 on"),
        (np.eye(2), "are float64 of shape"),
        ([[1], [1, 2]], "are lists of different lengths, expected integers"),
    ],
)
def test_what_is_no_row_is_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_rows("table", given)


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.txt", b"one\n"), ("rows.npy", b"\x93NUMPY"), ("rows.npy", b"PK\x03\x04"), ("rows.txt", b"\xff")],
)
def test_a_file_that_holds_something_else_is_a_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="rows of 'table' to drop"):
        read_rows("table", tmp_path / name)
