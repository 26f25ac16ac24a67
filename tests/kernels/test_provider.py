"""The execution provider in ONNX Runtime: what it takes, and that outputs are those of the CPU provider."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from _sparse_models import Network, fully_connected, resnet50, transformer
from onnx import TensorProto, helper
from sparse_sessions import explained, inputs, run, session, taken

STEP, RELU, SIGNED = 0.02, (4 / 255, 0), (8 / 255, 128)


def convolutions(channels: int = 64, size: int = 9, batch: int | str = 1, **attributes: Any) -> onnx.ModelProto:
    """Two convolutions, the first one of three by three."""
    network = Network(0.8)
    value = network.quantize("x", STEP, 120)
    value = network.convolution(value, (channels, 48), 3, step=STEP, **attributes)
    value = network.convolution(value, (48, 32), step=RELU[0], relu=False, to=SIGNED)
    return network.model({"x": [batch, channels, size, size]}, value, [None] * 4)


def residual(swapped: bool = False, relu: bool = True, zero_point: int = 3) -> onnx.ModelProto:
    """A residual block with a shortcut of its own."""
    network = Network(0.7)
    value = network.quantize("x", STEP, 120)
    shortcut = network.convolution(network.again(value), (32, 64), step=STEP, relu=False, to=SIGNED)
    inner = network.convolution(value, (32, 32), 3, step=STEP)
    inner = network.convolution(inner, (32, 64), step=RELU[0], relu=False, to=SIGNED)
    added = network.node("Add", [shortcut, inner] if swapped else [inner, shortcut])
    value = network.quantize(network.node("Relu", [added]) if relu else added, 0.03, zero_point)
    value = network.convolution(value, (64, 16), step=0.03, relu=False, to=SIGNED)
    return network.model({"x": ["batch", 32, 6, 7]}, value, [None] * 4)


def pooled() -> onnx.ModelProto:
    """A convolution, a pooling, a convolution, averages and a classifier."""
    network = Network(0.8)
    value = network.quantize("x", STEP, 120)
    value = network.convolution(value, (3, 40), 5, 2, step=STEP)
    pool = network.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    value = network.quantize(pool, *RELU)
    value = network.convolution(value, (40, 72), 3, step=RELU[0])
    value = network.quantize(network.node("GlobalAveragePool", [value]), *RELU)
    value = network.quantize(network.node("Flatten", [value]), *RELU)
    output = network.fully_connected(value, (72, 10), step=RELU[0], to=SIGNED)
    return network.model({"x": ["batch", 3, 29, 31]}, output, [None, 10])


def classifier(floats: bool = False) -> onnx.ModelProto:
    """Two matrix products; the last one's outputs may stay floats."""
    network = Network(0.8)
    value = network.quantize("x", STEP, 120)
    value = network.quantize(
        network.node("Relu", [network.fully_connected(value, (96, 80), step=STEP, to=None)]), *RELU
    )
    output = network.fully_connected(value, (80, 24), step=RELU[0], to=None if floats else SIGNED)
    return network.model({"x": ["batch", 96]}, output, [None, 24])


def products(transposed: bool = False) -> onnx.ModelProto:
    """A MatMul of three axes, and a Gemm whose weights are rows by columns."""
    network = Network(0.8)
    value = network.quantize("x", STEP, 120)
    weight, _ = network.weights((64, 48), 0.8, axis=1)
    value = network.quantize(network.node("MatMul", [value, weight]), *SIGNED)
    return network.model({"x": ["batch", 5, 64]}, value, [None, 5, 48])


def product_with_bias() -> onnx.ModelProto:
    """A MatMul whose floats get a bias."""
    network = Network(0.8)
    value = network.quantize("x", STEP, 120)
    weight, _ = network.weights((64, 48), 0.8, axis=1)
    bias = network.constant(np.random.default_rng(0).normal(size=48).astype(np.float32))
    value = network.node("Add", [bias, network.node("MatMul", [value, weight])])
    return network.model({"x": ["batch", 5, 64]}, value, [None, 5, 48])


def clipped() -> onnx.ModelProto:
    """A convolution whose outputs are clipped."""
    network = Network(0.8)
    value = network.quantize("x", STEP, 120)
    value = network.convolution(value, (64, 48), step=STEP, relu=False, to=SIGNED)
    model = network.model({"x": [1, 64, 5, 5]}, value, [None] * 4)
    made = next(node for node in model.graph.node if node.op_type == "Conv")
    bounds = [helper.make_tensor(name, TensorProto.FLOAT, [], [number]) for name, number in (("l", 0.0), ("h", 2.0))]
    model.graph.initializer.extend(bounds)
    clip = helper.make_node("Clip", [made.output[0], "l", "h"], ["clipped"])
    reader = next(node for node in model.graph.node if made.output[0] in node.input)
    reader.input[0] = "clipped"
    model.graph.node.insert(list(model.graph.node).index(reader), clip)
    return model


