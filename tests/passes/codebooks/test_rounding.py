"""Rounded weights pack small; what would be lost is left, with the reason."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from sparse_weights import Array, sparse

from netsurgeon.passes.codebooks.codebooks import (
    fit_codebook,
    relative_error,
    round_to_codebook,
)
from netsurgeon.passes.codebooks.rounding import Values, round_weights
from netsurgeon.passes.packing.encodings import choose_encoding


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
    assert encoding.index is not None
    assert size < encoding.index.entries < 3 * size
