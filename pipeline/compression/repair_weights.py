"""The steps of a repair: gradient descent on weights that pruning has left, and on integers behind their rounding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.compression.step import PRUNE, QUANTIZE, StepContext, StepDefaults, StepResult
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import RepairOptions
from netsurgeon.pipeline.pruning import prune_segments, round_to_stored
from netsurgeon.pipeline.quantization import MATRIX_MODES, measured_again
from netsurgeon.pipeline.repair import (
    FRONT,
    INTEGERS,
    Repaired,
    RepairFacts,
    output_losses,
    outputs_of_models,
    repair_model,
    split_inputs,
    worse_measure,
)


class RepairStep(StepDefaults):
    """Tune by gradient descent, without labels, until outputs and values inside are the dense model's again."""

    name: str
    tuned: str
    options_type = RepairOptions

    def repair(
        self, model: ir.Model, context: StepContext, *, floats: ir.Model | None = None
    ) -> tuple[Repaired, ir.Model]:
        """What became of a model, whose weights are changed, and a copy of it as it was."""
        before = model.clone()
        repaired = repair_model(
            context.dense,
            model,
            [layer.node for layer in context.selection.layers],
            context.calibration.samples,
            floats=floats,
            left_alone={declined.node for declined in context.selection.declined},
            options=context.options,
            is_short=context.repairs_shortly or context.options.is_hasty,
            runtime=context.calibration.runtime,
            run_folder=context.run_folder,
            progress=context.progress,
        )
        return repaired, before

    def result(self, repaired: Repaired, before: ir.Model, context: StepContext) -> StepResult:
        """What is said of it; the errors are of what is delivered, in ONNX Runtime."""
        facts = repaired.facts
        if facts is None or not repaired.has_changed:
            warnings = () if repaired.reason is None else (self.not_repaired(repaired.reason),)
            notes = _not_varied(repaired)
            return StepResult(model=before, outcome=facts, warnings=warnings, notes=notes, has_changed=False)
        calibration = context.calibration
        _, held_out = split_inputs(calibration.samples, context.options.seed)
        models = [context.dense, before, repaired.model]
        dense, *others = outputs_of_models(models, held_out, calibration.runtime.on_integers())
        losses = [output_losses(dense, other) for other in others]
        context.measured[self.name] = losses
        error_before, error_after = (loss["relative error"] for loss in losses)
        facts = dataclasses.replace(facts, error_before=error_before, error_after=error_after)
        notes = () if repaired.reason is None else (self.partly_repaired(repaired.reason),)
        return StepResult(model=repaired.model, outcome=facts, notes=(*notes, *_not_varied(repaired)))

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        """On inputs held out outputs must lie nearer to the dense model's, and class scores tell no less of them."""
        del before, after  # compared when the errors were measured
        losses_before, losses_after = context.measured[self.name]
        measure = worse_measure(losses_before, losses_after)
        if measure is None:
            return None
        loss_before, loss_after = losses_before[measure], losses_after[measure]
        text = (
            f"the {self.tuned} were not repaired: on inputs held out the outputs' {measure} from the dense model's "
            f"would become {loss_after:.3g}, and is {loss_before:.3g}"
        )
        return Message(text, "repair-loses", measure=measure, before=loss_before, after=loss_after)

    def not_repaired(self, reason: str | None) -> Message:
        """Why nothing was tuned."""
        return Message(f"the {self.tuned} were not repaired: {reason}", "not-repaired", reason=reason)

    def partly_repaired(self, reason: str) -> Message:
        """Why some of it was not tuned."""
        return Message(f"not all {self.tuned} were repaired: {reason}", "not-repaired", reason=reason)

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How far it came."""
        facts: RepairFacts | None = context.outcomes[self.name]
        return {} if facts is None else {"steps": facts.steps}


class RepairWeights(RepairStep):
    """Tune the weights that pruning has left."""

    name, stage, tuned = "repair", FRONT, "weights"

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Tune in place; what cannot be repaired stays as it is, with a warning."""
        if not context.options.repair:
            return None
        if context.selection.integers.grids:
            reason = "the model came with weights on integers, which are to keep their grid"
            return StepResult(model=model, warnings=(self.not_repaired(reason),), has_changed=False)
        repaired, before = self.repair(model, context)
        if repaired.facts is not None and not repaired.has_changed and repaired.facts.error_before == 0.0:
            return None  # nothing was pruned
        if repaired.has_changed:
            _round_repaired(repaired.model, context)
        return self.result(repaired, before, context)


class RepairIntegers(RepairStep):
    """Let integers learn to which side each weight is rounded, and their scales, from where the closed form ends."""

    name, stage, tuned, keeps_places = "repair integers", INTEGERS, "integers", False

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Tune in place, behind the rounding; what is 0 on floats stays so. Matrices alone stay, with a note."""
        mode = context.options.integer_mode
        if mode in MATRIX_MODES:
            if not context.options.repair or context.outcomes.get(QUANTIZE) is None or _are_weights_refused(context):
                return None
            reason = (
                f"with {mode} only weights are tuned, before they become integers; int8 and w4a8 tune integers, too"
            )
            return StepResult(model=model, notes=(self.not_repaired(reason),), has_changed=False)
        came_with_integers = bool(context.selection.integers.grids)
        integers = context.integers
        if came_with_integers or integers is None or not find_integer_weights(model.graph):
            return None
        # rounding may have put channels in another order (DissolveShuffles), so zeros are compared with what it took
        repaired, before = self.repair(model, context, floats=integers.floats)
        result = self.result(repaired, before, context)
        if not result.has_changed:
            return result
        facts = measured_again(context.outcomes[QUANTIZE], integers, result.model, context.calibration)
        return dataclasses.replace(result, revised={QUANTIZE: facts})


def _are_weights_refused(context: StepContext) -> bool:
    """Whether weights were to be tuned and are not, which is said already; without zeros there is nothing to tune."""
    name = RepairWeights.name
    facts: RepairFacts | None = context.outcomes.get(name)
    was_undone = any(record.name == name and record.undone is not None for record in context.records)
    return was_undone or (name in context.outcomes and (facts is None or not facts.has_helped))


def _not_varied(repaired: Repaired) -> tuple[Message, ...]:
    """What the user asks to do to the inputs and is not done."""
    return tuple(
        Message(f"--augment {kind} was left out: {reason}", "not-varied", augment=kind, reason=reason)
        for kind, reason in repaired.left_out.items()
    )


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
