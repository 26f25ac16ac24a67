"""Times, speedups and kinds of inputs as people read them."""

from __future__ import annotations

from netsurgeon.pipeline.profiling import Ratio, Spread
from netsurgeon.pipeline.verification import Validation


def inputs_measured(validation: Validation) -> str:
    """What kind of inputs the figures are of, in words."""
    if validation.folds > 1:
        return "inputs, each half by a model corrected on the other half; the delivered model is corrected on both"
    return "inputs that calibration never saw" if validation.held_out else "calibration inputs: none were held out"


def milliseconds(spread: Spread) -> str:
    """`4.21 (4.10 to 4.77)`: median, first and last decile."""
    return f"{spread.median:.4g} ({spread.low:.4g} to {spread.high:.4g})"


def speedup(ratio: Ratio) -> str:
    """`÷ 1.84 (1.80 to 1.88)`: how many times less, with its 95 % interval."""
    return f"÷ {ratio.value:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"
