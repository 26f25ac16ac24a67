"""Walk through a model segment by segment, carrying the live values from cut to cut.

A segment runs from the inputs of one set of layers to the inputs of the next, so every layer's input is seen once,
already behind all that was pruned before it, and no node runs twice in a walk.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import bodies, label
from netsurgeon.passes.layers import expose, exposed_name
from netsurgeon.pipeline.calibration.extractor import Extractor, used_values
from netsurgeon.pipeline.calibration.store import Memory, Store
from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import Feed, Runtime, Session

_KEPT = "positions that count"
"""Under which name a walk stores what its mask keeps."""
T = TypeVar("T")
K = TypeVar("K")


@dataclasses.dataclass(frozen=True)
class Segment:
    """A set of nodes that runs at once.

    Attributes:
        layers: names of the layers whose input is there when the segment has run.
        inputs: values that enter it.
        outputs: values it makes that later segments or `layers` need.
        expired: values nobody needs any more once it has run and its layers have been looked at.
        exposed: those of its outputs that show what enters layers in bodies.
    """

    layers: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    expired: tuple[str, ...]
    exposed: tuple[str, ...] = ()


def cut(
    graph: ir.Graph, layers: Iterable[ir.Node], also_capture: Mapping[ir.Node, ir.Value] | None = None
) -> list[Segment]:
    """Cut a graph right before its layers: layers at the same depth share a segment.

    What depends on no graph input is recomputed where it is used, and a layer that does is in no segment; what feeds no
    layer is not run at all. An If or Loop with layers in its bodies is run by the segments of those layers to show what
    enters them, one after the other as they lie in the body, and behind them once more to go on.

    Args:
        graph: to be cut.
        layers: the nodes.
        also_capture: for some of them a value further up that is looked at together with their input.
    """
    layer_nodes = set(layers)
    stages = {node: _stages(node, layer_nodes) for node in graph}
    levels = _levels(graph, stages)[1]
    # A layer whose input is constant is in no segment; the levels are then counted again over the others alone.
    stages = {node: at for node, at in stages.items() if at and any(value in levels for value in used_values(node))}
    level, levels = _levels(graph, stages)
    first = {node: at - max(stages.get(node, {}).values(), default=0) for node, at in level.items()}
    looked_at = {inner: first[node] + at - 1 for node, inside in stages.items() for inner, at in inside.items()}
    count = max((level[node] for node in stages), default=0)
    entering: list[set[str]] = [set() for _ in range(count)]
    observed: list[set[str]] = [set() for _ in range(count)]
    for node in graph:
        # Layers in its bodies are looked at by running it, from `first` on; a layer of the graph runs once.
        runs = range(level[node] if node in layer_nodes else first[node], min(level[node] + 1, count))
        for value in (value for value in used_values(node) if value in levels):
            for at in (at for at in runs if levels[value] < at):
                entering[at].add(_name(value))
            if node in looked_at:
                observed[looked_at[node]].add(_name(value))
        if node in looked_at and also_capture is not None and (further := also_capture.get(node)) in levels:
            observed[looked_at[node]].add(_name(further))
    exposed = {exposed_name(node): at for node, at in looked_at.items() if node not in stages}
    for name, at in exposed.items():
        observed[at].add(name)
    born = {value.name: at for value, at in levels.items() if value.name} | exposed  # outputs left out have none
    # Segments are visited in order, so what is written last is the last segment that needs a value.
    last_use = {name: at for at in range(count) for name in entering[at] | observed[at]}
    seen, made = _by_segment(looked_at, count), _by_segment({name: born[name] for name in last_use}, count)
    expired, shown = _by_segment(last_use, count), _by_segment(exposed, count)
    return [
        Segment(
            tuple(label(node) for node in seen[at]),
            tuple(sorted(entering[at])),
            tuple(sorted(made[at])),
            tuple(sorted(expired[at])),
            tuple(shown[at]),
        )
        for at in range(count)
    ]


def _by_segment(segment_of: Mapping[K, int], count: int) -> list[list[K]]:
    """What each of so many segments has, in order."""
    result: list[list[K]] = [[] for _ in range(count)]
    for item, at in segment_of.items():
        if 0 <= at < count:  # inputs of the graph are made by no segment
            result[at].append(item)
    return result


Stages = dict[ir.Node, int]
"""Layers that are looked at before a node may run, itself or those in its bodies, and how many segments that takes."""


def _stages(node: ir.Node, layers: set[ir.Node]) -> Stages:
    if node in layers:
        return {node: 1}
    stages: Stages = {}
    for body in bodies(node):
        if layers.isdisjoint(body):
            continue
        depth: dict[ir.Value, int] = {}
        for inner in body:
            stage = max((depth.get(value, 0) for value in used_values(inner)), default=0) + (inner in layers)
            depth.update(dict.fromkeys(inner.outputs, stage))
            if inner in layers:
                stages[inner] = stage
    return stages


def _levels(graph: ir.Graph, stages: Mapping[ir.Node, Stages]) -> tuple[dict[ir.Node, int], dict[ir.Value, int]]:
    """Segment in which each node runs, and in which each value that depends on an input is made (inputs: -1)."""
    level_of: dict[ir.Value, int] = dict.fromkeys(graph.inputs, -1)
    level: dict[ir.Node, int] = {}
    for node in graph:
        depths = [level_of[value] for value in used_values(node) if value in level_of]
        level[node] = max(0, *depths, 0) + max(stages.get(node, {}).values(), default=0)
        if depths:
            level_of.update(dict.fromkeys(node.outputs, level[node]))
    return level, level_of


def _name(value: ir.Value) -> str:
    if not value.name:
        raise InputError("the model has a value without a name: run it through onnx.checker")
    return value.name


class Walk:
    """One model on its way through the segments; `model` may be pruned between two segments.

    `mask` says which positions of the feeds count. Live values stay in `memory` as long as it has room, else on disk.

    Use as a context manager: the live values go with it.
    """

    def __init__(
        self,
        model: ir.Model,
        segments: Sequence[Segment],
        feeds: Iterable[Feed],
        runtime: Runtime,
        mask: PositionMask | None = None,
        memory: Memory | None = None,
    ):
        self.model, self.segments, self.runtime = model, segments, runtime
        self._extractor = Extractor(model.graph)
        self.store = Store(memory)
        self.batches = 0
        used = {name for segment in segments for name in segment.expired}
        try:
            for feed in feeds:
                for name in feed.keys() & used:
                    self.store.put(name, self.batches, feed[name])
                if mask is not None:
                    self.store.put(_KEPT, self.batches, mask.kept(feed))
                self.batches += 1
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> Walk:
        """Enter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the live values go."""
        self.store.close()

    def run(self, at: int, tick: Callable[[], None] = lambda: None) -> None:
        """Run segment `at` over all batches, with a tick before each, and keep what it makes."""
        segment = self.segments[at]
        if not segment.outputs:
            return
        session: Session | None = None
        numbers = range(self.batches)
        entering = functools.partial(self._entering, segment)
        feeds = prefetch(entering, self.batches) if self.store.reads(segment.inputs) else map(entering, numbers)
        for batch, feed in enumerate(feeds):
            tick()
            session = session or self._session(segment, feed)
            for name, value in session.run(feed).items():
                self.store.put(name, batch, value)

    def _entering(self, segment: Segment, batch: int) -> Feed:
        return {name: self.store.get(name, batch) for name in segment.inputs}

    def holds(self, name: str) -> bool:
        """Whether a value has been made and is still needed."""
        return name in self.store

    def value(self, name: str, batch: int) -> Any:
        """A value that is there after `run`."""
        return self.store.get(name, batch)

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Its shape."""
        return self.store.shape(name, batch)

    def kept(self, batch: int) -> npt.NDArray[np.bool_]:
        """Which positions of a batch count, (samples, positions); there is none without a mask."""
        positions: npt.NDArray[np.bool_] = self.store.get(_KEPT, batch)
        return positions

    def release(self, at: int) -> None:
        """Forget what nobody needs after segment `at`."""
        self.store.drop(self.segments[at].expired, self.batches)

    def _session(self, segment: Segment, feed: Feed) -> Session:
        return self.runtime.session(segment_model(self.model, self._extractor, segment, feed))


def segment_model(model: ir.Model, extractor: Extractor, segment: Segment, feed: Feed) -> ir.Model:
    """A segment of a model as a model of its own, with inputs of the types that a feed has, where it has them."""
    if segment.exposed:
        extractor = Extractor(expose(model, segment.exposed).graph)
    graph = extractor.extract(segment.inputs, segment.outputs, feed)
    return ir.Model(graph, ir_version=model.ir_version)


def prefetch(make: Callable[[int], T], count: int) -> Iterator[T]:
    """``make(0)``, ``make(1)``, …, each made while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(make, 0) if count else None
        for following in range(1, count + 1):
            assert waiting is not None
            outputs = waiting.result()
            waiting = pool.submit(make, following) if following < count else None
            yield outputs
