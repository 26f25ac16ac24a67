"""What a quantized model is made of is told, in whatever form it is."""

import numpy as np
import onnx_ir as ir
import pytest
from incoming_models import in_few_bits, perceptron, quantized_digits

from netsurgeon.passes.quantization import find_integer_weights, find_quantized_layers, summary

WEIGHTS = 45_088


@pytest.mark.parametrize(
    ("form", "kind", "scheme"),
    [
        ("per channel", "QDQ", "per channel, symmetric"),
        ("per tensor", "QDQ", "per tensor, symmetric"),
        ("unsigned", "QDQ", "per tensor, asymmetric"),
        ("QOperator", "QOperator", "per tensor, symmetric"),
    ],
)
def test_layers_of_static_quantization_are_listed(form: str, kind: str, scheme: str) -> None:
    layers = find_quantized_layers(ir.from_proto(quantized_digits(form)).graph)
    assert {(layer.form, layer.bits, layer.scheme) for layer in layers} == {(kind, 8, scheme)}
    assert sum(layer.weights for layer in layers) == WEIGHTS
    assert 0 < sum(layer.zeros for layer in layers) < 0.05 * WEIGHTS


def test_layers_of_dynamic_quantization_are_listed() -> None:
    layers = find_quantized_layers(ir.from_proto(quantized_digits("dynamic")).graph)
    assert summary(layers) == "6 ConvInteger, 2 MatMulInteger; form: dynamic"
    assert sum(layer.weights for layer in layers) == WEIGHTS


@pytest.mark.parametrize("is_symmetric", [True, False])
def test_blocks_of_a_few_bits_are_listed_with_their_zeros(is_symmetric: bool) -> None:
    model = perceptron()
    first = model.graph.initializer[0]
    codes = np.random.default_rng(1).integers(-7, 8, size=(20, 16)).astype(np.float32)
    codes[[0, 16]] = 7.0  # the ends of the grid, so that quantizing changes nothing
    codes[[1, 17]] = -8.0
    first.raw_data = codes.tobytes()
    layers = find_quantized_layers(ir.from_proto(in_few_bits(model, is_symmetric)).graph)
    assert [(layer.operator, layer.bits, layer.weights) for layer in layers] == [
        ("MatMulNBits", 4, 320),
        ("MatMulNBits", 4, 64),
    ]
    assert layers[0].scheme == f"a scale for 16 weights, {'symmetric' if is_symmetric else 'asymmetric'}"
    assert layers[0].zeros == int((codes == 0.0).sum())


def test_a_float_model_has_none() -> None:
    assert find_quantized_layers(ir.from_proto(perceptron()).graph) == []


@pytest.mark.parametrize(("integers", "form"), [("int8", "int8"), ("int4", "int4")])
def test_what_a_weight_is_stored_as_is_named(integers: str, form: str) -> None:
    model = ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 21]> g (float[N,4] x) => (float[N,2] y) <{integers}[4,2] codes = '
        "{1, -2, 3, 0, 5, -6, 7, 0}, float step = {0.5}, float[4,2] plain = {1, 2, 3, 4, 5, 6, 7, 8}> "
        "{ w = DequantizeLinear(codes, step) y = MatMul(x, w) z = MatMul(x, plain) }"
    )
    model.graph[1].name, model.graph[2].name = "layer", "floats"
    (name, stored), *others = find_integer_weights(model.graph).items()
    assert not others
    assert (name, stored.name, stored.form) == ("layer", "codes", form)
    assert stored.bytes == (8 if integers == "int8" else 4)
