"""What a compression is expected to do, and how long that takes: from one run of the dense model and its layers.

Two things take time: running models over inputs, which the seconds of one input foretell, and solving layers, which
goes by rows x columns² of their matrices. The rates below were fitted to runs of LeNet-5, ResNet-20, SqueezeNet and
ShuffleNet v2 on one core, those of wide layers to a decoder of 615 million parameters. How much faster or slower a
machine is, the parts of a run that are over tell.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import positions_of
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import CANDIDATES, Step, Work
from netsurgeon.pipeline.pruning import can_evaluate_at_low_fidelity, inputs_at_low_fidelity, probed_inputs
from netsurgeon.pipeline.quantization import TARGETS, integers_without_goal
from netsurgeon.pipeline.repair import BATCH, FRONT, INTEGERS, layers_by_stage, repair_steps
from netsurgeon.pipeline.runtime import Session, is_of_package
from netsurgeon.pipeline.search import ROWS_SHARE, provisional_inputs
from netsurgeon.pipeline.verification import Inputs

USUAL_CANDIDATES, USUAL_CANDIDATES_FAST = 3.5, 1.5
"""Candidates that a search makes in a row, on average over models and goals; the second with little effort."""
LOOKED_AT_SECONDS = 0.5
"""Seconds for which the dense model is run to see how fast it is."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """How fast layers are dealt with.

    Attributes:
        added: products a second where rows enter the statistics of a layer, were all that may be drawn.
        solved: products of weights and columns a second of what a solver makes of them.
        wide: likewise of a layer of more than WIDE_COLUMNS columns, whose rows are iterated on together.
    """

    added: float
    solved: float
    wide: float


WIDE_COLUMNS = 1024
CURVES = Rates(1.7e10, 1.5e8, 2e10)
"""Of error curves, and of prices of units. Few rows stand for a wide layer."""
TRIALS = Rates(1.8e10, 4e8, 2e9)
"""Of one model that is pruned at low fidelity."""
PRUNED, PRUNED_FAST = Rates(1.7e10, 1.75e8, 9e8), Rates(3.4e10, 4e8, 2e9)
"""Of pruning with full and with little effort."""
ROUNDED = Rates(3.1e10, 2.4e8, 2.4e8)
"""Of putting weights on integers."""
SWEPT = 2.0
"""Times as long as one run of a model a sweep takes, which stops at every layer and keeps what is live there."""
STOPPED = 0.01
"""Seconds that a model takes more for every layer at which a sweep stops."""
TIMED_RUNS, SHORTEST = 250, 2e-3
"""Runs of one input that it takes to time two models in turn, and the seconds that each takes at least."""
TIMED_PAIRS = 1.5
"""Pairs of models that are timed to choose integers, and again to see whether what was made is faster, on average."""
PACKED = 2e-6
"""Seconds a weight that packing takes."""
STRUCTURES = 6
"""Structures that are timed until one is as fast as it should be."""
TRIED_AT_ONCE, TRIED_AT_ONCE_FAST = 3, 2
"""Models that are pruned at low fidelity side by side, about; the second for a first look."""
TRIED_TWICE = 1.5
"""Times as long as once a full search tries plans in a row, on average: scalings twice, shares of the weights once."""
ON_INTEGERS = 0.5
"""Times as long as one run of a model on floats one of a model on integers takes."""
DELIVERED = 1.3
"""Models that are made as they are delivered until one is within the goal, where others have said where that is."""
REMOVED = 0.02
"""Seconds a layer that it takes to look for units that nobody reads, and to take them out."""
ROWS_AT_LOW_FIDELITY = 0.2
"""Share of the rows that is drawn for them."""
REPAIRED_CANDIDATES = 2
"""Candidates of a search that are repaired, usually."""
REPAIRED, REPAIRED_INTEGERS = 4.0, 6.0
"""Times as long as a run of the dense model an input of a step of a repair takes; the second behind rounding."""
LOOKED_AT, BALANCED = 3.0, 1.5
"""Times as long as one run of a model it takes to look at all its values, and at those of some channels."""
PROBED = 0.85
"""Times as long as one run of a model it takes to run it from another weight on, and to compare."""
BOUNDED, BOUNDED_FAST = 64, 16
"""Inputs on which the error bound is measured, at most; the second for a first look."""


def seconds_of_an_input(dense: Session, samples: Samples, clock: Callable[[], float]) -> float:
    """Seconds that it takes to read one input and to run the dense model on it."""
    dense.run(next(samples.batches()))  # warms up
    started, runs = clock(), 0
    for feed in samples.batches():
        dense.run(feed)
        runs += 1
        if clock() - started > LOOKED_AT_SECONDS:
            break
    return (clock() - started) * samples.batch_count / (runs * samples.fed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpectedWork:
    """What a compression of one model is expected to take.

    Attributes:
        dense: in normal form.
        selection: layers that take part.
        calibration: how many rows are drawn of their inputs.
        inputs: what the model is run on.
        options: what is asked for.
        seconds: that the dense model takes for one input.
    """

    dense: ir.Model = dataclasses.field(repr=False)
    selection: Selection
    calibration: Calibration
    inputs: Inputs
    options: Options
    seconds: float

    @functools.cached_property
    def _positions(self) -> Mapping[str, int]:
        """Of each layer for one input: how many outputs it has of every row of its weight, by layer name."""
        return positions_of(self.dense)

    @functools.cached_property
    def _multiply_adds(self) -> Mapping[str, int]:
        """Of each layer for one input, by its node's label."""
        sizes = ((layer, self._positions.get(layer.name, 1)) for layer in self.selection.layers)
        return {label(layer.node): layer.size * positions for layer, positions in sizes}

    def steps(self) -> tuple[Step, ...]:
        """The parts of the run, in the order in which they begin."""
        return tuple(step for step in self._steps() if step.works)

    def _steps(self) -> Iterator[Step]:
        options, goals = self.options, self.options.goals
        yield _step("opening", "opening", "reading the data", "reading the work folder")
        if goals is not None:
            yield Step("judging the dense model", (_work("judging the dense model", self._folds * self._judged),))
        if self._may_quantize:
            sparse = _work("timing sparse kernels", self._timed, self._sparse_timings)
            yield Step("timing integers", (_work("timing integers", TIMED_PAIRS * self._timed, 2), sparse))
        if options.trim is not None or (goals is not None and goals.is_structural):
            yield Step("choosing units", self._choosing_units())
        if goals is not None and goals.is_timed:
            yield Step("timing structures", (_work("timing structures", self._timed, STRUCTURES),))
        if self._is_measured:
            yield Step("measuring layers", self._measuring())
        yield Step("making candidates" if goals is not None else "pruning", self._making())
        yield _step("making the chosen model" if goals is not None else "packing", "making the chosen model", "packing")
        yield Step("validating", self._validating())
        if options.profile or (goals is not None and goals.is_timed):
            yield Step(
                "timing", (_work("timing", 4 * self._timed), _work("measuring memory and operators", self._timed))
            )
        yield _step("writing", "writing")
        if self._may_quantize and TARGETS[options.target].is_measured:
            yield Step("timing the delivered model", (_work("timing the delivered model", self._timed),))

    @property
    def _folds(self) -> int:
        return max(len(self.inputs.folds), 1)

    @property
    def _may_quantize(self) -> bool:
        return self.options.integer_mode is not None or self.options.may_choose_integers

    @property
    def _sparse_timings(self) -> int:
        """How often kernels that leave zeros out are timed: once for the layers; a goal times two models besides."""
        options = self.options
        if not (options.has_sparse_kernels and is_of_package(options.timed_provider)):
            return 0
        if options.goes_by_sparse_times:
            return 3
        return int(options.goals is not None or options.pruned_share > 0.0)

    @property
    def _is_measured(self) -> bool:
        """Whether error curves say how many weights each layer keeps, or how fine the integers are."""
        has_bits = self.options.goals is None and len(integers_without_goal(self.options)) > 1
        return self._is_spread or has_bits

    @property
    def _is_spread(self) -> bool:
        """Whether they say how many weights each layer keeps."""
        options, goals = self.options, self.options.goals
        pattern = self.selection.pattern
        says_share = options.uniform or options.keep_zeros or (pattern is not None and pattern.says_share)
        if says_share or not self.selection.layers:
            return False
        return options.pruned_share > 0.0 if goals is None else bool(goals.max_drop or goals.max_size)

    @functools.cached_property
    def _provisional(self) -> Samples | None:
        """What candidates are corrected on that are not delivered; None where all are made as they are delivered."""
        layers, folds = self.selection.layers, self.inputs.folds
        return provisional_inputs(self.inputs, self.options, layers, self._positions)[0] if folds else None

    @property
    def _corrected(self) -> int:
        """Inputs that one model is corrected on: a candidate, where there are some."""
        return self.inputs.calibration.fed if self._provisional is None else self._provisional.fed

    @property
    def _rows_share(self) -> float:
        """Share of the rows of statistics that it is corrected on."""
        return 1.0 if self._provisional is None else ROWS_SHARE

    @property
    def _timed(self) -> float:
        """Seconds that it takes to time two models in turn."""
        return TIMED_RUNS * max(self.seconds, SHORTEST)

    @property
    def _judged(self) -> float:
        """Seconds that judging one model takes."""
        return self.seconds * self.inputs.folds[0].guide.count if self.inputs.folds else 0.0

    def _swept(self, models: int, inputs: int) -> float:
        """Seconds that some models take side by side in a sweep."""
        return models * (SWEPT * self.seconds * inputs + STOPPED * len(self.selection.layers))

    def _layers(self, rates: Rates, inputs: int, share: float = 1.0) -> float:
        """Seconds that all layers take, by this share of the rows that are drawn at most."""
        calibration, added, solving = self.calibration.subsample(share), 0.0, 0.0
        for layer in self.selection.layers:
            rows = min(calibration.most_rows(layer), inputs * self._positions.get(layer.name, 1))
            columns = layer.columns // layer.blocks
            added += float(rows) * layer.groups * layer.blocks * columns * columns
            solving += layer.size * columns / (rates.wide if columns > WIDE_COLUMNS else rates.solved)
        return added / rates.added + solving

    @property
    def _weights(self) -> int:
        return sum(layer.size for layer in self.selection.layers)

    def _choosing_units(self) -> tuple[Work, ...]:
        inputs = self._corrected
        priced = self._swept(1, inputs) + self._layers(CURVES, inputs, self._rows_share)
        return (
            _work("pricing units", priced),
            _work("counting zeros", 0.0),
            _work("finding units", 0.0),
            _work("choosing units", 0.1 * priced),
            _work("proving units", 1.0),
        )

    def _measuring(self) -> tuple[Work, ...]:
        layers, inputs, goals = len(self.selection.layers), self._corrected, self.options.goals
        searches = goals is not None and goals.max_drop is not None
        curves = self._swept(1, inputs) + self._layers(CURVES, inputs, self._rows_share)
        work = float(sum(self._multiply_adds.values()))
        low_fidelity_inputs, probe_inputs = (
            min(inputs_at_low_fidelity(work, is_hasty=self.options.is_hasty), inputs),
            min(probed_inputs(layers * work, is_hasty=self.options.is_hasty), inputs),
        )
        at_once = TRIED_AT_ONCE_FAST if self.options.is_hasty else TRIED_AT_ONCE
        trials = at_once * self._layers(TRIALS, low_fidelity_inputs, ROWS_AT_LOW_FIDELITY)
        names = (layer.name for layer in self.selection.layers)
        are_tried = self._is_spread and can_evaluate_at_low_fidelity(self.dense, names)
        trying = self._swept(at_once + 1, low_fidelity_inputs) + trials if are_tried else 0.0
        trying *= 1.0 if self.options.is_hasty else TRIED_TWICE if searches else 2.0
        # part by part a layer takes its part's share of a run, and once a part a run goes on to the end
        probed = math.sqrt(2.0 / max(layers, 2)) if self.options.is_hasty else PROBED
        return (
            _work("measuring layers", curves, self._folds),
            _work("measuring sensitivities", probed * layers * probe_inputs * self.seconds, self._folds),
            _work("trying plans", trying, self._folds * (searches + (not self.options.is_hasty))),
            *([_work("judging plans", at_once * self._judged, self._folds)] if searches else []),
        )

    def _making(self) -> tuple[Work, ...]:
        """What one model after the other goes through: each candidate, or the one that is delivered."""
        options, inputs = self.options, self.inputs.calibration.fed
        times, of_a_candidate = self._made(inputs), self._made(self._corrected, self._rows_share)
        if options.goals is None:
            once = 1 + len(self.inputs.halves)
            return tuple(_work(stage, seconds, once) for stage, seconds in (times | self._repairs(inputs)).items())
        judged = (ON_INTEGERS if self._may_quantize else 1.0) * self._judged
        delivered = 0.0 if self._provisional is None else DELIVERED if self._folds == 1 else 1.0
        works = [
            Work(
                stage=stage,
                seconds=seconds,
                visits=delivered,
                of_a_candidate=self._folds,
                last=times[stage] / seconds if seconds else 1.0,
            )
            for stage, seconds in of_a_candidate.items()
        ]
        usual = USUAL_CANDIDATES_FAST if options.is_hasty else USUAL_CANDIDATES
        works += self._repairs_of_candidates(inputs, usual)
        works += [
            Work(stage=stage, seconds=seconds, visits=0, of_a_candidate=self._folds)
            for stage, seconds in (("judging", judged), ("packing", PACKED * self._weights))
        ]
        return (_work(CANDIDATES, 0.0, usual), *works)

    def _repairs_of_candidates(self, inputs: int, usual: float) -> list[Work]:
        """Repairs of the last candidates, and short ones of all where structures are judged after them.

        Args:
            inputs: that are learnt from.
            usual: candidates in a row.
        """
        last, repairs = REPAIRED_CANDIDATES * self._folds, self._repairs(inputs)
        goals = self.options.goals
        lacks_units = self.options.trim is not None or (goals is not None and goals.is_structural)
        if not (lacks_units and self.options.repairs_structures):
            return [_work(stage, seconds, last) for stage, seconds in repairs.items()]
        short, others = self._repairs(inputs, is_short=True), usual * self._folds
        means = {name: (last * repairs[name] + others * short[name]) / (last + others) for name in repairs}
        return [
            Work(stage=stage, seconds=seconds, visits=last, of_a_candidate=self._folds)
            for stage, seconds in means.items()
        ]

    def _repairs(self, inputs: int, *, is_short: bool = False) -> dict[str, float]:
        """Seconds of a repair by stage, if it learns at once: its parts take as long as there is to do in them.

        For a stretch ONNX Runtime also runs what lies in front of it, in both models.
        """
        repairs = {FRONT: 0.0, INTEGERS: 0.0}
        if not self.options.repair:
            return repairs
        amounts = self._multiply_adds
        all_steps = self.seconds * BATCH * repair_steps(inputs, is_short=is_short or self.options.is_hasty)
        second = all_steps / max(sum(amounts.values()), 1)  # of a multiply-add in all steps
        order = list(amounts)
        for stage, layers in layers_by_stage(self.dense.graph, [layer.node for layer in self.selection.layers]).items():
            own = second * sum(amounts[name] for name in layers)
            repairs[stage] = REPAIRED * own
            if stage == FRONT:
                repairs[INTEGERS] = REPAIRED_INTEGERS * own if self._may_quantize else 0.0
            else:
                reached = order[: order.index(layers[-1]) + 1]
                repairs[stage] += 2 * second * sum(amounts[name] for name in reached) - own
        return repairs

    def _made(self, inputs: int, share: float = 1.0) -> dict[str, float]:
        """Seconds by stage that one model takes that is corrected on so many inputs, and this share of the rows."""
        rates = PRUNED if self.selection.effort == "full" else PRUNED_FAST
        pruned = self._swept(2, inputs) + self._layers(rates, inputs, share)
        times = {"masking units": 0.0, "pruning layers": pruned, "rewriting shortcuts": 0.05}
        times["removing units"] = REMOVED * len(self.selection.layers)
        times |= {"preparing layers": 0.0, "preparing integers": 0.05, "rounding tables": 0.0}
        if self._may_quantize:
            run = self.seconds * inputs
            times |= {"balancing channels": BALANCED * run, "measuring ranges": LOOKED_AT * run}
            times["quantizing layers"] = self._swept(2, inputs) + self._layers(ROUNDED, inputs, share)
        return times

    def _validating(self) -> tuple[Work, ...]:
        most = BOUNDED_FAST if self.options.is_hasty else BOUNDED
        bounded = 6 * self.seconds * min(most, self.inputs.calibration.fed)
        return (
            _work("validating", 2 * self.seconds * self.inputs.held.count),
            _work("bounding the error", bounded),
        )


def _work(stage: str, seconds: float, visits: float = 1.0) -> Work:
    return Work(stage=stage, seconds=seconds, visits=visits)


def _step(name: str, *stages: str) -> Step:
    """A part of the run that takes next to no time."""
    return Step(name, tuple(_work(stage, 0.0) for stage in stages))
