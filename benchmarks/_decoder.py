"""A decoder of any size with random weights, written tensor by tensor, so that whoever writes it stays small."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

TOKENS, HEAD = 128, 64
"""Of a sequence; and the width of a head."""
ALIGNED = 4096
"""Where each tensor begins in the file: at pages, as they are mapped."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """A decoder's widths.

    Attributes:
        width: of the stream.
        inner: of the feed-forward part.
        layers: blocks of attention and feed-forward part.
        vocabulary: rows of the embedding table and of the head.
    """

    width: int
    inner: int
    layers: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        """Numbers in all matrices."""
        block = 4 * self.width**2 + 3 * self.width * self.inner
        return self.layers * block + 2 * self.vocabulary * self.width

    @classmethod
    def of(cls, parameters: int) -> Shape:
        """A decoder of about so many parameters: depth grows with width, and the vocabulary makes up the rest."""
        width = HEAD * max(2, round(1536 * (parameters / 615e6) ** (1 / 3) / HEAD))
        inner = HEAD * round(2.75 * width / HEAD)
        layers = max(2, round(0.84 * parameters / (4 * width**2 + 3 * width * inner)))
        left = parameters - cls(width, inner, layers, 0).parameters
        return cls(width, inner, layers, max(256, round(left / (2 * width))))


class Writer:
    """A graph whose tensors go to one file as they come."""

    def __init__(self, path: Path, seed: int):
        self.path, self._rng = path, np.random.default_rng(seed)
        self._data = path.with_name(f"{path.name}.data").open("wb")
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of its output."""
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """A small tensor, in the model's own file."""
        self.initializers.append(onnx.numpy_helper.from_array(array, name))
        return name

    def matrix(self, name: str, rows: int, columns: int, scale: float) -> str:
        """Random numbers, in the file beside the model."""
        start = -(-self._data.tell() // ALIGNED) * ALIGNED
        self._data.seek(start)
        for first in range(0, rows, 1024):
            part = self._rng.standard_normal((min(1024, rows - first), columns), np.float32)
            self._data.write((part * np.float32(scale)).tobytes())
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[rows, columns])
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": Path(self._data.name).name, "offset": start, "length": 4 * rows * columns}
        for key, value in entries.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        self.initializers.append(tensor)
        return name

    def save(self, logits: str, vocabulary: int) -> None:
        """Write the model's own file."""
        self._data.close()
        graph = helper.make_graph(
            self.nodes,
            "decoder",
            [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", TOKENS])],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", TOKENS, vocabulary])],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        self.path.write_bytes(model.SerializeToString())


def build(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write a decoder: RMS norms, causal attention, gated feed-forward parts, and a head of its own."""
    writer = Writer(path, seed)
    writer.constant("epsilon", np.array(1e-5, np.float32))
    writer.constant("last", np.array([-1], np.int64))
    writer.constant("heads", np.array([0, TOKENS, shape.width // HEAD, HEAD], np.int64))
    writer.constant("joined", np.array([0, TOKENS, shape.width], np.int64))
    writer.constant("scale", np.array(1.0 / math.sqrt(HEAD), np.float32))
    writer.constant("causal", np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1))
    stream = writer.node("Gather", writer.matrix("embedding", shape.vocabulary, shape.width, 1.0), "tokens")
    for block in range(shape.layers):
        stream = _block(writer, stream, shape, f"block{block}", 1.0 / math.sqrt(2 * shape.layers))
    stream = _norm(writer, stream, shape.width, "norm")
    head = writer.matrix("head", shape.width, shape.vocabulary, 2.0 / math.sqrt(shape.width))
    writer.save(writer.node("MatMul", stream, head), shape.vocabulary)


def _block(writer: Writer, stream: str, shape: Shape, name: str, branch_scale: float) -> str:
    width, inner = shape.width, shape.inner
    entered = _norm(writer, stream, width, f"{name}.attention")
    scale = 1.0 / math.sqrt(width)
    q, k, v = (
        writer.node(
            "Reshape", writer.node("MatMul", entered, writer.matrix(f"{name}.{part}", width, width, scale)), "heads"
        )
        for part in ("q", "k", "v")
    )
    query = writer.node("Mul", writer.node("Transpose", q, perm=[0, 2, 1, 3]), "scale")
    scores = writer.node("MatMul", query, writer.node("Transpose", k, perm=[0, 2, 3, 1]))
    shares = writer.node("Softmax", writer.node("Add", scores, "causal"), axis=-1)
    mixed = writer.node("MatMul", shares, writer.node("Transpose", v, perm=[0, 2, 1, 3]))
    mixed = writer.node("Reshape", writer.node("Transpose", mixed, perm=[0, 2, 1, 3]), "joined")
    attended = writer.node("MatMul", mixed, writer.matrix(f"{name}.o", width, width, 4.0 * branch_scale * scale))
    stream = writer.node("Add", stream, attended)
    entered = _norm(writer, stream, width, f"{name}.feed_forward")
    gate = writer.node("MatMul", entered, writer.matrix(f"{name}.gate", width, inner, scale))
    gate = writer.node("Mul", gate, writer.node("Sigmoid", gate))
    up = writer.node("MatMul", entered, writer.matrix(f"{name}.up", width, inner, scale))
    down = writer.matrix(f"{name}.down", inner, width, 2.0 * branch_scale / math.sqrt(inner))
    return writer.node("Add", stream, writer.node("MatMul", writer.node("Mul", gate, up), down))


def _norm(writer: Writer, stream: str, width: int, name: str) -> str:
    energy = writer.node("ReduceMean", writer.node("Mul", stream, stream), "last")
    length = writer.node("Sqrt", writer.node("Add", energy, "epsilon"))
    gain = writer.constant(f"{name}.gain", np.ones(width, np.float32))
    return writer.node("Mul", writer.node("Div", stream, length), gain)
