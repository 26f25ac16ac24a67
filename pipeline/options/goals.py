"""What a user wants of the compressed model, as numbers."""

from __future__ import annotations

import dataclasses

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import read_bytes, read_count, read_factor, read_milliseconds, read_share

DEFAULT_DROP = 0.01
Given = str | float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goals:
    """What the compressed model must keep to; None = free.

    Attributes:
        max_drop: of what models are judged by, in its own unit (0.01 = a point); of perplexity, mean squared error and
            PSNR a share of the dense model's.
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
            words.append(f"--max-size {self.max_size}B")
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
    drop = None if max_drop is None else read_share("max-drop", max_drop)
    if drop is not None and not 0.0 < drop < 1.0:
        raise InputError(f"max-drop is {max_drop}, expected more than 0 and less than 100%, such as 1% or 0.01")
    faster = None if speedup is None else read_factor("speedup", speedup)
    if faster is not None and faster <= 1.0:
        raise InputError(f"speedup is {speedup}, expected more than 1: 2 is twice as fast")
    return Goals(
        max_drop=drop,
        speedup=faster,
        latency=None if latency is None else read_milliseconds("latency", latency),
        max_size=None if max_size is None else read_bytes("max-size", max_size),
        max_macs=None if max_macs is None else read_count("max-macs", max_macs),
    )
