"""How many units go: until a model is as fast or does as little work as it should, or as long as that costs little."""

from __future__ import annotations

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.pruner import Structure
from netsurgeon.pipeline.trimming import Structures, find_structures

RESERVE = 1.02
"""A structure is taken where it is this many times faster than asked for: another sitting may be a little slower."""
APART = 0.01
"""Two structures whose multiply-adds differ by less than this share of the dense model's are taken for the same."""
TRIES = 4
"""Most candidates that are made to find the fastest one within a drop."""
RUNGS = (0.85, 0.7, 0.5)
"""Shares of the multiply-adds at which a model that need not be faster is tried, as long as it may."""
SPARED = 0.5
"""Share of the drop allowed that units may take there: the rest is for zeros and bits, which save more for it."""
WORTH = 1.03
"""A structure must be so many times as fast as the one with more units."""


def fast_enough(evaluator: CandidateEvaluator, goals: Goals) -> tuple[Structures, Structure]:
    """The ladder of structures, and the first one on it that meets the goals of time and work.

    Raises:
        CheckFailedError: there is none.
    """
    structures = _ladder(evaluator, is_timed=goals.is_timed)
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


def faster_within(evaluator: CandidateEvaluator, limit: float) -> Structure:
    """The fastest structure that leaves enough of a drop allowed to zeros and bits; the dense one where none is faster.

    Units cost more than what else makes a model small: where not even the whole model's drop is sure to be within what
    they may take, none is tried, and no time is spent on them.
    """
    best = evaluator.structure(0, None)
    if evaluator.candidate(best, 1.0).evidence.high > SPARED * limit:
        return best
    structures, goals = _ladder(evaluator, is_timed=True), Goals(speedup=1.0)
    best = _timed_structure(evaluator, goals, structures, 0)
    for share in RUNGS:
        level = _level_at(structures, share, best.level)
        if level is None:
            break
        structure = _timed_structure(evaluator, goals, structures, level)
        assert structure.timed is not None
        assert best.timed is not None
        is_faster = structure.timed.speedup >= WORTH * best.timed.speedup
        if not is_faster or evaluator.candidate(structure, 1.0).evidence.high > SPARED * limit:
            break
        best = structure
    return best


def _ladder(evaluator: CandidateEvaluator, *, is_timed: bool) -> Structures:
    """Structures that lose units in the order of what they cost for what they save, on the kernels that will run."""
    context = evaluator.context
    # of halves that take turns neither is all that there is
    calibration = context.folds[0].calibration if len(context.folds) == 1 else context.calibration
    return find_structures(
        context.dense,
        context.selection,
        calibration,
        options=context.options,
        progress=context.progress,
        milliseconds=evaluator.milliseconds() if is_timed else None,
        work=context.work,
    )


def _level_at(structures: Structures, share: float, above: int) -> int | None:
    """The first level above another one that does no more than a share of the multiply-adds; None where none does."""
    most = share * structures.macs(0)
    return next((level for level in range(above + 1, structures.top + 1) if structures.macs(level) <= most), None)


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
