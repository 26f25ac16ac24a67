"""One operation on a clone of the model: prune and correct by a plan, then take out the units that go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, MutableMapping

import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import Declined
from netsurgeon.passes.pruning import Solution
from netsurgeon.passes.rewriting import ConvolveShortcuts
from netsurgeon.passes.trimming import MaskUnits
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.pruning import Plan, Pruned, prune_segments
from netsurgeon.pipeline.runtime import verify_same
from netsurgeon.pipeline.trimming import (
    TrimFacts,
    Trimmed,
    TrimPlan,
    no_units,
    proof_feeds,
    remove_units,
    require_goal,
    trim_facts,
    with_unread,
)


@dataclasses.dataclass(frozen=True)
class AppliedPlan:
    """A model after the operation, and how it went.

    Attributes:
        selection: the layers that took part.
        plan: weights to keep in each.
        pruned: what pruning did.
        units: what became of the units; None where all were to stay.
        masked: the same function as `model`, all weights of the dense model still in their places.
        model: the result, not packed.
        warnings: what the user should know.
        notes: what else was done to the graph.
    """

    selection: Selection
    plan: Plan
    pruned: Pruned
    units: TrimFacts | None
    masked: ir.Model = dataclasses.field(repr=False)
    model: ir.Model = dataclasses.field(repr=False)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def apply_plan(
    dense: ir.Model,
    selection: Selection,
    trim: TrimPlan | None,
    plan: Plan,
    calibration: Calibration,
    options: Options,
    progress: Progress,
    solved: MutableMapping[str, Solution] | None = None,
) -> AppliedPlan:
    """Prune a clone of the dense model by a plan and take out units.

    Args:
        dense: the model in normal form; not changed.
        selection: which layers take part, and what they lose to trimming.
        trim: which units go; None = only those that pruning leaves unread.
        plan: weights to keep in each layer.
        calibration: calibration inputs, and how the model is run.
        options: how layers are solved and what becomes of units.
        progress: called with stage, steps done and steps in all.
        solved: solutions by layer name, taken where they are there and added where not.

    Raises:
        CheckFailedError: less could be trimmed than was asked for.
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    masked = dense.clone()
    if trim:
        MaskUnits(trim.units, {label(layer.node) for layer in selection.layers})(masked)
    pruned = prune_segments(dense, masked, selection, plan, calibration, options, progress, solved)
    progress("removing units", 0, 1)
    smaller, units, warnings = _without_units(masked, selection, trim, calibration, options)
    model, note = with_convolutions(smaller, calibration)
    return AppliedPlan(selection, plan, pruned, units, masked, model, warnings, (note,) if note else ())


def with_convolutions(model: ir.Model, calibration: Calibration) -> tuple[ir.Model, str | None]:
    """The model with `ConvolveShortcuts`, verified in ONNX Runtime, and a note; the model itself where that fails."""
    convolved = model.clone()
    if not ConvolveShortcuts()(convolved).modified:
        return model, None
    problem = verify_same(model, convolved, proof_feeds(calibration)[0], calibration.runtime)
    if problem:
        return model, f"shortcuts stay Slice and Pad: as convolutions, {problem}"
    return convolved, "shortcuts of Slice and Pad are convolutions with weights 0 and 1 now, outputs verified: faster"


def _without_units(
    masked: ir.Model, selection: Selection, trim: TrimPlan | None, calibration: Calibration, options: Options
) -> tuple[ir.Model, TrimFacts | None, tuple[str, ...]]:
    """The masked model without the units that go, what became of them, and what the user should know.

    Raises:
        CheckFailedError: less could be trimmed than was asked for.
    """
    if trim is None and options.keep_dangling_units:
        return masked, None, ()
    try:
        units = trim or no_units(masked, selection.layers, calibration)
    except CheckFailedError as error:  # what was not asked for must not stop what was
        return masked, None, (f"units that nothing reads any more stay: {error}",)
    gone = units.removed if options.keep_dangling_units else with_unread(masked, units, options.multiple)
    trimmed = remove_units(masked, units.dependencies, gone, proof_feeds(calibration), calibration.runtime)
    if trim:
        require_goal(masked, trim.after(trimmed), options)
    return trimmed.model, trim_facts(masked, units, trimmed, options), tuple(_unproven(trimmed))


def _unproven(trimmed: Trimmed) -> Iterator[str]:
    if trimmed.proof is not None and not trimmed.proof.is_informative:
        yield (
            "units were removed, but no output varies over the inputs of the proof, so that it says nothing: give "
            "calibration inputs for which the outputs differ"
        )


def trimmed_selection(selection: Selection, trim: TrimPlan, options: Options) -> Selection:
    """What is left to prune and correct when units go.

    Where nothing is pruned besides, layers that lose nothing and share a weight stay as they are: corrected, each of
    them would need a weight of its own, and the file would grow.
    """
    gone = trim.gone()
    stay = [
        layer
        for layer in selection.layers
        if layer.name not in gone and len({use.node for use in layer.weight.uses()}) > 1
    ]
    if options.pruned_share or options.layers or len(stay) == len(selection.layers):
        stay = []
    reason = "it shares its weight and loses nothing"
    declined = (Declined(layer.name, layer.operator, reason, layer.size) for layer in stay)
    layers = tuple(layer for layer in selection.layers if layer not in stay)
    return dataclasses.replace(selection, layers=layers, declined=(*selection.declined, *declined), gone=gone)
