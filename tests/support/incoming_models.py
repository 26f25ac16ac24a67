"""Models that come quantized, as ONNX Runtime's own quantizers make them of the digits network and of a perceptron."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
DATA = DIGITS / "calibration.npz"
STATIC: dict[str, dict[str, Any]] = {
    "per channel": {"quant_format": QuantFormat.QDQ, "per_channel": True},
    "per tensor": {"quant_format": QuantFormat.QDQ},
    "unsigned": {
        "quant_format": QuantFormat.QDQ,
        "weight_type": QuantType.QUInt8,
        "activation_type": QuantType.QUInt8,
    },
    "unsigned activations": {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8, "per_channel": True},
    "QOperator": {"quant_format": QuantFormat.QOperator},
}
"""Arguments of `quantize_static`, by the name of what it gives."""
QDQ = [name for name in STATIC if name != "QOperator"]


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        with np.load(DATA) as archive:
            self._feeds: Iterator[dict[str, NDArray[Any]]] = iter([{"image": archive["image"][:100]}])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


def float_digits() -> onnx.ModelProto:
    """The digits network, without the shapes noted in it, which the quantizers do not keep up to date."""
    model = onnx.load(DIGITS / "digits.onnx")
    del model.graph.value_info[:]
    return model


@functools.cache
def _quantized(form: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(float_digits(), source)
        if form == "dynamic":
            quantize_dynamic(source, target)
        else:
            quantize_static(source, target, _Images(), **{"weight_type": QuantType.QInt8, **STATIC[form]})
        return target.read_bytes()


def quantized_digits(form: str) -> onnx.ModelProto:
    """The digits network in a form of `STATIC`, or "dynamic"."""
    return onnx.load_from_string(_quantized(form))


def perceptron(columns: int = 20, rows: int = 16) -> onnx.ModelProto:
    """Two MatMul with a Relu between them."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, {columns}] x) => (float[N, 4] y) {{
            h = MatMul(x, first)
            r = Relu(h)
            y = MatMul(r, second)
        }}"""
    )
    for node in model.graph.node:
        node.name = f"make_{node.output[0]}"
    generator = np.random.default_rng(0)
    for name, shape in (("first", (columns, rows)), ("second", (rows, 4))):
        array = generator.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def quantized_perceptron(seed: int = 0) -> onnx.ModelProto:
    """The perceptron in QDQ form, with a scale a row."""
    inputs = np.random.default_rng(seed).normal(size=(64, 20)).astype(np.float32)

    class Inputs(CalibrationDataReader):  # type: ignore[misc]
        feeds = iter([{"x": inputs}])

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(perceptron(), source)
        quantize_static(source, target, Inputs(), quant_format=QuantFormat.QDQ, per_channel=True)
        return onnx.load(target)


def in_few_bits(model: onnx.ModelProto, is_symmetric: bool) -> onnx.ModelProto:
    """The model with MatMulNBits, 4 bits a weight."""
    quantizer = MatMulNBitsQuantizer(model, block_size=16, is_symmetric=is_symmetric)
    quantizer.process()
    result: onnx.ModelProto = quantizer.model.model
    return result


def weight_codes(model: onnx.ModelProto) -> dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Codes, scale and zero point of the weights behind DequantizeLinear, by name of the layer; not of packed ones."""
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    result = {}
    for node in model.graph.node:
        maker = makers.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in constants:
            codes, scale = (constants[name] for name in maker.input[:2])
            zero = constants[maker.input[2]] if len(maker.input) > 2 else np.zeros((), codes.dtype)
            result[node.name] = (codes, scale, zero)
    return result
