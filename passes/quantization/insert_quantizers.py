"""Put QuantizeLinear and DequantizeLinear on values, and integers in the place of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, present, tensor, traits_of
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization.placement import Placement
from netsurgeon.passes.quantization.scale import Scale

Array = npt.NDArray[np.float64]

MADE_INTEGER_BY_ITSELF = ("Conv", "ConvTranspose", "Gemm")
"""Operators whose float weights ONNX Runtime makes integers where their input comes from integers of one scale."""
OPSET = 13
"""DequantizeLinear has an axis from here on, which scales of rows need."""
SEPARATED = "_taken"
"""Ends the name of a value that integers are made of, where others go on with the floats."""
MOST_BIAS = 2.0**30
"""Largest bias in units of its sum: it leaves as much again for the sum."""
NEED_ZERO_POINTS = ("Gemm",)
"""Operators that ONNX Runtime fuses only where the zero points of their weights are written out, though they are 0."""
# Signed integers are for TensorRT, whose parser (QuantDequantLinearHelper in onnx-tensorrt) takes no 32-bit integers
# for a bias, in older versions no DequantizeLinear without a zero point, and vectors of scales for weights alone.


@dataclasses.dataclass(frozen=True)
class SeparateInputs(ir.passes.InPlacePass):
    """Give layers that take floats an Identity of their own to take them from, where integers will be made of them.

    So a value has the same name in the float model and in the one with integers, and float nodes go on with floats.

    Attributes:
        placement: what is to run on integers.
    """

    placement: Placement

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert in place."""
        graph = model.graph
        integer = {*self.placement.layers, *self.placement.nodes}
        nodes = [node for node in graph if node.name in integer]
        values = {value.name: value for node in nodes for value in node.inputs if value is not None}
        for name in self.placement.entering:
            value = values[name]
            output = ir.Value(name=separated(name), type=value.type, shape=value.shape)
            identity = ir.node("Identity", [value], outputs=[output], name=f"{name}{SEPARATED}")
            for use in list(value.uses()):
                if use.node.name in integer:
                    use.node.replace_input_with(use.idx, output)
            producer = value.producer()
            if producer is None:
                graph.insert_before(graph[0], identity)
            else:
                graph.insert_after(producer, identity)
        return ir.passes.PassResult(model, bool(self.placement.entering))


def separated(name: str) -> str:
    """The name that `SeparateInputs` gives the value that layers take in place of `name`."""
    return f"{name}{SEPARATED}"


