"""Numbers of things as sentences say them: one layer is not `1 layers`."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """So many of a thing: `1 layer`, `1,200 layers`, `0 axes`.

    Args:
        count: how many there are.
        noun: what one of them is called.
        plural: what several are called; None = as `noun`, with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
