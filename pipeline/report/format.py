"""Times and speedups as people read them."""

from __future__ import annotations

from netsurgeon.pipeline.profiling import Ratio, Spread


def milliseconds(spread: Spread) -> str:
    """`4.21 (4.10 to 4.77)`: median, first and last decile."""
    return f"{spread.median:.4g} ({spread.low:.4g} to {spread.high:.4g})"


def speedup(ratio: Ratio) -> str:
    """`÷ 1.84 (1.80 to 1.88)`: how many times less, with its 95 % interval."""
    return f"÷ {ratio.value:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"
