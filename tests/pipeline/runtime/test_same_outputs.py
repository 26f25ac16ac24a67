"""Whether two models give the same outputs: what counts as a difference, and how it is told."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from layer_files import RUNTIME, X, model_in_memory, weights

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.runtime.large_models import Feed
from netsurgeon.pipeline.runtime.same_outputs import relative_difference, same_bits, verify_same

NAN, INF = np.nan, np.inf
F = np.float32


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
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
def test_relative_difference(expected: Any, actual: Any, difference: float) -> None:
    assert relative_difference(expected, actual) == pytest.approx(difference)


def test_the_largest_finite_numbers_do_not_overflow_into_agreement() -> None:
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        assert relative_difference(np.array([largest]), np.array([-largest])) > 1


def test_models_that_differ_are_told_apart() -> None:
    first, second = model_in_memory(), model_in_memory()
    assert verify_same(first, second, {"x": X}, RUNTIME) is None
    second.graph.initializers["w"].const_value = ir.tensor(weights()["w"] * np.float32(1.01), name="w")
    complaint = verify_same(first, second, {"x": X}, RUNTIME)
    assert complaint is not None
    assert complaint.code == "outputs-differ"
    assert complaint.data["output"] == "z"
    assert verify_same(first, second, {"x": X}, RUNTIME, tolerance=0.1) is None


def network(nodes: str, output: str = "float[N] y", values: str = "{1, 2, 3}") -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> network (float[N] x) => ({output}) '
        f"<float[3] c = {values}> {{ {nodes} }}"
    )


FEED: Feed = {"x": np.array([0.1, -0.2, NAN], F)}
LABELS = "i = ArgMax<axis = 0, keepdims = 0>(c)\n t = Constant<value_strings = [{}]>()\n y = Gather(t, i)"
BITS: dict[str, tuple[ir.Model, ir.Model, bool]] = {
    "the same": (network("y = Add(x, c)"), network("y = Add(x, c)"), True),
    "the last bit": (network("y = Mul(x, c)"), network("y = Mul(x, c)", values="{1.0000001, 2, 3}"), False),
    "the sign of zero": (network("z = Sub(c, c)\n y = Abs(z)"), network("z = Sub(c, c)\n y = Neg(z)"), False),
    "another shape": (
        network("y = Add(x, c)", "float[M, N] y"),
        network("n = Add(x, c)\n p = Constant<value_ints = [0]>()\n y = Unsqueeze(n, p)", "float[M, N] y"),
        False,
    ),
    "another type": (network("y = Neg(x)"), network("n = Neg(x)\n y = Cast<to = 11>(n)", "double[N] y"), False),
    "texts": (
        network(LABELS.format('"cat", "dog", "eel"'), "string y"),
        network(LABELS.format('"cat", "dog", "eel"'), "string y"),
        True,
    ),
    "another text": (
        network(LABELS.format('"cat", "dog", "eel"'), "string y"),
        network(LABELS.format('"cat", "dog", "emu"'), "string y"),
        False,
    ),
    "a sequence": (
        network("y = SequenceConstruct(x, c)", "seq(float[N]) y"),
        network("y = SequenceConstruct(x, c)", "seq(float[N]) y"),
        True,
    ),
    "a longer sequence": (
        network("y = SequenceConstruct(x, c)", "seq(float[N]) y"),
        network("y = SequenceConstruct(x, c, c)", "seq(float[N]) y"),
        False,
    ),
    "the last bit within a sequence": (
        network("d = Cast<to = 11>(c)\n y = SequenceConstruct(d)", "seq(double[N]) y"),
        network(
            "d = Cast<to = 11>(c)\n o = Constant<value_float = 1e-12>()\n e = Cast<to = 11>(o)\n"
            "f = Add(d, e)\n y = SequenceConstruct(f)",
            "seq(double[N]) y",
        ),
        False,
    ),
}


@pytest.mark.parametrize("kind", BITS)
def test_the_last_bit_counts(kind: str) -> None:
    expected, actual, are_same = BITS[kind]
    complaint = same_bits(expected, actual, FEED, RUNTIME)
    if are_same:
        assert complaint is None
    else:
        assert complaint == "output 'y' of the packed model is not equal to the unpacked one to the last bit"


@pytest.mark.parametrize("compare", [same_bits, verify_same])
def test_a_model_that_cannot_run_is_the_complaint(compare: Any) -> None:
    good, bad = network("y = Add(x, c)"), network("p = Constant<value_ints = [7, 7]>()\n y = Reshape(x, p)")
    assert "the model cannot run on this input" in str(compare(good, bad, FEED, RUNTIME))
    with pytest.raises(CheckFailedError, match="the model cannot run on this input"):
        compare(bad, good, FEED, RUNTIME)


def test_the_output_that_differs_is_named() -> None:
    outputs = "float[N] y, float[N] z"
    first = network("y = Add(x, c)\n z = Mul(x, c)", outputs)
    second = network("y = Add(x, c)\n z = Sub(x, c)", outputs)
    for compare in (same_bits, verify_same):
        assert str(compare(first, second, FEED, RUNTIME)).startswith("output 'z' ")
