"""What the instructions allow: the loop of the benchmark's roofline, and how many slots it counts of a layer."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from _sparse_models import Network
from sparse_kernels import Layer, library
from sparse_sessions import package

STEP = 64
"""Slots of a step at one pixel."""


def test_about_as_many_slots_are_multiplied_as_asked_for() -> None:
    for isa in library().isas:
        slots = library().repeat(isa, 1_000_000)
        assert slots % STEP == 0
        assert 0.9e6 < slots <= 1e6
        assert 0 < library().repeat(isa, 0) < 1e5


def test_an_instruction_set_that_is_not_here_is_refused() -> None:
    with pytest.raises(ValueError, match="'mmx' is not here"):
        library().repeat("mmx", 1)


def test_slots_are_those_of_the_kernels_own_steps() -> None:
    package()
    roof = importlib.import_module("_sparse_roof")
    network = Network(0.8, pattern="any")
    convolved = network.convolution(network.quantize("x", 0.02, 120), (96, 40), 3, step=0.02)
    model = network.model({"x": [1, 96, 5, 5]}, convolved, [1, 40, 5, 5])
    (weight,) = (roof.numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) == 4)
    for isa in library().isas:
        layer = Layer(np.ascontiguousarray(weight.transpose(0, 2, 3, 1)), np.ones(40, np.float32), isa=isa)
        assert roof.slots_of(model, roof.COLUMNS.get(isa, 64)) == STEP * layer.steps


def test_weights_of_products_are_counted_by_their_columns() -> None:
    package()
    roof = importlib.import_module("_sparse_roof")
    network = Network(0.0)
    model = network.model({"x": ["n", 128]}, network.product(network.measured("x"), (128, 32)), ["n", 32])
    assert roof.slots_of(model, 64) == 128 * 32  # all weights, and no slot is empty
