"""Gather the report from the records that were made where things were measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from netsurgeon.passes.codebooks import Rounding
from netsurgeon.passes.layers import Declined
from netsurgeon.passes.packing import Packing
from netsurgeon.pipeline.compression import STEPS, AppliedPlan, StepRecord, Steps
from netsurgeon.pipeline.error_bound import Bound
from netsurgeon.pipeline.execution import ClusterFacts
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel, data_facts, model_facts, path_of, versions
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import Profile, TimingTable, left_to_the_cpu
from netsurgeon.pipeline.report.facts import layer_facts
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.report.sentences.goals import unproven_goal_warning
from netsurgeon.pipeline.report.user_warnings import (
    alike,
    emptied,
    few_inputs,
    grown,
    hasty,
    not_finite,
    not_measured,
    scarce,
    unmeasured,
    zeros_in_vain,
)
from netsurgeon.pipeline.runtime import Runtime, peak_bytes
from netsurgeon.pipeline.search import SearchFacts
from netsurgeon.pipeline.tables import StoredTables, TableFacts, in_the_file
from netsurgeon.pipeline.verification import Inputs, Validation

WORTH_MENTION = 0.005
"""Share of the weights by which more may go than was asked for without a word."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredModel:
    """The model in the form that is written to disk.

    Attributes:
        model: the model.
        packings: the representation of each packed weight.
        tables: what became of the tables that rows are looked up in.
        records: what became of each step of storage.
        notes: what was raised or undone, and why.
    """

    model: ir.Model = dataclasses.field(repr=False)
    packings: tuple[Packing, ...]
    tables: StoredTables
    records: tuple[StepRecord, ...]
    notes: tuple[Message, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressionRecord:
    """All that one compression has made and measured.

    Attributes:
        given: the options as the user gave them.
        steps: what was done, in order.
        options: how it was made: those given, and what was chosen where they leave it open.
        runtime: how the models were run.
        source: the model that came in.
        inputs: what it was run on.
        applied: the compressed model before it is stored, and how it was made.
        stored: the model as it is delivered.
        output: where it was written; None where it was not.
        validation: dense against compressed.
        bound: the error bound, and the error on the same inputs.
        search: how the goals were met; None where it was said what to do.
        timings: the times that decided; None where none were asked for.
        latency: both models timed in turn; None where that was not asked for.
        examined: what the dense model's answers on the inputs say of all figures.
        notes: how the outputs are judged.
        warnings: what came up on the way.
        cluster: what ran on workers; None where there were none.
        seconds: time by stage.
    """

    given: Options
    steps: Steps
    options: Options
    runtime: Runtime
    source: LoadedModel
    inputs: Inputs
    applied: AppliedPlan
    stored: StoredModel
    output: Path | None
    validation: Validation
    bound: Bound
    search: SearchFacts | None
    timings: TimingTable | None
    latency: Profile | None
    examined: tuple[Message, ...]
    notes: tuple[Message, ...] = ()
    warnings: tuple[Message, ...]
    cluster: ClusterFacts | None
    seconds: Mapping[str, float]


def assemble_report(record: CompressionRecord) -> Report:
    """The report of a compression; reads the model that was written, for its bytes."""
    applied, stored, inputs = record.applied, record.stored, record.inputs
    pruned, source = applied.pruned, record.source
    layers = layer_facts(
        applied.selection, applied.plan, pruned, model=applied.model, packings=stored.packings, bound=record.bound
    )
    chosen = applied.tables.tables if applied.tables else ()
    tables = in_the_file(chosen, applied.model.graph, stored.tables, stored.packings)
    sparsity = 1.0 - sum(layer.kept for layer in layers) / sum(layer.weights for layer in layers)
    dense, compressed = model_facts(source.given, source.path), model_facts(stored.model, record.output)
    return Report(
        versions=versions(),
        options=record.given.described(),
        from_python=tuple(_from_python(record)),
        dense=dense,
        compressed=compressed,
        sparsity=sparsity,
        calibration=data_facts(inputs.data, inputs.calibration),
        test=None if inputs.test is None else data_facts(inputs.test, inputs.held),
        layers=layers,
        tables=tables,
        declined=_declined(applied, tables),
        search=record.search,
        trim=applied.units,
        repair=applied.repair,
        integer_repair=applied.integer_repair,
        integers=applied.integers,
        timings=record.timings,
        validation=record.validation,
        bound=record.bound,
        steps=(*applied.records, *stored.records),
        notes=(
            *source.notes,
            *record.notes,
            *applied.notes,
            *stored.notes,
            *_unrounded(pruned.roundings),
            *_more_removed_than_asked(record, sparsity),
            *not_measured(record.validation),
        ),
        warnings=(
            *_of_evidence(record),
            *emptied(layers),
            *scarce(applied.units),
            *zeros_in_vain(applied.plan.keep, applied.selection.sizes, applied.integers, record.options),
            *grown(dense.bytes, compressed.bytes, applied.selection, record.options),
        ),
        cluster=record.cluster,
        seconds=dict(record.seconds),
        peak_bytes=peak_bytes(),
        latency=record.latency,
        on_the_cpu=left_to_the_cpu(stored.model, next(inputs.calibration.batches()), record.runtime),
    )


def _from_python(record: CompressionRecord) -> Iterator[str]:
    """Names of the arguments that were objects of Python, and no paths or texts that a command line could name."""
    if record.source.path is None:
        yield "model"
    for name, data in (("data", record.inputs.data), ("test", record.inputs.test)):
        if data is not None and not isinstance(data, str) and path_of(data) is None:
            yield name
    if callable(record.given.metric):
        yield "metric"
    if tuple(record.steps) != STEPS:
        yield "steps"


def _of_evidence(record: CompressionRecord) -> Iterator[Message]:
    """What to be wary of: the inputs, how the run was made, and what was measured."""
    yield from record.examined
    if record.search and (unproven := unproven_goal_warning(record.search)):
        yield unproven
    yield from hasty(record.options)
    yield from record.inputs.warnings
    yield from record.applied.pruned.warnings
    yield from record.warnings
    for warnings in (few_inputs, unmeasured, alike, not_finite):
        yield from warnings(record.validation)


def _declined(applied: AppliedPlan, tables: Sequence[TableFacts]) -> tuple[Declined, ...]:
    """What was left alone: no table that is listed as such, and nothing that runs on integers."""
    lookups = {name for table in tables for name in table.nodes}
    if applied.integers is not None:
        lookups |= {layer.name for layer in applied.integers.layers if layer.bits is not None}
    turned = {name for table in tables for name in table.tied}
    listed = {left for left in applied.selection.declined if left.operator == "Transpose" and left.node in turned}
    return tuple(left for left in applied.selection.declined if left.node not in lookups and left not in listed)


def _unrounded(roundings: Sequence[Rounding]) -> Iterator[Message]:
    """Notes on weights that the smaller type does not hold."""
    for rounding in roundings:
        if rounding.reason:
            text = f"{rounding.name}: stored as it is, not as {rounding.values}: {rounding.reason}"
            yield Message(
                text, "weight-not-rounded", weight=rounding.name, values=rounding.values, reason=rounding.reason
            )


def _more_removed_than_asked(record: CompressionRecord, sparsity: float) -> Iterator[Message]:
    """Note for the report when more weights went than were asked for."""
    applied, options = record.applied, record.options
    sizes, unread = applied.selection.sizes, applied.units.unread if applied.units else 0
    asked_sparsity = 1.0 - sum(applied.plan.keep.values()) / sum(sizes.values())
    is_asked_for = options.goals is None and options.trim is None and not options.keep_zeros
    if is_asked_for and applied.integers is None and unread and sparsity > asked_sparsity + WORTH_MENTION:
        yield Message(
            f"{sparsity:.1%} of the weights went where {asked_sparsity:.1%} were asked for: pruning left "
            f"{counted(unread, 'unit')} that nothing reads or that have no inputs; --keep-unread leaves them in place",
            "more-removed",
            removed=sparsity,
            asked=asked_sparsity,
            units=unread,
        )
