"""Errors are shares of what the dense outputs vary by, over those that are floats."""

import numpy as np
import pytest

from netsurgeon.pipeline.repair import relative_error

RNG = np.random.default_rng(0)
DENSE = [{"y": RNG.standard_normal((8, 4)) * [1.0, 2.0, 3.0, 4.0] + 10.0, "class": np.arange(8)} for _ in range(3)]


def test_an_error_as_large_as_the_variance_is_one() -> None:
    joined = np.concatenate([feed["y"] for feed in DENSE])
    shift = np.sqrt(joined.var(axis=0).mean())
    moved = [{"y": feed["y"] + shift, "class": feed["class"] + 1} for feed in DENSE]
    assert relative_error(DENSE, moved) == pytest.approx(1.0)
    halfway = [{"y": feed["y"] + shift / 2, "class": feed["class"]} for feed in DENSE]
    assert relative_error(DENSE, halfway) == pytest.approx(0.25)
    assert relative_error(DENSE, DENSE) == 0.0
