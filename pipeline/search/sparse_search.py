"""Find a model that sparse kernels run faster than dense ones, as long as there is one; else say why not."""

from __future__ import annotations

import functools

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.search.candidate_search import SearchResult, search
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.structure_search import faster_within
from netsurgeon.pipeline.trimming import TrimPlan

FEW_KEPT = 0.15
"""Share of the weights at which a model must be faster than the dense one to be worth the search for zeros."""
WORTH = 1.03
"""A model that is not so many times as fast is made for dense kernels, which run it everywhere."""


def search_on_sparse_kernels(
    evaluator: CandidateEvaluator,
    dense: CandidateEvaluator,
    goals: Goals,
    trim: TrimPlan | None,
    *,
    repairs: bool,
) -> SearchResult | Message:
    """A model that keeps to the goals and is faster than the one for dense kernels; or a note of why there is none.

    Args:
        evaluator: makes and judges candidates for sparse kernels.
        dense: likewise for dense ones on integers.
        goals: what is wanted.
        trim: units that go in any case, as the user has chosen.
        repairs: whether candidates below the smallest one are repaired, to go further.
    """
    structure = evaluator.structure(0, trim)
    if evaluator.milliseconds_to_save(structure) <= 0.0:
        return _declined("no layer of this model runs faster on them")
    clock = evaluator.context.clock.against(dense.stand_in())
    ticks = functools.partial(evaluator.context.progress, "timing sparse kernels")
    most = clock.time(f"int8 k:64 at {FEW_KEPT} beside int8", lambda: evaluator.stand_in(FEW_KEPT), ticks)
    if most.speedup < WORTH:
        return _declined(f"with {1.0 - FEW_KEPT:.0%} of the weights 0 the model would be {most.faster}")
    try:
        result = search(evaluator, goals, trim, (evaluator.form,), repairs=repairs)
    except CheckFailedError as error:
        return _declined(str(error))
    key = f"int8 k:64 keeping {result.candidate.kept:.4f}"
    timed = clock.time(f"{key} beside int8", lambda: result.applied.model, ticks)
    if timed.speedup < WORTH or timed.low <= 1.0:
        return _declined(f"the model found for them is {timed.faster}")
    if goals.max_drop is not None and dense.can_try_units and trim is None and not dense.context.options.is_hasty:
        without_units = faster_within(dense, goals.max_drop).timed
        beside_floats = evaluator.context.clock.time(key, lambda: result.applied.model, ticks)
        if without_units is not None and beside_floats.low <= without_units.speedup:
            return _declined(f"units that go make dense kernels {without_units.faster}, zeros {beside_floats.faster}")
    text = f"on sparse kernels the model is {timed.faster} as on dense ones with integers in all layers that gain"
    note = Message(text, "sparse-kernels", speedup=timed.speedup, low=timed.low, high=timed.high)
    return result.with_note(note)


def _declined(reason: str) -> Message:
    text = f"the model is made for dense kernels: on sparse ones it is not faster beyond doubt: {reason}"
    return Message(text, "no-sparse-kernels", reason=reason)
