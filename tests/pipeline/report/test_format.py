"""Times and speedups as people read them: four and three digits, with what they spread over."""

import pytest

from netsurgeon.pipeline.profiling.timing import Ratio, Spread
from netsurgeon.pipeline.report.format import milliseconds, speedup


@pytest.mark.parametrize(
    ("spread", "text"),
    [
        (Spread(4.21, 4.1, 4.77), "4.21 (4.1 to 4.77)"),
        (Spread(0.0123456, 0.012, 0.5), "0.01235 (0.012 to 0.5)"),
        (Spread(1234.56, 1200.04, 99999.0), "1235 (1200 to 1e+05)"),
        (Spread(0.0, 0.0, 0.0), "0 (0 to 0)"),
    ],
)
def test_milliseconds_have_four_digits(spread: Spread, text: str) -> None:
    assert milliseconds(spread) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (Ratio(1.8449, 1.8, 1.88), "÷ 1.84 (1.8 to 1.88)"),
        (Ratio(0.5, 0.45, 0.551), "÷ 0.5 (0.45 to 0.551)"),
        (Ratio(123.4, 99.96, 150.0), "÷ 123 (100 to 150)"),
    ],
)
def test_speedups_have_three_digits(ratio: Ratio, text: str) -> None:
    assert speedup(ratio) == text
