"""Integer networks with random weights whose zeros follow a pattern: the shape is a real network's, the values are not.

How long a network runs depends on its shape and on where its zeros lie, not on what it has learnt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

TILE_ROWS, TILE_COLUMNS, SLOTS = 16, 64, 4
OPSET = 17


def tile_mask(rng: np.random.Generator, rows: int, columns: int, zeros: float) -> npt.NDArray[np.bool_]:
    """A random mask of the pattern k:64 (rows, columns), True where kept: in a tile all rows keep as many weights."""
    mask = np.zeros((rows, columns), bool)
    for left in range(0, columns, TILE_COLUMNS):
        width = min(TILE_COLUMNS, columns - left)
        for top in range(0, rows, TILE_ROWS):
            height = min(TILE_ROWS, rows - top)
            depth = (1 - zeros) * width / SLOTS
            kept = min(SLOTS * int(depth + rng.random()), width)
            chosen = np.argsort(rng.random((height, width)), axis=1)[:, :kept]
            np.put_along_axis(mask[top : top + height, left : left + width], chosen, True, axis=1)
    return mask


class Network:
    """Builds a network layer by layer: in integers (QDQ) or, with the same weights, in float32.

    Args:
        zeros: share of zeros of the layers that are not `dense`.
        floats: build the float32 network.
        pattern: "k:64", or "any" for zeros anywhere.
    """

    def __init__(self, zeros: float, *, floats: bool = False, pattern: str = "k:64", seed: int = 0):
        self._rng = np.random.default_rng(seed)
        self._zeros, self._floats, self._pattern = zeros, floats, pattern
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def model(self, inputs: dict[str, list[Any]], output: str, shape: list[Any]) -> onnx.ModelProto:
        """The network that was built."""
        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            list(self._constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    def constant(self, array: npt.NDArray[Any] | np.generic) -> str:
        """An initializer's name."""
        name = f"c{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """A node's output."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=f"n{len(self._nodes)}", **attributes))
        return name

    def quantize(self, value: str, step: float, zero_point: int) -> str:
        """Integers, where there are any."""
        if self._floats:
            return value
        parameters = [self.constant(np.float32(step)), self.constant(np.uint8(zero_point))]
        integers = self.node("QuantizeLinear", [value, *parameters])
        return self.node("DequantizeLinear", [integers, *parameters])

    def again(self, value: str) -> str:
        """A value in floats for one more reader: a DequantizeLinear of its own."""
        maker = next((node for node in self._nodes if value in node.output), None)
        if maker is None or maker.op_type != "DequantizeLinear":
            return value
        return self.node("DequantizeLinear", list(maker.input))

    def weights(self, shape: tuple[int, ...], zeros: float, axis: int = 0) -> tuple[str, npt.NDArray[np.float64]]:
        """Weights in floats, and what one unit of each row is; `axis` is that of the rows."""
        integers, unit = self._integers(shape, zeros, axis)
        if self._floats:
            along = [1] * len(shape)
            along[axis] = len(unit)
            return self.constant((integers * unit.reshape(along)).astype(np.float32)), unit
        parameters = [self.constant(unit.astype(np.float32)), self.constant(np.zeros(len(unit), np.int8))]
        return self.node("DequantizeLinear", [self.constant(integers), *parameters], axis=axis), unit

    def _integers(
        self, shape: tuple[int, ...], zeros: float, axis: int
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
        rows, columns = shape[axis], int(np.prod(shape)) // shape[axis]
        integers = self._rng.integers(-127, 128, (rows, columns)).astype(np.int8)
        integers[integers == 0] = 1
        if zeros:
            mask = self._rng.random((rows, columns)) >= zeros
            if self._pattern == "k:64":
                mask = tile_mask(self._rng, rows, columns, zeros)
            integers = np.where(mask, integers, 0).astype(np.int8)
        if len(shape) == 4:  # columns are (height, width, channels)
            integers = np.moveaxis(integers.reshape(rows, shape[2], shape[3], shape[1]), 3, 1)
        elif axis:
            integers = integers.T
        integers = np.ascontiguousarray(integers)
        return integers, self._rng.uniform(0.8, 1.2, rows) / (74 * np.sqrt(max(columns * (1 - zeros), 1)))

    def bias(self, unit: npt.NDArray[np.float64], step: float) -> str:
        """A bias in units of the sum."""
        scale = np.float32(step) * unit.astype(np.float32)
        integers = np.round(self._rng.normal(0, 0.3, len(unit)) / scale).astype(np.int32)
        if self._floats:
            return self.constant((integers * scale).astype(np.float32))
        parameters = [self.constant(scale), self.constant(np.zeros(len(unit), np.int32))]
        return self.node("DequantizeLinear", [self.constant(integers), *parameters], axis=0)

    def convolution(
        self,
        value: str,
        channels: tuple[int, int],
        kernel: int = 1,
        stride: int = 1,
        *,
        step: float,
        relu: bool = True,
        dense: bool = False,
        to: tuple[float, int] = (4 / 255, 0),
        **attributes: Any,
    ) -> str:
        """Conv, perhaps Relu, and its integers. channels (in, out); `step` of the input; `to`: step and zero point."""
        weight, unit = self.weights((channels[1], channels[0], kernel, kernel), 0 if dense else self._zeros)
        inputs = [value, weight, self.bias(unit, step)]
        pads = [kernel // 2] * 4
        attributes = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": pads, **attributes}
        attributes = {name: number for name, number in attributes.items() if number is not None}
        output = self.node("Conv", inputs, **attributes)
        return self.quantize(self.node("Relu", [output]) if relu else output, *to)

    def fully_connected(self, value: str, sizes: tuple[int, int], *, step: float, to: tuple[float, int] | None) -> str:
        """Gemm, and its integers if `to` says of what step. sizes (in, out)."""
        weight, unit = self.weights((sizes[1], sizes[0]), self._zeros)
        output = self.node("Gemm", [value, weight, self.bias(unit, step)], transB=1)
        return output if to is None else self.quantize(output, *to)

    def measured(self, value: str) -> list[str]:
        """A value's integers, their scale and zero point of the range that it has in a run; floats as they are."""
        if self._floats:
            return [value]
        names = [f"v{len(self._nodes)}.{part}" for part in ("integers", "scale", "zero_point")]
        self._nodes.append(helper.make_node("DynamicQuantizeLinear", [value], names, name=f"n{len(self._nodes)}"))
        return names

    def product(self, numbers: list[str], sizes: tuple[int, int], *, bias: bool = True) -> str:
        """Floats times weights, from what `measured` gave, as `--quantize dynamic` writes it. sizes (in, out)."""
        integers, unit = self._integers(sizes, self._zeros, 1)
        if self._floats:
            output = self.node("MatMul", [numbers[0], self.constant((integers * unit).astype(np.float32))])
        else:
            sums = self.node("MatMulInteger", [numbers[0], self.constant(integers), numbers[2]])
            floats = self.node("Cast", [sums], to=TensorProto.FLOAT)
            scale = self.node("Mul", [numbers[1], self.constant(unit.astype(np.float32))])
            output = self.node("Mul", [floats, scale])
        added = self._rng.normal(0, 0.3, sizes[1]).astype(np.float32)
        return self.node("Add", [output, self.constant(added)]) if bias else output


def fully_connected(zeros: float, *, floats: bool = False, size: int = 4096) -> onnx.ModelProto:
    """One product of `size` inputs and as many outputs."""
    network = Network(zeros, floats=floats)
    output = network.product(network.measured("x"), (size, size))
    return network.model({"x": ["batch", size]}, output, ["batch", size])


def transformer(
    zeros: float, *, floats: bool = False, layers: int = 2, width: int = 768, heads: int = 12
) -> onnx.ModelProto:
    """Encoder layers of BERT-base's shape (batch, tokens, width), whose products with weights have `zeros`."""
    network = Network(zeros, floats=floats)
    split = network.constant(np.array([0, 0, heads, width // heads], np.int64))
    joined = network.constant(np.array([0, 0, width], np.int64))
    ones, none = (network.constant(np.full(width, number, np.float32)) for number in (1, 0))
    half, one = network.constant(np.float32(0.5)), network.constant(np.float32(1))
    root, inverse = (network.constant(np.float32(number)) for number in (np.sqrt(2), 1 / np.sqrt(width // heads)))

    def normed(value: str, shortcut: str) -> str:
        return network.node("LayerNormalization", [network.node("Add", [value, shortcut]), ones, none], axis=-1)

    value = "x"
    for _ in range(layers):
        numbers = network.measured(value)
        query, key, content = (
            network.node(
                "Transpose",
                [network.node("Reshape", [network.product(numbers, (width, width)), split])],
                perm=[0, 2, 3, 1] if part == 1 else [0, 2, 1, 3],
            )
            for part in range(3)
        )
        scores = network.node(
            "Softmax", [network.node("Mul", [network.node("MatMul", [query, key]), inverse])], axis=-1
        )
        mixed = network.node("Transpose", [network.node("MatMul", [scores, content])], perm=[0, 2, 1, 3])
        mixed = network.node("Reshape", [mixed, joined])
        value = normed(network.product(network.measured(mixed), (width, width)), value)
        inner = network.product(network.measured(value), (width, 4 * width))
        error = network.node("Erf", [network.node("Div", [inner, root])])
        inner = network.node("Mul", [network.node("Mul", [inner, network.node("Add", [error, one])]), half])
        value = normed(network.product(network.measured(inner), (4 * width, width)), value)
    return network.model({"x": ["batch", "tokens", width]}, value, ["batch", "tokens", width])


def transformer_products(zeros: float, *, floats: bool = False, layers: int = 2, width: int = 768) -> onnx.ModelProto:
    """The products with weights of `transformer` (batch, tokens, width) and nothing else but what joins them."""
    network, value = Network(zeros, floats=floats), "x"
    for _ in range(layers):
        numbers = network.measured(value)
        query, key, content = (network.product(numbers, (width, width)) for _ in range(3))
        mixed = network.node("Sum", [query, key, content])
        value = network.product(network.measured(mixed), (width, width))
        inner = network.product(network.measured(value), (width, 4 * width))
        value = network.product(network.measured(inner), (4 * width, width))
    return network.model({"x": ["batch", "tokens", width]}, value, ["batch", "tokens", width])


def resnet50(
    zeros: float, *, floats: bool = False, pattern: str = "k:64", size: int = 224, narrower: int = 1
) -> onnx.ModelProto:
    """ResNet-50's shape: the stem is dense, all else has `zeros`; `narrower` divides all numbers of channels."""
    network, step, signed = Network(zeros, floats=floats, pattern=pattern), 4 / 255, (8 / 255, 128)
    value = network.quantize("image", 2.5 / 127, 128)
    value = network.convolution(value, (3, 64 // narrower), 7, 2, step=2.5 / 127, dense=True)
    value = network.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    value = network.quantize(value, step, 0)
    channels = 64 // narrower
    for width, blocks, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        width //= narrower
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            shortcut = network.again(value)
            if block == 0:
                shortcut = network.convolution(
                    shortcut, (channels, 4 * width), 1, stride, step=step, relu=False, to=signed
                )
            inner = network.convolution(value, (channels, width), step=step)
            inner = network.convolution(inner, (width, width), 3, stride, step=step)
            inner = network.convolution(inner, (width, 4 * width), step=step, relu=False, to=signed)
            value = network.quantize(network.node("Relu", [network.node("Add", [inner, shortcut])]), step, 0)
            channels = 4 * width
    value = network.quantize(network.node("GlobalAveragePool", [value]), step, 0)
    value = network.node("Flatten", [value])
    value = network.quantize(value, step, 0)
    output = network.fully_connected(value, (channels, 1000), step=step, to=(8 / 255, 128))
    return network.model({"image": ["batch", 3, size, size]}, output, ["batch", 1000])
