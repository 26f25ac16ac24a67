"""The kernels for ARM, in an emulator: which of them run on which processor. What they compute: test_layers.py."""

from __future__ import annotations

import numpy as np
import pytest
import sparse_emulator
from sparse_emulator import emulated
from sparse_kernels import Fields, Layer

pytestmark = pytest.mark.skipif(bool(sparse_emulator.what_is_missing()), reason=sparse_emulator.what_is_missing())


def test_the_processor_decides_between_dot_products_and_plain_vectors() -> None:
    assert emulated(sparse_emulator.DOT_PRODUCTS).isas == ["neon-dotprod", "neon", "scalar"]
    assert emulated(sparse_emulator.PLAIN).isas == ["neon", "scalar"]


def test_code_for_dot_products_does_not_run_without_them() -> None:
    with pytest.raises(ValueError, match="'neon-dotprod' is not here"):
        Layer(
            np.ones((1, 1, 1, 1), np.int8), np.ones(1, np.float32), isa="neon-dotprod",
            backend=emulated(sparse_emulator.PLAIN),
        )  # fmt: skip


@pytest.mark.parametrize("processor", [sparse_emulator.DOT_PRODUCTS, sparse_emulator.PLAIN])
def test_threads_and_processors_change_nothing(processor: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (40, 3, 3, 96)).astype(np.int8)
    weight[rng.random(weight.shape) < 0.8] = 0
    inputs = rng.integers(0, 256, (2, 9, 8, 96), np.uint8)
    scale, fields = np.full(40, 1e-3, np.float32), Fields(kernel=(3, 3), pads=(1, 1, 1, 1), input_zero_point=200)
    here = Layer(weight, scale, fields=fields)(inputs)
    there = Layer(weight, scale, fields=fields, backend=emulated(processor))
    assert len(np.unique(here)) > 20
    for threads in (1, 4):
        assert np.array_equal(there(inputs, threads=threads), here)
