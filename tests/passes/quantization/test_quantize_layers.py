"""Weights of layers on integers: corrected for what entered before, zeros kept, biases in closed form."""

import numpy as np
import onnx_ir as ir
import pytest
from prunable_models import KINDS, MODELS, Array, inputs, layer_of, means, moments_of, normal, run

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.quantization import quantize_layers
from netsurgeon.passes.quantization.quantize_layers import DAMPINGS, IntegerOutcome, QuantizeLayers


def quantized(
    model: ir.Model, x: Array, current: Array | None = None, most: int = 7
) -> tuple[ir.Model, IntegerOutcome]:
    after = model.clone()
    outcomes: dict[str, IntegerOutcome] = {}
    moments = moments_of(layer_of(model), x, current)
    assert QuantizeLayers({"layer": most}, {"layer": moments}, outcomes)(after).modified
    return after, outcomes["layer"]


def error(after: ir.Model, model: ir.Model, x: Array, current: Array | None = None) -> float:
    """Squared error of the layer on what enters it now, relative to the output's energy."""
    dense = run(model, x)
    return float(np.sum((run(after, x if current is None else current) - dense) ** 2) / np.sum(dense**2))


@KINDS
@pytest.mark.parametrize("most", [7, 63])
def test_weights_lie_on_integers_times_their_scales(kind: str, most: int) -> None:
    model = MODELS[kind]()
    after, outcome = quantized(model, inputs(model, 200), most=most)
    layer = layer_of(after)
    codes = layer.matrix()[0] / outcome.scales[:, None]
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
    assert np.abs(codes).max() < most + 0.5
    assert outcome.scales.shape == (layer.groups * layer.rows,)
    assert 0.0 < outcome.error < (0.05 if most == 7 else 1e-3)
    assert outcome.damping in DAMPINGS
    assert error(after, model, inputs(model, 200, seed=5)) < (0.05 if most == 7 else 1e-3)


@KINDS
def test_the_mean_of_every_output_stays_where_there_is_a_bias(kind: str) -> None:
    model = MODELS[kind]()
    x = inputs(model, 200)
    after, _ = quantized(model, x)
    size = np.abs(means(run(model, x))).max()
    np.testing.assert_allclose(means(run(after, x)), means(run(model, x)), atol=2e-3 * size)
    shifted = MODELS[kind]()
    only_weight = layer_of(shifted)
    only_weight.write(layer_of(after).matrix())
    assert np.abs(means(run(shifted, x)) - means(run(model, x))).max() > 5e-3 * size, "without it, it moves"


def test_zeros_stay_zeros() -> None:
    model = MODELS["Gemm"]()
    weight = tensor(layer_of(model).weight).numpy().copy()
    weight[np.random.default_rng(0).random(weight.shape) < 0.5] = 0.0
    model.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    after, _ = quantized(model, inputs(model, 200))
    assert not tensor(layer_of(after).weight).numpy()[weight == 0.0].any()


def test_what_earlier_layers_have_lost_is_made_up_for() -> None:
    model = MODELS["Gemm"]()
    x = inputs(model, 300)
    current = np.asarray(1.2 * x + 0.1 * normal(*x.shape, seed=9), np.float32)
    corrected, _ = quantized(model, x, current, most=63)
    alone, _ = quantized(model, x, most=63)
    assert error(corrected, model, x, current) < 0.3 * error(alone, model, x, current)


def test_what_inputs_suggest_is_trusted_as_far_as_it_holds_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last fifth of the inputs is held out; there the layers before have lost what the others say, or nothing."""
    model = MODELS["Gemm"]()
    x = inputs(model, 300)
    shrunk = np.asarray(0.5 * x, np.float32)
    alike, unlike = shrunk, np.concatenate([shrunk[:240], x[240:]])
    assert quantized(model, x, alike, most=127)[1].damping == min(DAMPINGS)
    chosen, outcome = quantized(model, x, unlike, most=127)
    assert outcome.damping == max(DAMPINGS)
    monkeypatch.setattr(quantize_layers, "DAMPINGS", (min(DAMPINGS),))
    trusting, _ = quantized(model, x, unlike, most=127)
    assert error(chosen, model, x[240:]) < 0.9 * error(trusting, model, x[240:])


@pytest.mark.parametrize(("count", "is_chosen"), [(300, False), (120, True)])
def test_where_there_is_little_time_the_damping_of_ample_inputs_is_not_chosen(count: int, is_chosen: bool) -> None:
    """Of 16 columns 160 inputs are ample."""
    model = MODELS["Gemm"]()
    x = inputs(model, count)
    held_out = count * 4 // 5
    current = np.concatenate([np.asarray(0.5 * x[:held_out], np.float32), x[held_out:]])
    moments = moments_of(layer_of(model), x, current)
    outcomes: dict[str, IntegerOutcome] = {}
    QuantizeLayers({"layer": 127}, {"layer": moments}, outcomes, is_quick=True)(model.clone())
    assert outcomes["layer"].damping == (max(DAMPINGS) if is_chosen else DAMPINGS[0])
    assert quantized(model, x, current, most=127)[1].damping == max(DAMPINGS)


def test_few_samples_leave_weights_next_to_where_they_were() -> None:
    model = MODELS["Gemm"]()
    after, outcome = quantized(model, inputs(model, 20), most=127)
    assert outcome.damping == max(DAMPINGS)
    np.testing.assert_allclose(
        layer_of(after).matrix()[0], layer_of(model).matrix()[0], atol=1.5 * outcome.scales.max()
    )


def test_a_weight_of_zeros_stays_one() -> None:
    model = MODELS["Gemm"]()
    model.graph.initializers["w"].const_value = ir.tensor(np.zeros((6, 16), np.float32), name="w")
    after, outcome = quantized(model, inputs(model, 100), most=127)
    assert (outcome.damping, outcome.error) == (0.0, 0.0)
    assert (outcome.scales > 0.0).all()
    assert not layer_of(after).matrix().any()


def test_layers_that_are_not_named_stay() -> None:
    model = MODELS["Gemm"]()
    before = tensor(layer_of(model).weight).numpy().copy()
    assert not QuantizeLayers({}, {})(model).modified
    np.testing.assert_array_equal(tensor(layer_of(model).weight).numpy(), before)


def test_twice_the_same_gives_the_same_bytes() -> None:
    model = MODELS["Conv"]()
    first, second = (quantized(model, inputs(model, 100))[0] for _ in range(2))
    assert ir.to_proto(first).SerializeToString() == ir.to_proto(second).SerializeToString()
