"""Before long work: by what models are judged, and whether the dense model does on the inputs what it should."""

from __future__ import annotations

import dataclasses

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Ticks
from netsurgeon.pipeline.runtime import Session
from netsurgeon.pipeline.verification import (
    MOST_EXAMINED,
    Inputs,
    Judging,
    check_labels,
    choose_measure,
    examine_dense_model,
    labels_only_measure,
)


def judging_of(source: LoadedModel, inputs: Inputs, dense: Session, options: Options) -> Judging:
    """By what models are judged, by the inputs that decide.

    Args:
        source: the model as it came.
        inputs: what it is run on.
        dense: a session of it.
        options: as given.
    """
    judging = choose_measure(
        source.original,
        dense,
        inputs.guide or inputs.held,
        metric=options.metric,
        label_offset=options.label_offset,
        labelled=any(samples.classes is not None for samples in inputs.all),
    )
    if inputs.guide is None or options.goals is None or options.goals.max_drop is None:
        return judging
    only_measured = labels_only_measure(judging, inputs.guide, inputs.held)
    return dataclasses.replace(judging, warnings=(*judging.warnings, *only_measured))


def examine_answers(
    inputs: Inputs, dense: Session, judging: Judging, options: Options, ticks: Ticks
) -> tuple[Message, ...]:
    """Check labels and the dense model's answers on the inputs that decide.

    Args:
        inputs: what the model is run on.
        dense: a session of it.
        judging: how models are judged.
        options: as given.
        ticks: called for every batch.

    Raises:
        InputError: a label is not a class, or the answers say nothing of what is wanted.
    """
    for samples in inputs.all[1:]:
        judging.measure(samples)
        check_labels(dense, samples, options.label_offset)
    deciding = inputs.guide or inputs.held
    # all that guide a first look, which needs the answers on just these feeds and has no more than some thousand
    most = deciding.count if options.goals is not None and options.is_hasty else MOST_EXAMINED
    return examine_dense_model(dense, deciding, judging=judging, goals=options.goals, most=most, ticks=ticks)
