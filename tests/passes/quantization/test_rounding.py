"""Rounded weights pack small; what would be lost is left, with the reason."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.packing.encodings import choose_encoding
from netsurgeon.passes.quantization.codebooks import (
    fit_codebook,
    refit_codebook,
    relative_error,
    replace_codebook,
    round_to_codebook,
)
from netsurgeon.passes.quantization.rounding import Values, round_weights
from netsurgeon.passes.solvers.linalg import FactorizationError

Array = NDArray[Any]


def model_of(**weights: Array) -> ir.Model:
    values = [ir.val(name, const_value=ir.tensor(weight, name=name)) for name, weight in weights.items()]
    nodes = [ir.node("Identity", [value], name=f"use_{value.name}") for value in values]
    outputs = [node.outputs[0] for node in nodes]
    graph = ir.Graph([], outputs, nodes=nodes, initializers=values, opset_imports={"": 13}, name="g")
    return ir.Model(graph, ir_version=7)


def weight_of(model: ir.Model, name: str = "w") -> Array:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def sparse(shape: tuple[int, ...], sparsity: float = 0.8, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * (rng.random(shape) >= sparsity)).astype(np.float32)


@pytest.mark.parametrize(("own", "shorter"), [("float32", "float16"), ("float64", "float16"), ("float64", "float32")])
def test_floats_are_rounded_to_the_nearest(own: str, shorter: Any) -> None:
    weight = sparse((50, 50)).astype(own) * np.pi
    model = model_of(w=weight, other=weight)
    [rounding] = round_weights(model, ["w"], shorter)
    assert rounding.reason is None
    assert rounding.error > 0.0
    rounded = weight_of(model)
    assert rounded.dtype == own
    np.testing.assert_array_equal(rounded, weight.astype(shorter).astype(own))
    assert weight_of(model, "other").tobytes() == weight.tobytes()
    assert choose_encoding(rounded, 1)[0].dtype == shorter


def test_negative_zeros_become_zeros() -> None:
    weight = np.where(sparse((30, 30)) == 0, np.float32(-0.0), np.float32(1.5))
    model = model_of(w=weight)
    round_weights(model, ["w"])
    assert not np.signbit(weight_of(model)).any()
    np.testing.assert_array_equal(weight_of(model), weight)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(1e6, "overflow"), (np.nan, "not finite"), (np.inf, "not finite")],
)
def test_what_float16_would_lose_is_left(value: float, reason: str) -> None:
    weight = sparse((20, 20))
    weight[0, 0] = value
    model = model_of(w=weight)
    [rounding] = round_weights(model, ["w"])
    assert rounding.reason is not None
    assert reason in rounding.reason
    assert weight_of(model).tobytes() == weight.tobytes()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_below_the_range_of_float16_does_not_become_zero(sign: int) -> None:
    weight = sparse((20, 20))
    weight[0, 0] = sign * 1e-9
    model = model_of(w=weight)
    [rounding] = round_weights(model, ["w"])
    assert rounding.reason is None
    assert weight_of(model)[0, 0] == sign * 2.0**-24
    np.testing.assert_array_equal(weight_of(model) != 0, weight != 0)


def test_a_large_error_is_left() -> None:
    [rounding] = round_weights(model_of(w=sparse((20, 20)) * np.float32(1e-5)), ["w"])
    assert rounding.reason is not None
    assert "relative error would be" in rounding.reason
    coarse = np.full((20, 20), 1.49 * 2**-24, np.float32)
    [rounding] = round_weights(model_of(w=coarse), ["w"])
    assert rounding.reason == "its relative error would be 0.33, above 0.001"


def test_other_types_are_left_with_a_reason() -> None:
    [rounding] = round_weights(model_of(whole=np.ones(9, np.int64)), ["whole"])
    assert rounding.reason == "it holds no floats that are rounded"


@pytest.mark.parametrize(("dtype", "values"), [("float16", "float16"), ("float16", "float32"), ("float32", "float32")])
def test_what_is_short_enough_already_needs_no_reason(dtype: str, values: Values) -> None:
    model = model_of(w=np.ones(9, dtype))
    before = model.graph.initializers["w"].const_value
    assert [rounding.reason for rounding in round_weights(model, ["w"], values)] == [None]
    assert model.graph.initializers["w"].const_value is before


def test_an_unknown_name_changes_nothing() -> None:
    model = model_of(w=sparse((20, 20)))
    with pytest.raises(ValueError, match="not initializers of the model: v"):
        round_weights(model, ["w", "v"])
    assert weight_of(model).tobytes() == sparse((20, 20)).tobytes()


@pytest.mark.parametrize("size", [16, 255])
def test_a_codebook_keeps_zeros_and_packs(size: int) -> None:
    weight = sparse((200, 200))
    codebook = fit_codebook(weight[weight != 0], size).astype(np.float16).astype(np.float32)
    rounded = round_to_codebook(weight, codebook)
    assert relative_error(weight, rounded) < {16: 0.11, 255: 0.008}[size]
    assert np.unique(rounded[rounded != 0]).size <= size
    np.testing.assert_array_equal(rounded == 0, weight == 0)
    encoding, _ = choose_encoding(rounded, 1)
    assert encoding.dtype == "float16"
    assert encoding.index_bits == {16: 5, 255: 8}[size]


def test_few_values_are_their_own_codebook() -> None:
    np.testing.assert_array_equal(fit_codebook(np.array([2.0, -1.0, 2.0, 5.0]), 3), [-1.0, 2.0, 5.0])
    with pytest.raises(ValueError, match="a codebook needs values"):
        fit_codebook(np.zeros(0))


@settings(max_examples=30)
@given(seed=st.integers(0, 999), size=st.integers(1, 40), weighted=st.booleans(), heavy=st.booleans())
def test_each_entry_is_the_mean_of_its_cell(seed: int, size: int, weighted: bool, heavy: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_cauchy(400) if heavy else rng.standard_normal(400)
    weights = rng.random(400) + 0.1
    codebook = fit_codebook(values, size, weights if weighted else None, iterations=5000)
    assert 1 <= codebook.size <= size
    nearest = np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values, side="right")
    mass = weights if weighted else np.ones(400)
    means = np.bincount(nearest, mass * values) / np.bincount(nearest, mass)
    np.testing.assert_allclose(means, codebook, rtol=1e-8, atol=1e-9)


def test_equal_weights_are_no_weights() -> None:
    values = np.random.default_rng(0).standard_normal(3000)
    weighted = fit_codebook(values, 30, np.full(3000, 1.0))
    np.testing.assert_allclose(weighted, fit_codebook(values, 30), rtol=1e-12)


def test_rounding_takes_the_nearest() -> None:
    weight, codebook = sparse((40, 40)), np.array([-1.0, -0.25, 0.5, 2.0])
    rounded = round_to_codebook(weight, codebook)
    best = np.abs(weight[..., None] - codebook).min(axis=-1)
    np.testing.assert_allclose(np.abs(rounded - weight)[weight != 0], best[weight != 0], rtol=1e-6)


def problem(seed: int = 0) -> tuple[Array, Array, Array]:
    """A rounded weight (12, 9), its target, and a Hessian (9, 9)."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((30, 9))
    target = rng.standard_normal((12, 9))
    weight = target * (rng.random((12, 9)) < 0.6)
    rounded = round_to_codebook(weight, fit_codebook(weight[weight != 0], 6))
    return rounded, target, inputs.T @ inputs


def test_refit_is_the_least_squares_solution() -> None:
    weight, target, hessian = problem()
    codebook = np.unique(weight[weight != 0])
    factor = np.linalg.cholesky(hessian)
    design = np.stack([((weight == entry) @ factor).ravel() for entry in codebook], axis=1)
    expected = np.linalg.lstsq(design, (target @ factor).ravel(), rcond=None)[0]
    np.testing.assert_allclose(refit_codebook(weight, target, hessian, 1e-14), expected, rtol=1e-8)


def test_refit_lowers_the_error_and_keeps_the_zeros() -> None:
    weight, target, hessian = problem(1)
    refitted = replace_codebook(weight, refit_codebook(weight, target, hessian))

    def error(candidate: Array) -> float:
        return float(np.einsum("ri,ij,rj->", candidate - target, hessian, candidate - target))

    assert error(refitted) < error(weight)
    np.testing.assert_array_equal(refitted == 0, weight == 0)


def test_refit_of_nothing_and_of_a_bad_hessian() -> None:
    weight, target, hessian = problem()
    assert refit_codebook(np.zeros_like(weight), target, hessian).size == 0
    with pytest.raises(FactorizationError, match="damping 1e-08"):
        refit_codebook(weight, target, -hessian)
