"""What is trained behind integers: floats for the weights and biases that a file stores as integers, and the scales.

Weights are relative to what their row could reach at the start, and scales are logarithms (arXiv 1903.08066): so one
learning rate fits rows of any size, and no scale becomes negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from netsurgeon.models.onnx_module.integers import LARGEST, along, straight

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
LAYERS = ("Conv", "Gemm", "MatMul")
DIGITS = 2.0**11
"""Scales with no more binary digits than a float16 has are packed as such, and keep as few."""
MOST_BIAS = 2.0**31 - 1.0
MOST = 7.0
"""Largest integer of 4 bits."""
WEIGHTS, BIASES, SCALES = 4.0, 0.1, 0.01
"""How many times the learning rate. A weight starts in the middle of what becomes its integer, and with a smaller rate
hardly one leaves it in a few hundred steps; scales move all integers of a value at once, and with a larger rate undo
what was corrected. Compared on ResNet-20 at 4 bits, by the distance to the dense outputs on pictures held out. Weights
of more bits have integers that lie nearer together, and move as many of them: their rate is smaller by as much."""


@dataclass(frozen=True)
class StoredWeight:
    """Initializers that hold a layer's weight: integers, and a scale for each index of an axis."""

    codes: str
    scale: str
    axis: int


@dataclass(frozen=True)
class StoredBias:
    """Initializers that hold a bias as integers, whose scale is that of the weight's rows times the input's."""

    codes: str
    scale: str
    rows: str
    step: str


@dataclass(frozen=True)
class Integers:
    """The initializers of a graph that have to do with integers.

    Attributes:
        weights: of layers.
        biases: of layers.
        steps: scales of activations, and the largest number that each may become.
        short: float biases of layers whose weight is stored as integers.
        constants: others that QuantizeLinear and DequantizeLinear take.
    """

    weights: list[StoredWeight] = field(default_factory=list)
    biases: list[StoredBias] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)

    @property
    def learnt(self) -> set[str]:
        """All that is not a constant."""
        stored = [(weight.codes, weight.scale) for weight in self.weights]
        stored += [(bias.codes, bias.scale) for bias in self.biases]
        return {name for names in stored for name in names} | set(self.steps)


def find_integers(graph: onnx.GraphProto, arrays: Arrays) -> Integers:
    """Find what is stored as integers.

    Raises:
        ValueError: a weight is stored otherwise than as integers around 0.
    """
    result = Integers()
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            result.constants.update(name for name in node.input if name in arrays)
            quantizer = node if node.op_type == "QuantizeLinear" else producers.get(node.input[0])
            rounds = quantizer is not None and quantizer.op_type == "QuantizeLinear" and node.input[1] in arrays
            if quantizer is not None and rounds:
                result.steps[node.input[1]] = _largest_step(quantizer, producers, arrays)
        if node.op_type in LAYERS and _stored(producers.get(node.input[1]), arrays):
            _note_layer(node, producers, arrays, result)
    result.constants.difference_update(result.learnt)
    return result


def _stored(node: onnx.NodeProto | None, arrays: Arrays) -> bool:
    """Whether a node makes floats of integers that the file holds."""
    return node is not None and node.op_type == "DequantizeLinear" and node.input[0] in arrays


def _note_layer(
    node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], arrays: Arrays, result: Integers
) -> None:
    maker = producers[node.input[1]]
    codes, scale = maker.input[:2]
    zero = arrays[maker.input[2]] if len(maker.input) > 2 and maker.input[2] in arrays else np.zeros(1)
    if arrays[codes].dtype != np.int8 or zero.any() or scale not in arrays or arrays[scale].dtype != np.float32:
        raise ValueError(
            f"the weight of {node.op_type} {node.name!r} is stored as {arrays[codes].dtype}: only int8 around 0 with "
            f"scales of float32 can be trained"
        )
    axis = next((attribute.i for attribute in maker.attribute if attribute.name == "axis"), 1)
    result.weights.append(StoredWeight(codes, scale, axis % arrays[codes].ndim))
    bias = node.input[2] if len(node.input) > 2 else ""
    fed, source = producers.get(bias), producers.get(node.input[0])
    if bias in arrays:
        result.short.add(bias)
    elif _stored(fed, arrays) and source is not None and source.op_type == "DequantizeLinear":
        assert fed is not None
        result.biases.append(StoredBias(fed.input[0], fed.input[1], scale, source.input[1]))


