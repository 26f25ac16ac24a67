"""Integers with a scale for a few columns: layout, names, biases, and what ONNX Runtime computes with them."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import StoreBlocks, find_integer_weights, place_matrices, span_of
from netsurgeon.passes.quantization.store_blocks import pack_codes, unpack_codes
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.passes.solvers import nearest_integers

Array = NDArray[Any]
GRAPHS = {
    "MatMul": "y = MatMul(x, w)",
    "MatMul and Add": "z = MatMul(x, w) y = Add(z, b)",
    "Gemm": "y = Gemm(x, w, b)",
    "Gemm of a turned weight": "y = Gemm <transB = 1> (x, w, b)",
    "Gemm of one number for all outputs": "y = Gemm(x, w, one)",
    "Gemm without a bias": "y = Gemm(x, w)",
}


def network(nodes: str, columns: int = 40, rows: int = 24, opset: int = 21) -> ir.Model:
    rng = np.random.default_rng(0)
    interface = f"net (float[N, {columns}] x) => (float[N, R] y)"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {interface} {{ {nodes} }}')
    shape = (rows, columns) if "transB" in nodes else (columns, rows)
    constants = {"w": rng.standard_normal(shape), "b": rng.standard_normal(rows), "one": rng.standard_normal((1,))}
    for name, array in constants.items():
        if f" {name})" in nodes or f" {name}," in nodes:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def on_integers(model: ir.Model, span: int, bits: int) -> dict[str, Array]:
    """Put all layers on the nearest integers in place; their scales."""
    scales = {}
    for layer in find_layers(model.graph)[0]:
        integers = nearest_integers(layer.matrix(), 2 ** (bits - 1) - 1, span=span)
        layer.write(integers.weight)
        scales[layer.name] = np.concatenate(integers.scales, axis=-1)
    return scales


def outputs(model: ir.Model, x: Array, level: str = "ORT_ENABLE_ALL") -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(result)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("columns", "span"), [(64, 32), (40, 32), (5, 16), (33, 16)])
def test_packing_of_integers_can_be_undone(bits: int, columns: int, span: int) -> None:
    most = 1 << (bits - 1)
    codes = np.random.default_rng(1).integers(-most, most, (3, columns))
    packed = pack_codes(codes, bits, span)
    assert packed.shape == (3, -(-columns // span), span * bits // 8)
    np.testing.assert_array_equal(unpack_codes(packed, bits, columns), codes)


def test_the_layout_is_the_one_that_onnx_runtime_writes() -> None:
    native = pytest.importorskip("onnxruntime.capi._pybind_state")
    weight = np.random.default_rng(2).standard_normal((64, 3)).astype(np.float32)
    packed, scales = np.zeros((3, 2, 16), np.uint8), np.zeros((3, 2), np.float32)
    native.quantize_matmul_4bits(packed, weight, scales, np.zeros((3, 1), np.uint8), 32, 3, 64, True)
    codes = np.rint(weight.T.reshape(3, 2, 32) / scales[..., None]).clip(-8, 7).astype(np.int64)
    np.testing.assert_array_equal(pack_codes(codes.reshape(3, 64), 4, 32), packed)


@pytest.mark.parametrize("standard", [False, True], ids=["MatMulNBits", "standard"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("nodes", GRAPHS.values(), ids=GRAPHS)
def test_onnx_runtime_computes_what_the_rounded_weights_do(nodes: str, bits: int, standard: bool) -> None:
    model = network(nodes)
    scales = on_integers(model, 32, bits)
    stored = model.clone()
    StoreBlocks(scales, dict.fromkeys(scales, 32), bits, standard)(stored)
    if not standard:  # without rounding what enters
        next(node for node in stored.graph if node.op_type == "MatMulNBits").attributes["accuracy_level"] = (
            ir.AttrInt64("accuracy_level", 0)
        )
    onnx.checker.check_model(ir.to_proto(stored))
    x = np.random.default_rng(3).standard_normal((7, 40)).astype(np.float32)
    expected = outputs(model, x, "ORT_DISABLE_ALL")
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        np.testing.assert_allclose(outputs(stored, x, level), expected, rtol=0.0, atol=1e-5 * np.abs(expected).max())
    domains = {node.domain for node in stored.graph}
    assert domains == ({""} if standard else domains | {"com.microsoft"})
    assert [value.name for value in stored.graph.outputs] == ["y"]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("standard", [False, True], ids=["MatMulNBits", "standard"])
def test_the_integers_of_a_stored_layer_are_found_by_its_name(bits: int, standard: bool) -> None:
    model = network(GRAPHS["MatMul and Add"])
    (layer,) = find_layers(model.graph)[0]
    scales = on_integers(model, 32, bits)
    rounded = np.concatenate(layer.matrix(), axis=-1)
    StoreBlocks(scales, {layer.name: 32}, bits, standard)(model)
    weight = find_integer_weights(model.graph)[layer.name]
    rows = weight.codes if not standard else weight.codes.T
    steps = np.repeat(scales[layer.name], 32, axis=1)[:, :40]
    np.testing.assert_allclose(rows.astype(np.float64) * steps, rounded, atol=1e-6)
    assert weight.bytes == 24 * (64 if not standard else 40) * bits // 8


@pytest.mark.parametrize(("bits", "version"), [(4, 10), (8, 8)])
def test_the_version_of_the_format_is_one_that_has_the_integers(bits: int, version: int) -> None:
    model = network("y = MatMul(x, w)", columns=32)
    model.ir_version = 8
    scales = on_integers(model, 32, bits)
    StoreBlocks(scales, dict.fromkeys(scales, 32), bits, True)(model)
    assert model.ir_version == version


def test_scales_of_whole_rows_need_no_blocks_and_no_late_operator_set() -> None:
    model = network(GRAPHS["MatMul"], opset=13)
    scales = on_integers(model, 40, 8)
    stored = model.clone()
    StoreBlocks(scales, dict.fromkeys(scales, 40), 8, standard=True)(stored)
    x = np.random.default_rng(3).standard_normal((7, 40)).astype(np.float32)
    np.testing.assert_allclose(outputs(stored, x, "ORT_DISABLE_ALL"), outputs(model, x), rtol=0.0, atol=1e-4)


def test_a_weight_that_two_layers_share_is_stored_for_each_and_stays_for_others() -> None:
    model = network("a = MatMul(x, w) c = MatMul(x, w) d = Add(a, c) e = ReduceSum(w) y = Add(d, e)")
    names = [layer.name for layer in find_layers(model.graph)[0]]
    scales = on_integers(model, 32, 8)
    expected_input = np.random.default_rng(3).standard_normal((7, 40)).astype(np.float32)
    expected = outputs(model, expected_input)
    StoreBlocks(scales, dict.fromkeys(names, 32), 8, standard=True)(model)
    assert set(find_integer_weights(model.graph)) == set(names)
    np.testing.assert_allclose(outputs(model, expected_input), expected, rtol=0.0, atol=1e-4)


def test_a_weight_off_its_integers_is_refused() -> None:
    model = network(GRAPHS["MatMul"])
    scales = on_integers(model, 32, 4)
    (layer,) = find_layers(model.graph)[0]
    layer.write(layer.matrix() * 1.01)
    with pytest.raises(ValueError, match="not on integers"):
        StoreBlocks(scales, {layer.name: 32}, 4)(model)


@pytest.mark.parametrize(
    ("columns", "bits", "span"), [(64, 4, 32), (16, 4, 16), (40, 4, 16), (256, 8, 128), (96, 8, 32)]
)
def test_the_span_is_the_one_that_fills_the_fewest_bytes(columns: int, bits: int, span: int) -> None:
    (layer,) = find_layers(network(GRAPHS["MatMul"], columns=columns).graph)[0]
    assert span_of(layer, bits, (32, 16) if bits == 4 else (128, 64, 32, 16)) == span


REFUSED = {
    "y = Conv(x, w)": "only the weights of MatMul and Gemm",
    "y = MatMul(w, x)": "stands in front of its input",
    "y = Gemm <alpha = 0.5> (x, w)": "alpha and beta",
    "y = Gemm <transA = 1> (x, w)": "transposed",
}


@pytest.mark.parametrize(("nodes", "reason"), REFUSED.items())
def test_what_is_no_plain_matrix_product_stays_on_floats_with_a_reason(nodes: str, reason: str) -> None:
    shape = (4, 3, 1, 1) if "Conv" in nodes else (4, 4)
    interface = f"net (float[{'N, 3, H, W' if 'Conv' in nodes else '4, 4'}] x) => (float y)"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {interface} {{ {nodes} }}')
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), "w"))
    model = ir.from_proto(proto)
    normal_form()(model)
    placement = place_matrices(model.graph, find_layers(model.graph)[0], {})
    assert not placement.layers
    assert all(reason in text for text in placement.floats.values())
    assert placement.floats


def test_stacks_of_one_matrix_and_vectors_stay_on_floats() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (float[4] x) => (float y) { a = MatMul(x, v) y = MatMul(a, w) }'
    )
    for name, shape in (("v", (4, 4)), ("w", (1, 4, 4))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    model = ir.from_proto(proto)
    normal_form()(model)
    placement = place_matrices(model.graph, find_layers(model.graph)[0], {})
    assert list(placement.floats.values()) == [
        "its input is a vector",
        "its weight has 3 dimensions, expected 2",
    ]
