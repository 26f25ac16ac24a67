"""Tables whose columns are inputs: data frames, and datasets of Hugging Face. Both are known by what they can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.matching import LABELS, dict_to_write
from netsurgeon.pipeline.errors import InputError

LABEL_COLUMNS = (LABELS, "label")
"""Columns that hold the class of a row."""


def is_frame(source: object) -> bool:
    """Whether it is a data frame, of pandas or polars: columns by name, each of which becomes an array."""
    return all(hasattr(source, name) for name in ("columns", "to_numpy", "__getitem__"))


def is_column_dataset(source: object) -> bool:
    """Whether it is a dataset of Hugging Face: an iterable of rows that says what its columns are."""
    return hasattr(source, "column_names") and hasattr(source, "features") and hasattr(source, "__iter__")


def frame_arrays(frame: Any, specs: Sequence[InputSpec], origin: str) -> tuple[dict[str, Any], Any]:
    """The columns that are inputs, or all of them together as the rows of the only input; and labels, or None.

    Raises:
        InputError: an input has no column.
    """
    columns = [str(name) for name in frame.columns]
    arrays = {name: frame[own].to_numpy() for name, own in zip(columns, frame.columns, strict=True)}
    labels = _label_column(columns, specs)
    inputs = [name for name in columns if name != labels]
    classes = arrays[labels] if labels else None
    (first, *others) = specs
    if not others and first.name not in columns and first.shape is not None and len(first.shape) == 2:
        return {first.name: np.column_stack([arrays[name] for name in inputs])}, classes
    _check_columns(columns, [spec.name for spec in specs], specs, origin)
    return {spec.name: arrays[spec.name] for spec in specs}, classes


class RowReader:
    """Reads the rows of a dataset of Hugging Face: the columns that are inputs, and the label, or None.

    Args:
        specs: the model's inputs.
        origin: what messages call the dataset.
    """

    def __init__(self, specs: Sequence[InputSpec], origin: str):
        self._specs = specs
        self._origin = origin

    def __call__(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """The inputs of one row by name, and its label.

        Raises:
            InputError: an input has no column.
        """
        label = _label_column(list(row), self._specs)
        inputs = {name: row[column] for name, column in _sources(row, self._specs, self._origin).items()}
        return inputs, None if label is None else row[label]


def _sources(row: Mapping[str, Any], specs: Sequence[InputSpec], origin: str) -> dict[str, str]:
    """The column of each input; of the only input also the only column besides the label, or the only picture."""
    names = [spec.name for spec in specs]
    if len(names) == 1 and names[0] not in row:
        others = [column for column in row if column not in LABEL_COLUMNS]
        pictures = [column for column in others if isinstance(row[column], Image.Image)]
        for columns in (others, pictures):
            if len(columns) == 1:
                return {names[0]: columns[0]}
    _check_columns(list(row), names, specs, origin)
    return {name: name for name in names}


def _label_column(columns: Sequence[str], specs: Sequence[InputSpec]) -> str | None:
    inputs = [spec.name for spec in specs]
    return next((name for name in LABEL_COLUMNS if name in columns and name not in inputs), None)


def _check_columns(columns: Sequence[str], names: Sequence[str], specs: Sequence[InputSpec], origin: str) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        listed, inputs = (", ".join(map(repr, some)) for some in (columns, names))
        raise InputError(
            f"{origin} has the columns {listed} but the model's inputs are {inputs}: rename the one that is "
            f"{missing[0]!r}, or give {dict_to_write(specs)}"
        )
