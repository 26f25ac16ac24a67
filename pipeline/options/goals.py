"""What a user wants of the compressed model, as numbers."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

from netsurgeon.pipeline.errors import InputError

DEFAULT_DROP = 0.01
_SHARES = {"": 1.0, "%": 0.01}
_BYTES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
_MILLISECONDS = {"": 1.0, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3}
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
Given = str | float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goals:
    """What the compressed model must keep to; None = free.

    Attributes:
        max_drop: of the task's metric, or of the agreement with the dense model, in its own units (0.01 = a point).
        speedup: time of the dense model over that of the compressed one, at least.
        latency: milliseconds of one run, at most.
        max_size: bytes of the file, at most.
        max_macs: multiply-adds of one sample, at most.
    """

    max_drop: float | None = None
    speedup: float | None = None
    latency: float | None = None
    max_size: int | None = None
    max_macs: int | None = None

    @property
    def is_timed(self) -> bool:
        """Whether a goal is measured with a clock."""
        return self.speedup is not None or self.latency is not None

    @property
    def is_structural(self) -> bool:
        """Whether a goal is met only by removing units."""
        return self.is_timed or self.max_macs is not None

    def __str__(self) -> str:
        """As on the command line."""
        words = []
        if self.max_drop is not None:
            words.append(f"--max-drop {100.0 * self.max_drop:g}%")
        if self.speedup is not None:
            words.append(f"--speedup {self.speedup:g}")
        if self.latency is not None:
            words.append(f"--latency {self.latency:g}ms")
        if self.max_size is not None:
            words.append(f"--max-size {self.max_size}")
        if self.max_macs is not None:
            words.append(f"--max-macs {self.max_macs}")
        return " ".join(words)


def read_goals(max_drop: Given, speedup: Given, latency: Given, max_size: Given, max_macs: Given) -> Goals | None:
    """Goals as they are given, in words or numbers; None where there are none.

    Raises:
        InputError: one of them is not understood, or can never or always be met.
    """
    if all(goal is None for goal in (max_drop, speedup, latency, max_size, max_macs)):
        return None
    drop = _read("max-drop", max_drop, _SHARES, "a share such as 1% or 0.01")
    if drop is not None and not 0.0 < drop < 1.0:
        raise InputError(f"max-drop is {max_drop}, expected more than 0 and less than 100%, such as 1% or 0.01")
    faster = _read("speedup", speedup, {"": 1.0, "x": 1.0}, "a number such as 2")
    if faster is not None and faster <= 1.0:
        raise InputError(f"speedup is {speedup}, expected more than 1: 2 is twice as fast")
    return Goals(
        max_drop=drop,
        speedup=faster,
        latency=_read("latency", latency, _MILLISECONDS, "a time such as 5ms"),
        max_size=_whole(_read("max-size", max_size, _BYTES, "a size such as 500KB or 2MB")),
        max_macs=_whole(_read("max-macs", max_macs, _COUNTS, "a number such as 40M")),
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _read(name: str, text: Given, units: Mapping[str, float], expected: str) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?\d+)?)\s*([a-zµ%]*)\s*", str(text).lower())
    if not match or match[2] not in units:
        raise InputError(f"{name} is {text!r}, expected {expected}")
    number = float(match[1]) * units[match[2]]
    if not 0.0 < number < math.inf:
        raise InputError(f"{name} is {text!r}, expected {expected}")
    return number
