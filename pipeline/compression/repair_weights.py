"""The step of a repair: gradient descent on the weights that pruning has left."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.compression.step import PRUNE, StepContext, StepDefaults, StepResult
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import RepairOptions
from netsurgeon.pipeline.pruning import output_divergence, prune_segments, round_to_stored
from netsurgeon.pipeline.repair import RepairFacts, repair_model, split_inputs


class RepairWeights(StepDefaults):
    """Tune the weights that are left, without labels, until outputs and values inside are the dense model's again."""

    name, stage, options_type = "repair", "repairing", RepairOptions

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Tune in place; what cannot be repaired stays as it is, with a warning."""
        if not context.options.repair:
            return None
        if context.selection.integers.grids:
            reason = "the model came with weights on integers, which are to keep their grid"
            return StepResult(model=model, warnings=(_not_repaired(reason),), has_changed=False)
        repaired = repair_model(
            context.dense,
            model,
            [layer.node for layer in context.selection.layers],
            context.calibration.samples,
            left_alone={declined.node for declined in context.selection.declined},
            options=context.options,
            runtime=context.calibration.runtime,
            run_folder=context.run_folder,
            progress=context.progress,
        )
        facts = repaired.facts
        if facts is None:
            return StepResult(model=model, warnings=(_not_repaired(repaired.reason),), has_changed=False)
        if facts.has_helped:
            _round_repaired(repaired.model, context)
        return StepResult(model=repaired.model, outcome=facts, has_changed=facts.has_helped)

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        """Class scores must tell no less of the dense model's, other outputs lie no farther, on inputs held out."""
        calibration = context.calibration
        _, held = split_inputs(calibration.samples, context.options.seed)
        sessions = [calibration.runtime.session(model) for model in (context.dense, before, after)]
        outputs: list[list[Any]] = [[] for _ in sessions]
        for feed in held.batches():
            for session, of_session in zip(sessions, outputs, strict=True):
                of_session.append(session.run(feed))
        dense, *others = outputs
        lost_before, lost_after = (output_divergence(dense, other) for other in others)
        if lost_after <= lost_before:
            return None
        text = (
            f"the weights were not repaired: on {held.count:,} inputs held out the outputs' divergence from the dense "
            f"model's would become {lost_after:.3g}, and is {lost_before:.3g}"
        )
        return Message(text, "repair-loses", before=lost_before, after=lost_after, inputs=held.count)

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How far it came."""
        facts: RepairFacts | None = context.outcomes[self.name]
        return {} if facts is None else {"steps": facts.steps}


def _round_repaired(model: ir.Model, context: StepContext) -> None:
    """Put tuned weights, in place, on what is stored of them: float16, or codebooks by another correction."""
    options = context.options
    if options.stored_values != "codebook":
        names = {layer.name for layer in context.selection.layers}
        round_to_stored(model, [layer for layer in find_layers(model.graph)[0] if layer.name in names], options)
        return
    corrected = dataclasses.replace(options, keep_zeros=True, sparsity=None, pattern=None, layers={}, method="auto")
    prune_segments(
        model.clone(),
        model,
        context.selection,
        context.plans[PRUNE],
        context.calibration,
        options=corrected,
        progress=context.progress,
    )


def _not_repaired(reason: str | None) -> Message:
    return Message(f"the weights were not repaired: {reason}", "not-repaired", reason=reason)
