"""Prices of units whose consumers cannot be corrected, against what removing them does in ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
from masked_models import encoder, padded, sentences, unpadded
from numpy.typing import NDArray

from netsurgeon.passes.dependencies.positions import position_axes
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.position_mask import PositionMask
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.model_files.loading import input_specs, open_model
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime.observations import observe, tapped
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.unit_energies import uncorrected
from netsurgeon.pipeline.trimming.unit_finder import find_units
from netsurgeon.pipeline.trimming.unit_prices import count_zeros
from netsurgeon.pipeline.verification.inputs import open_by_options

Array = NDArray[Any]
node = onnx.helper.make_node


def normal(*shape: int) -> Array:
    return np.asarray(np.random.default_rng([*shape]).standard_normal(shape), np.float32)


def built(nodes: list[onnx.NodeProto], weights: dict[str, Array], entry: list[int | str], rank: int) -> ir.Model:
    held_out = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, entry)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * rank)],
        held_out,
    )
    opsets = [onnx.helper.make_opsetid("", 23)]
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))


def transposed(groups: int) -> tuple[ir.Model, Array, str]:
    """Patches that do not overlap, of a shifted input: its mean counts as well."""
    nodes = [
        node("Conv", ["x", "w"], ["h"], "first"),
        node("Relu", ["h"], ["r"]),
        node("ConvTranspose", ["r", "v"], ["t"], "up", strides=[2, 2], group=groups),
        node("Conv", ["t", "u"], ["y"], "last"),
    ]
    weights = {"w": normal(8, 3, 1, 1), "v": normal(8, 4, 2, 2), "u": normal(2, 4 * groups, 1, 1)}
    return built(nodes, weights, ["N", 3, 5, 5], 4), normal(40, 3, 5, 5), "t"


def attention() -> tuple[ir.Model, Array, str]:
    """Queries and keys of 6 numbers."""
    nodes = [
        node("MatMul", ["x", "a"], ["q"], "query"),
        node("MatMul", ["x", "b"], ["k"], "key"),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["t"], "scores"),
        node("Softmax", ["t"], ["y"]),
    ]
    return built(nodes, {"a": normal(7, 6), "b": normal(6, 7).T.copy()}, ["N", 4, 7], 3), normal(40, 4, 7), "t"


@pytest.mark.parametrize("case", [transposed(1), transposed(2), attention()], ids=["one group", "groups", "attention"])
def test_the_price_is_what_removing_does(case: tuple[ir.Model, Array, str], request: pytest.FixtureRequest) -> None:
    """One unit after the other, and all of them together, at what the sum has lost."""
    model, x, target = case
    runtime = Runtime()
    calibration = Calibration(open_samples({"x": x}, input_specs(model)), runtime)
    dependencies = find_units(model, calibration)
    count = len(dependencies.units)
    (priced,), unknown = uncorrected(model, dependencies, np.append(np.arange(count), -1), calibration)
    assert not unknown
    dense = runtime.session(tapped(model, [target])).run({"x": x}, [target])[target].astype(np.float64)

    def residual(*numbers: int) -> float:
        masked = model.clone()
        MaskUnits([dependencies.units[number] for number in numbers])(masked)
        return float(np.square(runtime.session(tapped(masked, [target])).run({"x": x}, [target])[target] - dense).sum())

    reading = [
        unit.number for unit in dependencies.units if unit.products or any(c.columns is None for c in unit.consumers)
    ]
    assert len(reading) in (6, 8, 4)
    ((units, prices),) = priced.prices()
    assert units.tolist() == reading
    effects = np.array([residual(number) for number in reading])
    # up to the factor that makes it relative
    np.testing.assert_allclose(prices / prices.sum(), effects / effects.sum(), rtol=1e-4)
    some = np.array(reading[1:4])
    together = priced.remove(some).sum()
    assert together / prices[0] == pytest.approx(residual(*some) / effects[0], rel=1e-3)
    if "attention" in request.node.callspec.id:  # no bias could take up a mean: all of the sum counts
        assert prices[0] == pytest.approx(effects[0] / np.square(dense).sum(), rel=1e-4)


def test_queries_and_keys_in_heads_cost_what_they_cost_as_matrices() -> None:
    """Two keys for four queries: in one operator, and operator by operator."""
    projections = [node("MatMul", ["x", name], [out], out) for name, out in (("a", "q"), ("b", "k"), ("c", "v"))]
    fused = node("Attention", ["q", "k", "v"], ["m"], "fused", q_num_heads=4, kv_num_heads=2)
    parts = []
    for value, count in (("q", 4), ("k", 2), ("v", 2)):
        parts += [
            node("Reshape", [value, f"apart{count}"], [f"{value}1"]),
            node("Transpose", [f"{value}1"], [f"{value}2"], perm=[0, 2, 1, 3]),
        ]
        if count == 2:
            parts += [
                node("Unsqueeze", [f"{value}2", "two"], [f"{value}3"]),
                node("Expand", [f"{value}3", "copies"], [f"{value}4"]),
                node("Reshape", [f"{value}4", "heads"], [f"{value}5"]),
            ]
    parts += [
        node("Transpose", ["k5"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q2", "kt"], ["s"], "scores"),
        node("Mul", ["s", "half"], ["t"]),
        node("Softmax", ["t"], ["p"]),
        node("MatMul", ["p", "v5"], ["o"]),
        node("Transpose", ["o"], ["o1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["o1", "flat"], ["m"]),
    ]
    weights = {"a": normal(7, 16), "b": normal(7, 8), "c": normal(8, 7).T.copy(), "d": normal(16, 3)}
    shapes = {"apart4": [0, 0, 4, 4], "apart2": [0, 0, 2, 4], "two": [2], "copies": [1, 1, 2, 1, 1]}
    integers = {name: np.array(value) for name, value in {**shapes, "heads": [0, 4, -1, 4], "flat": [0, 0, 16]}.items()}
    found = []
    for between in ([fused], parts):
        nodes = [*projections, *between, node("MatMul", ["m", "d"], ["y"], "last")]
        model = built(nodes, weights | integers | {"half": np.full(1, 0.5, np.float32)}, ["N", 5, 7], 3)
        calibration = Calibration(open_samples({"x": normal(40, 5, 7)}, input_specs(model)), Runtime())
        dependencies = find_units(model, calibration)
        count = len(dependencies.units)
        (priced,), _ = uncorrected(model, dependencies, np.append(np.arange(count), -1), calibration)
        found.append([prices for _, prices in priced.prices()])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_recurrent_cells_are_priced_by_what_enters_their_gates() -> None:
    """W by its input, R by the state before; the share of both is that of all that varies in the gates."""
    nodes = [
        node("MatMul", ["x", "a"], ["h"], "first"),
        node("Tanh", ["h"], ["s"]),
        node("GRU", ["s", "w", "r"], ["", "t"], "cell", hidden_size=5),
        node("Squeeze", ["t", "axis"], ["z"]),
        node("MatMul", ["z", "b"], ["y"], "last"),
    ]
    weights = {"a": normal(3, 4), "w": normal(1, 15, 4), "r": 0.3 * normal(1, 15, 5), "b": normal(5, 2)}
    weights["a"][:, 2] *= 0.01  # a faint input, whatever the weights that read it
    model = built(nodes, {**weights, "axis": np.array([0], np.int64)}, [6, "N", 3], 2)
    x = normal(6, 50, 3)
    calibration = Calibration(open_samples({"x": x}, input_specs(model)), Runtime())
    dependencies = find_units(model, calibration)
    count = len(dependencies.units)
    sums, unknown = uncorrected(model, dependencies, np.append(np.arange(count), -1), calibration)
    assert not unknown
    found = {len(units): prices for each in sums for units, prices in each.prices()}
    assert sorted(found) == [4, 5]
    state = Runtime().session(tapped(model, ["s", "t"])).run({"x": x}, ["s", "t"])
    rows, last = state["s"].reshape(-1, 4).astype(np.float64), state["t"][0].astype(np.float64)
    gates = rows @ weights["w"][0].T, last @ weights["r"][0].T
    whole = sum(float(np.square(each - each.mean(axis=0)).mean(axis=0).sum()) for each in gates)
    assert found[4].argmin() == 2
    energy = np.square(rows).mean(axis=0) * np.square(weights["w"][0]).sum(axis=0)
    np.testing.assert_allclose(found[4], energy / whole, rtol=1e-3)


@pytest.mark.parametrize("name", ["attention_mask", "padding_mask"])
def test_positions_that_a_mask_excludes_price_no_unit(name: str) -> None:
    """Queries, keys and hidden units of a model of fixed length cost what they cost on inputs without padding."""
    rows = sentences(60)  # all of which are observed
    sources = ((16, padded(rows, name=name)), ("sequence", unpadded(rows, name=name)))
    prices, idle = [], []
    for length, data in sources:
        source = open_model(encoder(name=name, length=length), Runtime())
        samples: Samples = open_by_options(source, data, Options(sparsity=0.5), None)
        assert (samples.mask is None) == (length != 16)
        calibration = Calibration(samples, Runtime())
        dependencies = find_units(source.model, calibration)
        numbers = np.append(np.arange(len(dependencies.units)), -1)
        sums, _ = uncorrected(source.model, dependencies, numbers, calibration)
        prices.append(np.concatenate([part for consumer in sums for _, part in consumer.prices()]))
        idle.append(count_zeros(source.model, dependencies, calibration, epsilon=0.1))
    assert len(prices[0])
    np.testing.assert_allclose(prices[0], prices[1], rtol=1e-4)
    assert idle[0].any()
    np.testing.assert_allclose(idle[0], idle[1], atol=0.02)  # the share that is small depends on the batches


def test_steps_of_a_recurrent_cell_that_a_mask_excludes_price_no_unit() -> None:
    """Padding behind what counts, where a cell that runs forwards does not see it."""
    nodes = [
        node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        node("MatMul", ["steps", "a"], ["h"], "first"),
        node("Tanh", ["h"], ["s"]),
        node("GRU", ["s", "w", "r"], ["t"], "cell", hidden_size=5),
        node("Squeeze", ["t", "axis"], ["z"]),
        node("MatMul", ["z", "b"], ["y"], "last"),
    ]
    weights = {"a": normal(3, 4), "w": normal(1, 15, 4), "r": 0.3 * normal(1, 15, 5), "b": normal(5, 2)}
    model = built(nodes, {**weights, "axis": np.array([1], np.int64)}, ["N", "S", 3], 3)
    model.graph.inputs.append(ir.val("mask", ir.DataType.INT64, ["N", "S"]))
    short = normal(50, 4, 3)
    found = []
    for x in (short, np.concatenate([short, 5.0 * normal(50, 2, 3)], axis=1)):
        kept = np.broadcast_to(np.arange(x.shape[1]) < 4, x.shape[:2]).astype(np.int64)
        samples = open_samples({"x": x, "mask": kept}, input_specs(model))
        axes = position_axes(model.graph, observe(model, next(samples.batches()), Runtime()), {"x": (1,)})
        assert {"s", "t"} <= set(axes)
        calibration = Calibration(samples.counting(PositionMask("mask", 1, axes)), Runtime())
        dependencies = find_units(model, calibration)
        sums, _ = uncorrected(model, dependencies, np.append(np.arange(len(dependencies.units)), -1), calibration)
        found.append(np.concatenate([prices for consumer in sums for _, prices in consumer.prices()]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
