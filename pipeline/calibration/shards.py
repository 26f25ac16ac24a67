"""The calibration inputs cut into shards by a rule that knows of no workers, and the shards of this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.layers import Layer
from netsurgeon.pipeline.calibration.row_moments import Part
from netsurgeon.pipeline.calibration.segments import Segment, Walk
from netsurgeon.pipeline.calibration.store import Memory
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.execution import InProcess, Pending
from netsurgeon.pipeline.runtime import Feed, Runtime, is_large

SHARD_BYTES = 40 << 20
"""Of inputs in a shard, at most: 64 pictures of 224 pixels, 3,400 of 32. Fewer rows are not worth a sum of moments."""
TOKEN_BYTES = 2048
"""That a token counts as: it stands for a row of a table, of 512 numbers."""
INDICES = (np.dtype(np.int32), np.dtype(np.int64))
"""Types by which rows of tables are looked up."""
Result = TypeVar("Result")


class Walker(Protocol):
    """A model on its way through the segments, over all shards; see `Walk`."""

    def run(self, at: int, tick: Callable[[], None]) -> None:
        """Run segment `at` over all batches."""

    def release(self, at: int) -> None:
        """Forget what nobody needs after segment `at`."""


class Shards(Protocol):
    """The calibration inputs of one sweep, in shards that lie somewhere."""

    def walk(self, model: ir.Model, segments: Sequence[Segment]) -> AbstractContextManager[Walker]:
        """Begin a walk of the dense model, or of one with its layers."""

    @property
    def ranges(self) -> Sequence[range]:
        """Numbers of the batches of each shard; there once a walk has begun."""

    def submit(
        self, numbers: Iterable[int], function: Callable[..., Result], layer: Layer, walks: Sequence[Any], *more: Any
    ) -> list[Pending[Result]]:
        """Call a function for some shards, with a layer, the parts of walks on the shard, and what else it needs."""


def feed_size(feed: Feed) -> int:
    """What an input counts as in a shard, in bytes: numbers as they are, as float32 at least, and tokens once.

    Several inputs of integers that can be looked up, such as a mask beside the tokens, tell of the same positions.
    """
    arrays = [array for array in feed.values() if isinstance(array, np.ndarray)]
    tokens = max((array.size for array in arrays if array.dtype in INDICES), default=0)
    numbers = (array.size * max(array.itemsize, 4) for array in arrays if array.dtype not in INDICES)
    return TOKEN_BYTES * tokens + sum(numbers)


def cut_into_shards(sizes: Iterable[int]) -> Iterator[range]:
    """Numbers of the batches of each shard, of one or more, in order: as many as fit.

    Args:
        sizes: of the batches, see `feed_size`; a shard is there as soon as the next one begins.
    """
    start = count = filled = 0
    for size in sizes:
        if count > start and filled + size > SHARD_BYTES:
            yield range(start, count)
            start, filled = count, 0
        count, filled = count + 1, filled + size
    if count:
        yield range(start, count)


@dataclasses.dataclass(frozen=True)
class LocalPart:
    """The values of a walk of this process on a shard."""

    walk: Walk
    numbers: range

    def holds(self, name: str) -> bool:
        """Whether a value has been made and is still needed."""
        return self.walk.holds(name)

    def value(self, name: str, batch: int) -> Any:
        """A value by its name and the number of the batch."""
        return self.walk.value(name, batch)

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Its shape."""
        return self.walk.shape(name, batch)

    def kept(self, batch: int) -> npt.NDArray[np.bool_]:
        """Which positions of a batch count."""
        return self.walk.kept(batch)


class LocalShards:
    """Shards whose walks are in this process, with their values in its memory, or on disk beside a large model."""

    def __init__(self, dense: ir.Model, samples: Samples, runtime: Runtime):
        self._samples, self._runtime = samples, runtime
        self._memory = Memory(0) if is_large(dense) else Memory.of_machine()
        self._executor = InProcess()
        self.ranges: list[range] = []

    def walk(self, model: ir.Model, segments: Sequence[Segment]) -> Walk:
        """Begin a walk."""
        sizes: list[int] = []
        feeds, mask = _measured(self._samples.batches(), sizes), self._samples.mask
        walk = Walk(model, segments, feeds, self._runtime, mask=mask, memory=self._memory)
        self.ranges = list(cut_into_shards(sizes))
        return walk

    def submit(
        self, numbers: Iterable[int], function: Callable[..., Result], layer: Layer, walks: Sequence[Walk], *more: Any
    ) -> list[Pending[Result]]:
        """Call a function for some shards, each when its result is asked for."""

        def parts(at: int) -> list[Part]:
            return [LocalPart(walk, self.ranges[at]) for walk in walks]

        return self._executor.submit_all(function, ([layer, parts(at), *more] for at in numbers))


def _measured(feeds: Iterable[Feed], sizes: list[int]) -> Iterator[Feed]:
    for feed in feeds:
        sizes.append(feed_size(feed))
        yield feed
