"""Rows of tables that the user names as never used: checked, and never looked up by an input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, present, tensor
from netsurgeon.passes.layers import Table, find_tables
from netsurgeon.pipeline.data import PositionMask, Samples, counted_entries
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options, spans_of
from netsurgeon.pipeline.runtime import Runtime

Rows = npt.NDArray[np.int64]


def rows_to_drop(graph: ir.Graph, options: Options, *, missing_ok: bool = False) -> dict[str, Rows]:
    """The rows that the user names, ascending, by name of the table's tensor.

    Args:
        graph: of the model.
        options: what the user names.
        missing_ok: whether a name may be that of no large table, such as one that trimming has made small.

    Raises:
        InputError: there is no such table or row, nothing else would be left, the table has other readers, or its rows
            were merged before.
    """
    tables, rows = find_tables(graph), dict[str, Rows]()
    for name, text in options.drop_rows.items():
        table = next((table for table in tables if name in (table.name, *table.names)), None)
        if table is None and missing_ok:
            continue
        if table is None:
            names = ", ".join(repr(table.name) for table in tables) or "none"
            raise InputError(
                f"drop-rows names {name!r}, which is not a large table that rows are looked up in: {names}"
            )
        if table.tied:
            readers = ", ".join(repr(label(node)) for node in table.tied)
            raise InputError(
                f"drop-rows names {table.name!r}, whose rows {readers} takes as well, such as a head that gives each a "
                "score: rows that are dropped would still be scored, so leave them in"
            )
        if any(_has_places(node) for node in table.lookups):
            raise InputError(
                f"drop-rows names {table.name!r}, of which rows were merged before, so that others have new numbers: "
                "compress the original model, with all rows that are to be dropped"
            )
        if table.indices(graph) is None:
            raise InputError(
                f"drop-rows names {table.name!r}, of which a body of an If or Loop computes itself which rows it looks "
                "up, so that nobody can tell whether an input uses those: leave them in"
            )
        count, spans = int(tensor(table.value).shape.numpy()[0]), spans_of(str(text))
        if spans[-1][1] >= count:
            raise InputError(f"drop-rows names row {spans[-1][1]} of {table.name!r}, which has rows 0 to {count - 1}")
        numbers = np.concatenate([np.arange(first, last + 1) for first, last in spans])
        rows[table.name] = np.union1d(rows.get(table.name, numbers), numbers)
        if len(rows[table.name]) == count:
            raise InputError(f"drop-rows names all rows of {table.name!r}: leave those that are used")
    return rows


def _has_places(node: ir.Node) -> bool:
    """Whether the indices of a Gather are looked up themselves, as those of merged rows are."""
    cast = present(node.inputs[1]).producer()
    gather = cast and cast.op_type == "Cast" and present(cast.inputs[0]).producer()
    if not gather or gather.op_type != "Gather" or not is_constant(gather.inputs[0]):
        return False
    return len(tensor(present(gather.inputs[0])).shape) == 1


def check_dropped_rows(model: ir.Model, options: Options, inputs: Sequence[Samples], runtime: Runtime) -> None:
    """Check that no input looks a row up that is to be dropped.

    Args:
        model: in normal form.
        options: which rows those are.
        inputs: all that the model is corrected, judged and measured on.
        runtime: how it is run.

    Raises:
        InputError: one does, or the rows cannot be dropped.
    """
    dropped = rows_to_drop(model.graph, options)
    tables = [table for table in find_tables(model.graph) if table.name in dropped]
    for samples in inputs if tables else ():
        # a mask that is not proven excludes positions that outputs may depend on
        mask = samples.mask if samples.mask is not None and samples.mask.is_proven else None
        for number, rows in enumerate(looked_up(model, tables, samples, runtime, mask)):
            for name, of_feed in rows.items():
                used = np.intersect1d(of_feed, dropped[name])
                if used.size:
                    raise InputError(
                        f"{samples.batch_name(number)} looks up row {used[0]} of {name!r}, which drop-rows drops: "
                        "leave the row in, or the input out"
                    )


def looked_up(
    model: ir.Model, tables: Sequence[Table], samples: Samples, runtime: Runtime, mask: PositionMask | None
) -> Iterator[dict[str, Rows]]:
    """The rows of each table that each feed looks up, ascending, by name; not at positions that the mask excludes.

    None are known of a table of which a body computes itself which rows it looks up.
    """
    known = {table.name: table.indices(model.graph) or [] for table in tables}
    indices = {name: [value.name or "" for value in values] for name, values in known.items()}
    extents = {table.name: int(tensor(table.value).shape.numpy()[0]) for table in tables}
    probe = model.clone()
    inputs = (value for node in probe.graph.all_nodes() for value in node.inputs if value is not None)
    values = {value.name: value for value in inputs if value.graph is probe.graph}
    shown = {name for names in indices.values() for name in names}
    fed = {value.name for value in probe.graph.inputs}
    interface = fed | {value.name for value in probe.graph.outputs}
    probe.graph.outputs.extend(values[name] for name in sorted(shown - interface))
    session, computed = runtime.session(probe), sorted(shown - fed)
    for feed in samples.batches():
        values_of_feed = {**feed, **(session.run(feed, computed) if computed else {})}
        rows: dict[str, list[Rows]] = {name: [] for name in indices}
        for name, of_table in indices.items():
            for index in of_table:
                numbers = np.asarray(values_of_feed[index])
                rows[name].append(numbers[counted_entries(mask, index, numbers.shape, feed)] % extents[name])
        yield {name: np.unique(np.concatenate([np.zeros(0, np.int64), *parts])) for name, parts in rows.items()}


def rows_seen(model: ir.Model, tables: Sequence[Table], samples: Samples, runtime: Runtime) -> dict[str, Rows]:
    """The rows of each table that inputs look up, ascending, by name."""
    if not tables:
        return {}
    seen = {table.name: np.zeros(int(tensor(table.value).shape.numpy()[0]), bool) for table in tables}
    for rows in looked_up(model, tables, samples, runtime, samples.mask):
        for name, of_feed in rows.items():
            seen[name][of_feed] = True
    return {name: np.flatnonzero(mask) for name, mask in seen.items()}