MODELS: dict[str, tuple[Callable[[], onnx.ModelProto], int]] = {  # how many nodes the provider runs
    "convolutions": (convolutions, 2),
    "channels of no window": (lambda: convolutions(37), 2),
    "strides": (lambda: convolutions(strides=[2, 3]), 2),
    "pads on one side": (lambda: convolutions(pads=[0, 2, 1, 0]), 2),
    "dilation": (lambda: convolutions(dilations=[2, 2]), 2),
    "dilation of few channels": (lambda: convolutions(16, pads=[3, 3, 3, 3], dilations=[3, 3]), 2),
    "no pads": (lambda: convolutions(auto_pad="VALID", pads=None), 2),
    "residual": (residual, 4),
    "residual in front": (lambda: residual(swapped=True), 4),
    "residual without Relu": (lambda: residual(relu=False, zero_point=128), 4),
    "pooled": (pooled, 4),
    "classifier": (classifier, 2),
    "floats at the end": (lambda: classifier(floats=True), 2),
    "products": (products, 1),
    "product with bias": (product_with_bias, 1),
    "scale of each run": (lambda: fully_connected(0.8, size=200), 1),
    "transformer": (lambda: transformer(0.8, width=96, heads=4), 12),
    "clipped": (clipped, 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_cpu_provider(name: str, tmp_path: Path) -> None:
    make, nodes = MODELS[name]
    model = make()
    feed = inputs(model, batch=3)
    (expected,) = run(model, feed, claim=None)
    (outputs,) = run(model, feed)
    assert len(taken(model, feed, tmp_path)) == nodes
    assert len(np.unique(expected)) > 20
    if name in ("floats at the end", "product with bias"):
        assert np.allclose(outputs, expected, rtol=1e-6, atol=1e-6)
    else:
        assert np.array_equal(outputs, expected)


def test_resnet50_is_equal_and_all_its_layers_are_taken(tmp_path: Path) -> None:
    model = resnet50(0.8, size=64, narrower=4)
    feed = inputs(model, batch=2)
    assert np.array_equal(run(model, feed)[0], run(model, feed, claim=None)[0])
    assert len(taken(model, feed, tmp_path)) == 55  # with the pooling


def test_batches_and_images_may_have_any_size() -> None:
    model = pooled()
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.Clear()
        dimension.dim_param = "size"
    sparse, dense = session(model), session(model, claim=None)
    rng = np.random.default_rng(0)
    for shape in ((1, 3, 29, 31), (5, 3, 8, 50), (2, 3, 101, 16), (1, 3, 5, 5)):
        feed = {"x": rng.normal(size=shape).astype(np.float32)}
        assert np.array_equal(sparse.run(None, feed)[0], dense.run(None, feed)[0])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int) -> None:
    model = resnet50(0.9, size=64, narrower=4)
    feed = inputs(model, batch=2)
    assert np.array_equal(run(model, feed, threads=threads)[0], run(model, feed)[0])


def _with_initializer(model: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> None:
    initializer = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = change(onnx.numpy_helper.to_array(initializer))
    initializer.CopyFrom(onnx.numpy_helper.from_array(array, name))


def _first_weight(model: onnx.ModelProto, place: int) -> str:
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    restored = next(node for node in model.graph.node if convolution.input[1] in node.output)
    return str(restored.input[place])


def _groups(model: onnx.ModelProto) -> None:
    weight = _first_weight(model, 0)
    _with_initializer(model, weight, lambda array: np.ascontiguousarray(array[:, :32]))
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    convolution.attribute.append(helper.make_attribute("group", 2))


def _zero_points(model: onnx.ModelProto) -> None:
    _with_initializer(model, _first_weight(model, 2), lambda array: array + np.int8(1))


def _signed_inputs(model: onnx.ModelProto) -> None:
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    _with_initializer(model, first.input[2], lambda _: np.int8(0))


def _seen(model: onnx.ModelProto) -> None:
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.output.append(helper.make_tensor_value_info(convolution.output[0], TensorProto.FLOAT, None))


def _bias_of_other_units(model: onnx.ModelProto) -> None:
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    restored = next(node for node in model.graph.node if convolution.input[2] in node.output)
    _with_initializer(model, restored.input[1], lambda array: array * np.float32(1.5))


def _same_pads(model: onnx.ModelProto) -> None:
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    kept = [attribute for attribute in convolution.attribute if attribute.name != "pads"]
    del convolution.attribute[:]
    convolution.attribute.extend([*kept, helper.make_attribute("auto_pad", "SAME_UPPER")])


def _unsigned_weights(model: onnx.ModelProto) -> None:
    for place in (0, 2):
        _with_initializer(model, _first_weight(model, place), lambda array: array.astype(np.uint8))


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {  # and what is said of it
    "groups": (_groups, "its channels are in groups"),
    "zero points of weights": (
        _zero_points,
        "its weight has zero points that are not 0, or other scales than one float32 or one a row",
    ),
    "unsigned weights": (_unsigned_weights, "its weight is not signed 8-bit integers"),
    "signed inputs": (_signed_inputs, "its input has signed integers"),
    "a value that is an output, too": (
        _seen,
        "its output does not become 8-bit integers, or is also an output of the model",
    ),
    "a bias in other units": (
        _bias_of_other_units,
        "its bias has other units than its sums, or it is larger than the kernels take",
    ),
    "pads by the input": (_same_pads, "its padding depends on the input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_stays_with_the_cpu_provider(name: str, tmp_path: Path) -> None:
    model = convolutions()
    change, reason = REFUSED[name]
    change(model)
    feed = inputs(model)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    assert explained(model, tmp_path / "layers.tsv", claim="all")[first.name] == ("left", reason)
    outputs, expected = run(model, feed), run(model, feed, claim=None)
    # rounding at the CPU provider's own layers may differ by where they run; a step of the output at most
    assert all(np.abs(a - b).max() <= SIGNED[0] * 1.01 for a, b in zip(outputs, expected, strict=True))
    assert len(taken(model, feed, tmp_path)) == 1  # the second convolution


def test_dense_layers_are_not_taken_and_sparse_ones_are(tmp_path: Path) -> None:
    network = Network(0.95)
    value = network.quantize("x", STEP, 120)
    value = network.convolution(value, (256, 256), 3, step=STEP, dense=True)
    value = network.convolution(value, (256, 256), 3, step=RELU[0])
    model = network.model({"x": [1, 256, 14, 14]}, value, [None] * 4)
    feed = inputs(model)
    assert len(taken(model, feed, tmp_path, claim="auto")) == 1
    assert len(taken(model, feed, tmp_path, claim="all")) == 2
    assert not taken(model, feed, tmp_path, claim="none")
    assert np.array_equal(run(model, feed, claim="auto")[0], run(model, feed, claim=None)[0])


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_products_that_give_halves_stay_with_the_cpu_provider(operator: str, tmp_path: Path) -> None:
    """ONNX Runtime holds two bytes for each of their numbers: floats would be written behind the end."""
    network = Network(0.8)
    halves = {"output_dtype": TensorProto.FLOAT16}
    parameters = [network.constant(np.float32(STEP)), network.constant(np.uint8(120))]
    integers = network.node("QuantizeLinear", ["x", *parameters])
    value = network.node("DequantizeLinear", [integers, *parameters], **halves)
    weight = network.constant(np.random.default_rng(0).integers(-9, 10, (64, 48)).astype(np.int8))
    weight = network.node("DequantizeLinear", [weight, network.constant(np.float32(0.01))], **halves)
    model = network.model({"x": [5, 64]}, network.node(operator, [value, weight]), [5, 48])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.opset_import[0].version, model.ir_version = 23, 11
    feed = inputs(model)
    assert not taken(model, feed, tmp_path)
    np.testing.assert_array_equal(run(model, feed)[0], run(model, feed, claim=None)[0])


def _weights_with_zero_points(model: onnx.ModelProto) -> None:
    product = next(node for node in model.graph.node if node.op_type == "MatMulInteger")
    model.graph.initializer.append(helper.make_tensor("shift", TensorProto.INT8, [], [1]))
    product.input.append("shift")


def _scale_of_another_input(model: onnx.ModelProto) -> None:
    other = helper.make_node("DynamicQuantizeLinear", ["x2"], ["o", "o.scale", "o.zero_point"])
    double = helper.make_node("Add", ["x", "x"], ["x2"])
    multiply = next(node for node in model.graph.node if node.op_type == "Mul")
    multiply.input[0] = "o.scale"
    model.graph.node.insert(0, other)
    model.graph.node.insert(0, double)


def _sums_that_are_seen(model: onnx.ModelProto) -> None:
    product = next(node for node in model.graph.node if node.op_type == "MatMulInteger")
    model.graph.output.append(helper.make_tensor_value_info(product.output[0], TensorProto.INT32, None))


@pytest.mark.parametrize("change", [_weights_with_zero_points, _scale_of_another_input, _sums_that_are_seen])
def test_products_of_another_form_stay_with_the_cpu_provider(
    change: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    model = fully_connected(0.8, size=96)
    change(model)
    feed = inputs(model, batch=2)
    assert not taken(model, feed, tmp_path)
    assert np.array_equal(run(model, feed)[0], run(model, feed, claim=None)[0])


def test_a_dense_stem_is_taken_beside_sparse_layers_alone(tmp_path: Path) -> None:
    for zeros, nodes in ((0.0, 0), (0.9, 2)):
        network = Network(zeros)
        value = network.quantize("x", STEP, 120)
        value = network.convolution(value, (3, 64), 7, 2, step=STEP, dense=True)
        value = network.convolution(value, (64, 256), 3, step=RELU[0])
        model = network.model({"x": [1, 3, 64, 64]}, value, [None] * 4)
        feed = inputs(model)
        assert len(taken(model, feed, tmp_path, claim="auto")) == nodes
        assert np.array_equal(run(model, feed, claim="auto")[0], run(model, feed, claim=None)[0])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ((2, 32, 6, 7), (2, 64, 6, 7)),
        ((2, 32, 6, 7), (1, 64, 6, 7)),
        ((2, 32, 6, 7), (2, 64, 1, 1)),
        ((2, 32, 6, 7), (1, 64, 1, 7)),
        ((1, 32, 6, 7), (3, 64, 6, 7)),
        ((1, 32, 6, 1), (3, 64, 1, 7)),
        ((1, 32, 6, 7), (0, 64, 6, 7)),
    ],
)
def test_what_is_added_may_be_repeated_along_axes_whose_extents_only_a_run_tells(
    layer: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    network = Network(0.7)
    value = network.convolution(network.quantize("x", STEP, 120), (32, 64), step=STEP, relu=False, to=SIGNED)
    added = network.node("Add", [value, network.again(network.quantize("r", STEP, 120))])
    model = network.model(
        {"x": ["batch", 32, "rows", "columns"], "r": ["other", 64, "height", "width"]},
        network.quantize(added, 0.03, 3),
        [None] * 4,
    )
    generator = np.random.default_rng(0)
    feed = {
        "x": generator.normal(size=layer).astype(np.float32),
        "r": generator.normal(size=shape).astype(np.float32),
    }
    dense, sparse = (session(model, claim=claim).run(None, feed)[0] for claim in ("none", "all"))
    np.testing.assert_array_equal(sparse, dense)


def test_constants_are_added_by_the_cpu_provider(tmp_path: Path) -> None:
    network = Network(0.7)
    value = network.convolution(network.quantize("x", STEP, 120), (32, 64), step=STEP, relu=False, to=SIGNED)
    constant = network.constant(np.random.default_rng(0).integers(0, 256, (1, 64, 6, 7)).astype(np.uint8))
    parameters = [network.constant(np.float32(STEP)), network.constant(np.uint8(120))]
    added = network.node("Add", [value, network.node("DequantizeLinear", [constant, *parameters])])
    model = network.model({"x": [1, 32, 6, 7]}, network.quantize(added, 0.03, 3), [None] * 4)
    feed = inputs(model)
    assert len(taken(model, feed, tmp_path)) == 1
    np.testing.assert_array_equal(run(model, feed)[0], run(model, feed, claim=None)[0])


def test_a_layer_of_a_constant_stays_with_the_cpu_provider() -> None:
    network = Network(0.7)
    constant = network.constant(np.random.default_rng(0).integers(0, 256, (1, 32, 6, 7)).astype(np.uint8))
    parameters = [network.constant(np.float32(STEP)), network.constant(np.uint8(120))]
    value = network.node("DequantizeLinear", [constant, *parameters])
    value = network.convolution(value, (32, 64), step=STEP, relu=False, to=SIGNED)
    model = network.model({"x": [1, 64, 6, 7]}, network.node("Add", [value, "x"]), [None] * 4)
    feed = inputs(model)
    np.testing.assert_array_equal(run(model, feed)[0], run(model, feed, claim=None)[0])


def test_a_layer_that_is_too_large_for_the_kernels_runs_dense() -> None:
    network = Network(0.999)
    columns = 2**20 + 64
    value = network.fully_connected(network.quantize("x", STEP, 120), (columns, 16), step=STEP, to=None)
    model = network.model({"x": [1, columns]}, value, [None, 16])
    feed = {"x": np.random.default_rng(0).normal(size=(1, columns)).astype(np.float32)}
    dense, sparse = (session(model, claim=claim).run(None, feed)[0] for claim in ("none", "all"))
    np.testing.assert_array_equal(sparse, dense)
