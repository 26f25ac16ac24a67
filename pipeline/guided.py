"""A search from the user's goals to the facts of the report, with the final word of inputs that guided nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import onnx_ir as ir

from netsurgeon.pipeline._promise import Evidence, counted, least_inputs
from netsurgeon.pipeline._timing_inputs import timing_feeds
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.candidates import Bench, Fold, Tools
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.facts import data_facts
from netsurgeon.pipeline.goals import Goals
from netsurgeon.pipeline.inputs import Inputs
from netsurgeon.pipeline.judge import Judge
from netsurgeon.pipeline.latency import Profile
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.report import Report, SearchFacts
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.samples import Samples
from netsurgeon.pipeline.search import Found, search
from netsurgeon.pipeline.selection import Selection
from netsurgeon.pipeline.source import Source
from netsurgeon.pipeline.timing_table import Clock, TimingTable
from netsurgeon.pipeline.trim import TrimPlan
from netsurgeon.pipeline.validate import Validation
from netsurgeon.pipeline.work import Work

_MEASURES = {
    "top-1": "top-1",
    "agreement": "agreement with the dense model",
    "metric": "the metric",
    "outputs": "the outputs' energy",
}


@dataclasses.dataclass(frozen=True)
class Guided:
    """A search for some goals on some inputs.

    Attributes:
        goals: what is wanted.
        source: the model.
        inputs: what it is run on.
        guide: those of them that guide the search.
        options: as given.
        runtime: how sessions are made.
        table: times that are known, and those that are measured.
    """

    goals: Goals
    source: Source
    inputs: Inputs
    guide: Samples
    options: Options
    runtime: Runtime
    table: TimingTable

    def search(
        self,
        selection: Selection,
        sweep: Calibration,
        trim: TrimPlan | None,
        size: Callable[[ir.Model], int],
        progress: Progress,
        work: Work,
    ) -> Found:
        """Find the model.

        Args:
            selection: layers that take part.
            sweep: inputs that the delivered model is corrected on.
            trim: units that go in any case.
            size: bytes of a model's file, packed.
            progress: called with stage, steps done and steps in all.
            work: what is kept for a run that goes on.

        Raises:
            CheckFailedError: no model was found that keeps to the goals.
        """
        progress("judging the dense model", 0, 1)
        folds = tuple(
            Fold(dataclasses.replace(sweep, samples=each.corrected), self._judge(each.guide))
            for each in self.inputs.folds
        )
        tools = Tools(
            self.source.model, selection, folds, sweep, self._clock(work), size,
            candidate_options(self.options), progress, work,
        )  # fmt: skip
        return search(Bench(tools), self.goals, trim)

    def facts(self, found: Found, validation: Validation, latency: Profile | None, model: ir.Model) -> SearchFacts:
        """What the report says of the search, and of the final measurement beside it.

        Raises:
            CheckFailedError: the final measurement shows that a goal is missed.
        """
        measured = self._measured(validation, model)
        limit = self.goals.max_drop
        if limit is not None and measured.low > limit:
            raise CheckFailedError(
                f"{self.goals} is missed: on the {measured.samples:,} inputs of the final measurement the drop is "
                f"{measured.drop:.2%}, and with 90 % confidence at least {measured.low:.2%}, though it was "
                f"{found.candidate.evidence.drop:.2%} on those that guided the search: give more or other inputs"
            )
        if latency is not None:
            self._check_latency(latency)
        evidence = found.candidate.evidence
        return SearchFacts(
            self.goals,
            data_facts(self.inputs.data, self.guide),
            len(self.inputs.folds),
            evidence,
            found.proven,
            None if limit is None else evidence.needed(limit),
            measured,
            found.timed,
            found.points,
            self.table,
        )

    def _judge(self, samples: Samples) -> Judge:
        options = self.options
        dense = self.runtime.session(self.source.original)
        return Judge(dense, samples, options.metric, options.label_offset, options.seed)

    def _clock(self, work: Work) -> Clock:
        options = self.options
        runtime = Runtime(options.custom_ops, options.provider, options.threads, deployed=True)
        feed = next(self.inputs.calibration.batches())
        batches = None if options.timed_batch is None else (options.timed_batch,)
        fed = timing_feeds(self.source.original, [feed], batches, {}, options.seed)[0] if self.goals.is_timed else ()
        known = work.facts("timings")
        if known is not None and not self.table.models:
            self.table.take(TimingTable.of(known))
        return Clock(
            self.table,
            self.source.model,
            fed[0].feed if fed else feed,
            runtime,
            lambda table: work.keep_facts("timings", dataclasses.asdict(table)),
        )

    def _measured(self, validation: Validation, model: ir.Model) -> Evidence:
        """The drop on the inputs of the final measurement."""
        count, agreement = validation.samples, validation.agreement
        if self.options.metric is None and validation.lost is not None and validation.gained is not None:
            right = round((validation.dense.top1 or 0.0) * count)
            return counted("top-1", count, right, validation.lost, validation.gained)
        if self.options.metric is None and agreement is not None:
            return counted("agreement", count, count, count - round(agreement * count), 0)
        return self._judge(self.inputs.held).judge(self.runtime.session(model))

    def _check_latency(self, latency: Profile) -> None:
        """Check the goals of time on the final model.

        Raises:
            CheckFailedError: it misses one, by more than the measurement is unsure of.
        """
        timing = latency.timings[0]
        wanted, limit = self.goals.speedup, self.goals.latency
        if timing.other is None or timing.speedup is None:
            return
        if wanted is not None and timing.speedup.high < wanted:
            raise CheckFailedError(
                f"{self.goals} is missed: the final model is {timing.speedup.value:.2f} times as fast "
                f"({timing.speedup.low:.2f} to {timing.speedup.high:.2f}): measure again on a quiet machine, or ask "
                "for less"
            )
        if limit is not None and timing.other.low > limit:
            raise CheckFailedError(
                f"{self.goals} is missed: the final model takes {timing.other.median:.3g} ms: measure again on a quiet "
                "machine, or ask for less"
            )


def candidate_options(options: Options) -> Options:
    """How candidates are made: as the user has said, without the goals."""
    return dataclasses.replace(
        options,
        max_drop=None,
        speedup=None,
        latency=None,
        max_size=None,
        max_macs=None,
        values=options.stored_values,
    )


def verdict(report: Report) -> tuple[str, ...]:
    """What became of the goals, a sentence each."""
    facts, latency = report.search, report.latency
    if facts is None:
        return ()
    said = [f"{facts.goals}: file {report.compressed.bytes:,} bytes"]
    if latency and latency.timings[0].speedup and latency.timings[0].other and facts.timed:
        ratio, time = latency.timings[0].speedup, latency.timings[0].other.median
        said[0] += f", {ratio.value:.2f} times as fast ({ratio.low:.2f} to {ratio.high:.2f}), {time:.3g} ms a run"
        said[0] += f" ({facts.timed.speedup:.2f} times and {facts.timed.model:.3g} ms were predicted)"
    chosen = next(point for point in facts.points if point.chosen)
    said[0] += f", {chosen.macs:,.0f} multiply-adds" if chosen.macs is not None else ""
    guide, final = facts.evidence, facts.measured
    crossed = " (of two models, each corrected on the half that the other is judged on)" if facts.folds > 1 else ""
    proven = (
        "" if facts.proven is None else ", within the goal" if facts.proven else ", not proven to be within the goal"
    )
    said.append(
        f"Drop of {_MEASURES[guide.measure]} on the {guide.samples:,} inputs that guided the search{crossed}: "
        f"{guide.drop:.2%}, at most {guide.high:.2%} with 90 % confidence{proven}"
    )
    said.append(
        f"On the {final.samples:,} inputs of the final measurement: {final.drop:.2%}, between {final.low:.2%} and "
        f"{final.high:.2%} with 80 % confidence"
    )
    return tuple(said)


def promise(facts: SearchFacts) -> str | None:
    """What the user should know of a drop that is not proven; None where it is, or no goal is one."""
    limit, evidence = facts.goals.max_drop, facts.evidence
    if limit is None or facts.proven:
        return None
    more = (
        f"about {facts.needed:,} would prove it" if facts.needed else f"{least_inputs(limit):,} and more could prove it"
    )
    return (
        f"a drop of at most {limit:.2%} is not proven: it was {evidence.drop:.2%} on {evidence.samples:,} guiding "
        f"inputs, which promise at most {max(evidence.high, 0.0):.2%} with 90 % confidence; {more}"
    )