def _largest_step(quantizer: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], arrays: Arrays) -> float:
    """With a larger step integers would reach beyond a Clip in front of them, and ONNX Runtime would not fuse it."""
    low, high = -np.inf, np.inf
    maker = producers.get(quantizer.input[0])
    while maker is not None and maker.op_type in ("Clip", "Relu"):
        ends = {attribute.name: attribute.f for attribute in maker.attribute}
        for place, name in ((1, "min"), (2, "max")):
            if len(maker.input) > place and maker.input[place] in arrays:
                ends[name] = float(arrays[maker.input[place]].item())
        low, high = max(low, ends.get("min", low)), min(high, ends.get("max", high))
        maker = producers.get(maker.input[0])
    zero = 0 if len(quantizer.input) < 3 else int(arrays[quantizer.input[2]].reshape(-1)[0])
    largest = min(high / (LARGEST - zero), -low / zero if zero and low < 0.0 else np.inf)
    step = np.float32(largest)
    while np.isfinite(step) and float(step) > largest:
        step = np.nextafter(step, np.float32(0.0))
    return float(step)


class LearntScale(nn.Module):
    """A scale, or one a row: positive, and no larger than it may be."""

    start: Tensor

    def __init__(self, start: Array, largest: float = np.inf) -> None:
        super().__init__()
        self.register_buffer("start", torch.from_numpy(np.array(start)), persistent=False)
        self.largest = largest
        self.logarithm = nn.Parameter(torch.zeros(self.start.shape))
        self.is_short = bool((_shortened(self.start) == self.start).all())

    def forward(self) -> Tensor:
        """The scale, in the shape of the start."""
        scale = self.start * self.logarithm.exp()
        becomes = _shortened(scale.detach()) if self.is_short else scale.detach()
        return straight(scale, becomes.clamp(torch.finfo(torch.float32).tiny, self.largest))


def _shortened(scale: Tensor) -> Tensor:
    """With the binary digits of a float16."""
    fraction, exponent = torch.frexp(scale)
    return torch.ldexp((fraction * DIGITS).round() / DIGITS, exponent)


class LatentWeight(nn.Module):
    """A weight that becomes integers."""

    start: Tensor
    pattern: Tensor

    def __init__(self, codes: Array, scale: Array, axis: int, pattern: Array) -> None:
        """Start from what a file holds.

        Args:
            codes: integers.
            scale: of rows, or one for all.
            axis: of the rows.
            pattern: False where the weight is 0 and stays so, of the shape of the codes.
        """
        super().__init__()
        largest = int(np.abs(codes.astype(np.int64)).max(initial=1))
        self.most = float(min(2 ** largest.bit_length() - 1, 127))
        """The largest integer: 7, 63 and 127 for 4, 7 and 8 bits. A file does not say it, but its integers do."""
        self.axis = axis
        self.register_buffer("start", torch.from_numpy(np.array(scale)), persistent=False)
        self.register_buffer("pattern", torch.from_numpy(pattern), persistent=False)
        self.latent = nn.Parameter(torch.from_numpy(codes.astype(np.float32)) / self.most)

    def forward(self, scale: Tensor) -> Tensor:
        """The integers, as floats, of the weight on a scale."""
        ratio = self.latent * along(self.most * self.start / scale, self.latent, self.axis)
        return straight(ratio, ratio.round()).clamp(-self.most, self.most) * self.pattern


class LatentBias(nn.Module):
    """A bias that becomes integers."""

    def __init__(self, codes: Array, scale: Array) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.from_numpy((codes * scale.astype(np.float64)).astype(np.float32)))

    def forward(self, scale: Tensor) -> Tensor:
        """The integers, as floats."""
        ratio = self.bias / scale
        return straight(ratio, ratio.round()).clamp(-MOST_BIAS, MOST_BIAS)