@dataclasses.dataclass(frozen=True)
class InsertQuantizers(ir.passes.InPlacePass):
    """Make integers of values, and floats of these again; ONNX Runtime runs what lies between such pairs on integers.

    Attributes:
        scales: by name of value; equal ones are stored once.
        integer: names of the nodes that run on integers; their weights may still be floats.
        entering: those of the values that are outputs of an Identity by `SeparateInputs`, which goes.
    """

    scales: Mapping[str, Scale] = dataclasses.field(repr=False)
    integer: Collection[str]
    entering: Collection[str] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert in place."""
        graph = model.graph
        values = {value.name: value for node in graph for value in node.outputs}
        constants = Constants(graph)
        for name, scale in self.scales.items():
            value = values[name]
            producer = value.producer()
            assert producer is not None
            # ONNX Runtime takes integers through no Reshape, Split or Gemm whose zero point is left out
            parameters = [constants.value(np.float32(scale.step)), constants.value(scale.zero_point)]
            source = present(producer.inputs[0]) if name in self.entering else value
            is_spread = name in self.entering and not scale.signed
            made_by = _spread(parameters, source, value, constants) if is_spread else parameters
            integers = ir.node("QuantizeLinear", [source, *made_by], name=constants.unused("quantize"))
            restored = ir.node("DequantizeLinear", [integers.outputs[0], *parameters], name=constants.unused("restore"))
            integers.outputs[0].name, floats = constants.unused("integers"), restored.outputs[0]
            floats.type, floats.shape = value.type, value.shape
            graph.insert_after(producer, [integers, restored])
            for use in list(value.uses()):
                if use.node.name in self.integer:
                    use.node.replace_input_with(use.idx, floats)
                elif use.node is not integers:
                    _take(use.node, use.idx, integers.outputs[0], floats, scale=scale, constants=constants)
            for at, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[at] = floats
            value.name, floats.name = constants.unused("floats"), name
            if name in self.entering:
                graph.remove(producer, safe=True)
        return ir.passes.PassResult(model, bool(self.scales))


def _spread(parameters: list[ir.Value], source: ir.Value, value: ir.Value, constants: Constants) -> list[ir.Value]:
    """Scale and zero point of each channel, all alike, where one for all would move in front of what makes the value.

    ONNX Runtime moves a QuantizeLinear of one scale above a MaxPool, which on integers in this layout is 28 times
    slower.
    """
    maker = source.producer()
    if maker is None or maker.domain or traits_of(maker).integer_role != "carries":
        return parameters
    channels = [_input_channels(use.node) for use in value.uses() if use.idx == 0]
    if not channels or channels[0] is None or any(use.node.op_type != "Conv" for use in value.uses()):
        return parameters
    numbers = [tensor(parameter).numpy() for parameter in parameters]
    return [constants.value(np.full(channels[0], number)) for number in numbers]


def _take(node: ir.Node, index: int, integers: ir.Value, floats: ir.Value, scale: Scale, constants: Constants) -> None:
    """Let a node take what comes back from integers.

    Where a Conv or Gemm has float weights ONNX Runtime would make integers of them by itself, with one scale for all
    rows. It does not where the scale of the input is a vector, which says the same.
    """
    channels = _input_channels(node) if index == 0 and not scale.signed else None
    if channels is None:
        node.replace_input_with(index, floats)
        return
    parameters = [
        constants.value(np.full(channels, scale.step, np.float32)),
        constants.value(np.full(channels, scale.zero_point)),
    ]
    restored = ir.node("DequantizeLinear", [integers, *parameters], name=constants.unused("restore"))
    restored.outputs[0].name, restored.outputs[0].type = constants.unused("floats"), floats.type
    node.replace_input_with(index, restored.outputs[0])
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, restored)


def _input_channels(node: ir.Node) -> int | None:
    """Channels (axis 1) of what a node with float weights takes that ONNX Runtime would make integers of; else None."""
    if node.domain or node.op_type not in MADE_INTEGER_BY_ITSELF or not is_constant(node.inputs[1]):
        return None
    shape = tensor(present(node.inputs[1])).shape.numpy()
    if node.op_type == "Gemm":
        return int(shape[1 if node.attributes.get_int("transB", 0) else 0])
    return int(shape[0]) if node.op_type == "ConvTranspose" else int(shape[1]) * node.attributes.get_int("group", 1)


class Constants:
    """New initializers of a graph, one for equal numbers, and new names, short ones: they are repeated in the file."""

    def __init__(self, graph: ir.Graph):
        self._graph = graph
        self._values: dict[tuple[str, bytes], ir.Value] = {}
        self._taken: set[str | None] = {*graph.initializers, *(value.name for value in graph.inputs)}
        for node in graph.all_nodes():
            self._taken |= {node.name, *(value.name for value in node.outputs)}
        self._number = 0

    def unused(self, kind: str) -> str:
        """A name that nothing has yet: the first letter of a kind, and a number."""
        while (name := f"{kind[0]}{self._number}") in self._taken:
            self._number += 1
        self._taken.add(name)
        return name

    def value(self, array: npt.NDArray[np.generic] | np.generic) -> ir.Value:
        """An initializer that others may use, too."""
        array = np.asarray(array)
        key = (f"{array.dtype}{array.shape}", array.tobytes())
        if key not in self._values:
            self._values[key] = self.own(array, self.unused("scale"))
        return self._values[key]

    def freed(self, node: ir.Node, index: int) -> str:
        """The name for what takes the place of a constant input: its own, where no other node needs that."""
        graph, old = node.graph, present(node.inputs[index])
        assert isinstance(graph, ir.Graph)
        name = old.name or ""
        if len(old.uses()) > 1 or old.is_graph_output() or graph is not self._graph:
            return self.unused(name)
        del graph.initializers[name]
        return name

    def own(self, array: npt.NDArray[np.generic], name: str) -> ir.Value:
        """An initializer of this name."""
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
        self._graph.register_initializer(value)
        return value


@dataclasses.dataclass(frozen=True)
class _Integers:
    """Integers that stand for floats along an axis, and their zero points where these are written out."""

    codes: npt.NDArray[np.generic]
    scales: Array
    axis: int
    zeros: npt.NDArray[np.int8] | None = None


@dataclasses.dataclass(frozen=True)
class StoreIntegers(ir.passes.InPlacePass):
    """Store weights that lie on integers as such, and a Gemm's bias on the scale of its sums.

    Where activations are signed every weight has a zero point, and biases stay floats.

    Attributes:
        scales: of the rows of each layer's weight, (groups x rows,), by layer name.
        inputs: scale of each layer's input, by layer name.
    """

    scales: Mapping[str, Array] = dataclasses.field(repr=False)
    inputs: Mapping[str, Scale] = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place.

        Raises:
            ValueError: a weight does not lie on its scales.
        """
        graph = model.graph
        constants = Constants(graph)
        for layer in find_layers(graph)[0]:
            if layer.name not in self.scales:
                continue
            bias = optional_input(layer.node, 2)
            own, entry = self.scales[layer.name], self.inputs[layer.name]
            scales = own if bias is None else _with_room(own, tensor(bias).numpy(), entry)
            weight = tensor(layer.weight).numpy()
            axis = 0 if layer.rows_first() else weight.ndim - 1
            shape = [-1 if at == axis else 1 for at in range(weight.ndim)]
            along = scales.reshape(shape)
            codes = np.rint(weight / along)
            # where the bias has made the scale larger the weights are rounded anew: beside it they are all but zero
            is_kept = (scales == own).reshape(shape)
            gap = np.abs(codes * along - weight).max(initial=0.0, where=is_kept)
            if gap > 1e-3 * own.max() or np.abs(codes).max() > 127:
                raise ValueError(f"the weight of {layer.name!r} is not on integers")
            zeros = np.zeros(len(scales), np.int8) if entry.signed or layer.operator in NEED_ZERO_POINTS else None
            integers = _Integers(codes.astype(np.int8), scales, axis, zeros)
            self._dequantize(layer.node, layer.weight_index, integers, constants)
            if layer.operator == "Gemm" and bias is not None and not entry.signed:
                sums = scales * entry.step
                numbers = np.broadcast_to(tensor(bias).numpy().reshape(-1), (len(sums),)) / sums
                of_bias = _Integers(np.rint(numbers).astype(np.int32), sums, axis=0)
                self._dequantize(layer.node, 2, of_bias, constants)
        return ir.passes.PassResult(model, bool(self.scales))

    @staticmethod
    def _dequantize(node: ir.Node, index: int, integers: _Integers, constants: Constants) -> None:
        """Put integers in the place of a constant; they take its name where no other node needs it."""
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        name = constants.freed(node, index)
        inputs = [constants.own(integers.codes, name), constants.value(integers.scales.astype(np.float32))]
        if integers.zeros is not None:
            inputs.append(constants.value(integers.zeros))
        attributes = {} if integers.axis == 1 else {"axis": integers.axis}
        restored = ir.node("DequantizeLinear", inputs, attributes, name=constants.unused("restore"))
        restored.outputs[0].name = constants.unused("floats")
        graph.insert_before(node, restored)
        node.replace_input_with(index, restored.outputs[0])


def _with_room(scales: Array, bias: npt.NDArray[np.generic], entry: Scale) -> Array:
    """Scales (rows,) of which each is large enough for the row's bias to be a sum of 32 bits.

    Where a row's weights are all but zero, as those of channels that training has given up, its bias would be clipped,
    though it is all that the row has to say.
    """
    size = np.abs(np.broadcast_to(bias.reshape(-1), scales.shape).astype(np.float64))
    least = size / (MOST_BIAS * entry.step)
    # a power of two has few digits, as all scales
    return np.asarray(np.where(scales < least, 2.0 ** np.ceil(np.log2(np.maximum(least, scales))), scales))
