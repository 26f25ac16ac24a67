"""An ONNX graph as a PyTorch module whose weights can be trained and written back: the graph itself stays.

Masks hold: what is 0 in a weight of two axes or more stays 0. BatchNormalization keeps its statistics. Weights that are
stored as integers are trained behind their rounding, with their scales and those of activations.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from onnx_ir import tensor_adapters
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsurgeon.models.onnx_module.latent import BIASES, Latent, Short, find_integers
from netsurgeon.models.onnx_module.operators import OPERATORS
from netsurgeon.models.surgery import Mask

TRAINED = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
}
"""Inputs that are trained where they are float32 initializers; so are biases that are added behind a MatMul."""


@dataclass(frozen=True)
class Step:
    """One node: what it does, to which values, and which values it gives; no node behind it takes what it has spent."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    spent: tuple[str, ...]
    attributes: Mapping[str, Any]


class OnnxModule(nn.Module):
    """A graph of float32 values.

    Args:
        model: without subgraphs or functions.
        patterns: by name of an initializer with a weight's integers: where False stands, it is 0 and stays so. Of those
            that are not named all integers that are 0 stay so.
        frozen: names of initializers that are not trained.

    Attributes:
        inputs: names of what is fed, in the order that `forward` takes them in.
        outputs: names of what comes out.
        trained: names of the initializers that are trained.

    Raises:
        ValueError: an operator or a type is none that can be trained, or nothing can be.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        patterns: Mapping[str, npt.NDArray[np.bool_]] | None = None,
        frozen: Collection[str] = (),
    ) -> None:
        super().__init__()
        graph = model.graph
        version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        refused = sorted({_full_name(node) for node in graph.node if _full_name(node) not in OPERATORS})
        if refused:
            raise ValueError(f"the operators {', '.join(refused)} cannot be trained")
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in arrays]
        self.outputs = [value.name for value in graph.output]
        self.steps = _steps(graph, version)
        integers = find_integers(graph, arrays)
        self.latent = Latent(integers, arrays, patterns or {})
        plain = {name: array for name, array in arrays.items() if name not in integers.learnt}
        self.places = {name: f"value_{number}" for number, name in enumerate(plain)}
        """The attribute that holds each initializer that no integers stand for: a parameter or a buffer."""
        self._floats = [name for name in plain if name in _trained(graph, plain) and name not in frozen]
        self._short = integers.short
        codes = {stored.codes for stored in integers.weights} | {stored.codes for stored in integers.biases}
        self.trained = [name for name in arrays if name in codes or name in self._floats]
        if not self.trained:
            others = sorted({array.dtype.name for array in arrays.values() if array.dtype.kind == "f"} - {"float32"})
            reason = f": only those in float32 are, and it has {', '.join(others)}" if others else ""
            raise ValueError(f"no weight of the model can be trained{reason}")
        self.integers: dict[str, Tensor] = {}
        for name, array in plain.items():
            value = torch.from_numpy(np.array(array))
            if name in self._floats:
                self.register_parameter(self.places[name], nn.Parameter(value))
                if value.ndim > 1:
                    parametrize.register_parametrization(self, self.places[name], Mask(value != 0))
                elif name in integers.short and (value.half() == value).all():
                    parametrize.register_parametrization(self, self.places[name], Short())
            elif value.is_floating_point() or name in integers.constants:
                self.register_buffer(self.places[name], value, persistent=False)
            else:
                self.integers[name] = value  # shapes and places, which stay on the CPU

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs of the graph; the only one where there is one."""
        values = self.values(dict(zip(self.inputs, inputs, strict=True)), self.outputs)
        outputs = [value for name in self.outputs if (value := values[name]) is not None]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def weights(self) -> dict[str, Tensor]:
        """What stands for each initializer, by name: masks multiplied in, integers rounded."""
        plain = {name: getattr(self, place) for name, place in self.places.items() if name not in self.integers}
        return plain | self.latent()

    def values(
        self,
        feed: Mapping[str, Tensor],
        names: Collection[str] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor | None]:
        """Values of the graph by name.

        Args:
            feed: its inputs.
            names: of values that are returned, others go as soon as no node needs them; None = all.
            weights: what `weights` gave, for several feeds; None = what it gives now.

        Raises:
            ValueError: a node cannot be trained, or gives fewer values than it has outputs.
        """
        weights = self.weights() if weights is None else weights
        values: dict[str, Tensor | None] = {"": None, **feed, **self.integers, **weights}
        for step in self.steps:
            try:
                results = OPERATORS[step.operator]([values[name] for name in step.inputs], step.attributes)
            except (NotImplementedError, RuntimeError, TypeError, KeyError) as error:
                raise ValueError(f"{step.operator} {step.name!r} cannot be trained: {error}") from error
            for name, value in zip(step.outputs, results if isinstance(results, tuple) else (results,), strict=False):
                values[name] = value
            for name in () if names is None else set(step.spent).difference(names):
                values.pop(name, None)
        if names is None:
            return values
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(f"PyTorch does not give the value {missing[0]!r}")
        return {name: values[name] for name in names}

    @property
    def rates(self) -> dict[str, float]:
        """How many times the learning rate the parameters behind integers have, by name."""
        places = [self.places[name] for name in self._floats if name in self._short]
        biases = (
            f"parametrizations.{place}.original" if parametrize.is_parametrized(self, place) else place
            for place in places
        )
        return {**{f"latent.{name}": rate for name, rate in self.latent.rates.items()}, **dict.fromkeys(biases, BIASES)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The trained initializers by name, masks multiplied in, as they are stored; with the scales of integers."""
        floats = {name: getattr(self, self.places[name]).detach().cpu().numpy().copy() for name in self._floats}
        return floats | self.latent.arrays()


def _full_name(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _steps(graph: onnx.GraphProto, version: int) -> list[Step]:
    last_use = {name: place for place, node in enumerate(graph.node) for name in (*node.output, *node.input) if name}
    spent = collections.defaultdict(list)
    for name, place in last_use.items():
        spent[place].append(name)
    return [_step(node, version, tuple(spent[place])) for place, node in enumerate(graph.node)]


def _step(node: onnx.NodeProto, version: int, spent: tuple[str, ...]) -> Step:
    attributes: dict[str, Any] = {"opset": version, "outputs": len(node.output)}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        if isinstance(value, onnx.TensorProto):
            value = torch.from_numpy(np.array(numpy_helper.to_array(value)))
        attributes[attribute.name] = value
    if node.op_type == "Cast":
        attributes["to"] = _torch_type(node, ir.DataType(attributes["to"]))
    names = tuple(node.input), tuple(node.output)
    return Step(_full_name(node), node.name, *names, spent=spent, attributes=attributes)


def _torch_type(node: onnx.NodeProto, kind: ir.DataType) -> torch.dtype:
    """What PyTorch calls the type that a node casts to.

    Raises:
        ValueError: it has no such type, such as strings.
    """
    try:
        return tensor_adapters.to_torch_dtype(kind)
    except TypeError as error:
        raise ValueError(f"Cast {node.name!r} to {kind} cannot be trained: PyTorch has no such type") from error


def _trained(graph: onnx.GraphProto, arrays: Mapping[str, npt.NDArray[Any]]) -> set[str]:
    """Initializers that are trained: all that are read only as weights."""
    multiplied = {node.output[0] for node in graph.node if node.op_type == "MatMul"}
    weights: set[str] = set()
    others = {value.name for value in graph.output}
    for node in graph.node:
        is_bias = node.op_type == "Add" and any(name in multiplied for name in node.input)
        places = (0, 1) if is_bias else TRAINED.get(node.op_type, ())
        for place, name in enumerate(node.input):
            (weights if place in places else others).add(name)
    return {name for name in weights - others if name in arrays and arrays[name].dtype == np.float32}
