"""Samples of varying length in .npz files: all values of an input in a row, and beside them the length of each sample.

`ids.lengths` says that `ids` holds samples of so many entries along axis 0, one behind the other; arrays without
lengths have one row a sample. No Python objects are needed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_SAMPLES, check_bytes, check_samples
from netsurgeon.pipeline.data.matching import LABELS, Array, Feed
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted

SUFFIX = ".lengths"
"""Behind the name of an input: the array that holds the lengths of its samples."""


class Reading(Protocol):
    """Turns what a broken file raises into a sentence."""

    def __call__(self, file: Path) -> AbstractContextManager[None]:
        """While the file is read."""


def holds_lengths(headers: Mapping[str, Array], specs: Sequence[InputSpec]) -> bool:
    """Whether a file says how long the samples of an input are."""
    return any(f"{spec.name}{SUFFIX}" in headers for spec in specs)


class RaggedFiles:
    """The samples of files in order, one dict each; one file is in memory at a time.

    Args:
        files: the .npz files, in order.
        headers: stand-ins for the arrays of each.
        specs: the model's inputs.
        reading: turns what a broken file raises into a sentence.
        labels: of all samples, or of pairs of them, where they are no part of the files.

    Raises:
        InputError: lengths do not fit the arrays, or are no lengths.
    """

    def __init__(
        self,
        files: Sequence[Path],
        headers: Sequence[Mapping[str, Array]],
        specs: Sequence[InputSpec],
        reading: Reading,
        labels: Array | None = None,
    ):
        self._files, self._reading, self._labels = files, reading, labels
        self._names = [spec.name for spec in specs]
        self._counts = [self._count(file, arrays) for file, arrays in zip(files, headers, strict=True)]
        check_samples(len(self), str(files[0].parent))
        if labels is not None and (not labels.ndim or len(self) not in (len(labels), 2 * len(labels))):
            raise InputError(
                f"there are labels of shape {labels.shape} for {counted(len(self), 'sample')}: give one a sample, or a "
                "pair"
            )
        self._is_paired = len(labels) < len(self) if labels is not None else self._are_halves(headers)

    def __len__(self) -> int:
        return sum(self._counts)

    def __iter__(self) -> Iterator[Feed]:
        number, labels = 0, self._labels if not self._is_paired else None
        for file, count in zip(self._files, self._counts, strict=True):
            rows = self._rows(file, count)
            for row in range(count):
                sample = {name: arrays[row] for name, arrays in rows.items()}
                yield sample if labels is None else {**sample, LABELS: labels[number]}
                number += 1

    def pair_labels(self) -> Array | None:
        """Labels of pairs of samples, which no single one has; None where each has its own, or none."""
        if not self._is_paired:
            return None
        if self._labels is not None:
            return self._labels
        parts = []
        for file in self._files:
            with self._reading(file), np.load(file, allow_pickle=False) as stored:
                parts.append(stored[LABELS])
        return np.concatenate(parts)

    def _are_halves(self, headers: Sequence[Mapping[str, Array]]) -> bool:
        """Whether the labels in the files are half as many as the samples, in all of them."""
        labels_of_files = [arrays.get(LABELS) for arrays in headers]
        return LABELS not in self._names and all(
            labels is not None and labels.ndim > 0 and 2 * len(labels) == count
            for labels, count in zip(labels_of_files, self._counts, strict=True)
        )

    def _count(self, file: Path, headers: Mapping[str, Array]) -> int:
        """How many samples a file holds, of the first input whose lengths are there; without any, its rows."""
        check_bytes(sum(array.nbytes for array in headers.values()), f"all of {file}", "write several files")
        counting = next((name for name in self._names if f"{name}{SUFFIX}" in headers), None)
        if counting is None:
            return next((array.shape[0] for array in headers.values() if array.ndim), 1)
        lengths = headers[f"{counting}{SUFFIX}"]
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.size > MOST_SAMPLES:
            raise InputError(
                f"{counting}{SUFFIX} of {file} is {lengths.dtype} {lengths.shape}: expected an integer a sample"
            )
        return lengths.size

    def _rows(self, file: Path, count: int) -> dict[str, Sequence[Any]]:
        """The samples of each array of a file."""
        with self._reading(file), np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored.items())
        if self._is_paired and LABELS not in self._names:
            arrays.pop(LABELS, None)
        lengths = {name: arrays.pop(f"{name}{SUFFIX}") for name in self._names if f"{name}{SUFFIX}" in arrays}
        rows = {name: _cut(array, lengths.get(name), f"{name!r} of {file}") for name, array in arrays.items()}
        for name, samples in rows.items():
            if len(samples) != count:
                raise InputError(
                    f"{file} holds {counted(len(samples), 'sample')} of {name!r} and {count} of others: give as many"
                )
        return rows


def _cut(array: Array, lengths: Array | None, what: str) -> Sequence[Any]:
    """One array a sample."""
    if not array.ndim:
        raise InputError(f"{what} is one number: give one a sample")
    if lengths is None:
        return list(array)
    if lengths.min(initial=0) < 0:
        raise InputError(f"the lengths of {what} go down to {lengths.min()}: expected 0 or more")
    if lengths.sum() != len(array):
        raise InputError(
            f"the lengths of {what} add up to {int(lengths.sum()):,}, but it holds {len(array):,} entries along axis 0"
        )
    return np.split(array, np.cumsum(lengths)[:-1]) if len(lengths) else []
