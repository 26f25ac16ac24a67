"""What all code calls to say how far it is: a stage, or the ticks of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Called with the stage, the steps done and the steps in all."""
Ticks = Callable[[int, int], None]
"""Called with the steps done and the steps in all of one stage, which the caller has chosen."""


def silent(stage: str, done: int, count: int) -> None:
    """Progress that nobody follows."""
    del stage, done, count


def no_ticks(done: int, count: int) -> None:
    """Ticks that nobody follows."""
    del done, count


def ticking(items: Iterable[T], ticks: Ticks, count: int) -> Iterator[T]:
    """The same items, of which there are `count`, with a tick before each."""
    for done, item in enumerate(items):
        ticks(done, count)
        yield item


def part_of(ticks: Ticks, number: int, parts: int) -> Ticks:
    """Ticks of one of some parts that take about as long as each other, whose steps are counted through."""
    return lambda done, count: ticks(number * count + done, parts * count)
