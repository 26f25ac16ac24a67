"""How close two models' outputs are: floating-point numbers by their error, all else by how much of it is the same."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.errors import CheckFailedError

_KINDS = {"i": "integers", "u": "integers", "b": "truth values", "O": "texts"}
"""What arrays hold, by numpy's letter of their type."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How close the floating-point numbers in one output of the compressed model are to the dense one's.

    Attributes:
        output: its name.
        relative_error: ‖compressed − dense‖ / ‖dense‖ over all samples; NaN where shapes differ.
        snr_db: signal-to-noise ratio in decibels; infinite for equal outputs.
        alike: most samples to which the dense model gives one and the same output: they say little.
        not_finite: samples for which the dense model gives NaN or an infinite number, which no error is measured of.
        first_not_finite: the first of them in the data, in words; None where there is none.
    """

    output: str
    relative_error: float
    snr_db: float
    alike: int
    not_finite: int
    first_not_finite: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How much of one output is the same where it holds no floating-point numbers, whose error could be measured.

    Attributes:
        output: its name.
        kind: what was compared: integers, truth values, texts, keys of maps; entries, where it is none of these.
        entries: how many, over all samples; 0 = the output was empty for all of them, and nothing was compared.
        equal: how many of them are the same.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("agreement",)

    output: str
    kind: str
    entries: int
    equal: int

    @property
    def agreement(self) -> float | None:
        """Share of the entries that are the same; None where there are none."""
        return self.equal / self.entries if self.entries else None

    def __str__(self) -> str:
        """One sentence; a share that rounds to 100 % is never all that is said of a difference."""
        if not self.entries:
            return f"output {self.output!r}: empty for all inputs, nothing is compared"
        share = "" if self.equal == self.entries else f" ({self.equal / self.entries:.2%})"
        return f"output {self.output!r}: {self.equal:,} of {self.entries:,} {self.kind} are the same{share}"


class OutputComparison:
    """Sums over all samples of one output: an array, or a sequence or map of them.

    Sequences are compared element by element, maps by their keys and by the values of keys that both have.
    """

    def __init__(self, name: str):
        self._name = name
        self._error = self._energy = 0.0
        self._squares: list[npt.NDArray[np.float64] | None] = []
        self._has_floats = False
        self._samples, self._not_finite = 0, list[int]()
        self._repeats: collections.Counter[int] = collections.Counter()
        self._entries: collections.Counter[str] = collections.Counter()
        self._equal: collections.Counter[str] = collections.Counter()

    def update(self, dense: Any, compressed: Any, samples: int) -> None:
        """Add what both models give for a feed of so many samples.

        Raises:
            CheckFailedError: the compressed model's numbers are not finite where the dense one's are, or change type.
        """
        self._compare(dense, compressed)
        self._squares.append(_squares_by_input(dense, compressed, samples))
        if self._has_floats:
            self._repeats.update(map(hash, _by_sample(dense, samples)))
            self._not_finite += [self._samples + row for row in _not_finite_rows(dense, samples)]
        self._samples += samples

    def fidelity(self, first_of: Callable[[Sequence[int]], str] | None = None) -> Fidelity | None:
        """The error; None where the output has no floating-point numbers.

        Args:
            first_of: gives, of places among all samples, the first in the data, in words; None = nobody can tell.
        """
        if not self._has_floats:
            return None
        alike = max(self._repeats.values())
        relative, decibels = self._ratios()
        return Fidelity(
            output=self._name,
            relative_error=relative,
            snr_db=decibels,
            alike=alike,
            not_finite=len(self._not_finite),
            first_not_finite=first_of(self._not_finite) if self._not_finite and first_of else None,
        )

    def changes(self, count: int) -> tuple[float, npt.NDArray[np.float64]] | None:
        """Energy, and the squared error of each of so many inputs; None where errors are not those of single inputs."""
        squares = [part for part in self._squares if part is not None]
        if np.isnan(self._error) or len(squares) < len(self._squares) or sum(map(len, squares)) != count:
            return None
        return self._energy, np.concatenate(squares)

    def agreements(self) -> Iterator[Agreement]:
        """One for each kind of other entries; an empty one where there was nothing at all."""
        for kind, entries in self._entries.items():
            yield Agreement(output=self._name, kind=kind, entries=entries, equal=self._equal[kind])
        if not self._entries and not self._has_floats:
            yield Agreement(output=self._name, kind="entries", entries=0, equal=0)

    def _ratios(self) -> tuple[float, float]:
        if np.isnan(self._error):
            return float("nan"), float("nan")
        if self._error == 0.0:
            return 0.0, float("inf")
        if self._energy == 0.0:
            return float("inf"), float("-inf")
        return float(np.sqrt(self._error / self._energy)), float(10.0 * np.log10(self._energy / self._error))

    def _compare(self, dense: Any, compressed: Any) -> None:
        if isinstance(dense, np.ndarray) and isinstance(compressed, np.ndarray):
            self._compare_arrays(dense, compressed)
        elif isinstance(dense, list) and isinstance(compressed, list):
            for value, other in zip(dense, compressed, strict=False):
                self._compare(value, other)
            for value in dense[len(compressed) :] + compressed[len(dense) :]:
                self._count_lost(value)
        elif isinstance(dense, dict) and isinstance(compressed, dict):
            shared = [key for key in dense if key in compressed]
            self._count("keys", len(dense.keys() | compressed.keys()), len(shared))
            self._compare_arrays(_values(dense, shared), _values(compressed, shared))
        elif type(dense) is type(compressed):
            self._count("entries", 1, int(dense == compressed))
        else:
            raise CheckFailedError(
                f"output {self._name!r} of the compressed model is of another kind than the dense one's"
            )

    def _compare_arrays(self, dense: npt.NDArray[Any], compressed: npt.NDArray[Any]) -> None:
        if dense.dtype != compressed.dtype:
            raise CheckFailedError(
                f"output {self._name!r} has type {compressed.dtype} after compression, {dense.dtype} before"
            )
        if dense.dtype.kind == "f":
            self._add_error(dense, compressed)
        elif dense.shape == compressed.shape:
            self._count(_kind(dense), dense.size, int(np.count_nonzero(dense == compressed)))
        else:
            self._count(_kind(dense), max(dense.size, compressed.size), 0)

    def _add_error(self, dense: npt.NDArray[Any], compressed: npt.NDArray[Any]) -> None:
        self._has_floats = True
        if dense.shape != compressed.shape:
            self._error = np.nan
            return
        wide, narrow = dense.astype(np.float64), compressed.astype(np.float64)
        usable = np.isfinite(wide)
        if not np.isfinite(narrow[usable]).all():
            raise CheckFailedError(f"output {self._name!r} of the compressed model is NaN or infinite where it was not")
        self._error += float(np.sum((narrow[usable] - wide[usable]) ** 2))
        self._energy += float(np.sum(wide[usable] ** 2))

    def _count_lost(self, value: Any) -> None:
        """Add what one of the models gives and the other one does not."""
        if isinstance(value, list):
            for element in value:
                self._count_lost(element)
        elif isinstance(value, dict):
            self._count("keys", len(value), 0)
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            self._has_floats, self._error = True, np.nan
        elif isinstance(value, np.ndarray):
            self._count(_kind(value), value.size, 0)
        else:
            self._count("entries", 1, 0)

    def _count(self, kind: str, entries: int, equal: int) -> None:
        if entries:
            self._entries[kind] += entries
            self._equal[kind] += equal


def _squares_by_input(dense: Any, compressed: Any, samples: int) -> npt.NDArray[np.float64] | None:
    """Squared error of each input, (samples,); None where it is no array of floats with the inputs on axis 0."""
    if not (isinstance(dense, np.ndarray) and isinstance(compressed, np.ndarray) and dense.dtype.kind == "f"):
        return None
    if dense.shape != compressed.shape or not (dense.shape[:1] == (samples,) or samples == 1):
        return None
    usable = np.isfinite(dense)
    difference = np.where(usable, compressed.astype(np.float64), 0.0) - np.where(usable, dense.astype(np.float64), 0.0)
    return np.asarray((difference**2).reshape(samples, -1).sum(axis=1))


def _not_finite_rows(value: Any, samples: int) -> list[int]:
    """Samples with an entry that is NaN or infinite; at most the first where axis 0 does not tell samples apart."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
        return []
    rows = value.reshape(samples if value.shape[:1] == (samples,) else 1, -1)
    return [int(row) for row in np.flatnonzero(~np.isfinite(rows).all(axis=1))]


