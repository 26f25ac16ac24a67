"""What became of the user's goals, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import MeasureName, counted
from netsurgeon.pipeline.report.record import ReportRecord
from netsurgeon.pipeline.search import SearchFacts
from netsurgeon.pipeline.verification import COUNTED, SCALES, Scale, least_inputs

_LOSSES: Mapping[MeasureName, str] = {
    "top-1": "Drop of top-1",
    "agreement": "Drop of agreement with the dense model",
    "token-agreement": "Drop of agreement with the dense model's tokens",
    "cosine": "Drop of the cosine to the dense model",
    "outputs": "Drop of the outputs' energy",
}


def goal_summary(report: ReportRecord) -> tuple[str, ...]:
    """What became of the goals, a sentence each."""
    facts, latency = report.search, report.latency
    if facts is None:
        return ()
    sentences = [f"{facts.goals}: file {report.compressed.bytes:,} bytes"]
    if latency and latency.timings[0].speedup and latency.timings[0].other and facts.timed:
        ratio, time = latency.timings[0].speedup, latency.timings[0].other.median
        sentences[0] += f", {ratio.value:.2f} times as fast ({ratio.low:.2f} to {ratio.high:.2f}), {time:.3g} ms a run"
        sentences[0] += f" ({facts.timed.speedup:.2f} times and {facts.timed.model:.3g} ms were predicted)"
    chosen_point = next(point for point in facts.points if point.chosen)
    sentences[0] += f", {chosen_point.macs:,.0f} multiply-adds" if chosen_point.macs is not None else ""
    guide, final = facts.evidence, facts.measured
    crossed = " (of two models, each corrected on the half that the other is judged on)" if facts.folds > 1 else ""
    proven = (
        "" if facts.proven is None else ", within the goal" if facts.proven else ", not proven to be within the goal"
    )
    loss = _loss(guide.measure, report.validation.own_scale)
    sentences.append(
        f"{loss} on the {counted(guide.samples, 'input')} that guided the search{crossed}: "
        f"{guide.drop:.2%}, at most {guide.high:.2%} with 90 % confidence{proven}"
    )
    sentences.append(
        f"On the {counted(final.samples, 'input')} of the final measurement: {final.drop:.2%}, between {final.low:.2%} "
        f"and {final.high:.2%} with 80 % confidence"
    )
    return tuple(sentences)


def _loss(measure: MeasureName, own: Scale | None) -> str:
    """What is lost, as the beginning of a sentence; of what is a share it says of what."""
    scale = own or SCALES[measure]
    title = "the metric" if scale.title == "metric" else scale.title
    words = _LOSSES.get(measure, f"{'Rise' if scale.lower_is_better else 'Drop'} of {title}")
    return f"{words}, as a share of the dense model's," if scale.is_relative else words


def unproven_goal_warning(facts: SearchFacts) -> Message | None:
    """What the user should know of a drop that is not proven; None where it is, or no goal is one."""
    limit, evidence = facts.goals.max_drop, facts.evidence
    if limit is None or facts.proven:
        return None
    least = f"{least_inputs(limit):,} and more" if evidence.measure in COUNTED else "more"
    more = f"about {facts.needed:,} would prove it" if facts.needed else f"{least} could prove it"
    return Message(
        f"a drop of at most {limit:.2%} is not proven: it was {evidence.drop:.2%} on {evidence.samples:,} guiding "
        f"inputs, which promise at most {max(evidence.high, 0.0):.2%} with 90 % confidence; {more}",
        "goal-unproven",
        limit=limit,
        drop=evidence.drop,
        bound=evidence.high,
        samples=evidence.samples,
        needed=facts.needed,
    )
