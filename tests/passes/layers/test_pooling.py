"""Layers that read the mean of a map, and what the map's positions tell the damping."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.layers.pooling import ISOTROPIC, PooledMap, ridge_of
from netsurgeon.passes.solvers import damping as damping_module
from netsurgeon.passes.solvers import methods, problem
from netsurgeon.passes.solvers.statistics import Moments, Statistics

Array = NDArray[Any]
node = helper.make_node
GAP, FLATTEN = node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["f"])
GEMM = node("Gemm", ["f", "w"], ["z"], transB=1)
MANY = 10**6


def layer_of(nodes: Sequence[onnx.NodeProto], weight: Sequence[int] = (4, 6), opset: int = 18) -> Layer:
    """The only layer of a model with an input x of 4 axes, of 6 channels."""
    constants = {
        "w": np.ones(weight, np.float32),
        "space": np.array([-1, 2]),
        "nowhere": np.array([], np.int64),
        "flat": np.array([0, -1]),
    }
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, None, None])],
        [onnx.ValueInfoProto(name="z")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    (layer,) = find_layers(ir.from_proto(model).graph)[0]
    return layer


def mean(*inputs: str, **attributes: Any) -> onnx.NodeProto:
    return node("ReduceMean", ["x", *inputs], ["p"], **attributes)


BEHIND: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "global pool": ([GAP, FLATTEN, GEMM], {}),
    "reshaped": ([GAP, node("Reshape", ["p", "flat"], ["f"]), GEMM], {}),
    "1x1 convolution": ([GAP, node("Conv", ["p", "w"], ["z"])], {"weight": (4, 6, 1, 1)}),
    "whole average pool": (
        [node("AveragePool", ["x"], ["p"], kernel_shape=[3, 5]), node("Squeeze", ["p", "space"], ["f"]), GEMM],
        {},
    ),
    "without training": ([GAP, node("Dropout", ["p"], ["d"]), node("Flatten", ["d"], ["f"]), GEMM], {}),
    "mean, axes given": ([mean("space", keepdims=0), node("MatMul", ["p", "w"], ["z"])], {"weight": (6, 4)}),
    "mean, axes an attribute": ([mean(axes=[2, 3], keepdims=0), node("Identity", ["p"], ["f"]), GEMM], {"opset": 13}),
}


@pytest.mark.parametrize("case", BEHIND)
def test_deviations_are_what_is_left_of_a_map_without_its_mean(case: str) -> None:
    nodes, options = BEHIND[case]
    layer = layer_of(nodes, **options)
    found = PooledMap.of(layer)
    assert found is not None
    assert found.value.name == "x"
    x = np.random.default_rng(0).standard_normal((2, 6, 3, 5)).astype(np.float32)
    rows = found.deviations(x, layer, MANY, np.random.default_rng(0))
    assert rows is not None
    expected = (x - x.mean(axis=(2, 3), keepdims=True)).transpose(0, 2, 3, 1).reshape(1, 30, 6)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    few = found.deviations(x, layer, 7, np.random.default_rng(0))
    assert few is not None
    assert few.shape == (1, 7, 6)
    assert all((row == rows).all(axis=-1).any() for row in few[0])


@pytest.mark.parametrize(
    ("nodes", "options"),
    [
        ([node("Softmax", ["x"], ["p"]), FLATTEN, GEMM], {}),
        ([node("GlobalMaxPool", ["x"], ["p"]), FLATTEN, GEMM], {}),
        ([GAP, node("Relu", ["p"], ["r"]), node("Flatten", ["r"], ["f"]), GEMM], {}),
        ([mean("nowhere", keepdims=0), GEMM], {}),
        ([GAP, node("Conv", ["p", "w"], ["z"], group=2)], {"weight": (4, 3, 1, 1)}),
        ([mean("space", keepdims=0), node("MatMul", ["w", "p"], ["z"])], {}),
        ([node("Gemm", ["x", "w"], ["z"], transB=1)], {}),
    ],
    ids=["no pool", "maximum", "something between", "no axes", "groups", "weight on the left", "the graph's input"],
)
def test_layers_behind_no_mean(nodes: Sequence[onnx.NodeProto], options: dict[str, Any]) -> None:
    assert PooledMap.of(layer_of(nodes, **options)) is None


def test_averages_that_are_not_one_number_a_column_and_sample() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 4, 4)).astype(np.float32)
    quarters = layer_of(
        [node("AveragePool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), FLATTEN, GEMM], (4, 24)
    )
    rows = layer_of([mean(axes=[3], keepdims=0), node("Flatten", ["p"], ["f"]), GEMM], (4, 24), opset=13)
    batch = layer_of([mean(axes=[0, 2], keepdims=0), node("Identity", ["p"], ["f"]), GEMM], opset=13)
    for layer in (quarters, rows, batch):
        found = PooledMap.of(layer)
        assert found is not None
        assert found.deviations(x, layer, MANY, rng) is None
    whole = layer_of([GAP, FLATTEN, GEMM])
    found = PooledMap.of(whole)
    assert found is not None
    assert found.deviations(x[..., :1, :1], whole, MANY, rng) is None, "one position does not vary"
    assert found.deviations(x[0], whole, MANY, rng) is None


def test_a_ridge_is_the_covariance_within_and_a_little_of_the_identity() -> None:
    deviations = np.random.default_rng(0).standard_normal((1, 500, 5)).astype(np.float32) * np.arange(5, dtype="f4")
    moments = Moments(1, 5, paired=False)
    moments.update(deviations)
    found = ridge_of(moments)
    assert found is not None
    within = deviations[0].T @ deviations[0] / 500
    expected = (1 - ISOTROPIC) * within * 5 / np.trace(within) + ISOTROPIC * np.eye(5)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    assert np.trace(found[0]) == pytest.approx(5)
    assert np.linalg.eigvalsh(found[0]).min() > 0.9 * ISOTROPIC, "input 0 never varies"


def test_maps_that_do_not_vary_have_no_ridge() -> None:
    layer = layer_of([GAP, FLATTEN, GEMM])
    found, moments = PooledMap.of(layer), Moments(1, 6, paired=False)
    assert found is not None
    assert ridge_of(moments) is None
    flat = np.random.default_rng(0).standard_normal((4, 6, 1, 1)) * np.ones((4, 6, 7, 9))
    rows = found.deviations(flat.astype(np.float32), layer, MANY, np.random.default_rng(0))
    assert rows is not None
    moments.update(rows)
    assert ridge_of(moments) is None, "a mean of equal numbers is rounded"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_numbers_that_the_average_leaves_out_may_be_anything() -> None:
    moments = Moments(1, 3, paired=False)
    moments.update(np.array([[[1.0, 2.0, 3.0], [np.inf, 1.0, -1.0]]], np.float32))
    assert ridge_of(moments) is None


@pytest.mark.parametrize("seed", range(3))
def test_with_few_pictures_the_ridge_prunes_better_for_others(seed: int) -> None:
    """Pictures whose positions vary as their means do: fewer of them than columns, and fresh ones to measure on."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((64, 64)) * np.arange(1, 65) ** -0.7
    weight = rng.standard_normal((1, 32, 64))

    def maps(count: int) -> Array:
        pictures = rng.standard_normal((count, 1, 64)) + rng.standard_normal((count, 25, 64))
        return np.asarray(pictures @ mixing.T, np.float32)

    seen, fresh = maps(48), maps(4000).mean(axis=1)
    moments, within = Moments(1, 64, paired=False), Moments(1, 64, paired=False)
    moments.update(seen.mean(axis=1)[None])
    within.update((seen - seen.mean(axis=1, keepdims=True)).reshape(1, -1, 64))

    def error(statistics: Statistics, damping: float) -> float:
        pruned = methods.prune(problem.Problem.of(weight, statistics, damping), 1024, "auto")
        return float(np.sum(((pruned - weight)[0] @ fresh.T) ** 2))

    plain = moments.statistics(centred=False)
    informed = dataclasses.replace(plain, ridge=ridge_of(within))
    best = min(error(plain, damping) for damping in damping_module.DAMPINGS)
    assert min(error(informed, damping) for damping in damping_module.RIDGE_DAMPINGS) < 0.9 * best
