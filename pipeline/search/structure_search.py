"""How many units must go until a model is as fast, or does as little work, as it should."""

from __future__ import annotations

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.search.candidates import CandidateEvaluator, Structure
from netsurgeon.pipeline.trimming import Structures, find_structures

RESERVE = 1.02
"""A structure is taken where it is this many times faster than asked for: another sitting may be a little slower."""
APART = 0.01
"""Two structures whose multiply-adds differ by less than this share of the dense model's are taken for the same."""
TRIES = 4
"""Most candidates that are made to find the fastest one within a drop."""


def fast_enough(evaluator: CandidateEvaluator, goals: Goals) -> tuple[Structures, Structure]:
    """The ladder of structures, and the first one on it that meets the goals of time and work.

    Raises:
        CheckFailedError: there is none.
    """
    context = evaluator.context
    nodes = context.clock.nodes() if goals.is_timed else None
    structures = find_structures(
        context.dense,
        context.selection,
        context.calibration,
        options=context.options,
        progress=context.progress,
        milliseconds=nodes,
        work=context.work,
    )
    first = _timed_structure(evaluator, goals, structures, 0)
    if _meets(goals, first):
        return structures, first
    last = _timed_structure(evaluator, goals, structures, structures.top)
    if not _meets(goals, last):
        raise CheckFailedError(
            f"{goals} cannot be met: with all units gone that may go the model is "
            f"{_described(structures, last)}: ask for less"
        )
    low, high = first, last
    while middle := _between(structures, low.level, high.level):
        structure = _timed_structure(evaluator, goals, structures, middle)
        low, high = (low, structure) if _meets(goals, structure) else (structure, high)
    return structures, high


def nearest_to_keep(
    evaluator: CandidateEvaluator, goals: Goals, limit: float, structures: Structures, structure: Structure
) -> str:
    """What is wrong where a structure alone costs more than the limit: the nearest one that does not, in a sentence."""
    low, high = _timed_structure(evaluator, goals, structures, 0), structure
    for _ in range(TRIES):
        middle = _between(structures, low.level, high.level)
        if not middle:
            break
        middle_structure = _timed_structure(evaluator, goals, structures, middle)
        low, high = (
            (middle_structure, high)
            if evaluator.candidate(middle_structure, 1.0).evidence.drop <= limit
            else (low, middle_structure)
        )
    finer = " or ".join(evaluator.finer)
    return (
        f"{goals} cannot be met together: with a drop of at most {limit:.2%} the nearest model found is "
        f"{_described(structures, low)}: ask for less, or give a larger --max-drop"
        + (f" or --values {finer}" if finer else "")
    )


def _timed_structure(evaluator: CandidateEvaluator, goals: Goals, structures: Structures, level: int) -> Structure:
    """A structure, timed where a goal is."""
    timed: Timed | None = evaluator.time(structures, level) if goals.is_timed else None
    plan = structures.plan(level)
    structure = evaluator.structure(level, plan if level else None, structures.macs(level), timed)
    evaluator.note("structure", structure)
    return structure


def _meets(goals: Goals, structure: Structure) -> bool:
    assert structure.macs is not None
    is_met = goals.max_macs is None or structure.macs <= goals.max_macs
    if structure.timed is not None:
        is_met = is_met and (goals.speedup is None or structure.timed.speedup >= RESERVE * goals.speedup)
        is_met = is_met and (goals.latency is None or RESERVE * structure.timed.model <= goals.latency)
    return is_met


def _between(structures: Structures, low: int, high: int) -> int:
    """The level half-way in multiply-adds; 0 where the two are the same or next to each other."""
    most, least = structures.macs(low), structures.macs(high)
    if high - low <= 1 or most - least < APART * structures.macs(0):
        return 0
    return min(range(low + 1, high), key=lambda level: abs(structures.macs(level) - 0.5 * (most + least)))


def _described(structures: Structures, structure: Structure) -> str:
    assert structure.macs is not None
    work = f"{structure.macs:,.0f} of {structures.macs(0):,.0f} multiply-adds"
    if structure.timed is None:
        return f"one of {work}"
    return f"{structure.timed.speedup:.2f} times as fast ({structure.timed.model:.3g} ms), with {work}"
