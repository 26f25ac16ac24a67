"""The pass on tiny models: exact counts, kept means, and what is not planned stays as it is."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from prunable_models import (
    KINDS,
    MODELS,
    Array,
    build,
    conv,
    gemm,
    inputs,
    layer_of,
    matmul,
    means,
    moments_of,
    nonzeros,
    normal,
    run,
)

from netsurgeon.passes.pruning.layer_plan import LayerPlan, RemovedSlices
from netsurgeon.passes.pruning.patterns import SharePattern
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.solvers import damping, methods
from netsurgeon.passes.solvers.linalg import FactorizationError


def prune(model: ir.Model, x: Array, plan: LayerPlan) -> PruneWeights:
    surgery = PruneWeights({"layer": plan}, {"layer": moments_of(layer_of(model), x)})
    assert surgery(model).modified
    return surgery


@KINDS
@pytest.mark.parametrize("method", ["auto", "obs", "admm"])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_keep_their_means(kind: str, method: str, bias: bool) -> None:
    model = MODELS[kind](bias)
    x = inputs(model)
    before = run(model, x)
    keep = layer_of(model).size // 4
    prune(model, x, LayerPlan(keep, method, damping=1e-3))
    after = run(model, x)
    assert nonzeros(model) == keep
    has_bias = layer_of(model).bias_slot() is not None
    assert has_bias == (bias or kind != "MatMul")
    if has_bias:
        np.testing.assert_allclose(means(after), means(before), atol=1e-4)
    assert ((after - before) ** 2).mean() < 0.5 * before.var()


@pytest.mark.parametrize(("share", "stays"), [(0.1, True), (0.8, False)])
def test_a_weight_that_is_mostly_zero_is_not_filled_where_nothing_is_to_go(share: float, stays: bool) -> None:
    """A bank of filters that came with few nonzeros would take many times the bytes."""
    model = gemm(bias=True)
    layer = layer_of(model)
    dense = layer.matrix()
    sparse = np.where(np.random.default_rng(0).random(dense.shape) < share, dense, 0.0)
    layer.write(sparse)
    x = inputs(model)
    removed = RemovedSlices(np.zeros((1, dense.shape[2]), bool), np.zeros((1, dense.shape[1]), bool))
    removed.columns[0, 0] = True
    before = nonzeros(model)
    prune(model, x, LayerPlan(layer.size, damping=1e-3, removed_slices=removed))
    assert (nonzeros(model) <= before) == stays


def test_a_bias_is_created_where_there_is_none() -> None:
    for model, size in ((conv(bias=False), 6), (gemm(bias=False), 6)):
        node = layer_of(model).node
        assert len(node.inputs) == 2
        prune(model, inputs(model), LayerPlan(30))
        assert len(node.inputs) == 3
        created = node.inputs[2]
        assert created is not None
        assert created.const_value is not None
        assert created.const_value.shape == (size,)
        assert np.abs(created.const_value.numpy()).max() > 0.01


def test_a_mat_mul_without_add_gets_no_bias() -> None:
    model = matmul(bias=False)
    prune(model, inputs(model), LayerPlan(30))
    assert [node.op_type for node in model.graph] == ["MatMul"]
    assert list(model.graph.initializers) == ["w"]


@KINDS
@pytest.mark.parametrize("method", methods.METHODS)
def test_keeping_all_changes_nothing(kind: str, method: str) -> None:
    model = MODELS[kind]()
    x = inputs(model)
    weight, before = layer_of(model).matrix(), run(model, x)
    prune(model, x, LayerPlan(weight.size, method))
    np.testing.assert_array_equal(layer_of(model).matrix(), weight)
    np.testing.assert_allclose(run(model, x), before, atol=1e-5)


@KINDS
@pytest.mark.parametrize("method", ["magnitude", "lobs"])
def test_published_methods_touch_the_weights_only(kind: str, method: str) -> None:
    model = MODELS[kind](bias=False)
    prune(model, inputs(model), LayerPlan(30, method, damping=1e-3))
    assert list(model.graph.initializers) == ["w"]
    assert nonzeros(model) == 30


@KINDS
def test_half_precision_stays(kind: str) -> None:
    model = MODELS[kind](dtype=np.float16)
    x = inputs(model)
    before = run(model, x)
    prune(model, x, LayerPlan(40))
    for name in ("w", "b"):
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        assert tensor.dtype == ir.DataType.FLOAT16
    assert nonzeros(model) == 40
    np.testing.assert_allclose(means(run(model, x)), means(before), atol=0.02)


def test_the_bias_takes_up_the_rounding() -> None:
    """The mean is kept with the weights as they are stored, not as they were solved for."""
    model = gemm(dtype=np.float16)
    x = inputs(model) * np.float16(8)
    layer = layer_of(model)
    expected = layer.matrix() @ x.astype(np.float64).mean(axis=0)
    bias = layer.node.inputs[2]
    assert bias is not None
    assert bias.const_value is not None
    old = bias.const_value.numpy().astype(np.float64)
    moments = moments_of(layer, x)
    PruneWeights({"layer": LayerPlan(40)}, {"layer": moments})(model)
    assert bias.const_value is not None
    shift = 2.0 * (bias.const_value.numpy().astype(np.float64) - old)
    found = layer_of(model).matrix()[0] @ x.astype(np.float64).mean(axis=0) + shift
    np.testing.assert_allclose(found, expected[0], atol=0.02)


def test_a_pattern_runs_along_the_channels() -> None:
    model = conv(channels=8)
    prune(model, inputs(model), LayerPlan(0, pattern=SharePattern(2, 4)))
    stored = model.graph.initializers["w"].const_value
    assert stored is not None
    groups = stored.numpy().reshape(6, 2, 4, 9)
    assert (np.count_nonzero(groups, axis=2) == 2).all()


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_pattern_on_unsuitable_channels_names_the_layer(method: str) -> None:
    model = conv(channels=6)
    with pytest.raises(ValueError, match=r"layer 'layer' has 6 input channels a group, not a multiple of 4"):
        prune(model, inputs(model), LayerPlan(0, method, pattern=SharePattern(2, 4)))
    with pytest.raises(ValueError, match="not a multiple of 5"):
        SharePattern(1, 5).on(layer_of(gemm()))


def two_layers() -> ir.Model:
    constants = {"w": normal(12, 16), "b": normal(12), "v": normal(6, 12)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], "first", transB=1),
        helper.make_node("Relu", ["y"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "v"], ["z"], "second", transB=1),
    ]
    return build(nodes, constants, [None, 16])


@pytest.mark.parametrize(
    ("planned", "measured"), [(("first",), ("first", "second")), (("first", "second"), ("first",))]
)
def test_only_what_is_planned_and_measured_changes(planned: tuple[str, ...], measured: tuple[str, ...]) -> None:
    model = two_layers()
    kept = model.graph.initializers["v"].const_value
    x = normal(50, 16)
    hidden = normal(50, 12)
    moments = {n: moments_of(layer_of(model, n), x if n == "first" else hidden) for n in measured}
    assert PruneWeights(dict.fromkeys(planned, LayerPlan(20)), moments)(model).modified
    assert np.count_nonzero(layer_of(model, "first").matrix()) == 20
    assert model.graph.initializers["v"].const_value is kept
    assert list(model.graph.initializers) == ["w", "b", "v"]


def test_nothing_to_do() -> None:
    model = two_layers()
    assert not PruneWeights({}, {})(model).modified
    assert not PruneWeights({"elsewhere": LayerPlan(3)}, {})(model).modified


def test_a_shared_weight_is_changed_in_the_planned_layer_only() -> None:
    constants = {"w": normal(16, 16)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "layer"), helper.make_node("MatMul", ["y", "w"], ["z"], "b")]
    model = build(nodes, constants, [None, 16])
    prune(model, inputs(model), LayerPlan(50))
    assert np.count_nonzero(layer_of(model).matrix()) == 50
    np.testing.assert_array_equal(layer_of(model, "b").matrix()[0], constants["w"].T)


@pytest.mark.parametrize("method", ["auto", "obs", "magnitude"])
def test_zeros_that_the_model_came_with_are_not_filled(method: str) -> None:
    model = gemm()
    layer = layer_of(model)
    weight = layer.matrix()
    layer.write(np.where(np.abs(weight) >= np.sort(np.abs(weight), axis=None)[-12], weight, 0.0))
    prune(model, inputs(model), LayerPlan(30, method=method))
    assert nonzeros(model) == 12


def test_an_indefinite_hessian_names_layer_and_damping() -> None:
    model = gemm()
    layer = layer_of(model)
    moments = moments_of(layer, inputs(model))
    moments.fit._gram[0, 0, 1] = moments.fit._gram[0, 1, 0] = 1e6
    with pytest.raises(FactorizationError, match=r"layer 'layer', damping 0\.01: .*not positive definite"):
        PruneWeights({"layer": LayerPlan(30, damping=1e-2)}, {"layer": moments})(model)


def test_the_damping_that_was_used_is_told() -> None:
    model = gemm()
    assert prune(model, inputs(model), LayerPlan(30, damping=0.05)).outcomes["layer"].damping == 0.05
    model = gemm()
    outcome = prune(model, inputs(model), LayerPlan(30)).outcomes["layer"]
    assert outcome.damping in damping.DAMPINGS
    assert outcome.samples == 60


def test_magnitude_chooses_its_damping_where_columns_are_gone() -> None:
    """What is left makes up for them; the largest damping would keep it from that."""
    model = gemm()
    layer = layer_of(model)
    removed_slices = RemovedSlices(np.arange(layer.columns)[None] < 2, np.zeros((1, layer.rows), bool))
    plan = LayerPlan(removed_slices.live, method="magnitude", removed_slices=removed_slices)
    assert prune(model, inputs(model), plan).outcomes["layer"].damping < max(damping.DAMPINGS)


def test_no_damping_at_all_is_a_choice_too() -> None:
    model = gemm()
    assert prune(model, inputs(model), LayerPlan(30, damping=0.0)).outcomes["layer"].damping == 0.0


@KINDS
@pytest.mark.parametrize("keep", [0, 1, 80])
def test_a_codebook_keeps_the_count(kind: str, keep: int) -> None:
    model = MODELS[kind]()
    prune(model, inputs(model), LayerPlan(keep, values="codebook"))
    assert nonzeros(model) == keep


def test_nothing_kept_leaves_the_mean() -> None:
    model = conv()
    x = inputs(model)
    before = run(model, x)
    prune(model, x, LayerPlan(0))
    assert nonzeros(model) == 0
    after = run(model, x)
    np.testing.assert_allclose(after, np.broadcast_to(means(before)[:, None, None], after.shape), atol=1e-4)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_layer_whose_inputs_overflow_is_left_alone(value: float) -> None:
    model = gemm()
    layer, x = layer_of(model), inputs(model)
    before, x[3, 2] = layer.matrix(), value
    with np.errstate(invalid="ignore"):
        surgery = PruneWeights({"layer": LayerPlan(30)}, {"layer": moments_of(layer, x)})
        surgery(model)
    assert not surgery.outcomes["layer"].measured
    np.testing.assert_array_equal(layer_of(model).matrix(), before)
    assert prune(model, inputs(model), LayerPlan(30)).outcomes["layer"].measured


def test_a_layer_that_is_left_alone_loses_the_inputs_that_are_gone() -> None:
    model = gemm()
    layer, x = layer_of(model), inputs(model)
    before, x[3, 2] = layer.matrix(), np.inf
    gone = np.arange(layer.columns)[None] == 1
    plan = LayerPlan(30, removed_slices=RemovedSlices(gone, np.zeros((1, layer.rows), bool)))
    with np.errstate(invalid="ignore"):
        PruneWeights({"layer": plan}, {"layer": moments_of(layer, x)})(model)
    np.testing.assert_array_equal(layer_of(model).matrix(), np.where(gone[:, None], 0.0, before))
