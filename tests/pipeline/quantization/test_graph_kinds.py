"""Graphs of many kinds on integers: every layer that is meant to run on them does, and outputs stay close."""

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.quantization import IntegerChoice, Quantized, quantize_model
from netsurgeon.pipeline.runtime import Runtime

RUNTIME = Runtime(threads=1)


def model_of(body: str, shape: str, weights: dict[str, tuple[int, ...]], opset: int = 13) -> ir.Model:
    """A model from x to y; the weights that it takes are drawn by their shapes."""
    rng = np.random.default_rng(0)
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    kind (float[{shape}] x) => (float y) {{ {body} }}"""
    proto = parser.parse_model(text)
    taken = {name for node in proto.graph.node for name in node.input}
    for name, extents in ((name, extents) for name, extents in weights.items() if name in taken):
        fan = np.sqrt(np.prod(extents[1:]) if len(extents) > 2 else extents[0])
        weight = (rng.standard_normal(extents) / fan).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(weight, name))
    model = ir.from_proto(proto)
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


def inputs(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((48, *shape)).astype(np.float32)


def on_integers(model: ir.Model, x: NDArray[np.float32]) -> Quantized:
    calibration = Calibration(open_samples({"x": x}, input_specs(model)), RUNTIME)
    options = Options(quantize="int8", target="cpu-vnni", threads=1)
    return quantize_model(model.clone(), options, calibration, IntegerChoice(stay={}), lambda *_: None)


def kernels(result: Quantized) -> dict[str, str | None]:
    assert result.facts is not None, result.notes
    return {layer.name: layer.kernel for layer in result.facts.layers}


def relative_error(model: ir.Model, other: ir.Model, x: NDArray[np.float32]) -> float:
    batch = x if not isinstance(model.graph.inputs[0].shape[0], int) else x[:1]  # type: ignore[index]
    dense, changed = (RUNTIME.session(one).run({"x": batch})["y"] for one in (model, other))
    assert dense.shape == changed.shape
    return float(np.sum((dense - changed) ** 2) / np.sum(dense**2))


SQUARE = {"w": (16, 16), "v": (16, 8), "b": (16,), "c": (8,)}
MATRICES = {
    "fixed": ("1, 6, 16", "h = MatMul (x, w) a = Add (h, b) r = Tanh (a) p = MatMul (r, v) y = Add (p, c)"),
    "fixed, the bias first": (
        "1, 6, 16",
        "h = MatMul (x, w) a = Add (b, h) r = Tanh (a) p = MatMul (r, v) y = Add (c, p)",
    ),
    "fixed, rank 4": ("1, 2, 3, 16", "h = MatMul (x, w) a = Add (h, b) r = Relu (a) p = MatMul (r, v) y = Add (p, c)"),
    "a free batch": ("N, 6, 16", "h = MatMul (x, w) a = Add (h, b) r = Tanh (a) p = MatMul (r, v) y = Add (p, c)"),
    "without a bias": ("1, 6, 16", "h = MatMul (x, w) r = Tanh (h) y = MatMul (r, v)"),
}


@pytest.mark.parametrize(("shape", "body"), MATRICES.values(), ids=MATRICES.keys())
def test_products_of_more_axes_run_on_integers(shape: str, body: str) -> None:
    model, x = model_of(body, shape, SQUARE), inputs(*map(int, shape.split(", ")[1:]))

    result = on_integers(model, x)

    assert list(kernels(result)) == ["h", "p"] if "p =" in body else ["h", "y"]
    assert set(kernels(result).values()) <= {"QGemm", "MatMulIntegerToFloat"}
    assert relative_error(model, result.model, x) < 1e-3


CONVOLUTIONS = {
    "of sequences": (
        (4, 24),
        "h = Conv <pads = [1, 1]> (x, w) r = Relu (h) g = Conv (r, v) y = GlobalAveragePool (g)",
        {"w": (8, 4, 3), "v": (8, 8, 1)},
    ),
    "with pads on one side": (
        (4, 9, 9),
        "h = Conv <pads = [0, 1, 2, 0], strides = [2, 1]> (x, w) r = Relu (h) g = Conv (r, v) y = GlobalMaxPool (g)",
        {"w": (8, 4, 3, 3), "v": (8, 8, 1, 1)},
    ),
    "in groups": (
        (4, 9, 9),
        "h = Conv <group = 2> (x, w) r = Relu (h) g = Conv <group = 4> (r, v) y = GlobalAveragePool (g)",
        {"w": (8, 2, 3, 3), "v": (8, 2, 1, 1)},
    ),
    "around a Sigmoid and Mul": (
        (4, 9, 9),
        "h = Conv (x, w) s = Sigmoid (h) r = Mul (h, s) g = Conv (r, v) y = GlobalAveragePool (g)",
        {"w": (8, 4, 3, 3), "v": (8, 8, 1, 1)},
    ),
    "around a PRelu": (
        (4, 9, 9),
        "h = Conv (x, w) r = PRelu (h, slope) g = Conv (r, v) y = GlobalAveragePool (g)",
        {"w": (8, 4, 3, 3), "v": (8, 8, 1, 1), "slope": (8, 1, 1)},
    ),
}


@pytest.mark.parametrize(("shape", "body", "weights"), CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolutions_run_on_integers(shape: tuple[int, ...], body: str, weights: dict[str, tuple[int, ...]]) -> None:
    model, x = model_of(body, f"N, {', '.join(map(str, shape))}", weights, opset=11), inputs(*shape)

    result = on_integers(model, x)

    assert set(kernels(result).values()) == {"QLinearConv"}
    assert relative_error(model, result.model, x) < 1e-2


def test_a_model_that_stays_on_floats_is_handed_back_as_it_was() -> None:
    shape, body = MATRICES["fixed"]
    model, x = model_of(body, shape, SQUARE, opset=11), inputs(6, 16)
    calibration = Calibration(open_samples({"x": x}, input_specs(model)), RUNTIME)
    choice = IntegerChoice(stay={"h": "it is slower", "p": "it is slower"})

    result = quantize_model(model, Options(quantize="int8", threads=1), calibration, choice, lambda *_: None)

    assert result.facts is None
    assert [node.op_type for node in result.model.graph] == ["MatMul", "Add", "Tanh", "MatMul", "Add"]
    assert result.model.graph.opset_imports[""] == 11
    assert [note.code for note in result.notes] == ["not-quantized"]
