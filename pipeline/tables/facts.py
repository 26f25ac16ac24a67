"""What the report says of tables that rows are looked up in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, tensor
from netsurgeon.passes.packing import Packing, StoredRows, place_type


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableFacts:
    """A table that rows are looked up in, such as the embeddings of a vocabulary.

    Attributes:
        name: of the tensor that holds it.
        nodes: names of the nodes that look rows up.
        tied: names of other nodes that take the same tensor, such as the head of a language model: it stays one tensor,
            rounded for all of them.
        rows: how many.
        rows_dropped: rows that the user names as never used, which are one row now, their mean; 0 where that would not
            make the file smaller.
        columns: numbers of a row of the dense table.
        columns_removed: those that went with units that were removed.
        rows_seen: rows that calibration inputs look up.
        stored: int4, int8 (with a scale a row), float16 or float32.
        row_error: mean over the rows of a row's squared error as a share of its own energy.
        loss: what the outputs lose by it alone: a share of their energy, or of the goal's measure where there is a
            goal; rows that calibration never saw are charged by their own errors. None where that was not measured.
        bytes_before: of the dense table.
        bytes_after: in the file, with its scales.
        reason: why it is stored as float32; None where it is not.
    """

    name: str
    nodes: tuple[str, ...]
    tied: tuple[str, ...]
    rows: int
    columns: int
    rows_seen: int
    stored: str
    row_error: float
    loss: float | None
    bytes_before: int
    bytes_after: int
    reason: str | None = None
    rows_dropped: int = 0
    columns_removed: int = 0

    @property
    def rows_left(self) -> int:
        """Rows in the file."""
        return self.rows - max(self.rows_dropped - 1, 0)

    @property
    def columns_left(self) -> int:
        """Numbers of a row in the file."""
        return self.columns - self.columns_removed

    @property
    def place_bytes(self) -> int:
        """Of what says where each row is; 0 where all are in their own place."""
        return self.rows * np.dtype(place_type(self.rows_left)).itemsize if self.rows_dropped else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTables:
    """What became of tables when the model was stored.

    Attributes:
        rows: what stands for a table's rows, by its name; those that are left out are float32.
        merged: how many rows became one, by the table's name.
    """

    rows: Mapping[str, StoredRows] = dataclasses.field(default_factory=dict)
    merged: Mapping[str, int] = dataclasses.field(default_factory=dict)


def in_the_file(
    tables: Sequence[TableFacts], graph: ir.Graph, stored: StoredTables, packings: Sequence[Packing]
) -> tuple[TableFacts, ...]:
    """The facts of tables with what became of them in the file.

    Args:
        tables: as they were chosen, on the dense model.
        graph: of the compressed model before it was stored: units that were removed have taken columns with them.
        stored: what became of them then.
        packings: weights that were packed.
    """
    packed = {packing.name: packing for packing in packings}
    # by their nodes: a table that is tied gets another name where units are removed of it
    constant_of = {label(node): node.inputs[0] for node in graph if node.inputs}
    facts = []
    for table in tables:
        name, columns = table.name, table.columns
        constant = constant_of.get(table.nodes[0])
        if constant is not None and is_constant(constant):
            name, columns = constant.name or name, int(tensor(constant).shape.numpy()[1])
        rows, packing = stored.rows.get(name), packed.get(name)
        table = dataclasses.replace(
            table, columns_removed=table.columns - columns, rows_dropped=stored.merged.get(name, 0)
        )
        floats = table.rows_left * table.columns_left * np.dtype(np.float32).itemsize
        size, form = (floats, "float32") if rows is None else (rows.nbytes, rows.form)
        if packing is not None:
            size += packing.bytes_after - packing.bytes_before
        facts.append(dataclasses.replace(table, bytes_after=size + table.place_bytes, stored=form))
    return tuple(facts)
