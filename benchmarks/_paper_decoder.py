"""The task graph of a decoder that is too large to be run here: from its shape, and from what work took in a small one.

What a run of `compress` does to a decoder of `_decoder.py` is known: in each block there are the segments of query, key
and value, of the output projection, of gate and up, and of down, and behind all blocks that of the head; a dense sweep
measures error curves, then come sensitivities, and a sweep of the dense and the current model solves. So is how much
each of its tasks works: the run of a segment takes multiply-adds as its weights and tokens are, a sum of moments as its
rows and columns² are, a solve as rows x columns² are. What a multiply-add takes is measured, for each kind of work.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from _decoder import TOKENS, Shape
from _task_graphs import JOINED, GraphBuilder, Task, TaskGraph

from netsurgeon.pipeline.calibration.sweep import MOST_ROWS, Calibration
from netsurgeon.pipeline.execution.executors.executor import fold

SUM_BYTES = 32
"""Of a sum of moments, for each number of columns²: those of most rows and of the rows held out, in float64."""
FLOAT = 4


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds of a core for a unit of work.

    Attributes:
        run: of a multiply-add of the model.
        moments: of a row and two columns that enter a sum.
        join: of two columns of a sum that is joined.
        curve: of a row and two columns of a weight whose error curve is measured.
        solve: of the same that is solved.
        probe: of all sensitivities, for a multiply-add of the model on one token.
        start: seconds before the first sweep, for a weight.
    """

    run: float
    moments: float
    join: float
    curve: float
    solve: float
    probe: float
    start: float

    def times(self, factor: float) -> Rates:
        """All of them so many times as slow."""
        return Rates(*(factor * value for value in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class _Segment:
    """Layers that read one value, and the matrices (rows, columns) that are run before it is there.

    Attributes:
        layers: (rows, columns) of those that read it.
        runs: (rows, columns) of matrices.
        attends: whether attention is among what is run.
        held: numbers of a token that are there when it has run.
    """

    layers: tuple[tuple[int, int], ...]
    runs: tuple[tuple[int, int], ...]
    attends: bool
    held: int

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


def paper_graph(shape: Shape, sequences: int, shard: int, rates: Rates) -> TaskGraph:
    """What `compress --cluster` would do to a decoder.

    Args:
        shape: of the decoder.
        sequences: of TOKENS tokens, that calibrate.
        shard: sequences in a shard.
        rates: what work takes.
    """
    paper = _Paper(shape, sequences, shard, rates)
    segments = list(_segments(shape))
    paper.builder.compute(rates.start * shape.parameters)
    paper.sweep(segments, walks=1, rate=rates.curve)
    paper.builder.compute(rates.probe * shape.parameters)
    paper.sweep(segments, walks=2, rate=rates.solve)
    return paper.builder.built()


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
    seconds, main = graph.seconds_by_label(), graph.main_seconds_by_sweep()
    return Rates(
        run=seconds["run_segment"] / walked,
        moments=seconds["shard_moments"] / (3 * rows),
        join=seconds[JOINED] / (2 * squared * (graph.shards - 1)),
        curve=main[0][1] / solved,
        solve=main[1][1] / solved,
        probe=main[1][0] / shape.parameters,
        start=main[0][0] / shape.parameters,
    )


def _segments(shape: Shape) -> Iterator[_Segment]:
    width, inner = shape.width, shape.inner
    square, into, back = (width, width), (inner, width), (width, inner)
    for block in range(shape.layers):
        before = (back,) if block else ()
        yield _Segment((square,) * 3, before, False, 2 * width)
        yield _Segment((square,), (square,) * 3, True, 2 * width)
        yield _Segment((into,) * 2, (square,), False, 2 * width)
        yield _Segment((back,), (into,) * 2, False, width + inner)
    yield _Segment(((shape.vocabulary, width),), (back,), False, width)


class _Paper:
    """One use of `paper_graph`."""

    def __init__(self, shape: Shape, sequences: int, shard: int, rates: Rates):
        self._shape, self._rates = shape, rates
        self._sizes = [min(shard, sequences - start) for start in range(0, sequences, shard)]
        self._tokens = sequences * TOKENS
        self._embedding = FLOAT * shape.vocabulary * shape.width
        self.builder = GraphBuilder()

    def sweep(self, segments: Sequence[_Segment], *, walks: int, rate: float) -> None:
        """A sweep of so many models; what is solved is solved by the main process, for a row and two columns each."""
        size = FLOAT * self._shape.parameters
        dense = self.builder.submit(Task("as_is", (), size, 0.0, size))
        first = [
            self._task("open_shard", (), 8 * TOKENS * count, 0.0, shard) for shard, count in enumerate(self._sizes)
        ]
        parts = [list(first) for _ in range(walks)]
        for segment in segments:
            for walk in parts:
                self._run(walk, segment)
            if walks > 1:
                self._wait("available_branch", (dense, parts[0][0], parts[1][0]))
            seen = [self._task("shard_positions", (dense, part), 0, 0.0, at) for at, part in enumerate(parts[0])]
            for task in seen:
                self.builder.wait(task)
                self.builder.release(task)
            total = self._moments(dense, segment, parts)
            self.builder.wait(total)
            self.builder.release(total)
            for _ in segment.layers[1:] if walks > 1 else ():
                self._wait("available_branch", (dense, parts[0][0], parts[1][0]))
            self.builder.compute(rate * sum(rows * columns**2 for rows, columns in segment.layers))
        for task in (dense, *first, *(part for walk in parts for part in walk)):
            self.builder.release(task)

    def _run(self, walk: list[int], segment: _Segment) -> None:
        """A segment over all shards; what was there before is let go, but for the inputs, which all begin with."""
        self._wait("example_of", (walk[0],))
        size = FLOAT * segment.weights() if segment.runs else self._embedding
        model = self.builder.submit(Task("as_is", (), size, 0.0, size))
        work, held = self._rates.run * segment.multiply_adds(self._shape) * TOKENS, FLOAT * segment.held * TOKENS
        for shard, count in enumerate(self._sizes):
            before = walk[shard]
            walk[shard] = self._task("run_segment", (before, model), held * count, work * count, shard)
            if self.builder.tasks[before].label != "open_shard":
                self.builder.release(before)
        self.builder.release(model)

    def _moments(self, dense: int, segment: _Segment, parts: Sequence[Sequence[int]]) -> int:
        """The sum over all shards of the moments of what a segment's layers read."""
        squared, rates = segment.columns**2, self._rates
        share = min(1.0, _most_rows(segment.columns) / self._tokens)
        size = SUM_BYTES * squared
        join = Task(JOINED, (), 0, rates.join * squared, size)

        def leaves() -> Iterator[int]:
            for shard, count in enumerate(self._sizes):
                rows = share * count * TOKENS
                made = min(size, math.ceil(FLOAT * rows * segment.columns * len(parts)))
                needs = (dense, *(walk[shard] for walk in parts))
                yield self._task("shard_moments", needs, made, len(parts) * rates.moments * rows * squared, shard)

        def joined(one: int, other: int) -> int:
            both = self.builder.submit(dataclasses.replace(join, needs=(one, other)))
            self.builder.release(one)
            self.builder.release(other)
            return both

        return fold(joined, leaves())

    def _wait(self, label: str, needs: tuple[int, ...]) -> None:
        task = self._task(label, needs, 0, 0.0, 0)
        self.builder.wait(task)
        self.builder.release(task)

    def _task(self, label: str, needs: tuple[int, ...], made: int, seconds: float, shard: int) -> int:
        return self.builder.submit(Task(label, needs, 0 if needs else made, seconds, made, shard))


def _most_rows(columns: int) -> int:
    """Rows that are drawn of a layer's input, at most: see `Calibration.most_rows`."""
    return max(Calibration.rows_per_column * columns, min(MOST_ROWS, Calibration.max_elements // columns))
