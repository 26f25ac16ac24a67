"""The steps that remove whole units: chosen and masked before weights are pruned, taken out behind."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.trimming import MaskUnits
from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.compression.step import StepContext, StepDefaults, StepResult
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import TrimOptions
from netsurgeon.pipeline.trimming import (
    Trimmed,
    TrimPlan,
    below_ceiling,
    choose_units,
    give_biases,
    no_units,
    proof_feeds,
    remove_units,
    require_goal,
    saved_share,
    trim_facts,
    why_not,
    with_unread,
)

FELL_SHORT = 0.5
"""Share of a wish below which it is said why no more units went."""


class ChooseUnits(StepDefaults):
    """Network Trimming: choose whole units that can go, and zero what they feed.

    They are taken out only when the weights are pruned (`RemoveUnits`): until then every weight has its place, and
    the layers behind them are corrected for what they lose.
    """

    name, stage, options_type = "trim", "masking units", TrimOptions

    def plan(self, context: StepContext) -> TrimPlan | None:
        """The units that go; the layers that lose some are corrected."""
        if context.options.trim is None:
            return None
        context.progress("finding units", 0, 1)
        give_biases(context.selection.layers)
        plan = choose_units(
            context.dense, context.selection.layers, context.calibration, context.options, context.progress
        )
        context.selection = trimmed_selection(context.selection, plan)
        return plan

    def keep_plan(self, context: StepContext, plan: TrimPlan) -> None:
        """Keep which units go."""
        context.run_folder.keep_facts("units", plan.described())

    def kept_plan(self, context: StepContext) -> TrimPlan | None:
        """The same units as before, found again in the same model."""
        kept = None if context.options.trim is None else context.run_folder.facts("units")
        if kept is None:
            return None
        give_biases(context.selection.layers)
        layers, blocked = context.selection.layers, kept.get("blocked", ())
        plan = no_units(context.dense, layers, context.calibration, blocked).with_choice(kept)
        context.selection = trimmed_selection(context.selection, plan)
        return plan

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Zero the columns that read the units."""
        plan: TrimPlan | None = context.plans.get(self.name)
        if plan is None:
            return None
        MaskUnits(plan.units, {label(layer.node) for layer in context.selection.layers})(model)
        return StepResult(model=model, warnings=tuple(_fell_short(plan, context)), has_changed=bool(plan.units))

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many units were chosen."""
        return {"units": len(context.plans[self.name].units)}


class RemoveUnits(StepDefaults):
    """Take the chosen units out of every tensor, and those that pruning has left without a reader.

    Each group of units is verified by itself while it is removed: a group that does not hold stays, the others go.
    """

    name, stage, options_type, keeps_places = "remove", "removing units", TrimOptions, False

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Remove what goes.

        Raises:
            CheckFailedError: less could be trimmed than was asked for.
        """
        options, calibration = context.options, context.calibration
        trim: TrimPlan | None = context.plans.get(ChooseUnits.name)
        # the integers that a model came with have their places: units of it stay
        if trim is None and (options.keep_dangling_units or context.selection.integers.grids):
            return None
        try:
            units = trim or no_units(model, context.selection.layers, calibration)
        except CheckFailedError as error:  # what was not asked for must not stop what was
            text = f"units that nothing reads any more stay: {error}"
            warning = Message(text, "unread-units-stay", reason=str(error), cause=error.code)
            return StepResult(model=model, warnings=(warning,), has_changed=False)
        removed = units.removed if options.keep_dangling_units else with_unread(model, units, options.multiple)
        if options.only_trims_best_effort:
            removed = below_ceiling(model, units, removed, options)
        trimmed = remove_units(
            model,
            units.dependencies,
            removed,
            feeds=proof_feeds(calibration),
            runtime=calibration.runtime,
            ticks=functools.partial(context.progress, self.stage),
        )
        if trim:
            require_goal(model, trim.after(trimmed), options)
        return StepResult(
            model=trimmed.model,
            outcome=trim_facts(model, units, trimmed, options),
            warnings=tuple(_uninformative_proof_warnings(trimmed)),
            has_changed=bool(trimmed.removed.any()),
        )

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many groups lost units."""
        outcome = context.outcomes[self.name]
        return {"groups": len(outcome.groups) if outcome else 0}


def _fell_short(plan: TrimPlan, context: StepContext) -> Iterator[Message]:
    """A warning where a wish is far from met."""
    options = context.options
    if not options.trim_best_effort:
        return
    saved = saved_share(context.dense, plan.dependencies, plan.removed, options.save)
    if saved < FELL_SHORT * options.trim_goal:
        reason = why_not(plan, options)
        amount = f"{saved:.1%} of the {options.save}"
        text = f"units chosen save {amount}, up to {options.trim_goal:.0%} were asked for: {reason}"
        yield Message(text, "trim-fell-short", saved=saved, asked=options.trim_goal, reason=reason)


def _uninformative_proof_warnings(trimmed: Trimmed) -> Iterator[Message]:
    if trimmed.proof is not None and not trimmed.proof.is_informative:
        yield Message(
            "units were removed, but no output varies over the inputs of the proof, so that it says nothing: give "
            "calibration inputs for which the outputs differ",
            "proof-uninformative",
        )


def trimmed_selection(selection: Selection, trim: TrimPlan) -> Selection:
    """What is left to prune and correct when units go."""
    return dataclasses.replace(selection, removed_slices=trim.removed_slices())
