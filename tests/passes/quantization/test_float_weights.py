"""Integers of a model as floats while they are pruned, and back on the same grid."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from incoming_models import DATA, QDQ, quantized_digits, weight_codes
from onnx import helper, numpy_helper

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import FloatWeights, RestoreIntegers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.runtime import Runtime

RNG = np.random.default_rng(0)


def opened(proto: onnx.ModelProto) -> ir.Model:
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def qdq_gemm(
    codes: np.ndarray, scale: np.ndarray, axis: int | None = None, alpha: float = 1.0, block_size: int = 0
) -> onnx.ModelProto:
    """A Gemm whose weight (outputs, inputs) is codes behind a DequantizeLinear."""
    attributes = {**({} if axis is None else {"axis": axis}), **({"block_size": block_size} if block_size else {})}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["v"], "restore", **attributes),
        helper.make_node("Gemm", ["x", "v"], ["y"], "gemm", transB=1, alpha=alpha),
    ]
    values = [helper.make_tensor_value_info(name, 1, ["N", size]) for name, size in (("x", 4), ("y", len(codes)))]
    constants = [numpy_helper.from_array(codes, "w"), numpy_helper.from_array(scale, "s")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("form", QDQ)
def test_floats_compute_the_same_and_go_back_to_the_same_integers(form: str) -> None:
    integers = opened(quantized_digits(form))
    floats, pass_ = integers.clone(), FloatWeights()
    pass_(floats)
    assert sorted(pass_.grids) == sorted(layer.name for layer in find_layers(floats.graph)[0])
    assert len(pass_.grids) == 8
    with np.load(DATA) as archive:
        feed = {"image": archive["image"][:8]}
    logits = [Runtime().on_floats().session(model).run(feed)["logits"] for model in (integers, floats)]
    np.testing.assert_allclose(*logits, atol=1e-5)
    RestoreIntegers(pass_.grids)(floats)
    before, after = (weight_codes(ir.to_proto(model)) for model in (integers, floats))
    assert before.keys() == after.keys()
    for name, arrays in before.items():
        for one, other in zip(arrays, after[name], strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    ort.InferenceSession(ir.to_proto(floats).SerializeToString())


def test_what_is_written_to_a_weight_goes_on_its_integers_and_the_bias_follows() -> None:
    model, floats = opened(quantized_digits("unsigned")), FloatWeights()
    floats(model)
    layer = next(layer for layer in find_layers(model.graph)[0] if layer.operator == "Gemm")
    scale, zero = floats.grids[layer.name].weight.scale, floats.grids[layer.name].weight.zero
    codes = RNG.integers(-30, 30, size=layer.matrix().shape)
    layer.write(codes * float(scale.item()))
    layer.shift_bias(np.ones(layer.rows))
    RestoreIntegers(floats.grids)(model)
    written, _, kept_zero = weight_codes(ir.to_proto(model))[layer.name]
    assert zero is not None
    np.testing.assert_array_equal(kept_zero, zero)
    stored = written if layer.rows_first() else written.T
    np.testing.assert_array_equal(stored.astype(int) - int(zero.item()), codes[0])
    bias = layer.node.inputs[2].producer()
    assert (bias.op_type, bias.inputs[0].dtype) == ("DequantizeLinear", ir.DataType.INT32)


def test_a_weight_off_its_grid_is_refused() -> None:
    model, floats = opened(quantized_digits("per channel")), FloatWeights()
    floats(model)
    layer = find_layers(model.graph)[0][0]
    layer.write(layer.matrix() * 1.003)
    with pytest.raises(ir.passes.PassError) as failure:
        ir.passes.Sequential(RestoreIntegers(floats.grids))(model)
    assert "is not on the integers it came with" in str(failure.value.__cause__)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (qdq_gemm(np.ones((3, 4), np.int8), np.ones(4, np.float32), axis=1), "a scale for each of its inputs"),
        (qdq_gemm(np.ones((3, 4), np.int8), np.ones((), np.float32), alpha=2.0), "its factor alpha is not 1"),
        (qdq_gemm(np.ones((3, 4), np.int8), np.ones((3, 2), np.float32), axis=1, block_size=2), "a scale a block"),
        (qdq_gemm(np.ones((3, 4), np.int32), np.ones((), np.float32)), "of type INT32"),
        (qdq_gemm(np.ones((3, 4), np.int8), np.zeros((), np.float32)), "not above 0"),
    ],
)
def test_integers_that_are_not_understood_stay_and_the_reason_is_told(model: onnx.ModelProto, reason: str) -> None:
    ours, floats = opened(model), FloatWeights()
    before = ir.to_proto(ours).SerializeToString()
    floats(ours)
    assert not floats.grids
    assert reason in floats.reasons["gemm"]
    assert [node.op_type for node in ours.graph] == ["DequantizeLinear", "Gemm"]
    assert weight_codes(ir.to_proto(ours)).keys() == weight_codes(onnx.load_from_string(before)).keys()


def test_codes_beyond_those_that_a_weight_had_are_not_made() -> None:
    codes = np.array([[-63, 5, 63, 0], [1, 2, 3, 4]], np.int8)
    model, floats = opened(qdq_gemm(codes, np.array([0.5, 0.25], np.float32), axis=0)), FloatWeights()
    floats(model)
    (layer,) = find_layers(model.graph)[0]
    grid = floats.grids["gemm"].of(layer)
    np.testing.assert_array_equal(grid.scales, [[0.5, 0.25]])
    np.testing.assert_array_equal(grid.least, [[-63, -63]])
    np.testing.assert_array_equal(grid.most, [[63, 63]])
