"""What is delivered: the compressed model in the form that is written, or the one that came where nothing is gained."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

import netsurgeon
from netsurgeon.passes.packing import NameChains, WriteLean, name_bytes
from netsurgeon.pipeline.compression import (
    AppliedPlan,
    ChooseUnits,
    PackWeightsOnDisk,
    StepContext,
    Steps,
    StoreTablesOnDisk,
    apply_steps,
)
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import (
    LoadedModel,
    changed_interface,
    check_outputs,
    forget_inferred,
    model_size,
    save_model,
)
from netsurgeon.pipeline.report import Report, StoredModel
from netsurgeon.pipeline.result import PAGES, Overview, Result
from netsurgeon.pipeline.run.identity import are_own
from netsurgeon.pipeline.runtime import Runtime, weight_bytes
from netsurgeon.pipeline.tables import StoredTables
from netsurgeon.pipeline.trimming import why_not

MOST_OF_NAMES = 0.01
"""Share of the weights' bytes that names may take which only serve to be read."""
REASONS_FOR_FLOATS = ("not-quantized", "integers-lose", "finer-values")
"""Codes of notes that hold for the model as it came as well."""


@dataclasses.dataclass(frozen=True, repr=False)
class Compression(Result):
    """The result of `compress`.

    Attributes:
        model: the compressed model.
        report: the evidence.
        source: path of the dense model, which is never written to; None where it came from memory.
        runtime: how the model was run.
    """

    model: ir.Model
    report: Report
    source: Path | None = None
    runtime: Runtime = dataclasses.field(default_factory=Runtime)

    def overview(self) -> Overview:
        """That of the report."""
        return self.report.overview()

    def to_json(self) -> str:
        """The report, as JSON."""
        return self.report.to_json()

    def to_html(self) -> str:
        """The report page."""
        return self.report.to_html()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, once ONNX Runtime has loaded the file; `report.save` writes the report.

        Raises:
            InputError: it cannot be written there, or the name is one of a report.
        """
        file = Path(path)
        if file.suffix.lower() in (*PAGES, ".json"):
            raise InputError(
                f"{file} is not a name for a model: let it end in .onnx, and write the report with report.save"
            )
        check_outputs([file], models=[self.source])
        save_model(self.model, file, self.runtime.session)


def deliver(
    steps: Steps,
    context: StepContext,
    applied: AppliedPlan,
    source: LoadedModel,
    store: Callable[[ir.Model], StoredModel],
) -> tuple[AppliedPlan, StoredModel]:
    """What is delivered: where nothing went and no byte is saved, the model as it came, and it is said why.

    Args:
        steps: that were applied.
        context: that they were applied in.
        applied: what they made.
        source: the model as it came.
        store: the form that a model is written in, see `store_model`.

    Raises:
        CheckFailedError: inputs or outputs of the compressed model are not those of the dense model any more.
    """
    options = context.options
    if _trims_nothing(context, applied):
        return _as_it_came(context, applied, source, why_not(context.plans[ChooseUnits.name], options))
    stored = store(applied.model)
    if _keeps_everything(steps, applied):
        growth = model_size(stored.model, None) - model_size(source.given, source.path)
        if growth > 0:
            reason = f"stored as {options.stored_values} they would make the file {growth:,} bytes larger"
            return _as_it_came(context, applied, source, reason)
    return applied, stored


def is_as_it_came(applied: AppliedPlan) -> bool:
    """Whether the model that came in is delivered."""
    return "nothing-removed" in [warning.code for warning in applied.warnings]


def store_model(steps: Steps, context: StepContext, model: ir.Model, source: LoadedModel) -> StoredModel:
    """The model in the form that is written, with the entry that says how it was made.

    Raises:
        CheckFailedError: its inputs or outputs are not those of the dense model any more.
    """
    options = context.options
    storing = dataclasses.replace(context, outcomes={}, records=[], notes=[], warnings=[], masked=None)
    # a copy: names are changed in place below, by which the report finds the layers of the model that is given
    stored = apply_steps([step for step in steps if step.is_storage], model.clone(), storing)
    entry = {
        "version": netsurgeon.__version__,
        "method": options.method,
        **({"goals": str(options.goals)} if options.goals else {"sparsity": options.pruned_share}),
    }
    stored.metadata_props["netsurgeon"] = json.dumps(entry)
    forget_inferred(stored, source.original)
    packings = storing.outcomes.get(PackWeightsOnDisk.name, ())
    if packings:  # weights that take few bytes, beside which those of the nodes count
        WriteLean(renames=False)(stored)
    stored = _named(stored, source.original, options.names)
    problem = changed_interface(source.original, stored)
    if problem:
        raise CheckFailedError(f"{problem}: please report this")
    return StoredModel(
        model=stored,
        packings=packings,
        tables=storing.outcomes.get(StoreTablesOnDisk.name, StoredTables()),
        records=tuple(storing.records),
        notes=tuple(storing.notes),
    )


def _named(model: ir.Model, original: ir.Model, names: str) -> ir.Model:
    """The model with names that can be read, or short ones, whichever is asked for, or worth its bytes."""
    is_lean = _runs_on_integers(model) and not _runs_on_integers(original)
    nodes = {node.name or "" for node in original.graph.all_nodes()}
    readable = model.clone() if names == "auto" else model
    if is_lean:
        WriteLean(nodes, renames=names == "short")(readable)
    if names == "short":
        return readable
    NameChains()(readable)
    if names == "readable":
        return readable
    if is_lean:
        WriteLean(nodes)(model)
    more = name_bytes(readable) - name_bytes(model)
    return readable if more <= MOST_OF_NAMES * weight_bytes(model) else model


def _runs_on_integers(model: ir.Model) -> bool:
    return any(node.op_type == "DequantizeLinear" for node in model.graph)


def _trims_nothing(context: StepContext, applied: AppliedPlan) -> bool:
    """Whether no unit went though nothing else was asked for."""
    nothing_went = applied.units is not None and not applied.units.groups
    is_planned = context.plans.get(ChooseUnits.name) is not None
    return is_planned and nothing_went and context.options.only_trims_best_effort


def _keeps_everything(steps: Steps, applied: AppliedPlan) -> bool:
    """Whether all weights and units are there, as floats, and no step of the user's own has had its way."""
    return (
        applied.plan.keeps_all(applied.selection.sizes)
        and (applied.units is None or not applied.units.groups)
        and applied.integers is None
        and are_own(steps)
    )


def _as_it_came(
    context: StepContext, applied: AppliedPlan, source: LoadedModel, reason: str
) -> tuple[AppliedPlan, StoredModel]:
    """The model that came in, neither rounded nor packed."""
    text = f"nothing was removed, the weights are left as they were: {reason}"
    warning = Message(text, "nothing-removed", reason=reason)
    applied = dataclasses.replace(
        applied,
        masked=context.dense,
        tables=None,
        repair=None,
        integer_repair=None,
        model=context.dense.clone(),
        notes=tuple(note for note in applied.notes if note.code in REASONS_FOR_FLOATS),
        warnings=(*applied.warnings, warning),
    )
    model = source.original.clone()
    forget_inferred(model, source.original)
    return applied, StoredModel(model=model, packings=(), tables=StoredTables(), records=(), notes=())
