"""A scale for numbers that become unsigned 8-bit integers, and where its range ends."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
RangeMethod: TypeAlias = Literal["error", "percentile", "min-max"]

EVERYTHING = (-math.inf, math.inf)
LARGEST = 255
BINS = 2048
ENDS = np.linspace(1.0, 0.25, 61)
"""Shares of the observed range that are tried."""
PERCENTILE = 99.99
"""Share of the numbers, in percent, that a range by percentile holds on each side."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Integers q from 0 to 255, or from −128 to 127, stand for step (q − zero).

    Attributes:
        step: exact in float32.
        zero: the integer that stands for 0.
        signed: whether integers are from −128 to 127.
    """

    step: float
    zero: int
    signed: bool = False

    @property
    def ends(self) -> tuple[int, int]:
        """Least and largest integer."""
        return (-128, 127) if self.signed else (0, LARGEST)

    @property
    def zero_point(self) -> npt.NDArray[np.generic]:
        """`zero` in the type of the integers, as an array of no axes."""
        return np.array(self.zero, np.int8 if self.signed else np.uint8)

    @classmethod
    def of_range(
        cls, low: float, high: float, bounds: tuple[float, float] = EVERYTHING, *, symmetric: bool = False
    ) -> Scale:
        """The scale whose integers reach from `low` to `high`, widened to hold 0, up to half a step.

        No integer stands for a number beyond `bounds`: a Clip there has nothing left to do, and ONNX Runtime leaves it
        out only then. Symmetric ones are signed and reach as far on both sides, whatever the bounds.

        Args:
            low: smallest number that is to be told from others.
            high: largest one.
            bounds: smallest and largest number that there can be.
            symmetric: whether 0 stands for 0 and integers are signed, from -127 to 127.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if symmetric:
            reach = max(-low, high, float(np.finfo(np.float32).tiny) * LARGEST)
            return cls(step=float(np.float32(reach / 127.0)), zero=0, signed=True)
        if high - low < np.finfo(np.float32).tiny * LARGEST:
            low, high = 0.0, min(1.0, bounds[1])
        zero = round(-low * LARGEST / (high - low))
        width = (high - low) / LARGEST
        for room, steps in ((-bounds[0], zero), (bounds[1], LARGEST - zero)):
            width = min(width, room / steps) if steps else width
        step = np.float32(width)
        while float(step) * zero > -bounds[0] or float(step) * (LARGEST - zero) > bounds[1]:
            step = np.nextafter(step, np.float32(0.0))
        return cls(step=float(step), zero=zero)

    @property
    def low(self) -> float:
        """The least number that an integer stands for."""
        return (self.ends[0] - self.zero) * self.step

    @property
    def high(self) -> float:
        """The largest one."""
        return (self.ends[1] - self.zero) * self.step

    def rounded(self, numbers: Array) -> Array:
        """What comes back of numbers that were made integers."""
        return np.asarray((np.clip(np.rint(numbers / self.step) + self.zero, *self.ends) - self.zero) * self.step)


class RangeStatistics:
    """Least and largest number of a value, and a histogram that widens with them; numbers are never kept."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self._counts = np.zeros(BINS)
        self._width = 0.0
        self._zeros = 0.0

    def update(self, numbers: npt.NDArray[np.floating], weights: npt.NDArray[np.floating] | None = None) -> None:
        """Add numbers (n,); an error in them counts by `weights` (n,)."""
        if not numbers.size:
            return
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
        self._widen(max(abs(self.low), abs(self.high)))
        places = np.floor(numbers / self._width + BINS // 2).astype(np.int64).clip(0, BINS - 1)
        self._counts += np.bincount(places, weights, minlength=BINS)
        self._zeros += np.count_nonzero(numbers == 0.0) if weights is None else float(weights[numbers == 0.0].sum())

    def reach(self, low: float, high: float) -> None:
        """Note the ends of a set of numbers of which only some are added."""
        if low < self.low or high > self.high:
            self.low, self.high = min(self.low, low), max(self.high, high)
            self._widen(max(abs(self.low), abs(self.high)))

    def _widen(self, reach: float) -> None:
        """Let the bins, half of them below zero, reach as far as the numbers do: twice as wide until they do."""
        if self._width == 0.0:
            self._width = max(reach, float(np.finfo(np.float32).tiny)) / (BINS // 2)
            return
        while self._width * (BINS // 2) < reach:
            halves = self._counts.reshape(2, BINS // 4, 2).sum(axis=-1)
            self._counts = np.concatenate([np.zeros(BINS // 4), halves[0], halves[1], np.zeros(BINS // 4)])
            self._width *= 2.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was seen."""
        return not self._counts.any()

    def merged(self, other: RangeStatistics) -> RangeStatistics:
        """Of both sets of numbers."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        result = RangeStatistics()
        result.low, result.high = min(self.low, other.low), max(self.high, other.high)
        wide, narrow = (self, other) if self._width >= other._width else (other, self)
        centres = narrow._centres()
        result._counts, result._width = wide._counts.copy(), wide._width
        result._widen(max(abs(result.low), abs(result.high)))
        places = np.floor(centres / result._width + BINS // 2).astype(np.int64).clip(0, BINS - 1)
        result._counts += np.bincount(places, narrow._counts, minlength=BINS)
        result._zeros = self._zeros + other._zeros
        return result

    def _centres(self) -> Array:
        return np.asarray((np.arange(BINS) - BINS // 2 + 0.5) * self._width)

    def scale(self, method: RangeMethod, bounds: tuple[float, float], *, symmetric: bool = False) -> Scale:
        """The scale for the numbers seen.

        Args:
            method: "error" ends the range where rounding and clipping together cost least, "percentile" where it holds
                PERCENTILE of the numbers on each side, "min-max" at the least and the largest.
            bounds: between which it must stay.
            symmetric: whether integers are signed, and 0 stands for 0.
        """
        low, high = max(self.low, bounds[0]), min(self.high, bounds[1])
        if self.is_empty:
            return Scale.of_range(0.0, 0.0, bounds, symmetric=symmetric)
        if method == "percentile":
            share = np.cumsum(self._counts) / self._counts.sum()
            edges = (np.arange(BINS) - BINS // 2) * self._width
            tail = 1.0 - PERCENTILE / 100.0
            first, last = np.searchsorted(share, [tail, 1.0 - tail])
            low, high = max(low, float(edges[first])), min(high, float(edges[min(last, BINS - 1)] + self._width))
        if method != "error":
            return Scale.of_range(low, high, bounds, symmetric=symmetric)
        return self._least_error(low, high, bounds, symmetric)

    def _least_error(self, low: float, high: float, bounds: tuple[float, float], symmetric: bool) -> Scale:
        rounded = self._counts.copy()
        rounded[BINS // 2] -= self._zeros  # whatever the scale, an integer stands for 0
        filled = rounded > 0.0
        numbers, counts = self._centres()[filled].clip(self.low, self.high), rounded[filled]
        best, least = Scale.of_range(low, high, bounds, symmetric=symmetric), math.inf
        for end in ENDS:
            scale = Scale.of_range(end * low, end * high, bounds, symmetric=symmetric)
            # numbers of a bin lie anywhere in it: what rounding costs on average, and what clipping costs
            clipped = numbers - numbers.clip(scale.low, scale.high)
            cost = float(counts @ (clipped**2 + (clipped == 0.0) * scale.step**2 / 12.0))
            if cost < least:
                best, least = scale, cost
        return best
