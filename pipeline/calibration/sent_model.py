"""Models as they travel to workers: nodes as one message, large weights beside it, which a store of files may take."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.runtime import EXTERNAL_BYTES


@dataclasses.dataclass(frozen=True, eq=False)
class SentModel:
    """A model without what it was made from.

    Attributes:
        nodes: the model, whose large weights have no values.
        weights: these, by name; none of a model whose layers are looked at, and that is not run.
        key: what it is told from others by: the hash of its content, or a name of its own.
    """

    nodes: bytes = dataclasses.field(repr=False)
    weights: Mapping[str, npt.NDArray[Any]] = dataclasses.field(repr=False)
    key: bytes

    @classmethod
    def of(cls, model: ir.Model, *, is_known: bool) -> SentModel:
        """A model, from whose initializers large values are taken.

        Args:
            model: to be sent, and not used any more.
            is_known: whether it has its key by its content, so that it is the same when it is to be sent again.
        """
        return cls._of(model, _taken(model, _large(model)), is_known=is_known)

    @classmethod
    def skeleton(cls, model: ir.Model) -> SentModel:
        """A model with its layers, of whose weights the shapes are known."""
        clone = model.clone()
        layers = {layer.weight.name or "" for layer in find_layers(clone.graph)[0]}
        _taken(clone, (layers & clone.graph.initializers.keys()) | _large(clone))
        return cls._of(clone, {}, is_known=True)

    @classmethod
    def _of(cls, model: ir.Model, weights: Mapping[str, npt.NDArray[Any]], *, is_known: bool) -> SentModel:
        nodes: bytes = ir.to_proto(model).SerializeToString()
        if not is_known:
            return cls(nodes, weights, uuid.uuid4().bytes)
        digest = hashlib.sha256(nodes)
        for array in weights.values():  # their names and shapes are among the nodes
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return cls(nodes, weights, digest.digest())

    def __eq__(self, other: object) -> bool:
        """Whether it is the same."""
        return isinstance(other, SentModel) and self.key == other.key

    def __hash__(self) -> int:
        """By its key."""
        return hash(self.key)

    def model(self) -> ir.Model:
        """The model, with those weights that have travelled; those of a `skeleton` name a file that is not there.

        Weights are not copied, and not to be changed: what came through a store is mapped from its file, read-only.
        """
        model = ir.from_proto(onnx.load_model_from_string(self.nodes))
        for name, array in self.weights.items():
            value = model.graph.initializers[name]
            assert value.const_value is not None
            value.const_value = ir.Tensor(array, dtype=value.const_value.dtype, name=name)
        return model


def _taken(model: ir.Model, names: set[str]) -> dict[str, npt.NDArray[Any]]:
    """Values of initializers, in whose place a file is named that is not there."""
    weights = {}
    for name in sorted(names):
        value = model.graph.initializers[name]
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.dtype.bitwidth < 8:
            continue
        weights[name] = tensor.numpy()
        value.const_value = ir.ExternalTensor(
            "weights", 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
        )
    return weights


def _large(model: ir.Model) -> set[str]:
    tensors = ((name, value.const_value) for name, value in model.graph.initializers.items())
    return {name for name, tensor in tensors if tensor is not None and tensor.nbytes >= EXTERNAL_BYTES}
