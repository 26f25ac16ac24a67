"""What layers share is written for all of them, and for nobody else."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.layers.sharing import Shared, can_be_solved_together
from netsurgeon.pipeline.runtime import Runtime

HEADER = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) '
X = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def model_of(nodes: str) -> ir.Model:
    rng, proto = np.random.default_rng(0), onnx.parser.parse_model(HEADER + f"{{ {nodes} }}")
    for name, shape in (("w", (4, 4)), ("v", (4, 4)), ("b", (4,))):
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(proto)


def shift_shared(model: ir.Model, shift: np.ndarray) -> None:
    """Give the layers of the weight `w` another bias, as a solution for all of them does."""
    first, second = (layer for layer in find_layers(model.graph)[0] if layer.weight.name == "w")
    shared = Shared.of(first, [second])
    first.shift_bias(shift)
    shared.take(shift)


def outputs_of(model: ir.Model) -> list[np.ndarray]:
    return list(Runtime().session(model).run({"x": X}).values())


def test_a_bias_that_others_have_as_well_stays_theirs() -> None:
    nodes = "h = Gemm(x, w, b) k = Abs(h) y = Gemm(k, w, b) z = Gemm(x, v, b)"
    model, shift = model_of(nodes), np.full(4, 0.5)
    before = outputs_of(model)
    shift_shared(model, shift)
    after = outputs_of(model)
    np.testing.assert_array_equal(after[1], before[1])
    biases = [layer.node.inputs[2] for layer in find_layers(model.graph)[0]]
    assert biases[0] is biases[1]
    assert biases[2] is not biases[0]
    assert not np.allclose(after[0], before[0])


def test_a_bias_of_these_layers_alone_is_one_initializer() -> None:
    model = model_of("h = Gemm(x, w, b) k = Abs(h) y = Gemm(k, w, b) z = MatMul(x, v)")
    shift_shared(model, np.full(4, 0.5))
    biases = {layer.node.inputs[2] for layer in find_layers(model.graph)[0] if layer.weight.name == "w"}
    assert {bias.name for bias in biases if bias is not None} == {"b"}
    assert set(model.graph.initializers) == {"w", "v", "b"}


@pytest.mark.parametrize("scales", [(1.0, 0.25), (0.25, 1.0), (0.5, 0.5)])
def test_the_shift_of_outputs_is_the_same_whatever_multiplies_a_bias(scales: tuple[float, float]) -> None:
    first, second = scales
    model = model_of(f"y = Gemm<beta = {first}>(x, w, b) k = Abs(x) z = Gemm<beta = {second}>(k, w, b)")
    shift = np.array([0.5, -1.0, 2.0, 0.25])
    before = outputs_of(model)
    shift_shared(model, shift)
    for dense, shifted in zip(before, outputs_of(model), strict=True):
        np.testing.assert_allclose(shifted - dense, np.broadcast_to(shift, dense.shape), atol=1e-5)
    biases = {layer.node.inputs[2] for layer in find_layers(model.graph)[0]}
    assert len(biases) == len(set(scales)), "one initializer serves those that multiply it by one number"


def test_a_weight_that_anything_else_takes_is_not_solved_for_all() -> None:
    def layers_of(nodes: str) -> list[Layer]:
        return [layer for layer in find_layers(model_of(nodes).graph)[0] if layer.weight.name == "w"]

    assert can_be_solved_together(layers_of("h = MatMul(x, w) k = Abs(h) y = MatMul(k, w) z = MatMul(x, v)"))
    assert not can_be_solved_together(layers_of("h = MatMul(x, w) k = Abs(h) y = MatMul(k, w) z = Gemm(x, v, w)"))
