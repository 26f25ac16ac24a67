"""Find a model that sparse kernels run faster than dense ones, as long as there is one; else say why not."""

from __future__ import annotations

import dataclasses
import functools

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.quantization import structure_name
from netsurgeon.pipeline.search.candidate_search import SearchResult, search
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.structure_search import faster_within

FEW_KEPT = 0.15
"""Share of the weights at which a model must be faster than the dense one to be worth the search for zeros."""
WORTH = 1.03
"""A model that is not so many times as fast is made for dense kernels, which run it everywhere."""


def search_on_sparse_kernels(
    evaluator: CandidateEvaluator,
    dense: CandidateEvaluator,
    goals: Goals,
    *,
    repairs: bool,
) -> SearchResult | Message:
    """A model that keeps to the goals and is faster than the one for dense kernels; or a note of why there is none.

    Args:
        evaluator: makes and judges candidates for sparse kernels.
        dense: likewise for dense ones on integers.
        goals: what is wanted; units stay, for weights keep their places in tiles.
        repairs: whether candidates below the smallest one are repaired, to go further.
    """
    if not evaluator.integers.zeros_save:
        return _declined("no layer of this model runs faster on them")
    tiles = evaluator.context.options.pattern or "k:64"
    name = f"{structure_name(evaluator.context.dense)} int8 {tiles}"
    clock = evaluator.context.clock.against(dense.stand_in())
    ticks = functools.partial(evaluator.context.progress, "timing sparse kernels")
    most = clock.time(f"{name} at {FEW_KEPT} beside int8", lambda: evaluator.stand_in(FEW_KEPT), ticks)
    if most.speedup < WORTH:
        return _declined(f"with {1.0 - FEW_KEPT:.0%} of the weights 0 the model would be {most.faster}")
    try:
        result = search(evaluator, goals, None, (evaluator.form,), repairs=repairs)
    except CheckFailedError as error:
        return _declined(str(error))
    key = f"{name} keeping {result.candidate.kept:.4f}"
    timed = clock.time(f"{key} beside int8", lambda: result.applied.model, ticks)
    if timed.speedup < WORTH or timed.low <= 1.0:
        return _declined(f"the model found for them is {timed.faster}")
    if goals.max_drop is not None and dense.can_try_units and not dense.context.options.is_hasty:
        smaller = faster_within(dense, goals.max_drop)
        if smaller.level and smaller.timed is not None:
            beside_floats = evaluator.context.clock.time(key, lambda: result.applied.model, ticks)
            if beside_floats.low <= smaller.timed.speedup:
                on_dense = smaller.timed.faster
                return _declined(f"units that go make dense kernels {on_dense}, zeros {beside_floats.faster}")
        result = dataclasses.replace(result, points=(*result.points, *dense.points[len(result.points) :]))
    text = f"on sparse kernels the model is {timed.faster} as on dense ones with integers in all layers that gain"
    note = Message(text, "sparse-kernels", speedup=timed.speedup, low=timed.low, high=timed.high)
    return result.with_note(note)


def _declined(reason: str) -> Message:
    text = f"the model is made for dense kernels: on sparse ones it is not faster beyond doubt: {reason}"
    return Message(text, "no-sparse-kernels", reason=reason)
