"""Activations that become integers while the model runs: the graph, and what ONNX Runtime makes of it."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import (
    MeasureWhileRunning,
    MultiplyIntegers,
    Placement,
    SeparateInputs,
    find_integer_weights,
    place_matrices,
)
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.passes.solvers import nearest_integers
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
TEXT = """<ir_version: 8, opset_import: ["": 17]> net (float[N, S, 24] x) => (float[N, S, 8] y, float[N, S, 16] q) {
    q = MatMul(x, w1)
    k = MatMul(x, w2)
    product = Mul(q, k)
    flat = Reshape(product, shape)
    hidden = Gemm <transB = 1> (flat, w3, b3)
    stacked = Reshape(hidden, back)
    last = MatMul(stacked, w4)
    y = Add(last, b4)
}"""
SHAPES = {"w1": (24, 16), "w2": (24, 16), "w3": (12, 16), "b3": (12,), "w4": (12, 8), "b4": (8,)}


def network() -> ir.Model:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    arrays: dict[str, Array] = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    arrays |= {"shape": np.array([-1, 16]), "back": np.array([-1, 5, 12])}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def emulated(model: ir.Model) -> tuple[ir.Model, Placement]:
    """A clone whose layers take what comes back from integers, and what was placed."""
    clone = model.clone()
    placement = place_matrices(clone.graph, find_layers(clone.graph)[0], {})
    SeparateInputs(placement)(clone)
    MeasureWhileRunning(placement.entering)(clone)
    return clone, placement


def on_integers(model: ir.Model) -> dict[str, Array]:
    """Put the weights of all layers on 7 bits in place; the scales of their rows."""
    scales = {}
    for layer in find_layers(model.graph)[0]:
        integers = nearest_integers(layer.matrix(), 63, layer.blocks)
        layer.write(integers.weight)
        scales[layer.name] = layer.of_rows(integers.scales)
    return scales


def feed() -> dict[str, Array]:
    return {"x": np.random.default_rng(1).standard_normal((3, 5, 24)).astype(np.float32)}


def test_integer_kernels_give_what_the_graph_says_in_float_arithmetic() -> None:
    floats, placement = emulated(network())
    scales = on_integers(floats)
    integers = floats.clone()
    MultiplyIntegers(scales)(integers)
    onnx.checker.check_model(ir.to_proto(integers))
    expected = Runtime(optimisation="off").session(floats).run(feed())
    for level in ("off", "all"):
        results = Runtime(optimisation=level).session(integers).run(feed())
        for name, result in results.items():
            np.testing.assert_allclose(result, expected[name], rtol=0.0, atol=2e-5 * np.abs(expected[name]).max())
    kinds = [node.op_type for node in integers.graph]
    assert kinds.count("MatMulInteger") == len(placement.layers) == 4
    assert kinds.count("DynamicQuantizeLinear") == 3
    assert "MatMul" not in kinds
    assert "Gemm" not in kinds
    assert "DequantizeLinear" not in kinds


def test_rounding_what_enters_changes_the_outputs_a_little() -> None:
    model = network()
    floats, _ = emulated(model)
    before, after = (Runtime().session(variant).run(feed())["y"] for variant in (model, floats))
    share = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert 1e-4 < share < 0.05


def test_onnx_runtime_makes_one_kernel_of_each_layer_and_knows_it_by_name() -> None:
    integers, placement = emulated(network())
    MultiplyIntegers(on_integers(integers))(integers)
    weights = find_integer_weights(integers.graph)
    assert set(weights) == set(placement.layers)
    graph = Runtime().optimised_graph(integers)
    kernels = {node.name: node.op_type for node in graph.node if node.op_type.startswith(("DynamicQ", "MatMulInt"))}
    assert set(kernels.values()) <= {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLinear"}
    readers = {name: node.op_type for node in graph.node for name in node.input}
    assert all(readers[weight.name] in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat") for weight in weights.values())


def test_a_value_that_a_layer_and_others_take_stays_a_float_for_the_others() -> None:
    integers, _ = emulated(network())
    scales = on_integers(integers)
    MultiplyIntegers({name: rows for name, rows in scales.items() if name == find_layers(integers.graph)[0][1].name})(
        integers
    )
    kinds = [node.op_type for node in integers.graph]
    assert kinds.count("MatMulInteger") == 1
    assert kinds.count("MatMul") == 2
    assert Runtime().session(integers).run(feed())["y"].shape == (3, 5, 8)


def test_a_layer_whose_input_is_not_made_of_integers_is_refused() -> None:
    model = network()
    scales = on_integers(model)
    with pytest.raises(ValueError, match="not made of integers"):
        MultiplyIntegers(scales)(model)
