"""The bound holds on random nets, is exact behind the last layer, and leaves both models alone."""

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest
from bounded_nets import RUNTIME, Net, assert_holds, bound_of, damaged, only_output, random_net, values
from hypothesis import given, settings
from hypothesis import strategies as st

from netsurgeon.passes.dependencies.positions import position_axes
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.data.position_mask import PositionMask
from netsurgeon.pipeline.error_bound.bound import measure_bound
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.observations import observe


@settings(max_examples=25, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.3, 0.8]))
def test_the_bound_holds_on_random_nets(seed: int, amount: float) -> None:
    model = random_net(seed)
    bound = bound_of(
        model, damaged(model, amount, seed), values(5, 3, 8, 8, seed=seed), values(2, 3, 8, 8, seed=seed + 1)
    )
    assert bound.samples == 7
    assert [layer.node for layer in bound.layers] == [layer.name for layer in find_layers(model.graph)[0]]
    assert_holds(bound)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_measured_error_where_only_the_last_layer_changed(seed: int) -> None:
    model = random_net(seed)
    last = model.clone()
    del last.graph.outputs[:]
    last.graph.outputs.append(find_layers(last.graph)[0][-1].bias_add.outputs[0])  # type: ignore[union-attr]
    name = find_layers(last.graph)[0][-1].name
    output = only_output(bound_of(last, damaged(last, only=[name]), values(6, 3, 8, 8)))
    assert output.bound == pytest.approx(output.measured, rel=1e-4)
    assert output.measured > 0.01


def test_the_models_are_not_changed() -> None:
    model = random_net(0)
    pruned = damaged(model)
    texts = [ir.to_proto(m).SerializeToString() for m in (model, pruned)]
    bound_of(model, pruned, values(2, 3, 8, 8))
    assert texts == [ir.to_proto(m).SerializeToString() for m in (model, pruned)]


def test_the_frobenius_norm_of_the_kernel_is_not_a_bound() -> None:
    """Two 3 × 3 convolutions of ones: on a constant error the second one's norm tends to 9, its Frobenius norm is 3."""
    net = Net()
    first = net.add("Conv", "x", net.constant(np.ones((1, 1, 1, 1))))
    model = net.model(["N", 1, 30, 30], net.add("Conv", first, net.constant(np.ones((1, 1, 3, 3)))))
    pruned = model.clone()
    layer = find_layers(pruned.graph)[0][0]
    layer.write(layer.matrix() * 0.5)
    bound = bound_of(model, pruned, np.ones((1, 1, 30, 30), np.float32))
    frobenius = 3 * bound.layers[0].error
    assert only_output(bound).measured > 2.7 * frobenius
    assert_holds(bound)


def test_no_error_is_measured_where_the_dense_model_overflows() -> None:
    net = Net()
    model = net.model(
        ["N", 1], net.add("Mul", net.add("MatMul", "x", net.constant(np.ones((1, 1)))), net.constant([2.0]))
    )
    bound = bound_of(model, damaged(model), np.array([[3e38], [1.0]], np.float32))
    expected = bound_of(model, damaged(model), np.array([[0.0], [1.0]], np.float32))
    assert only_output(bound).measured == pytest.approx(only_output(expected).measured)


def test_it_ends_where_the_changed_weight_is_not_finite() -> None:
    """The bound was NaN."""
    net = Net()
    weight = np.ones((4, 4))
    weight[-1] = np.nan
    stop = net.add("MatMul", "x", net.constant(weight))
    model = net.model(["N", 4], stop)
    output = only_output(bound_of(model, damaged(model), np.ones((2, 4), np.float32)))
    assert output.bound is None
    assert output.ends_at == f"{stop} (MatMul): constants that differ make NaN or infinite numbers"


def test_no_samples_is_an_error() -> None:
    model = random_net(0)
    with pytest.raises(InputError, match="at least one sample"):
        measure_bound(model, model, [], 0, RUNTIME)
    with pytest.raises(InputError, match="at least one sample"):
        measure_bound(model, model, [], 5, RUNTIME)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("is_flat", [False, True])
def test_positions_that_a_mask_excludes_enter_neither_the_bound_nor_the_error(opset: int, is_flat: bool) -> None:
    """On a model of fixed length padding made up most of both; one position a row stands for samples of one length."""
    net = Net()
    start = net.add("Reshape", "x", net.constant(np.array([-1, 4]))) if is_flat else "x"
    inner = net.add("Relu", net.add("Add", net.add("MatMul", start, net.draw(4, 5)), net.draw(5)))
    last = net.add("MatMul", inner, net.draw(5, 4))
    last = net.add("Reshape", last, net.add("Shape", "x")) if is_flat else last
    model = net.model(["N", "S", 4], last, opset=opset)
    model.graph.inputs.append(ir.val("mask", ir.DataType.INT64, ["N", "S"]))
    pruned, kept = damaged(model), np.arange(6) < np.array([[2], [5], [3]])
    feed = {"x": values(3, 6, 4), "mask": kept.astype(np.int64)}
    axes = position_axes(model.graph, observe(model, feed, RUNTIME), {"x": (1,)})
    mask = PositionMask("mask", 1, axes, is_proven=True)
    bound = measure_bound(model, pruned, [feed], 3, RUNTIME, mask)
    rows = [row[None, of_row] for row, of_row in zip(feed["x"], kept, strict=True)]
    alone = [{"x": row, "mask": np.ones(row.shape[:2], np.int64)} for row in rows]
    expected = measure_bound(model, pruned, alone, 3, RUNTIME)
    assert_holds(bound)
    for one, other in zip(bound.layers, expected.layers, strict=True):
        assert one.error == pytest.approx(other.error, rel=1e-5)
    assert only_output(bound).measured == pytest.approx(only_output(expected).measured, rel=1e-5)
    assert only_output(bound).bound == pytest.approx(only_output(expected).bound, rel=1e-5)
    everywhere = measure_bound(model, pruned, [feed], 3, RUNTIME)
    assert only_output(everywhere).measured > 1.1 * only_output(bound).measured
    unproven = measure_bound(model, pruned, [feed], 3, RUNTIME, dataclasses.replace(mask, is_proven=False))
    assert only_output(unproven).bound == only_output(everywhere).bound, "outputs may depend on what is left out"
    assert only_output(unproven).measured == only_output(bound).measured
