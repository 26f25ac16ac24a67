"""Quantizers and integer weights: ONNX Runtime runs on integers what is meant to, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from quantized_models import (
    AS_FLOATS,
    PADDED,
    RUNTIME,
    classifier,
    conv_net,
    distance,
    kernels,
    network_of,
    node,
    normal,
    on_integers,
    pictures,
    run,
)

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization import insert_quantizers
from netsurgeon.passes.quantization.insert_quantizers import StoreIntegers
from netsurgeon.passes.quantization.quantized_layers import find_integer_weights
from netsurgeon.passes.quantization.scale import Scale


def residual_net() -> ir.Model:
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "a_w"], ["a"], "a", **PADDED),
        node("Add", ["a", "r"], ["sum"], "add"),
        node("Relu", ["sum"], ["s"], "relu2"),
        node("MaxPool", ["s"], ["m"], "max", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["m", "b_w"], ["b"], "b"),
    ]
    return classifier(*nodes, last="b", a_w=normal(16, 16, 3, 3, scale=0.1), b_w=normal(16, 16, 1, 1))


def perceptron(bias: bool = True) -> ir.Model:
    nodes = [
        node("Gemm", ["x", "v", "b"] if bias else ["x", "v"], ["h"], "one", transB=1),
        node("Relu", ["h"], ["r"], "relu"),
        node("Gemm", ["r", "w"], ["y"], "two"),
    ]
    weights: dict[str, Any] = {"v": normal(16, 12), "w": normal(16, 5)} | ({"b": normal(16)} if bias else {})
    return network_of(nodes, weights, ("N", 12))


def silu_net() -> ir.Model:
    return classifier(node("Sigmoid", ["c"], ["q"], "gate"), node("Mul", ["c", "q"], ["s"], "silu"), last="s")


def hard_tanh_net() -> ir.Model:
    clip = node("Clip", ["c", "low", "high"], ["s"], "clip")
    return classifier(clip, last="s", low=np.float32(-1.0), high=np.float32(1.0))


def two_clips_net() -> ir.Model:
    """Relu6 and Relu under one Concat: its own scale must not keep either from being fused."""
    nodes = [
        node("Clip", ["c", "zero", "six"], ["r"], "relu6"),
        node("Conv", ["r", "a_w"], ["a"], "a"),
        node("Relu", ["a"], ["p"], "relu"),
        node("Concat", ["r", "p"], ["both"], "join", axis=1),
    ]
    limits: dict[str, Any] = {"zero": np.float32(0.0), "six": np.float32(6.0)}
    return classifier(*nodes, last="both", channels=32, a_w=normal(16, 16, 1, 1, scale=3.0), **limits)


NETS: dict[str, tuple[Callable[[], ir.Model], dict[str, int]]] = {
    "relu": (conv_net, {"QLinearConv": 2, "QGemm": 1, "QLinearGlobalAveragePool": 1}),
    "relu6": (lambda: conv_net("Clip"), {"QLinearConv": 2, "QGemm": 1}),
    "leaky relu": (lambda: conv_net("LeakyRelu"), {"QLinearConv": 2, "QLinearLeakyRelu": 2, "QGemm": 1}),
    "silu": (silu_net, {"QLinearConv": 1, "QLinearSigmoid": 1, "QLinearMul": 1, "QGemm": 1}),
    "hard tanh": (hard_tanh_net, {"QLinearConv": 1, "QGemm": 1}),
    "residual": (residual_net, {"QLinearConv": 3, "QLinearAdd": 1, "NhwcMaxPool": 1, "QGemm": 1}),
    "two clips": (two_clips_net, {"QLinearConv": 2, "QLinearConcat": 1, "QGemm": 1}),
    "perceptron": (perceptron, {"QGemm": 2}),
    "no bias": (lambda: perceptron(bias=False), {"QGemm": 2}),
}


@pytest.mark.parametrize("name", NETS)
def test_onnx_runtime_runs_every_layer_on_integers_as_the_model_says(name: str) -> None:
    make, expected = NETS[name]
    model = make()
    x = normal(40, 12) if model.graph[0].op_type == "Gemm" else pictures()
    integers = on_integers(model, x).model
    operators = kernels(integers)
    assert {operator: operators.count(operator) for operator in expected} == expected
    assert not {"Conv", "FusedConv", "Gemm"} & set(operators)
    (as_written,) = RUNTIME.session(integers, optimise=False).run({"x": x}).values()
    for outputs in (run(integers, x, AS_FLOATS), as_written):
        assert distance(run(integers, x), outputs) < 0.01
    assert 0.0 < distance(run(integers, x), run(model, x)) < 0.05
    proto = ir.to_proto(integers)
    onnx.checker.check_model(proto, full_check=True)
    for names in (
        [part.name for part in proto.graph.node],
        [name for part in proto.graph.node for name in part.output],
    ):
        assert len(set(names)) == len(names)
    for before, after in ((model.graph.inputs, integers.graph.inputs), (model.graph.outputs, integers.graph.outputs)):
        assert [(v.name, str(v.type), str(v.shape)) for v in before] == [
            (v.name, str(v.type), str(v.shape)) for v in after
        ]


def test_weights_are_integers_along_their_rows_and_only_gemms_have_integer_biases() -> None:
    integers = on_integers(conv_net(), pictures()).model
    makers = {part.name: [value.producer() if value else None for value in part.inputs] for part in integers.graph}
    for name, axis in (("first", 0), ("second", 0), ("head", 1)):
        stored = makers[name][1]
        assert stored is not None
        codes, scales = (tensor(value).numpy() for value in stored.inputs[:2] if value is not None)
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() <= 63
        assert scales.shape == (codes.shape[axis],)
        assert stored.attributes.get_int("axis", 1) == axis
    bias = makers["head"][2]
    assert bias is not None
    assert bias.inputs[0] is not None
    assert tensor(bias.inputs[0]).dtype == ir.DataType.INT32
    assert makers["first"][2] is None, "a float bias"
    assert {name: weight.name for name, weight in find_integer_weights(integers.graph).items()} == {
        "first": "first_w",
        "second": "second_w",
        "head": "head_w",
    }


def test_equal_scales_are_stored_once_and_zero_points_only_where_they_are_needed() -> None:
    integers = on_integers(conv_net(), pictures()).model
    quantizers = [part for part in integers.graph if part.op_type == "QuantizeLinear"]
    assert quantizers
    for quantizer in quantizers:
        for use in quantizer.outputs[0].uses():
            assert use.node.inputs[1:] == quantizer.inputs[1:], "the same initializers"
    arrays = [tensor(value).numpy() for value in integers.graph.initializers.values()]
    scalars = [(str(array.dtype), array.tobytes()) for array in arrays if array.ndim == 0]
    assert len(scalars) == len(set(scalars))
    counts = {}
    for part in integers.graph:
        weight = part.inputs[1] if part.name in ("first", "second", "head") else None
        maker = weight.producer() if weight is not None else None
        if maker is not None:
            counts[part.name] = len(maker.inputs)
    assert counts == {"first": 2, "second": 2, "head": 3}, "without its zeros a Gemm would not be fused"


def float_between(monkeypatch: pytest.MonkeyPatch | None) -> tuple[list[str], float]:
    """Operators of a net whose second of three convolutions stays float, and how far they are from what it says."""
    if monkeypatch is not None:
        monkeypatch.setattr(insert_quantizers, "_input_channels", lambda _: None)
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "a_w", "a_b"], ["a"], "a", **PADDED),
        node("Relu", ["a"], ["p"], "relu2"),
        node("Conv", ["p", "b_w"], ["b"], "b"),
        node("Relu", ["b"], ["q"], "relu3"),
    ]
    sizes = 10.0 ** np.linspace(-2, 1, 16, dtype=np.float32).reshape(-1, 1, 1, 1)
    a_w, b_w = normal(16, 16, 3, 3, scale=0.1) * sizes, normal(16, 16, 1, 1) / sizes.reshape(1, -1, 1, 1)
    model = classifier(*nodes, last="q", a_w=a_w, a_b=sizes.ravel(), b_w=b_w)
    integers = on_integers(model, pictures(), only=("first", "b", "head")).model
    return kernels(integers), distance(run(integers, pictures()), run(integers, pictures(), AS_FLOATS))


def test_a_float_convolution_between_integers_stays_float() -> None:
    operators, error = float_between(None)
    assert operators.count("QLinearConv") == 2
    assert len({"Conv", "FusedConv"} & set(operators)) == 1
    assert error < 0.01


def test_it_would_be_made_integers_with_one_scale_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    operators, error = float_between(monkeypatch)
    assert operators.count("QLinearConv") == 3, "the trap is still there"
    assert error > 0.01


def max_pool_between(monkeypatch: pytest.MonkeyPatch | None) -> list[str]:
    if monkeypatch is not None:
        monkeypatch.setattr(insert_quantizers, "_spread", lambda parameters, *_: parameters)
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("MaxPool", ["r"], ["m"], "max", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["m", "a_w"], ["a"], "a"),
        node("Relu", ["a"], ["p"], "relu2"),
    ]
    model = classifier(*nodes, last="p", a_w=normal(16, 16, 1, 1))
    return kernels(on_integers(model, pictures(), only=("a", "head")).model)


def test_a_float_max_pool_stays_in_front_of_the_quantizer() -> None:
    operators = max_pool_between(None)
    assert operators.index("MaxPool") < operators.index("QuantizeLinear")
    assert operators.count("QLinearConv") == 1


def test_it_would_run_on_integers_in_the_slow_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    operators = max_pool_between(monkeypatch)
    pools = [operators.index(name) for name in ("MaxPool", "NhwcMaxPool") if name in operators]
    assert operators.index("QuantizeLinear") < pools[0], "the trap is still there"


@pytest.mark.parametrize("shared_with", ["integers", "floats"])
def test_a_weight_that_two_layers_share(shared_with: str) -> None:
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "w"], ["a"], "a"),
        node("Relu", ["a"], ["p"], "relu2"),
        node("Conv", ["p", "w"], ["b"], "b"),
        node("Relu", ["b"], ["q"], "relu3"),
    ]
    weight = normal(16, 16, 1, 1, scale=0.3)
    model = classifier(*nodes, last="q", w=weight)
    only = ("first", "a", "head") if shared_with == "floats" else None
    integers = on_integers(model, pictures(), only=only).model
    assert distance(run(integers, pictures()), run(model, pictures())) < 0.05
    stored = find_integer_weights(integers.graph)
    assert ("b" in stored) == (shared_with == "integers")
    if shared_with == "floats":
        (layer,) = [layer for layer in find_layers(integers.graph)[0] if layer.name == "b"]
        np.testing.assert_array_equal(tensor(layer.weight).numpy(), weight)
    else:
        assert stored["a"].name != stored["b"].name


def test_what_floats_and_integers_both_read() -> None:
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "a_w"], ["a"], "a"),
        node("Tanh", ["r"], ["t"], "tanh"),
        node("Add", ["a", "t"], ["s"], "add"),
        node("Conv", ["s", "b_w"], ["b"], "b"),
    ]
    model = classifier(*nodes, last="b", a_w=normal(16, 16, 1, 1), b_w=normal(16, 16, 1, 1))
    integers = on_integers(model, pictures()).model
    operators = kernels(integers)
    assert (operators.count("QLinearConv"), operators.count("Tanh"), operators.count("Add")) == (3, 1, 1)
    assert distance(run(integers, pictures()), run(model, pictures())) < 0.05


def test_an_output_in_the_middle_keeps_its_name_and_is_what_integers_say() -> None:
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "a_w"], ["a"], "a"),
        node("Add", ["a", "r"], ["s"], "add"),
        node("Conv", ["s", "b_w"], ["b"], "b"),
    ]
    weights: dict[str, Any] = {"a_w": normal(16, 16, 1, 1), "b_w": normal(16, 16, 1, 1)}
    model = classifier(*nodes, last="b", outputs=("s", "y"), **weights)
    integers = on_integers(model, pictures()).model
    assert [value.name for value in integers.graph.outputs] == ["s", "y"]
    assert distance(run(integers, pictures()), run(model, pictures())) < 0.02


@pytest.mark.parametrize("layer", ["second", "head"])
def test_a_row_whose_weights_are_all_but_zero_keeps_its_bias(layer: str) -> None:
    """Its scale would be so fine that the bias, in units of it, ends at 2³¹."""
    model = conv_net()
    array = tensor(model.graph.initializers[f"{layer}_w"]).numpy().copy()
    rows = array if layer == "second" else array.T
    rows[3] *= 1e-12
    bias = tensor(model.graph.initializers[f"{layer}_b"]).numpy().copy()
    bias[3] = 4.0
    for name, changed in ((f"{layer}_w", array), (f"{layer}_b", bias)):
        model.graph.initializers[name].const_value = ir.tensor(changed, name=name)
    integers = on_integers(model, pictures()).model
    assert distance(run(integers, pictures()), run(model, pictures())) < 0.02
    if layer == "head":
        np.testing.assert_allclose(run(integers, pictures())[:, 3], 4.0, rtol=1e-3)


def test_a_layer_whose_inputs_are_tiny_keeps_its_bias() -> None:
    """All of its scales would be too fine for its bias: beside it the weights add nothing, rounded as they may be."""
    model, x = conv_net(), 1e-7 * pictures()
    assert distance(run(on_integers(model, x).model, x), run(model, x)) < 0.02


def test_names_that_are_taken_are_not_given_again() -> None:
    model = conv_net()
    for number, (name, value) in enumerate(list(model.graph.initializers.items())):
        del model.graph.initializers[name]
        value.name = f"{'qrsif'[number % 5]}{number}"
        model.graph.register_initializer(value)
    integers = on_integers(model, pictures()).model
    onnx.checker.check_model(ir.to_proto(integers), full_check=True)
    assert kernels(integers).count("QLinearConv") == 2


def test_a_weight_that_lies_on_no_integers_is_refused() -> None:
    model = conv_net()
    scales: dict[str, Any] = {"second": np.full(16, 0.5)}
    with pytest.raises(ValueError, match="the weight of 'second' is not on integers"):
        StoreIntegers(scales, {"second": Scale(step=0.1, zero=0)})(model)
