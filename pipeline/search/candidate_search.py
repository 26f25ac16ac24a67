"""Find the smallest or fastest model that keeps to the user's goals, with few real operations.

One dense sweep gives what every sparsity costs every layer, another one the order in which units go. Rehearsals
side by side show about where a goal lies, structures are timed without being corrected, and a few candidates are pruned
for real and judged on inputs that their corrections never saw. Everything tried is noted for the report.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from netsurgeon.pipeline.compression import AppliedPlan
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.progress import CANDIDATES
from netsurgeon.pipeline.search.candidates import Candidate, CandidateEvaluator
from netsurgeon.pipeline.search.descent import FEWEST_KEPT, TRIES, Descent
from netsurgeon.pipeline.search.pruner import Structure
from netsurgeon.pipeline.search.record import Point
from netsurgeon.pipeline.search.structure_search import fast_enough, faster_within, nearest_to_keep
from netsurgeon.pipeline.trimming import Structures, TrimPlan

NO_GAIN = "what repair made of smaller models, or of this one, loses more"
"""Why a search delivers a model that is not repaired."""
FULL = 0.97
"""A file of at least this share of the largest size allowed is as large as it may be."""
FLOATS_BESIDE = 0.1
"""Layers that stay on floats beside integers take 4 bytes a weight, and 1 where all are on floats. From this share of
the size allowed on, what the other layers have to lose for it may be more than floats alone lose."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What the search ends with.

    Attributes:
        candidate: the one that was chosen.
        applied: its model, and how it was made.
        form: how its weights are kept.
        proven: whether its drop is within the goal by the confidence bound; None without such a goal.
        points: everything that was tried, in turn; what was chosen is marked.
        timed: the chosen structure's time before correction; None where no goal is timed.
    """

    candidate: Candidate
    applied: AppliedPlan
    form: str
    proven: bool | None
    points: tuple[Point, ...]
    timed: Timed | None

    def with_note(self, note: Message) -> SearchResult:
        """The same, with a note on how the model was made."""
        return dataclasses.replace(self, applied=dataclasses.replace(self.applied, notes=(*self.applied.notes, note)))

    def delivered_in(self, size: int) -> SearchResult:
        """The same, the chosen point in so many bytes."""
        points = (dataclasses.replace(point, bytes=size) if point.chosen else point for point in self.points)
        return dataclasses.replace(self, points=tuple(points))


def search(
    evaluator: CandidateEvaluator,
    goals: Goals,
    trim: TrimPlan | None,
    forms: Sequence[str],
    *,
    prefer: str = "speed",
    repairs: bool = False,
) -> SearchResult:
    """Find a model that keeps to the goals.

    Args:
        evaluator: makes and judges candidates.
        goals: what is wanted.
        trim: units that go in any case, as the user has chosen.
        forms: how weights may be kept, in turn: the first in which a model is found is taken.
        prefer: "size" = where one is found on integers, one on floats is looked for, too, and where one is found with
            fewer units, one with all of them; the smallest is taken. For a size alone floats are looked at, too, where
            many weights stay on them in any case.
        repairs: whether candidates below the smallest one are repaired, to go further.

    Raises:
        CheckFailedError: no model was found that keeps to them; the nearest one is described.
    """
    evaluators = [evaluator.in_form(form) for form in forms]
    within_goals, rejected = _by_form(evaluators, goals, trim, prefer=prefer)
    is_alone, first = len(within_goals) == 1, within_goals[0]
    compared = rejected.get(forms[0]) or (first[1] if first[0] is evaluators[0] else None)
    if goals.max_drop is None:
        within_goals = [_least_lost(within_goals, prefer)]
    finalist = within_goals[0][1]
    if repairs:
        within_goals = [_repaired(of_form.as_delivered(), candidate, goals) for of_form, candidate in within_goals]
    taken, chosen = min(within_goals, key=lambda pair: pair[1].bytes)
    taken.context.progress("making the chosen model", 0, 1)
    applied, size = taken.applied(chosen.structure, chosen.share), taken.size(chosen)
    _check_size(goals, size)
    if taken.form != forms[0] and (is_alone or goals.max_drop is None):
        form_notes = _form_notes(evaluators[0], compared, taken, finalist, goals)
        applied = dataclasses.replace(applied, notes=(*applied.notes, *form_notes))
    if repairs and chosen.refusal is not None and not chosen.repaired:
        text = f"the model is delivered without repair: {chosen.refusal}"
        note = Message(text, "not-repaired", reason=chosen.refusal)
        applied = dataclasses.replace(applied, notes=(*applied.notes, note))
    return SearchResult(
        candidate=chosen,
        applied=applied,
        form=taken.form,
        proven=None if goals.max_drop is None else chosen.evidence.high <= goals.max_drop,
        points=_marked(taken, chosen, size),
        timed=chosen.structure.timed,
    )


def _by_form(
    evaluators: Sequence[CandidateEvaluator], goals: Goals, trim: TrimPlan | None, *, prefer: str
) -> tuple[list[tuple[CandidateEvaluator, Candidate]], dict[str, Candidate]]:
    """A model that keeps to the goals in the first form that has one and, where it may be better, in one on floats.

    Beside it, by their names, what forms were rejected for.

    Raises:
        CheckFailedError: no form has one.
    """
    ladders: _Ladders = {}
    within_goals: list[tuple[CandidateEvaluator, Candidate]] = []
    rejected: dict[str, Candidate] = {}
    problem = CheckFailedError(f"{goals} cannot be met")
    for in_form in evaluators:
        if within_goals and not _may_be_better(in_form, within_goals[-1][0], goals, prefer):
            break
        try:
            candidate, is_taken = _within_goals(
                in_form,
                goals,
                trim,
                ladders,
                is_first=in_form is evaluators[0],
                is_last=in_form is evaluators[-1],
                prefer=prefer,
                tries_units=in_form.is_integer and trim is None and not in_form.context.options.is_hasty,
            )
        except CheckFailedError as error:
            if within_goals:
                break  # finer floats are larger
            problem = error
            continue
        if is_taken:
            within_goals.append((in_form, candidate))
        else:
            rejected[in_form.form] = candidate
    if not within_goals:
        raise problem
    return within_goals, rejected


def _may_be_better(in_form: CandidateEvaluator, taken: CandidateEvaluator, goals: Goals, prefer: str) -> bool:
    """Whether a model in this form is looked for beside one that keeps to the goals: on floats beside integers."""
    if in_form.is_integer == taken.is_integer:
        return False
    if prefer == "size":
        return True
    if goals.max_size is None or goals.max_drop is not None or goals.is_structural:
        return False
    sizes, stay = taken.context.selection.sizes, taken.integers.stay
    return 4 * sum(size for name, size in sizes.items() if name in stay) >= FLOATS_BESIDE * goals.max_size


def _least_lost(
    within_goals: Sequence[tuple[CandidateEvaluator, Candidate]], prefer: str
) -> tuple[CandidateEvaluator, Candidate]:
    """The model that loses least; the first one, which is faster, where its drop is within the bound of that."""
    first, least = within_goals[0], min(within_goals, key=lambda pair: pair[1].evidence.drop)
    loses_more = first[1].evidence.drop > least[1].evidence.high  # which NaN does not show
    return first if prefer == "speed" and not loses_more else least


def _repaired(
    evaluator: CandidateEvaluator, candidate: Candidate, goals: Goals
) -> tuple[CandidateEvaluator, Candidate]:
    """A model that repair makes smaller than the smallest one without, or more exact; else that one."""
    repairing = evaluator.repairing()
    if goals.max_drop is None:
        repaired = repairing.candidate(candidate.structure, candidate.share)
        is_small = goals.max_size is None or repaired.bytes <= goals.max_size
        is_better = repaired.evidence.drop < candidate.evidence.drop
        if is_better and is_small:
            return repairing, repaired
        return evaluator, dataclasses.replace(candidate, refusal=repaired.refusal or NO_GAIN)
    descent = Descent(repairing, candidate.structure, goals.max_drop, is_hasty=evaluator.context.options.is_hasty)
    smaller = descent.run_below(candidate)
    if smaller is not None:
        return repairing, smaller
    refusals = (repaired.refusal for repaired in descent.candidates.values() if repaired.refusal)
    return evaluator, dataclasses.replace(candidate, refusal=next(refusals, NO_GAIN))


def _check_size(goals: Goals, size: int) -> None:
    """Check the smallest model within the drop against the size that is wanted.

    Raises:
        CheckFailedError: it is larger.
    """
    if goals.max_drop is not None and goals.max_size is not None and size > goals.max_size:
        raise CheckFailedError(
            f"{goals} cannot be met together: {size:,} bytes is the smallest model found whose drop is within "
            f"{goals.max_drop:.2%}: give --max-size {size}B, or a larger --max-drop"
        )


_Ladders = dict[bool, tuple[Structures, Structure]]
"""By whether candidates are on integers: all structures, and the first that meets the goals of time and work."""


def _within_goals(
    evaluator: CandidateEvaluator,
    goals: Goals,
    trim: TrimPlan | None,
    ladders: _Ladders,
    *,
    is_first: bool,
    is_last: bool,
    prefer: str,
    tries_units: bool,
) -> tuple[Candidate, bool]:
    """The candidate that decides in one form, and whether it is taken; there are other forms where it is not.

    Raises:
        CheckFailedError: there is none in this form.
    """
    structures, structure = None, evaluator.structure(0, trim)
    if goals.is_structural:
        if evaluator.is_integer not in ladders:
            ladders[evaluator.is_integer] = fast_enough(evaluator, goals)
        structures, structure = ladders[evaluator.is_integer]
    if goals.max_drop is None:
        candidate = _without_drop(evaluator, structure, goals)
        return candidate, is_last or not evaluator.is_integer or candidate.bits is not None
    # what is known to be beyond the limit with all weights needs no descent, unless to say how near it comes
    is_looked_at_whole = structures is not None or not (is_first or is_last)
    is_hasty = evaluator.context.options.is_hasty
    if is_looked_at_whole and Descent(evaluator, structure, goals.max_drop, is_hasty=is_hasty).whole_is_beyond():
        if is_last and structures is not None:
            raise CheckFailedError(nearest_to_keep(evaluator, goals, goals.max_drop, structures, structure))
        return evaluator.candidate(structure, 1.0), False
    structures_to_prune = [structure]
    if tries_units and not goals.is_structural and evaluator.can_try_units:
        faster = faster_within(evaluator, goals.max_drop)
        # units that go for speed may make the file larger: each of them takes drop that zeros and bits could have had
        structures_to_prune = [structure, faster] if prefer == "size" and faster.level else [faster]
    chosen = min(
        (_smallest_within(evaluator, pruned, goals, goals.max_drop) for pruned in structures_to_prune),
        key=lambda candidate: candidate.bytes,
    )
    was_put_on_integers = evaluator.applied(chosen.structure, chosen.share).integers is not None
    return chosen, is_last or was_put_on_integers or not evaluator.is_integer


def _marked(taken: CandidateEvaluator, chosen: Candidate, size: int) -> tuple[Point, ...]:
    """All points, of which one was chosen, and is delivered in so many bytes."""
    points, kind = taken.points, ("candidate", taken.form, chosen.repaired)
    places = (at for at, point in enumerate(points) if (point.kind, point.form, point.repaired) == kind)
    figures = (chosen.kept, chosen.bits, chosen.bytes)
    last = max(at for at in places if (points[at].kept, points[at].bits, points[at].bytes) == figures)
    delivered = dataclasses.replace(points[last], chosen=True, bytes=size)
    return (*points[:last], delivered, *points[last + 1 :])


def _form_notes(
    default: CandidateEvaluator, compared: Candidate | None, taken: CandidateEvaluator, least: Candidate, goals: Goals
) -> Iterator[Message]:
    """Why weights are not kept as they are by default: what that alone has cost, or why it could not be.

    Args:
        default: candidates in the default form.
        compared: the one that this form was rejected for, or that loses more; None = none of them is within the goals.
        taken: candidates in the form that is delivered.
        least: what of these it was compared with, before repair.
        goals: what is wanted.
    """
    candidates = default.as_delivered().candidates or default.candidates
    decisive = compared or max(candidates, key=lambda candidate: candidate.kept, default=None)
    if decisive is None:
        return
    if on_floats := default.notes_on_floats(decisive):
        yield from on_floats
        return
    drop, bound = decisive.evidence.drop, decisive.evidence.high
    what = f"loses {drop:.2%} (at most {bound:.2%})"
    if goals.max_drop is not None:
        what += f" with {decisive.kept:.0%} of its weights kept, more than a --max-drop of {goals.max_drop:.2%} allows"
    elif compared is not None:
        what += f" in {decisive.bytes:,} bytes, as {taken.form} {least.evidence.drop:.2%} in {least.bytes:,} bytes"
    else:
        what = f"has {min(candidate.bytes for candidate in candidates):,} bytes or more"
    if default.is_integer:
        text = f"the model stays on floats: on integers ({default.form}) it {what}"
        yield Message(text, "integers-lose", form=default.form, taken=taken.form, drop=drop, bound=bound)
    else:
        text = f"weights are stored as {taken.form}, not as {default.form}: rounded to those the model {what}"
        yield Message(text, "finer-values", values=taken.form, default=default.form, drop=drop, bound=bound)


def _smallest_within(evaluator: CandidateEvaluator, structure: Structure, goals: Goals, limit: float) -> Candidate:
    """The smallest model whose drop is within the limit.

    Where the inputs are too few to prove anything, the drop that is to be expected decides: it must be within half of
    the limit, and the drop found within the limit.

    Raises:
        CheckFailedError: there is none.
    """
    descent = Descent(evaluator, structure, limit, is_hasty=evaluator.context.options.is_hasty)
    best, delivered = descent.run(), evaluator.as_delivered()
    if delivered is not evaluator:
        descent = descent.settled(delivered)
        best = descent.best
    if best is not None:
        return best
    least = descent.candidates[max(descent.candidates)]
    advice = "--quantize none" if evaluator.is_integer else " or ".join(f"--values {v}" for v in evaluator.finer)
    raise CheckFailedError(
        f"{goals} cannot be met: with {least.kept:.0%} of the weights kept the drop is "
        f"{least.evidence.drop:.2%} on {counted(least.evidence.samples, 'input')} (at most {least.evidence.high:.2%}), "
        f"in {least.bytes:,} bytes: give --max-drop {100.0 * least.evidence.high:.2g}%"
        + (f" or {advice}" if advice else "")
    )


def _largest_within(evaluator: CandidateEvaluator, structure: Structure, goals: Goals, limit: int) -> Candidate:
    """The model that loses least and is no larger than it may be.

    Raises:
        CheckFailedError: none is that small.
    """
    evaluator.context.progress(CANDIDATES, 0, TRIES + 1)
    whole = evaluator.candidate(structure, 1.0)
    made_candidates = {1.0: whole}
    for _ in range(TRIES):
        within = [kept for kept, candidate in made_candidates.items() if candidate.bytes <= limit]
        low = max(within, default=0.0)
        high = min((kept for kept in made_candidates if kept not in within), default=None)
        if high is None or (low and made_candidates[low].bytes >= FULL * limit):
            break
        kept = _for_size(made_candidates, limit, low, high)
        if kept < FEWEST_KEPT:
            break
        evaluator.context.progress(CANDIDATES, len(made_candidates), TRIES + 1)
        made_candidates[kept] = evaluator.candidate(structure, kept)
    fitting = [candidate for candidate in made_candidates.values() if candidate.bytes <= limit]
    if not fitting:
        least = min(made_candidates.values(), key=lambda candidate: candidate.bytes)
        raise CheckFailedError(
            f"{goals} cannot be met: {least.bytes:,} bytes, with {least.kept:.2%} of the weights kept, is the smallest "
            "model found: give a larger --max-size, or remove units with --trim"
        )
    return max(fitting, key=lambda candidate: candidate.share)


def _without_drop(evaluator: CandidateEvaluator, structure: Structure, goals: Goals) -> Candidate:
    """The model that loses least for the other goals.

    Raises:
        CheckFailedError: none is as small as it must be.
    """
    if goals.max_size is not None:
        return _largest_within(evaluator, structure, goals, goals.max_size)
    evaluator.context.progress(CANDIDATES, 0, 1)
    return evaluator.candidate(structure, 1.0)


def _for_size(candidates: Mapping[float, Candidate], limit: int, low: float, high: float) -> float:
    """The share that would just fit, on a line through the two nearest sizes; well inside what is possible."""
    goal = 0.5 * (1.0 + FULL) * limit
    others = [kept for kept in candidates if kept > high]
    other = low or min(others, default=0.0)
    bytes_there = candidates[other].bytes if other else 0.0
    if bytes_there == candidates[high].bytes:
        return 0.0  # fewer weights make it no smaller
    line = high + (goal - candidates[high].bytes) * (other - high) / (bytes_there - candidates[high].bytes)
    return float(
        np.clip(line, *((0.9 * low + 0.1 * high, 0.1 * low + 0.9 * high) if low else (0.3 * high, 0.9 * high)))
    )
