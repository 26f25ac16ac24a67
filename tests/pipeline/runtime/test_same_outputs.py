"""Whether two models give the same outputs: what counts as a difference, and how it is told."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from layer_files import RUNTIME, X, model_in_memory, weights

from netsurgeon.pipeline.runtime.same_outputs import relative_difference, verify_same

NAN, INF = np.nan, np.inf
F = np.float32


@pytest.mark.parametrize(
    ("wanted", "found", "difference"),
    [
        (np.array([1.0, -4.0]), np.array([1.0, -4.0]), 0.0),
        (np.array([1.0, -4.0]), np.array([1.5, -4.0]), 0.125),
        (np.array([1.0, 1000.0]), np.array([2.0, 1000.0]), 0.001),
        (np.array(2.0), np.array(1.0), 0.5),
        (np.zeros(3), np.zeros(3), 0.0),
        (np.zeros(3), np.array([0.0, 1e-30, 0.0]), INF),
        (np.array([2.0, 0.0], F), np.array([1.0, 0.0], F), 0.5),
        (np.array([6e4], np.float16), np.array([-6e4], np.float16), 2.0),
        (np.array([NAN, 2.0]), np.array([NAN, 2.0]), 0.0),
        (np.array([NAN, 2.0]), np.array([NAN, 1.0]), 0.5),
        (np.array([NAN]), np.array([NAN]), 0.0),
        (np.array([NAN, 2.0]), np.array([0.0, 2.0]), INF),
        (np.array([0.0, 2.0]), np.array([NAN, 2.0]), INF),
        (np.array([INF, 2.0]), np.array([INF, 1.0]), 0.5),
        (np.array([INF]), np.array([INF]), 0.0),
        (np.array([INF]), np.array([-INF]), INF),
        (np.array([INF, 1.0]), np.array([5.0, 1.0]), INF),
        (np.array([5.0, 1.0]), np.array([INF, 1.0]), INF),
        (np.array([INF, 1.0]), np.array([NAN, 1.0]), INF),
        (np.array([1, 2]), np.array([1, 2]), 0.0),
        (np.array([1, 2_000_000_000]), np.array([1, 1_999_999_999]), INF),
        (np.array([True]), np.array([False]), INF),
        (np.array(["a", "b"], object), np.array(["a", "b"], object), 0.0),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), INF),
        (np.array([1 + 1j]), np.array([1 + 1j]), 0.0),
        (np.array([3 + 4j]), np.array([3 - 4j]), 1.6),
        (np.zeros((2, 3)), np.zeros((3, 2)), INF),
        (np.zeros((1, 3)), np.zeros(3), INF),
        (np.zeros(3), np.zeros(3, F), INF),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0.0),
        (np.zeros((0, 3)), np.zeros((0, 2)), INF),
        ([np.ones(2), np.array([4.0])], [np.ones(2), np.array([3.0])], 0.25),
        ([np.ones(2)], [np.ones(2), np.ones(2)], INF),
        ([], [], 0.0),
        ([np.ones(2)], np.ones(2), INF),
        (None, None, 0.0),
        (None, np.ones(2), INF),
        ("a", "a", 0.0),
        ("a", "b", INF),
        ([{1: 0.5, 2: 0.25}], [{2: 0.25, 1: 0.5}], 0.0),
        ([{1: 0.5, 2: 0.25}], [{1: 0.5, 2: 0.3}], 0.1),
        ([{1: 0.5}], [{2: 0.5}], INF),
    ],
)
def test_relative_difference(wanted: Any, found: Any, difference: float) -> None:
    assert relative_difference(wanted, found) == pytest.approx(difference)


def test_the_largest_finite_numbers_do_not_overflow_into_agreement() -> None:
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        assert relative_difference(np.array([largest]), np.array([-largest])) > 1


def test_models_that_differ_are_told_apart() -> None:
    first, second = model_in_memory(), model_in_memory()
    assert verify_same(first, second, {"x": X}, RUNTIME) is None
    second.graph.initializers["w"].const_value = ir.tensor(weights()["w"] * np.float32(1.01), name="w")
    found = verify_same(first, second, {"x": X}, RUNTIME)
    assert found is not None
    assert found.startswith("output 'z' differs by 0.0")
    assert found.endswith("of its scale, allowed 0.0001")
    assert verify_same(first, second, {"x": X}, RUNTIME, tolerance=0.1) is None
