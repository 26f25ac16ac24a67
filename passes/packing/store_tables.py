"""Store tables that rows are looked up in as the integers and scales they lie on, or in float16; equal rows once."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import graph_of, label, present, tensor, unused_name
from netsurgeon.passes.layers import Table, find_tables
from netsurgeon.passes.packing.chain_builder import ChainBuilder, names_in
from netsurgeon.passes.packing.restore_tables import ROWS_MARK
from netsurgeon.passes.packing.table_rows import StoredRows, nibbles, stored_rows

OPSET = 11
"""The first version that takes the last axis as -1."""


@dataclasses.dataclass(frozen=True)
class StoreTables(ir.passes.InPlacePass):
    """Look up what stands for a table's rows, and make floats of those rows alone.

    With ``codes`` (rows, columns) and ``scales`` (rows, 1) of the table::

        int8:    Gather(codes, ids) -> Cast -> Mul(Gather(scales, ids) -> Cast)
        int4:    Gather(bytes, ids) -> Cast -> Concat(Gather(low halves), Gather(high halves)) -> Mul(…), as above
        float16: Gather(codes, ids) -> Cast

    So no float table is ever in memory, unlike a packed weight's (`PackWeights`), which is made while a session loads.
    Where other nodes take the table as well, such as the head of a language model, these do have it: it is unpacked for
    them from the same codes, by a chain as `PackWeights` makes them, and there is still one tensor in the file.

    Rows are those of the table to the last bit. The node that gives them is named ``unpack_rows`` and a number, by
    which `UnpackWeights` finds it.

    Attributes:
        names: of the initializers that may be stored so; None = all tables.
        stored: what became of them, by name: added.
    """

    names: Collection[str] | None = None
    stored: dict[str, StoredRows] = dataclasses.field(default_factory=dict, repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place those that lie on integers, or on numbers of float16."""
        if model.graph.opset_imports.get("", 0) < OPSET:
            return ir.passes.PassResult(model, False)
        builder = ChainBuilder(model.graph, names_in(model.graph))
        for table in find_tables(model.graph):
            if self.names is None or table.name in self.names:
                rows = stored_rows(tensor(table.value).numpy())
                if rows is not None:
                    self.stored[table.name] = rows
                    _store(builder, table, rows)
        builder.insert()
        return ir.passes.PassResult(model, bool(self.stored))


@dataclasses.dataclass(frozen=True)
class MergeRows(ir.passes.InPlacePass):
    """Store rows of a table that are equal once: ``Gather(table, ids)`` becomes ``Gather(rows, Gather(places, ids))``.

    Indices that the model is fed mean what they meant.

    Attributes:
        rows: numbers of rows, by name of the table's initializer; those of a table that differ stay as they are.
        merged: how many became one, by name: added.
    """

    rows: Mapping[str, npt.NDArray[np.integer]]
    merged: dict[str, int] = dataclasses.field(default_factory=dict)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge in place."""
        for table in find_tables(model.graph):
            values, equal = tensor(table.value).numpy(), self.rows.get(table.name)
            if equal is None or len(equal) < 2 or table.tied or (values[equal] != values[equal[0]]).any():
                continue
            left = np.delete(np.arange(len(values)), equal[1:])
            _look_up_places(model.graph, table, places_of(len(values), left, equal))
            table.value.const_value, table.value.shape = (
                ir.tensor(values[left], name=table.name),
                ir.Shape((len(left), values.shape[1])),
            )
            self.merged[table.name] = len(equal)
        return ir.passes.PassResult(model, bool(self.merged))


def places_of(
    rows: int, left: npt.NDArray[np.integer], equal: npt.NDArray[np.integer]
) -> npt.NDArray[np.uint16 | np.int32]:
    """Where each of so many rows is among those that are left, (rows,); the first of those that are equal is left."""
    places = np.zeros(rows, place_type(len(left)))
    places[left] = np.arange(len(left))
    places[equal] = places[equal[0]]
    return places


def place_type(count: int) -> type[np.uint16 | np.int32]:
    """The shortest type of integers that holds the places of so many rows."""
    return np.uint16 if count <= 1 << 16 else np.int32


def _look_up_places(graph: ir.Graph, table: Table, places: npt.NDArray[np.uint16 | np.int32]) -> None:
    name = unused_name(graph, f"{table.name}_places")
    value = ir.val(name, const_value=ir.tensor(places, name=name))
    graph.register_initializer(value)
    for node in table.lookups:
        numbers = [unused_name(graph, f"{label(node)}_{part}") for part in ("place", "row")]
        looked_up = ir.node("Gather", [value, node.inputs[1]], name=numbers[0])
        row = ir.node("Cast", looked_up.outputs, {"to": ir.DataType.INT32.value}, name=numbers[1])
        for maker, output in zip((looked_up, row), numbers, strict=True):
            maker.outputs[0].name = output
        graph_of(node).insert_before(node, [looked_up, row])
        node.replace_input_with(1, row.outputs[0])


def _store(builder: ChainBuilder, table: Table, rows: StoredRows) -> None:
    """Put codes and scales in the place of a table."""
    graph, name = builder.graph, table.name
    del graph.initializers[name]
    codes = builder.tensor(rows.codes, None if table.tied else name)
    scales = None if rows.scales is None else builder.tensor(rows.scales)
    for node in table.lookups:
        _look_up(builder, node, _Rows(rows.form, codes, scales))
    if table.tied:
        whole = ir.val(name, ir.DataType.FLOAT, tensor(table.value).shape.numpy())
        _Rows(rows.form, codes, scales).floats(builder, whole, builder.mark())
        table.value.replace_all_uses_with(whole)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Values that hold codes and scales of rows, of all of a table or of those that are looked up."""

    form: str
    codes: ir.Value
    scales: ir.Value | None

    def looked_up(self, builder: ChainBuilder, indices: ir.Value) -> _Rows:
        codes, scales = (
            None if value is None else builder.node("Gather", [value, indices]) for value in (self.codes, self.scales)
        )
        return _Rows(self.form, present(codes), scales)

    def floats(self, builder: ChainBuilder, output: ir.Value, name: str) -> None:
        """The node that gives the floats, and what it takes."""
        operator, inputs = "Cast", [self.codes]
        if self.scales is not None:
            operator, inputs = "Mul", [self._numbers(builder), builder.cast(self.scales, ir.DataType.FLOAT)]
        attributes = {} if self.scales is not None else {"to": ir.DataType.FLOAT.value}
        builder.nodes.append(ir.node(operator, inputs, attributes, outputs=[output], name=name))

    def _numbers(self, builder: ChainBuilder) -> ir.Value:
        if self.form == "int8":
            return builder.cast(self.codes, ir.DataType.FLOAT)
        indices = builder.cast(self.codes, ir.DataType.INT32)
        halves = [builder.node("Gather", [builder.constant(nibbles(high)), indices]) for high in (False, True)]
        return builder.node("Concat", halves, axis=-1)


def _look_up(builder: ChainBuilder, node: ir.Node, rows: _Rows) -> None:
    """Put nodes that look codes up in the place of a Gather: the first of them has its name, the last its output."""
    graph, old = graph_of(node), node.outputs[0]
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    start = len(builder.nodes)
    rows.looked_up(builder, present(node.inputs[1])).floats(builder, output, builder.mark(ROWS_MARK))
    nodes, name = builder.nodes[start:], label(node)
    del builder.nodes[start:]
    graph.insert_before(node, nodes)
    ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    for between in nodes[1:-1]:
        between.name = ""  # the graph has given it one; None would be named anew by each clone
    nodes[0].name, output.name = name, old.name