class Short(nn.Module):
    """The parametrization of a bias that is stored with the digits of a float16."""

    def forward(self, original: Tensor) -> Tensor:
        """The nearest such number; straight through for the gradient."""
        return straight(original, original.detach().half().float())


class Latent(nn.Module):
    """All that is trained behind the integers of a graph.

    Activations whose scales are equal at the start share one: so do those that ONNX Runtime passes on as they are.
    """

    def __init__(self, integers: Integers, arrays: Arrays, patterns: Arrays) -> None:
        """Start from what a file holds.

        Args:
            integers: of the graph.
            arrays: its initializers.
            patterns: by name of a weight's integers: False = 0, and stays so. None = those that are 0 in the file.

        Raises:
            ValueError: one initializer serves two ends that would learn apart.
        """
        super().__init__()
        self._integers = integers
        self.places: dict[str, str] = {}
        """Where what stands for an initializer is."""
        self.sizes = {name: arrays[name].shape for name in integers.steps}
        parts: dict[str, nn.Module] = {}
        shared: dict[float, list[str]] = {}
        for name in integers.steps:
            if (arrays[name] != arrays[name].reshape(-1)[0]).any():
                raise ValueError(f"the scales {name!r} of an activation differ by channel, which cannot be trained")
            shared.setdefault(float(arrays[name].reshape(-1)[0]), []).append(name)
        for number, names in shared.items():
            largest = min(integers.steps[name] for name in names)
            part = LearntScale(np.array(number, np.float32), max(largest, number))
            self._place(parts, part, *names)
        for weight in integers.weights:
            codes, scale = arrays[weight.codes], arrays[weight.scale]
            if weight.scale not in self.places:
                self._place(parts, LearntScale(scale), weight.scale)
            pattern = np.asarray(patterns.get(weight.codes, codes != 0))
            self._place(parts, LatentWeight(codes, scale, weight.axis, pattern), weight.codes)
        for bias in integers.biases:
            self._place(parts, LatentBias(arrays[bias.codes], arrays[bias.scale]), bias.codes)
        self.parts = nn.ModuleDict(parts)
        if len({bias.scale for bias in integers.biases} & set(self.places)):
            raise ValueError("the scale of a bias is that of something else, too, which cannot be trained")

    def _place(self, parts: dict[str, nn.Module], part: nn.Module, *names: str) -> None:
        key = f"part_{len(parts)}"
        parts[key] = part
        for name in names:
            if name in self.places:
                raise ValueError(f"the initializer {name!r} serves two layers, which would learn it apart")
            self.places[name] = key

    @property
    def rates(self) -> dict[str, float]:
        """How many times the learning rate each parameter has, by name."""
        of_kind = {LatentBias: BIASES, LearntScale: SCALES}
        rates = {
            key: WEIGHTS * min(1.0, MOST / part.most) if isinstance(part, LatentWeight) else of_kind[type(part)]
            for key, part in self.parts.items()
        }
        return {
            f"parts.{key}.{name}": rates[key] for key, part in self.parts.items() for name, _ in part.named_parameters()
        }

    def forward(self) -> dict[str, Tensor]:
        """What stands for each initializer: integers, as floats, and scales."""
        values: dict[str, Tensor] = {}
        for name in (*self._integers.steps, *(weight.scale for weight in self._integers.weights)):
            if name not in values:
                values[name] = self.parts[self.places[name]]()
        for weight in self._integers.weights:
            values[weight.codes] = self.parts[self.places[weight.codes]](values[weight.scale])
        for bias in self._integers.biases:
            values[bias.scale] = values[bias.rows] * values[bias.step]
            values[bias.codes] = self.parts[self.places[bias.codes]](values[bias.scale])
        return values | {name: values[name].expand(size) for name, size in self.sizes.items()}

    def arrays(self) -> dict[str, Array]:
        """Each initializer as it is stored."""
        types: dict[str, Any] = {weight.codes: np.int8 for weight in self._integers.weights}
        types |= {bias.codes: np.int32 for bias in self._integers.biases}
        with torch.no_grad():
            return {
                name: value.double().cpu().numpy().astype(types.get(name, np.float32)) for name, value in self().items()
            }
