"""Shards whose values lie on workers: each step makes new values from those before, so that a lost one is made anew.

What a shard's tasks make stays on one worker, the next shard's on the next one: its activations are large.
What a worker needs travels as an argument: the inputs of a shard, the dense model without its weights, of which it
reads the layers, and the nodes and weights of one segment at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.pipeline.calibration.extractor import Extractor
from netsurgeon.pipeline.calibration.segments import Segment, segment_model
from netsurgeon.pipeline.calibration.sent_model import SentModel
from netsurgeon.pipeline.calibration.shards import cut_into_shards, feed_size
from netsurgeon.pipeline.data import PositionMask, Samples
from netsurgeon.pipeline.execution import Executor, Pending
from netsurgeon.pipeline.runtime import Feed, Runtime, Session

SESSIONS = 2
"""That a worker keeps, and models whose layers it knows: the dense one's and the current one's."""
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class RemotePart:
    """The values of a walk on a shard, on a worker; never changed.

    Attributes:
        numbers: of the batches among all.
        values: by name, of each batch in order.
        masks: which positions count, of each batch; empty without a mask.
    """

    numbers: range
    values: Mapping[str, Sequence[Any]]
    masks: Sequence[npt.NDArray[np.bool_]] = ()

    def holds(self, name: str) -> bool:
        """Whether a value has been made and is still needed."""
        return name in self.values

    def value(self, name: str, batch: int) -> Any:
        """A value by its name and the number of the batch."""
        return self.values[name][batch - self.numbers.start]

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Its shape."""
        return np.shape(self.value(name, batch))

    def kept(self, batch: int) -> npt.NDArray[np.bool_]:
        """Which positions of a batch count."""
        return self.masks[batch - self.numbers.start]


class RemoteShards:
    """Shards on the workers of an executor; this process reads the inputs once, and sends each shard once."""

    def __init__(self, dense: ir.Model, samples: Samples, runtime: Runtime, executor: Executor):
        self._samples, self.runtime, self.executor = samples, runtime, executor
        self._dense = dense
        skeleton = SentModel.skeleton(dense)
        self._skeleton = executor.send(skeleton, skeleton.key)
        self.first: list[Pending[RemotePart]] = []
        self.sweep = uuid.uuid4().hex
        self.ranges: list[range] = []

    def walk(self, model: ir.Model, segments: Sequence[Segment]) -> RemoteWalk:
        """Begin a walk."""
        if not self.first:
            sent = self.executor.remember(self._samples, self._send)
            self.ranges, self.first = [numbers for numbers, _ in sent], [part for _, part in sent]
        is_kept = model is self._dense  # each sweep runs its segments again
        return RemoteWalk(self, model, segments, is_kept=is_kept)

    def _send(self) -> list[tuple[range, Pending[RemotePart]]]:
        """The inputs, each shard once."""
        sent: list[tuple[range, Pending[RemotePart]]] = []
        for numbers, feeds in _in_shards(self._samples.batches()):
            call = (numbers, feeds, self._samples.mask)
            (part,) = self.executor.submit_all(open_shard, [call], places=[len(sent)])
            sent.append((numbers, part))
        return sent

    def submit(
        self,
        numbers: Iterable[int],
        function: Callable[..., Result],
        layer: Layer,
        walks: Sequence[RemoteWalk],
        *more: Any,
    ) -> list[Pending[Result]]:
        """Call a function for some shards, each where it is."""
        call = functools.partial(call_with_layer, function, len(walks))
        places = list(numbers)
        calls = ([layer.name, self._skeleton, *(walk.parts[at] for walk in walks), *more] for at in places)
        return self.executor.submit_all(call, calls, about=layer.name, peers=self.sweep, places=places)


class RemoteWalk:
    """One model on its way through the segments, on workers; see `Walk`."""

    def __init__(self, shards: RemoteShards, model: ir.Model, segments: Sequence[Segment], *, is_kept: bool):
        self.model, self.segments, self.parts = model, segments, list(shards.first)
        self._shards, self._is_kept = shards, is_kept
        self._extractor = Extractor(model.graph)
        self._expired: list[str] = []

    def __enter__(self) -> RemoteWalk:
        """Enter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the values go."""
        self.parts.clear()

    def run(self, at: int, tick: Callable[[], None]) -> None:
        """Let all shards run segment `at`; how far they are is told when their values are asked for."""
        del tick
        segment = self.segments[at]
        if not segment.outputs:
            return
        model = SentModel.of(segment_model(self.model, self._extractor, segment, {}), is_known=self._is_kept)
        sent = self._shards.executor.send(model, model.key if self._is_kept else None)
        expired, self._expired = tuple(self._expired), []
        values, about = (sent, self._shards.runtime, segment.inputs, expired), ", ".join(segment.layers)
        calls = ([part, *values] for part in self.parts)
        places, submit_all = range(len(self.parts)), self._shards.executor.submit_all
        self.parts = submit_all(run_segment, calls, about=about, peers=self._shards.sweep, places=places)

    def release(self, at: int) -> None:
        """Forget what nobody needs after segment `at`, as soon as the next one runs."""
        self._expired += self.segments[at].expired


def open_shard(numbers: range, feeds: Sequence[Feed], mask: PositionMask | None) -> RemotePart:
    """The inputs of a shard as its first values."""
    values = {name: [feed[name] for feed in feeds] for name in feeds[0]}
    return RemotePart(numbers, values, [] if mask is None else [mask.kept(feed) for feed in feeds])


def run_segment(
    part: RemotePart, model: SentModel, runtime: Runtime, inputs: Sequence[str], expired: Sequence[str]
) -> RemotePart:
    """The values of a shard with those that a segment makes, and without those that are needed no more."""
    first = {name: part.values[name][0] for name in inputs}
    types = tuple((name, value.dtype) for name, value in first.items() if isinstance(value, np.ndarray))
    session = _session(model, types, runtime)
    made: dict[str, list[Any]] = {}
    for batch in part.numbers:
        for name, value in session.run({name: part.value(name, batch) for name in inputs}).items():
            made.setdefault(name, []).append(value)
    left = {name: values for name, values in part.values.items() if name not in expired}
    return RemotePart(part.numbers, {**left, **made}, part.masks)


def call_with_layer(
    function: Callable[..., Result], count: int, layer: str, skeleton: SentModel, *arguments: Any
) -> Result:
    """Call a function with a layer of the dense model, by name, so many parts of a shard, and what else it needs."""
    return function(_layers(skeleton)[layer], arguments[:count], *arguments[count:])


@functools.lru_cache(SESSIONS)
def _session(sent: SentModel, types: tuple[tuple[str, np.dtype[Any]], ...], runtime: Runtime) -> Session:
    """A segment, whose inputs get the types of the values that enter it."""
    model = sent.model()
    inputs = {value.name: value for value in model.graph.inputs}
    for name, dtype in types:
        inputs[name].type = ir.TensorType(ir.DataType.from_numpy(dtype))
    return runtime.session(model)


@functools.lru_cache(SESSIONS)
def _layers(skeleton: SentModel) -> dict[str, Layer]:
    return {layer.name: layer for layer in find_layers(skeleton.model().graph)[0]}


def _in_shards(feeds: Iterator[Feed]) -> Iterator[tuple[range, list[Feed]]]:
    """The feeds of each shard, which are held until it is whole."""
    waiting: list[Feed] = []

    def sizes() -> Iterator[int]:
        for feed in feeds:
            waiting.append(feed)
            yield feed_size(feed)

    for numbers in cut_into_shards(sizes()):
        yield numbers, waiting[: len(numbers)]
        del waiting[: len(numbers)]