def _kind(array: npt.NDArray[Any]) -> str:
    return _KINDS.get(array.dtype.kind, "entries")


def _values(mapping: Mapping[Any, Any], keys: Sequence[Any]) -> npt.NDArray[Any]:
    """Values of a map of ONNX Runtime, in the order of keys; texts as an output of texts has them."""
    values = np.array([mapping[key] for key in keys])
    return values.astype(object) if values.dtype.kind in "US" else values


def _by_sample(value: Any, samples: int) -> Iterator[Hashable]:
    """What tells the samples of an output apart, one a sample; the whole output where nothing does."""
    elements = value if isinstance(value, list) else [value]
    if elements and all(isinstance(element, np.ndarray) and element.shape[:1] == (samples,) for element in elements):
        yield from (tuple(_content(element[row]) for element in elements) for row in range(samples))
    elif isinstance(value, list) and len(value) == samples:
        yield from map(_content, value)
    else:
        yield _content(value)


def _content(value: Any) -> Hashable:
    """What is hashed in place of an output or a part of one."""
    if isinstance(value, np.ndarray | np.generic):
        return tuple(np.ravel(value)) if value.dtype.hasobject else value.tobytes()
    if isinstance(value, list):
        return tuple(map(_content, value))
    return frozenset(value.items()) if isinstance(value, dict) else str(value)
