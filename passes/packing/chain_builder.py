"""The nodes that unpack weights."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.packing.packed_integers import PackedIntegers
from netsurgeon.passes.packing.unpack_weights import MARK

Array = NDArray[Any]

_SIZES_OF_SPLIT_ARE_AN_INPUT = 13
"""From this operator set on."""


@dataclass(frozen=True)
class ChainBuilder:
    """Helper tensors and nodes, with short names, for they are repeated in the file; equal small tensors are one.

    Attributes:
        graph: where they go.
        names: of all its values and nodes, subgraphs included.
        nodes: what has been built, for `insert`.
    """

    graph: ir.Graph
    names: set[str]
    nodes: list[ir.Node] = field(default_factory=list)
    _constants: dict[tuple[str, bytes], ir.Value] = field(default_factory=dict)
    _tables: dict[str, ir.Value] = field(default_factory=dict)
    _numbers: dict[str, Iterator[int]] = field(default_factory=dict)

    def tensor(self, array: Array, name: str | None = None) -> ir.Value:
        """An initializer of its own; None = under a new name."""
        name = self._unique("p{}") if name is None else name
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))  # with a shape it would be written twice
        self.graph.register_initializer(value)
        return value

    def constant(self, array: Array) -> ir.Value:
        """A tensor that others may have, too."""
        key = (f"{array.dtype}{array.shape}", array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.tensor(array)
        return self._constants[key]

    def integers(self, *integers: int) -> ir.Value:
        """A vector of int64: shapes, places, sizes."""
        return self.constant(np.array(integers, np.int64))

    def node(self, operator: str, inputs: Sequence[ir.Value], **attributes: Any) -> ir.Value:
        """The output of a new node."""
        output = ir.Value(name=self._unique("u{}"))
        self.nodes.append(ir.node(operator, inputs, attributes, outputs=[output]))
        return output

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The same numbers in another type."""
        return self.node("Cast", [value], to=dtype.value)

    def first(self, value: ir.Value, count: int) -> ir.Value:
        """So many of the first elements of a vector."""
        return self.node("Slice", [value, self.integers(0), self.integers(count)])

    def cut(self, value: ir.Value, sizes: Sequence[int], weights: Sequence[str] = ()) -> list[ir.Value]:
        """A value in parts along its first axis; where these are weights, of these names, the node marks them."""
        if len(sizes) == 1 and not weights:
            return [value]
        names = weights or [self._unique("u{}") for _ in sizes]
        outputs = [ir.Value(name=name) for name in names]
        has_input = self.graph.opset_imports.get("", 0) >= _SIZES_OF_SPLIT_ARE_AN_INPUT
        inputs, attributes = ([value, self.integers(*sizes)], {}) if has_input else ([value], {"split": list(sizes)})
        name = self.mark() if weights else None
        self.nodes.append(ir.node("Split", inputs, attributes, outputs=outputs, name=name))
        return outputs

    def mark(self, mark: str = MARK) -> str:
        """A name for a node that gives a weight, or rows of a table."""
        return self._unique(f"{mark}{{}}")

    def looked_up(self, packed: PackedIntegers, *tables: ir.Value) -> list[ir.Value]:
        """Entries of tables (at least 2^bits,) that packed integers point at."""
        part = packed.parts[0]
        if len(packed.parts) > 1 or part.bits == 8:
            indices = self.fields(packed, ir.DataType.INT32)
            return [self.node("Gather", [table, indices]) for table in tables]
        stored, fields = self.cast(self.tensor(part.data), ir.DataType.INT32), self._byte_fields(part.bits)
        return [self._of_bytes(self.node("Gather", [table, fields]), stored) for table in tables]

    def fields(self, packed: PackedIntegers, dtype: ir.DataType) -> ir.Value:
        """Packed integers in a type, and the zeros behind them."""
        parts = []
        for part in packed.parts:
            stored = self.tensor(part.data)
            if part.bits == 8:
                parts.append(self.cast(stored, dtype))
            else:
                table = self._byte_fields(part.bits, part.shift, dtype)
                parts.append(self._of_bytes(table, self.cast(stored, ir.DataType.INT32)))
        return functools.reduce(lambda low, high: self.node("Add", [low, high]), parts)

    def _of_bytes(self, table: ir.Value, stored: ir.Value) -> ir.Value:
        """What a table (256, fields) has for bytes, one behind the other."""
        return self.node("Reshape", [self.node("Gather", [table, stored]), self.integers(-1)])

    def _byte_fields(self, bits: int, shift: int = 0, dtype: ir.DataType = ir.DataType.INT32) -> ir.Value:
        """The fields (256, 8 / bits) of every byte, as bits of a number from `shift` on."""
        key = f"{bits} {shift} {dtype}"
        if key not in self._tables:
            self._tables[key] = self._new_byte_fields(bits, shift, dtype)
        return self._tables[key]

    def _new_byte_fields(self, bits: int, shift: int, dtype: ir.DataType) -> ir.Value:
        if dtype != ir.DataType.INT32:
            return self.cast(self._byte_fields(bits, shift), dtype)
        if shift:
            return self.node("Mul", [self._byte_fields(bits), self.constant(np.array(1 << shift, np.int32))])
        if "bytes" not in self._tables:
            ends = [self.constant(np.array(number, np.int32)) for number in (0, 256, 1)]
            self._tables["bytes"] = self.node("Reshape", [self.node("Range", ends), self.integers(-1, 1)])
        steps = self.constant((1 << np.arange(0, 8, bits)).astype(np.int32))
        shifted = self.node("Div", [self._tables["bytes"], steps])
        return self.node("Mod", [shifted, self.constant(np.array(1 << bits, np.int32))])

    def of_type(self, array: Array, dtype: ir.DataType, *, is_shared: bool = False) -> ir.Value:
        """A tensor in the weight's type, stored in its own."""
        stored = self.constant(array) if is_shared else self.tensor(array)
        return stored if array.dtype == dtype.numpy() else self.node("Cast", [stored], to=dtype.value)

    def unpacked(self, data: ir.Value, tensor: ir.TensorProtocol, weight: str, scales: Array | None) -> ir.Value:
        """The nodes that give the weight its shape and scales; the last one's name marks the chain."""
        operator, inputs = "Reshape", [data, self.integers(*tensor.shape.numpy())]
        if scales is not None:
            operator, inputs = "Mul", [self.node(operator, inputs), self.of_type(scales, tensor.dtype)]
        output = ir.val(weight, tensor.dtype, tensor.shape.numpy())
        self.nodes.append(ir.node(operator, inputs, outputs=[output], name=self.mark()))
        return output

    def insert(self) -> None:
        """Put what has been built at the start of the graph, under no names but those that mark weights."""
        marks = {id(node) for node in self.nodes if node.name}
        if self.nodes:
            self.graph.insert_before(self.graph[0], self.nodes)
        for node in self.nodes:
            if id(node) not in marks:
                node.name = ""  # the graph has given it one; None would be named anew by each clone

    def _unique(self, pattern: str) -> str:
        numbers = self._numbers.setdefault(pattern, itertools.count())
        name = next(name for name in map(pattern.format, numbers) if name not in self.names)
        self.names.add(name)
        return name


def names_in(graph: ir.Graph) -> set[str]:
    """Names of all values and nodes, subgraphs included."""
    names = {str(value.name) for part in (graph, *graph.subgraphs()) for value in part.inputs}
    names.update(name for part in (graph, *graph.subgraphs()) for name in part.initializers)
    for node in graph.all_nodes():
        names.update(str(value.name) for value in node.outputs)
        names.add(str(node.name))
    return names
