"""The pass on tiny models: exact counts, kept means, and what is not planned stays as it is."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, RemovedSlices
from netsurgeon.passes.pruning.prune_weights import PruneWeights, pattern_of
from netsurgeon.passes.solvers import damping, methods
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.statistics import Moments

Array = NDArray[Any]
INFO = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.float16): onnx.TensorProto.FLOAT16}


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def build(nodes: list[onnx.NodeProto], constants: dict[str, Array], shape: list[int | None]) -> ir.Model:
    kind = INFO[next(iter(constants.values())).dtype]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("z", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def conv(bias: bool = True, dtype: Any = np.float32, channels: int = 4) -> ir.Model:
    constants = {"w": normal(6, channels, 3, 3, dtype=dtype)} | ({"b": normal(6, dtype=dtype)} if bias else {})
    node = helper.make_node("Conv", ["x", *constants], ["z"], "layer", pads=[1, 1, 1, 1])
    return build([node], constants, [None, channels, 5, 5])


def gemm(bias: bool = True, dtype: Any = np.float32) -> ir.Model:
    constants = {"w": normal(6, 16, dtype=dtype)} | ({"b": normal(6, dtype=dtype)} if bias else {})
    node = helper.make_node("Gemm", ["x", *constants], ["z"], "layer", transB=1, alpha=0.5, beta=2.0)
    return build([node], constants, [None, 16])


def matmul(bias: bool = True, dtype: Any = np.float32) -> ir.Model:
    constants = {"w": normal(16, 6, dtype=dtype)} | ({"b": normal(6, dtype=dtype)} if bias else {})
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y" if bias else "z"], "layer")]
    nodes += [helper.make_node("Add", ["y", "b"], ["z"], "adder")] if bias else []
    return build(nodes, constants, [None, 16])


MODELS = {"Conv": conv, "Gemm": gemm, "MatMul": matmul}
KINDS = pytest.mark.parametrize("kind", list(MODELS))


def inputs(model: ir.Model, count: int = 60, seed: int = 0) -> Array:
    """Correlated inputs whose mean is far from zero."""
    value = model.graph.inputs[0]
    assert value.shape is not None
    assert value.dtype is not None
    shape = [int(extent) for extent in value.shape.numpy()[1:]] if value.shape.is_static() else []
    shape = shape or [extent for extent in value.shape if isinstance(extent, int)]
    x = normal(count, *shape, seed=seed)
    x = x + 0.7 * np.roll(x, 1, axis=1) + np.linspace(0.5, 2.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return x.astype(value.dtype.numpy())


def run(model: ir.Model, x: Array) -> Array:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": x})[0].astype(np.float64)
    return result


def layer_of(model: ir.Model, name: str = "layer") -> Layer:
    return next(layer for layer in find_layers(model.graph)[0] if layer.name == name)


def moments_of(layer: Layer, x: Array, current: Array | None = None) -> LayerMoments:
    rows = layer.samples(x)
    others = layer.samples(current) if current is not None else None
    fit = Moments(layer.groups, layer.columns, paired=others is not None)
    end = rows.shape[1] * 4 // 5
    fit.update(rows[:, :end], None if others is None else others[:, :end])
    held = fit.like()
    held.update(rows[:, end:], None if others is None else others[:, end:])
    return LayerMoments(fit, held)


def prune(model: ir.Model, x: Array, plan: LayerPlan) -> PruneWeights:
    surgery = PruneWeights({"layer": plan}, {"layer": moments_of(layer_of(model), x)})
    assert surgery(model).modified
    return surgery


def means(z: Array) -> Array:
    return np.asarray(z.mean(axis=(0, 2, 3)) if z.ndim == 4 else z.mean(axis=0))


def nonzeros(model: ir.Model) -> int:
    return int(np.count_nonzero(layer_of(model).matrix()))


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
    prune(model, inputs(model), LayerPlan(0, pattern=(2, 4)))
    stored = model.graph.initializers["w"].const_value
    assert stored is not None
    groups = stored.numpy().reshape(6, 2, 4, 9)
    assert (np.count_nonzero(groups, axis=2) == 2).all()


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_pattern_on_unsuitable_channels_names_the_layer(method: str) -> None:
    model = conv(channels=6)
    with pytest.raises(ValueError, match=r"layer 'layer' has 6 input channels a group, not a multiple of 4"):
        prune(model, inputs(model), LayerPlan(0, method, pattern=(2, 4)))
    with pytest.raises(ValueError, match="not a multiple of 5"):
        pattern_of(layer_of(gemm()), (1, 5))


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


@KINDS
def test_paired_statistics_match_the_dense_outputs(kind: str) -> None:
    """The layer sees other inputs than the dense one did; what it computes on them has the dense mean."""
    model = MODELS[kind]()
    x = inputs(model)
    current = (0.8 * x + 0.1 * inputs(model, seed=1)).astype(np.float32)
    before, size = run(model, x), layer_of(model).size
    errors = {}
    for paired in (False, True):
        for keep in (size // 2, size):
            model = MODELS[kind]()
            layer = layer_of(model)
            moments = moments_of(layer, x, current) if paired else moments_of(layer, x)
            PruneWeights({"layer": LayerPlan(keep)}, {"layer": moments})(model)
            after = run(model, current)
            assert nonzeros(model) == keep
            errors[paired, keep] = float(((after - before) ** 2).mean())
            if paired:
                np.testing.assert_allclose(means(after), means(before), atol=1e-3)
    assert errors[True, size] < 0.5 * errors[False, size]
    assert errors[True, size // 2] < errors[False, size // 2]


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
    gone = RemovedSlices(np.arange(layer.columns)[None] < 2, np.zeros((1, layer.rows), bool))
    plan = LayerPlan(gone.live, method="magnitude", gone=gone)
    assert prune(model, inputs(model), plan).outcomes["layer"].damping < max(damping.DAMPINGS)


def test_no_damping_at_all_is_a_choice_too() -> None:
    model = gemm()
    assert prune(model, inputs(model), LayerPlan(30, damping=0.0)).outcomes["layer"].damping == 0.0


def test_without_held_out_samples() -> None:
    model = gemm()
    layer = layer_of(model)
    fit = Moments(1, 16, paired=False)
    fit.update(layer.samples(inputs(model)))
    PruneWeights({"layer": LayerPlan(30)}, {"layer": LayerMoments(fit, fit.like())})(model)
    assert nonzeros(model) == 30


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
