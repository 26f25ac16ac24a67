"""Shards whose values lie on workers: each step makes new values from those before, so that a lost one is made anew.

What a worker needs travels as an argument: the inputs of a shard, the dense model, of which it reads the layers, and
the nodes and weights of one segment at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.pipeline.calibration.extractor import Extractor
from netsurgeon.pipeline.calibration.segments import Segment, segment_model
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
        self._samples, self._runtime, self._executor = samples, runtime, executor
        self._dense = executor.submit(as_is, _serialized(dense))
        self._first: list[Pending[RemotePart]] = []
        self.ranges: list[range] = []

    def walk(self, model: ir.Model, segments: Sequence[Segment]) -> RemoteWalk:
        """Begin a walk."""
        if not self._first:
            for numbers, feeds in _in_shards(self._samples.batches()):
                self.ranges.append(numbers)
                self._first.append(self._executor.submit(open_shard, numbers, feeds, self._samples.mask))
        return RemoteWalk(model, segments, self._first, self._runtime, self._executor)

    def submit(
        self, at: int, function: Callable[..., Result], layer: Layer, walks: Sequence[RemoteWalk], *arguments: Any
    ) -> Pending[Result]:
        """Call a function where the shard is."""
        parts = [walk.parts[at] for walk in walks]
        call = functools.partial(call_with_layer, function)
        return self._executor.submit(call, layer.name, self._dense, arguments, *parts, about=layer.name)


class RemoteWalk:
    """One model on its way through the segments, on workers; see `Walk`."""

    def __init__(
        self,
        model: ir.Model,
        segments: Sequence[Segment],
        parts: Sequence[Pending[RemotePart]],
        runtime: Runtime,
        executor: Executor,
    ):
        self.model, self.segments, self.parts = model, segments, list(parts)
        self._runtime, self._executor = runtime, executor
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
        feed = self._executor.submit(example_of, self.parts[0], segment.inputs).result()
        model = segment_model(self.model, self._extractor, segment, feed)
        data = self._executor.submit(as_is, _serialized(model))
        expired, self._expired = tuple(self._expired), []
        submit = functools.partial(self._executor.submit, run_segment, about=", ".join(segment.layers))
        self.parts = [submit(part, data, self._runtime, segment.inputs, expired) for part in self.parts]

    def release(self, at: int) -> None:
        """Forget what nobody needs after segment `at`, as soon as the next one runs."""
        self._expired += self.segments[at].expired


def as_is(value: Result) -> Result:
    """What is sent once, for many tasks."""
    return value


def open_shard(numbers: range, feeds: Sequence[Feed], mask: PositionMask | None) -> RemotePart:
    """The inputs of a shard as its first values."""
    values = {name: [feed[name] for feed in feeds] for name in feeds[0]}
    return RemotePart(numbers, values, [] if mask is None else [mask.kept(feed) for feed in feeds])


def example_of(part: RemotePart, names: Sequence[str]) -> Feed:
    """What tells the types of values: of each an empty array, or what is no array."""
    first = {name: part.values[name][0] for name in names}
    return {name: np.empty(0, value.dtype) if isinstance(value, np.ndarray) else value for name, value in first.items()}


def run_segment(
    part: RemotePart, model: bytes, runtime: Runtime, inputs: Sequence[str], expired: Sequence[str]
) -> RemotePart:
    """The values of a shard with those that a segment makes, and without those that are needed no more."""
    session = _session(model, runtime)
    made: dict[str, list[Any]] = {}
    for batch in part.numbers:
        for name, value in session.run({name: part.value(name, batch) for name in inputs}).items():
            made.setdefault(name, []).append(value)
    left = {name: values for name, values in part.values.items() if name not in expired}
    return RemotePart(part.numbers, {**left, **made}, part.masks)


def call_with_layer(
    function: Callable[..., Result], layer: str, dense: bytes, arguments: Sequence[Any], *parts: RemotePart
) -> Result:
    """Call a function with a layer of the dense model, by name, and parts of a shard."""
    return function(_layers(dense)[layer], parts, *arguments)


@functools.lru_cache(SESSIONS)
def _session(model: bytes, runtime: Runtime) -> Session:
    return runtime.session(_model(model))


@functools.lru_cache(SESSIONS)
def _layers(model: bytes) -> dict[str, Layer]:
    return {layer.name: layer for layer in find_layers(_model(model).graph)[0]}


def _model(data: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_model_from_string(data))


def _serialized(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


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
