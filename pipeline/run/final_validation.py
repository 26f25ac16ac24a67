"""The last measurement: the compressed model beside the dense one on inputs held out, and the error bound."""

from __future__ import annotations

import dataclasses
import functools
import logging

import numpy as np

from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import select, unobserved_layers
from netsurgeon.pipeline.compression import AppliedPlan, StepContext, Steps, apply_plan
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.error_bound import Bound, measure_bound
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.model_files import LoadedModel
from netsurgeon.pipeline.progress import ticking
from netsurgeon.pipeline.run.delivery import is_as_it_came
from netsurgeon.pipeline.runtime import Runtime, Session, is_large
from netsurgeon.pipeline.verification import Inputs, Judging, Validation, check_finite, validate_folds

logger = logging.getLogger(__name__)

BOUND_SAMPLES, BOUND_SAMPLES_FAST = 64, 16
"""Most inputs on which the bound is measured; the second of large models, and where there is no time for more."""


def validate_applied(
    applied: AppliedPlan,
    context: StepContext,
    *,
    steps: Steps,
    source: LoadedModel,
    inputs: Inputs,
    runtime: Runtime,
    judging: Judging,
) -> tuple[Validation, Bound]:
    """Measure what is delivered: its accuracy on the inputs held out, and the bound on those it was corrected on.

    Args:
        applied: what is delivered, not packed.
        context: that the steps were applied in.
        steps: that were applied; where inputs are few they are applied again, to be measured on each half.
        source: the model as it came.
        inputs: what the model is run on.
        runtime: how the delivered model is run; the bound is of the floats, in `context`'s.
        judging: how models are judged.

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is not a class of the model, or the metric cannot be used.
    """
    options = context.options
    halves, dense = [], runtime.session(source.original)
    compressed = dense  # integers that came have floats in their place in the applied model, as the steps work on them
    if not is_as_it_came(applied):
        halves, compressed = _apply_by_halves(steps, context, inputs), runtime.session(applied.model)
    context.progress("validating", 0, 1)
    validation = validate_folds(
        dense,
        halves or [(compressed, inputs.held)],
        held_out=inputs.held_out or bool(halves),
        judging=judging,
        is_bounded=options.goals is not None,
        seed=options.seed,
        ticks=functools.partial(context.progress, "validating"),
    )
    is_quick = applied.selection.effort == "fast" or is_large(source.model)
    most = BOUND_SAMPLES_FAST if is_quick else BOUND_SAMPLES
    count = min(most, inputs.calibration.count)
    samples = inputs.calibration.subset(count, np.random.default_rng(options.seed))
    if halves:  # which did not show the model that is delivered
        check_finite(dense, compressed, samples)
    batches = ticking(samples.batches(), functools.partial(context.progress, "bounding the error"), samples.batch_count)
    bound = measure_bound(
        source.model,
        applied.masked,
        batches,
        samples.fed,
        runtime=context.calibration.runtime,
        mask=samples.mask,
    )
    return validation, bound


def _apply_by_halves(steps: Steps, context: StepContext, inputs: Inputs) -> list[tuple[Session, Samples]]:
    """Where inputs are few: models corrected on each half, and the other half that shows how good they are."""
    measured = []
    for fold in inputs.halves:
        unobserved = unobserved_layers(context.dense, fold.corrected, context.calibration.runtime)
        try:
            half = StepContext(
                dense=context.dense,
                selection=select(context.dense, context.options, unobserved, context.selection.integers),
                calibration=dataclasses.replace(context.calibration, samples=fold.corrected),
                options=context.options,
                step_options=context.step_options,
                progress=context.progress,
                timer=context.timer,
            )
            model = apply_plan(steps, half).model
        # a half may show nothing of the only layers in bodies, or too little for a Hessian that has a factor
        except (CheckFailedError, FactorizationError, InputError) as error:
            logger.info("half of the inputs is too little to measure by: %s", error)
            return []
        measured.append((context.calibration.runtime.on_integers().session(model), fold.guide))
    return measured
