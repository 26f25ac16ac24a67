"""Store tables that rows are looked up in as the integers and scales they lie on, or in float16."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import onnx_ir as ir

from netsurgeon.passes.graph import label, present, tensor
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
    graph, old = builder.graph, node.outputs[0]
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
