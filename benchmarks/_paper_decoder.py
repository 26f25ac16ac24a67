"""The task graph of a decoder that is too large to be run here: from its shape, and from what work took in a small one.

What a run of `compress` does to a decoder of `_decoder.py` is known: in each block there are the segments of query, key
and value, of the output projection, of gate and up, and of down, and behind all blocks that of the head; in a dense
sweep error curves are measured, then come sensitivities, and in a sweep of the dense and the current model layers are
solved. So is how much each of its tasks works: the run of a segment takes multiply-adds as its weights and tokens are,
a sum of moments as its rows and columns² are, a solve as rows x columns² are. What a multiply-add takes is measured,
for each kind of work. The rows of wide layers are solved in tasks, which share the seconds of the solve by their work.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator, Sequence

from _decoder import TOKENS, Shape
from _solve_work import SOLVING, SolveWork
from _task_graphs import JOINED, GraphBuilder, Task, TaskGraph

from netsurgeon.passes.pruning.row_blocks import blocks_of_tasks
from netsurgeon.pipeline.calibration.row_moments import FEW_OUTPUTS
from netsurgeon.pipeline.calibration.sweep import MOST_ROWS, Calibration
from netsurgeon.pipeline.execution import Executor
from netsurgeon.pipeline.execution.executors.executor import fold

SUM_BYTES = 32
"""Of a sum of moments, for each number of columns²: those of most rows and of the rows held out, in float64."""
FLOAT = 4
RNG_BYTES = 300
SPREAD_EVERY = 7919
"""Between the first workers of two layers whose rows are spread, which Dask has by the layers' names."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds of a core for a unit of work.

    Attributes:
        run: of a multiply-add of the model.
        moments: of a row and two columns that enter a sum.
        join: of two columns of a sum that is joined.
        curve: of a row and two columns of a weight whose error curve is measured.
        solve: of the same that is solved.
        probe: of all else that the main process does behind the first task, for a weight.
        start: before it, for a weight.
    """

    run: float
    moments: float
    join: float
    curve: float
    solve: float
    probe: float
    start: float

    def with_solves(self, times: float) -> Rates:
        """The same, but for runs and sums so many times as slow."""
        slower = {name: times * getattr(self, name) for name in ("curve", "solve", "probe", "start")}
        return dataclasses.replace(self, **slower)


@dataclasses.dataclass(frozen=True)
class _Segment:
    """Layers that read one value, and the matrices (rows, columns) that are run before it is there.

    Attributes:
        layers: (rows, columns) of those that read it.
        runs: (rows, columns) of matrices.
        attends: whether attention is among what is run.
        held: numbers of a token that are there when it has run.
        has_branch: whether the stream is added to what the layer gives.
    """

    layers: tuple[tuple[int, int], ...]
    runs: tuple[tuple[int, int], ...]
    attends: bool
    held: int

    has_branch: bool = False

    @property
    def has_few_outputs(self) -> bool:
        """Whether sums are made at the outputs of the layer."""
        return len(self.layers) == 1 and FEW_OUTPUTS * self.layers[0][0] <= self.columns

    @property
    def columns(self) -> int:
        """Of the layers."""
        return self.layers[0][1]

    def weights(self) -> int:
        """Numbers in what is run."""
        return sum(rows * columns for rows, columns in self.runs)

    def multiply_adds(self, shape: Shape) -> int:
        """Of one token."""
        return self.weights() + (2 * TOKENS * shape.width if self.attends else 0)


def paper_graph(shape: Shape, sequences: int, shard: int, rates: Rates, cores: int = 1) -> TaskGraph:
    """What `compress --cluster` would do to a decoder.

    Args:
        shape: of the decoder.
        sequences: of TOKENS tokens, that calibrate.
        shard: sequences in a shard.
        rates: what work takes.
        cores: of a worker, so many blocks of a wide layer's rows are in a task.
    """
    return _Paper(shape, sequences, shard, rates, cores).built()


def measured_rates(graph: TaskGraph, shape: Shape, sequences: int, share: float) -> Rates:
    """What work took in a run that was measured.

    Args:
        graph: of the run.
        shape: of its decoder.
        sequences: that calibrated.
        share: of the rows of `sequences` that entered the sums, as for the run that they stand for.
    """
    segments, tokens = list(_segments(shape)), sequences * TOKENS
    walked = 3 * tokens * sum(segment.multiply_adds(shape) for segment in segments)
    squared = sum(segment.columns**2 for segment in segments)
    solved = sum(rows * columns**2 for segment in segments for rows, columns in segment.layers)
    rows = sum(
        min(tokens, share * max(_most_rows(segment.columns), tokens)) * segment.columns**2 for segment in segments
    )
    seconds = collections.Counter(graph.seconds_by_label())  # a label that there is none of takes 0 s
    first = next(at for at, step in enumerate(graph.steps) if step.kind == "submit")
    start = sum(step.seconds for step in graph.steps[:first])
    return Rates(
        run=seconds["run_segment"] / walked,
        moments=seconds["shard_moments"] / (3 * rows),
        join=seconds[JOINED] / (2 * squared * (graph.shards - 1)),
        curve=seconds["measure_cost"] / solved,
        solve=sum(seconds[label] for label in SOLVING) / solved,
        probe=(graph.main_seconds - start) / shape.parameters,
        start=start / shape.parameters,
    )


def _segments(shape: Shape) -> Iterator[_Segment]:
    width, inner = shape.width, shape.inner
    square, into, back = (width, width), (inner, width), (width, inner)
    for block in range(shape.layers):
        before = (back,) if block else ()
        yield _Segment((square,) * 3, before, False, 2 * width)
        yield _Segment((square,), (square,) * 3, True, 2 * width, has_branch=True)
        yield _Segment((into,) * 2, (square,), False, 2 * width)
        yield _Segment((back,), (into,) * 2, False, width + inner, has_branch=True)
    yield _Segment(((shape.vocabulary, width),), (back,), False, width)


class _Paper:
    """One use of `paper_graph`."""

    def __init__(self, shape: Shape, sequences: int, shard: int, rates: Rates, cores: int):
        self._shape, self._rates, self._cores = shape, rates, cores
        self._sizes = [min(shard, sequences - start) for start in range(0, sequences, shard)]
        self._tokens = sequences * TOKENS
        self._table = FLOAT * shape.vocabulary * shape.width
        self._builder = GraphBuilder()
        self._skeleton = -1
        self._layers_spread = 0
        self._kept: dict[int, int] = {}
        """What was sent of the dense model, by the number of the segment."""

    def built(self) -> TaskGraph:
        """The graph."""
        segments, builder = list(_segments(self._shape)), self._builder
        builder.compute(self._rates.start * self._shape.parameters)
        generator = self._task("default_rng", sent=RNG_BYTES, made=RNG_BYTES)
        self._skeleton = self._send(self._table)
        size = 8 * TOKENS
        inputs = [
            self._task("open_shard", sent=size * count, made=size * count, shard=shard)
            for shard, count in enumerate(self._sizes)
        ]
        self._measure(segments, inputs, generator)
        builder.compute(self._rates.probe * self._shape.parameters)
        self._prune(segments, inputs)
        return builder.built()

    def _measure(self, segments: Sequence[_Segment], inputs: Sequence[int], generator: int) -> None:
        """The dense sweep: nothing of it is waited for before AHEAD others have been sent."""
        walk, waiting = list(inputs), collections.deque[int]()
        for at, segment in enumerate(segments):
            self._kept[at] = self._send(self._weights(segment))
            self._run(walk, segment, self._kept[at])
            moments = self._moments(segment, [walk])
            for rows, columns in segment.layers:
                weight, seconds = FLOAT * rows * columns, self._rates.curve * rows * columns**2
                asked = self._send(weight)
                needs = (asked, moments, generator)
                following = self._task("generator_behind", needs, made=RNG_BYTES)
                waiting.append(self._task("measure_cost", needs, made=weight, seconds=seconds))
                self._builder.release(asked)
                self._builder.release(generator)
                generator = following
                if len(waiting) > Executor.ahead:
                    self._fetch(waiting.popleft())
            self._builder.release(moments)
        for task in (*waiting, generator):
            self._fetch(task)

    def _prune(self, segments: Sequence[_Segment], inputs: Sequence[int]) -> None:
        """The sweep of both models, which waits for what is solved: later layers are corrected on what it leaves."""
        walks = [list(inputs), list(inputs)]
        self._run(walks[0], segments[0], self._kept[0])
        for at, segment in enumerate(segments):
            current = self._send(self._weights(segment))
            self._run(walks[1], segment, current)
            self._builder.release(current)
            if segment.has_branch:
                self._fetch(
                    self._task("available_branch", (self._skeleton, walks[0][0], walks[1][0]), made=100, shard=0)
                )
            moments = self._moments(segment, walks)
            if at + 1 < len(segments):  # the dense model goes on while layers are solved
                self._run(walks[0], segments[at + 1], self._kept[at + 1])
            solved = [self._solve(moments, rows, columns) for rows, columns in segment.layers]
            self._builder.release(moments)
            for task in solved:
                self._fetch(task)

    def _solve(self, moments: int, rows: int, columns: int) -> int:
        """A layer as one task, or the rows of a wide one as several, as `begin_solving_rows` sends them."""
        weight, seconds = FLOAT * rows * columns, self._rates.solve * rows * columns**2
        parts = blocks_of_tasks((1, rows, columns), self._cores)
        if len(parts) < 2:
            return self._task("solve_layer", (moments,), sent=weight, made=weight, seconds=seconds)
        work, sent = SolveWork(rows, columns), list[int]()

        def task(
            label: str, needs: tuple[int, ...], made: int, share: float, *, sent_with: int = 0, place: int = -1
        ) -> int:
            took = share * seconds / work.all
            serial = took if label.endswith("_round") else 0.0  # a choice over all rows, on one core
            sent.append(
                self._task(label, needs, sent=sent_with, made=made, seconds=took - serial, serial=serial, place=place)
            )
            return sent[-1]

        def spread(label: str, needs: Sequence[tuple[int, ...]], size: int, share: float) -> list[int]:
            return [
                task(label, needs[at], size * FLOAT * count * columns, share * count / rows, place=first + at)
                for at, count in enumerate(counts)
            ]

        self._layers_spread += 1
        first = SPREAD_EVERY * self._layers_spread
        counts = [blocks[-1].stop - blocks[0].start for blocks in parts]
        layer = task("set_up_wide_layer", (moments,), work.layer_bytes, work.set_up, sent_with=weight)
        starts = spread("rows_of_layer", [(layer,)] * len(parts), 4, 0.0)
        of_round = begun = task("first_round", (layer,), rows * columns // 8, work.choice)
        rounds = [of_round]
        shifted: list[int] = []
        for begins in work.rounds:
            if begins:
                begun = of_round
                penalised = task("penalised_hessian", (layer, of_round), FLOAT * columns**2, work.penalty)
            before = [(start, *shifted[at : at + 1]) for at, start in enumerate(starts)]
            shifted = spread("steps_of_rows", [(*needs, of_round, penalised) for needs in before], 1, work.round)
            needs = (layer, of_round, begun, *shifted)
            of_round = task("next_round", needs, rows * columns // 8, work.choice)
            rounds.append(of_round)
        system = task("refit_system", (layer,), FLOAT * columns**2, 0.0)
        last = [(start, at_end, of_round, system) for start, at_end in zip(starts, shifted, strict=True)]
        refits = spread("refitted_rows", last, 2, work.refit)
        joined = task("joined_rows", (layer, *rounds, *refits), weight, 0.0)
        for number in sent[:-1]:
            self._builder.release(number)
        return joined

    def _run(self, walk: list[int], segment: _Segment, model: int) -> None:
        """A segment over all shards; what was there before is let go, but for the inputs, which all begin with."""
        work, held = self._rates.run * segment.multiply_adds(self._shape) * TOKENS, FLOAT * segment.held * TOKENS
        for shard, count in enumerate(self._sizes):
            before = walk[shard]
            walk[shard] = self._task(
                "run_segment", (before, model), made=held * count, seconds=work * count, shard=shard
            )
            if self._builder.tasks[before].label != "open_shard":
                self._builder.release(before)

    def _moments(self, segment: _Segment, walks: Sequence[Sequence[int]]) -> int:
        """The sum over all shards of the moments of what a segment's layers read."""
        squared = segment.columns**2
        at_outputs = len(walks) > 1 and segment.has_few_outputs
        more = (self._send(FLOAT * math.prod(segment.layers[0])),) if at_outputs else ()
        share, size = min(1.0, _most_rows(segment.columns) / self._tokens), SUM_BYTES * squared
        sums = 1 if at_outputs else len(walks)

        def leaves() -> Iterator[int]:
            for shard, count in enumerate(self._sizes):
                rows = share * count * TOKENS
                made = min(size, math.ceil(FLOAT * rows * segment.columns * len(walks)))
                needs = (self._skeleton, *(walk[shard] for walk in walks), *more)
                seconds = sums * self._rates.moments * rows * squared
                yield self._task("shard_moments", needs, made=made, seconds=seconds, shard=shard)

        def joined(one: int, other: int) -> int:
            both = self._task(JOINED, (one, other), made=size, seconds=self._rates.join * squared)
            self._builder.release(one)
            self._builder.release(other)
            return both

        total = fold(joined, leaves())
        moments = self._task("of_layer", (total,), made=size)
        for task in (total, *more):
            self._builder.release(task)
        return moments

    def _weights(self, segment: _Segment) -> int:
        return FLOAT * segment.weights() if segment.runs else self._table

    def _send(self, size: int) -> int:
        return self._task("as_is", sent=size, made=size)

    def _fetch(self, task: int) -> None:
        self._builder.wait(task)
        self._builder.release(task)

    def _task(
        self, label: str, needs: tuple[int, ...] = (), *, sent: int = 0, made: int, seconds: float = 0.0,
        shard: int | None = None, serial: float = 0.0, place: int = -1,
    ) -> int:  # fmt: skip
        place = place if shard is None else shard
        return self._builder.submit(Task(label, needs, sent, seconds, made, shard=shard, serial=serial, place=place))


def _most_rows(columns: int) -> int:
    """Rows that are drawn of a layer's input, at most: see `Calibration.most_rows`."""
    return max(Calibration.rows_per_column * columns, min(MOST_ROWS, Calibration.max_elements // columns))
