"""Which form each table is stored in: the shortest whose errors cost the outputs little.

A table's rows are rounded each on a scale of its own, and the model is run with it on calibration inputs. That says
nothing of rows that none of them looks up. An input that does would lose what others lose, times how much more exact
or less its rows are for their size: so the loss that is measured is multiplied by the error of rows that were never
seen over that of rows that were, where that is above 1.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label, tensor
from netsurgeon.passes.layers import FEWEST_NUMBERS, Table, find_tables
from netsurgeon.passes.packing import BITS, RowForm, stored_rows
from netsurgeon.passes.quantization import RoundTables, row_errors
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.runtime import counted
from netsurgeon.pipeline.tables.dropped_rows import rows_seen, rows_to_drop
from netsurgeon.pipeline.tables.facts import TableFacts

FORMS: tuple[RowForm, ...] = ("float16", "int8", "int4")
"""The most exact one first."""
MOST_LOSS = 1e-3
"""Share of the outputs' energy that all tables together may cost where no goal says how much may be lost."""
SHARE_OF_DROP = 0.25
"""Share of a goal's drop that all tables together may take; the rest is for pruning."""
JUDGED_INPUTS = 256
"""Inputs on which the loss is measured, at most."""
NODE_BYTES = 512
"""About what nodes take that look up where a row is."""
OPSET_OF_ROWS = 11
"""From here on rows that are looked up can be integers."""

