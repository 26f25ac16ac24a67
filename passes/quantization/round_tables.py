"""Round tables that rows are looked up in to integers with a scale a row, or to float16."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.codebooks import round_to_type
from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import find_tables
from netsurgeon.passes.packing import BITS, MOST, RowForm, blocks_of, stored_rows
from netsurgeon.passes.solvers import clipped_integers

Rows = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class RoundTables(ir.passes.InPlacePass):
    """Put tables on the numbers of a form; they stay floats, one initializer for all who take it.

    Each row is rounded on a scale of its own, the one that is best for that row: one that no calibration input looks
    up is as exact, for its size, as one that all do.

    Rows that are dropped become their own mean, which is the one row that is nearest to all of them; `MergeRows` stores
    it once.

    Attributes:
        forms: by name of the table's initializer.
        dropped: rows that are told apart no longer, by name.
    """

    forms: Mapping[str, RowForm]
    dropped: Mapping[str, npt.NDArray[np.integer]] = dataclasses.field(default_factory=dict, repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round in place."""
        tables = [table for table in find_tables(model.graph) if table.name in {*self.forms, *self.dropped}]
        for table in tables:
            rows, form = tensor(table.value).numpy(), self.forms.get(table.name)
            rounded = rows if form is None else round_rows(rows, form)
            if table.name in self.dropped:
                rounded = _with_one_row(rows, rounded, self.dropped[table.name])
            table.value.const_value = ir.tensor(rounded, name=table.name)
        return ir.passes.PassResult(model, bool(tables))


def _with_one_row(table: Rows, rounded: Rows, dropped: npt.NDArray[np.integer]) -> Rows:
    """A rounded table with the mean of some rows, in the form it lies on, in the place of each of them."""
    own, mean = stored_rows(rounded), table[dropped].mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    result = rounded.copy()
    result[dropped] = mean if own is None else round_rows(mean, own.form)
    return result


def round_rows(table: Rows, form: RowForm) -> Rows:
    """A table (rows, columns) on the numbers of a form; one that lies on as few bits already is as it was."""
    own = stored_rows(table)
    if own is not None and BITS[own.form] <= BITS[form]:
        return table
    if form == "float16":
        return np.asarray(round_to_type(table, form))
    rounded = np.empty_like(table)
    start = 0
    for part in blocks_of(table):
        rounded[start : start + len(part)] = clipped_integers(part.astype(np.float64)[None], MOST[form]).weight[0]
        start += len(part)
    return rounded + np.float32(0.0)  # no -0.0


def row_errors(table: Rows, rounded: Rows) -> npt.NDArray[np.float64]:
    """Squared error of each row as a share of its own energy, (rows,); 0 for a row of zeros."""
    parts = []
    for old, new in zip(blocks_of(table), blocks_of(rounded), strict=True):
        energy = np.square(old, dtype=np.float64).sum(axis=1)
        error = np.square(new.astype(np.float64) - old).sum(axis=1)
        parts.append(np.divide(error, energy, out=np.zeros_like(energy), where=energy > 0.0))
    return np.concatenate(parts)