NO_ROWS = np.zeros(0, np.int64)
Judge = Callable[[ir.Model], float]
"""What a model loses beside the dense one."""


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What becomes of tables.

    Attributes:
        tables: in graph order.
    """

    tables: tuple[TableFacts, ...]

    @property
    def forms(self) -> dict[str, RowForm]:
        """By name of those that are rounded."""
        return {table.name: form for table in self.tables for form in FORMS if form == table.stored}

    def dropped(self, graph: ir.Graph, options: Options) -> dict[str, npt.NDArray[np.int64]]:
        """The rows that become one, by name of the tables where the file gets smaller by that."""
        worth = {table.name for table in self.tables if table.rows_dropped}
        rows = rows_to_drop(graph, options, missing_ok=True)
        return {name: of_table for name, of_table in rows.items() if name in worth}

    def described(self) -> list[dict[str, object]]:
        """As JSON values."""
        return [dataclasses.asdict(table) for table in self.tables]

    @classmethod
    def of(cls, described: Sequence[Mapping[str, object]]) -> TablePlan:
        """The inverse of `described`."""
        lists = ("nodes", "tied")
        tables = ({**table, **{name: tuple(table[name]) for name in lists}} for table in described)  # type: ignore[arg-type]
        return cls(tuple(TableFacts(**table) for table in tables))  # type: ignore[arg-type]


def choose_tables(model: ir.Model, options: Options, calibration: Calibration, progress: Progress) -> TablePlan:
    """The forms where no goal says what may be lost: int8, and float16 where that costs more than MOST_LOSS.

    Args:
        model: in normal form; not changed.
        options: what the user says of tables.
        calibration: inputs that show what errors cost.
        progress: called with stage, steps done and steps in all.
    """
    if not find_tables(model.graph):
        return TablePlan(())
    judge = _energy_judge(model, calibration)
    return choose_within(model, options, calibration, judge=judge, limit=MOST_LOSS, progress=progress, forms=FORMS[:2])


def choose_within(
    model: ir.Model,
    options: Options,
    calibration: Calibration,
    judge: Judge,
    limit: float,
    progress: Progress,
    forms: Sequence[RowForm] = FORMS,
) -> TablePlan:
    """The shortest of some forms with which all tables together lose no more than a limit.

    Args:
        model: in normal form; not changed.
        options: what the user says of tables.
        calibration: inputs that show which rows are looked up.
        judge: what a model loses.
        limit: of the sum of all tables' losses; the most exact form is taken in any case.
        progress: called with stage, steps done and steps in all.
        forms: to choose among, the most exact one first.
    """
    tables = find_tables(model.graph)
    opset = model.graph.opset_imports.get("", 0)
    reasons = {table.name: _reason_to_leave(table, options, opset) for table in tables}
    taken = [table for table in tables if reasons[table.name] is None]
    seen = rows_seen(model, taken, calibration.samples, calibration.runtime)
    dropped = rows_to_drop(model.graph, options)
    asked = None if options.tables == "auto" else options.tables
    trials: dict[str, dict[str, TableFacts]] = {}
    for done, table in enumerate(taken):
        progress("rounding tables", done, len(taken))
        fitting = _possible([form for form in FORMS if form in ((asked,) if asked else forms)], table)
        rows = _RowsOf(seen[table.name], dropped.get(table.name, NO_ROWS))
        trials[table.name] = {form: _trial(model, table, form, rows, judge) for form in fitting}
    chosen = _within(trials, limit)
    left = {
        table.name: _facts(table, _RowsOf(NO_ROWS, dropped.get(table.name, NO_ROWS)), reason=reason)
        for table in tables
        if (reason := reasons[table.name])
    }
    return TablePlan(tuple(chosen.get(table.name) or left[table.name] for table in tables))


def _reason_to_leave(table: Table, options: Options, opset: int) -> str | None:
    if options.tables == "float32" or (options.tables == "auto" and options.values == "float32"):
        return "values are to stay float32"
    if any(fnmatch.fnmatchcase(name, glob) for name in table.names for glob in options.exclude):
        return "excluded by the user"
    if opset < OPSET_OF_ROWS:
        return f"rows of integers need operator set {OPSET_OF_ROWS}, and the model has {opset}"
    largest = np.abs(tensor(table.value).numpy()).max(initial=0.0)
    if not np.isfinite(largest):
        return "it holds NaN or Inf"
    # without float16, the most exact form, a few huge numbers would leave nothing of the others of their rows
    if options.tables in ("auto", "float16") and largest > np.finfo(np.float16).max:
        return "it holds numbers beyond float16"
    return None


def _possible(forms: Sequence[RowForm], table: Table) -> list[RowForm]:
    """Those of the forms that a table can have.

    Two integers of a row that do not make a byte take more bits. A table that lies on fewer bits already, such as one
    that was compressed before, keeps them: more would lose as much again, and the file would grow.
    """
    values = tensor(table.value).numpy()
    own, has_halves = stored_rows(values), values.shape[1] % 2 == 0
    possible: list[RowForm] = ["int8" if form == "int4" and not has_halves else form for form in forms]
    if own is not None:
        possible = [own.form if BITS[own.form] <= BITS[form] else form for form in possible]
    return list(dict.fromkeys(possible))


def _within(trials: Mapping[str, Mapping[str, TableFacts]], limit: float) -> dict[str, TableFacts]:
    """The most exact form of each table, then shorter ones, the largest saving first, while the losses allow it."""
    chosen = {name: next(iter(by_form.values())) for name, by_form in trials.items()}
    steps = [(name, facts) for name, by_form in trials.items() for facts in list(by_form.values())[1:]]
    for name, facts in sorted(steps, key=lambda step: step[1].bytes_after - step[1].bytes_before):
        others = sum(other.loss or 0.0 for key, other in chosen.items() if key != name)
        if facts.bytes_after < chosen[name].bytes_after and others + (facts.loss or 0.0) <= limit:
            chosen[name] = facts
    return chosen


@dataclasses.dataclass(frozen=True)
class _RowsOf:
    """Numbers of rows of a table: those that inputs look up, and those that the user names as never used."""

    seen: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    dropped: npt.NDArray[np.int64] = dataclasses.field(repr=False)


def _trial(model: ir.Model, table: Table, form: RowForm, rows: _RowsOf, judge: Judge) -> TableFacts:
    """What a table loses in a form by itself."""
    dense = tensor(table.value).numpy()
    candidate = model.clone()
    RoundTables({table.name: form})(candidate)
    errors = row_errors(dense, tensor(candidate.graph.initializers[table.name]).numpy())
    loss = _with_unseen(judge(candidate), errors, rows)
    return _facts(table, rows, form=form, errors=np.delete(errors, rows.dropped), loss=loss)


def _with_unseen(loss: float, errors: npt.NDArray[np.float64], rows: _RowsOf) -> float:
    """The loss that was measured, or what it would be with rows that were never seen in the place of those that were.

    Args:
        loss: measured.
        errors: of each row, as a share of its own energy, (rows,).
        rows: those that were looked up, and those that never will be.
    """
    unseen = np.delete(errors, np.union1d(rows.seen, rows.dropped))
    if not unseen.size or not rows.seen.size:
        return loss
    known, unknown = float(errors[rows.seen].mean()), float(unseen.mean())
    return loss * max(1.0, unknown / known) if known else max(loss, unknown)


def _facts(
    table: Table,
    of: _RowsOf,
    *,
    form: RowForm | None = None,
    errors: npt.NDArray[np.float64] | None = None,
    loss: float | None = None,
    reason: str | None = None,
) -> TableFacts:
    rows, columns = (int(extent) for extent in tensor(table.value).shape.numpy())
    facts = TableFacts(
        name=table.name,
        nodes=table.names,
        tied=tuple(label(node) for node in table.tied),
        rows=rows,
        columns=columns,
        rows_seen=len(of.seen),
        stored=form or "float32",
        row_error=0.0 if errors is None else float(errors.mean()),
        loss=loss,
        bytes_before=tensor(table.value).nbytes,
        bytes_after=_bytes_of(rows, columns, form),
        reason=reason,
    )
    merged = dataclasses.replace(facts, rows_dropped=len(of.dropped))
    merged_bytes = _bytes_of(merged.rows_left, columns, form) + merged.place_bytes
    is_worth_it = len(of.dropped) > 1 and merged_bytes + NODE_BYTES < facts.bytes_after
    return dataclasses.replace(merged, bytes_after=merged_bytes) if is_worth_it else facts


def _bytes_of(rows: int, columns: int, form: RowForm | None) -> int:
    """Bytes of so many rows in a form; those of a table that is too small for one stay floats."""
    form = form if rows * columns >= FEWEST_NUMBERS else None
    scales = 2 * rows if form in ("int4", "int8") else 0
    return rows * columns * (BITS[form] if form else 32) // 8 + scales


def _energy_judge(model: ir.Model, calibration: Calibration) -> Judge:
    """The share of the energy of the float outputs that the difference has, the mean over the outputs.

    Outputs of one batch are held at a time: those of a language model are large.
    """
    samples = calibration.samples.subset(JUDGED_INPUTS, np.random.default_rng(calibration.seed))
    dense = counted(calibration.runtime.session(model), samples.mask)

    def judge(candidate: ir.Model) -> float:
        session = counted(calibration.runtime.session(candidate), samples.mask)
        errors: dict[str, float] = {}
        energies: dict[str, float] = {}
        for feed in samples.batches():
            now = session.run(feed)
            for name, value in dense.run(feed).items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    error, energy = _squares(value, now[name])
                    errors[name] = errors.get(name, 0.0) + error
                    energies[name] = energies.get(name, 0.0) + energy
        shares = [errors[name] / energies[name] for name in errors if energies[name]]
        return float(np.mean(shares)) if shares else 0.0

    return judge


def _squares(dense: npt.NDArray[np.floating], now: npt.NDArray[np.floating]) -> tuple[float, float]:
    """‖difference‖² and ‖dense‖² where the dense output is finite."""
    if dense.shape != now.shape:
        return np.inf, 1.0
    usable = np.isfinite(dense)
    difference = now[usable].astype(np.float64) - dense[usable]
    return float(np.vdot(difference, difference)), float(np.sum(np.square(dense[usable], dtype=np.float64)))
