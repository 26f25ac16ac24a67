"""The samples of a source, as batches for ONNX Runtime.

Whatever the source, it is seen as *parts* (one mapping of arrays, one file, one feed) that hold samples. A plan of
batches is made from the parts' shapes alone; contents are read when a batch is asked for, cast to the model's types
and checked to be finite. `matching` says how arrays are read against the model's inputs.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.matching import Array, Feed, Labels, are_classes, as_bytes, cast
from netsurgeon.pipeline.data.opened import Indices, OpenedData
from netsurgeon.pipeline.data.position_mask import PositionMask
from netsurgeon.pipeline.data.shortened import shortened
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.progress import Ticks, no_ticks


class Samples:
    """Inputs of a model in a fixed order, read lazily and as often as wanted; made by `open_samples`.

    The order is that of the feeds: where shapes vary, samples of one shape share feeds, wherever they lie.

    Attributes:
        specs: the model's inputs.
        count: the number of samples.
        labels: what stands beside the inputs, a row a sample, or None; both samples of a pair have its label.
        is_paired: whether samples 2 i and 2 i + 1 of the source are a pair; they are drawn together.
        batched: True when axis 0 of a feed enumerates its samples, False when a feed is one sample.
        warnings: what was left out and why.
        notes: how the samples are run.
        class_names: the names of the classes, for pictures in class folders.
    """

    def __init__(
        self,
        opened: OpenedData,
        specs: Sequence[InputSpec],
        indices: Indices,
        batch_size: int | None,
        mirror_axis: int | None = None,
    ) -> None:
        self._opened = opened
        self._batch_size = batch_size = opened.fitting_batch if batch_size is None else batch_size
        self._mirror_axis = mirror_axis
        self._plan = opened.plan(indices, batch_size)
        self._indices = np.concatenate(self._plan)
        self._fixed_batch = opened.parts[0].batch
        self.specs = tuple(specs)
        self.count = len(self._indices)
        self.labels = opened.labels_of(self._indices)
        self.is_paired = opened.pairs_of(self._indices) is not None
        self.batched = opened.parts[0].batched
        self.warnings = opened.warnings
        self.notes: tuple[Message, ...] = ()
        self.class_names = opened.class_names
        if dropped := len(indices) - self.count:
            text = f"{dropped} of {len(indices)} samples dropped: the model's batch is fixed to {self._fixed_batch}"
            self.warnings += (Message(text, "samples-dropped", dropped=dropped, samples=len(indices)),)

    def batches(self) -> Iterator[Feed]:
        """Feeds for ONNX Runtime, of the model's types.

        Raises:
            InputError: the source cannot be read, changed since it was opened, or holds NaN or Inf.
        """
        for feed in self._given():
            yield feed
            if self._mirror_axis is not None:
                yield {name: np.ascontiguousarray(np.flip(array, self._mirror_axis)) for name, array in feed.items()}

    def mirrored(self, axis: int) -> "Samples":
        """The same samples, each feed followed by its mirror image along an axis; for pictures.

        `count`, `labels` and `digest` stay those of the samples themselves.
        """
        return Samples(self._opened, self.specs, self._indices, self._batch_size, axis)

    def unmirrored(self) -> "Samples":
        """The same samples without mirror images."""
        return Samples(self._opened, self.specs, self._indices, self._batch_size)

    @property
    def batch_size(self) -> int:
        """Samples a feed, at most, where the model leaves it open."""
        return self._batch_size

    def in_feeds_of(self, most: int) -> "Samples":
        """The same samples in feeds of so many, at most, where the model leaves it open."""
        size = min(self._batch_size, most)
        return Samples(self._opened, self.specs, self._indices, size, self._mirror_axis)

    @property
    def mask(self) -> PositionMask | None:
        """Which positions count of what is fed; None = all."""
        return self._opened.mask

    def counting(self, mask: PositionMask) -> "Samples":
        """The same samples, of which only positions count that a mask keeps."""
        opened = replace(self._opened, mask=mask)
        result = Samples(opened, self.specs, self._indices[self.order], self._batch_size, self._mirror_axis)
        result.warnings, result.notes = self.warnings, self.notes
        return result

    @property
    def order(self) -> Indices:
        """Places of the samples (0 to count - 1) in the order that the source has them in, (count,)."""
        return np.argsort(self._indices, kind="stable")

    @cached_property
    def is_ragged(self) -> bool:
        """Whether the shapes of samples differ: feeds of one shape then follow those of another."""
        return len(self._opened.shapes(self._indices)) > 1

    def end_parts(self) -> Iterator["Samples"]:
        """The samples of the first feed; where shapes differ, of feeds that have the ends of every input's every axis.

        The shortest and the longest feed alone would not do: one token behind a long cache is larger than a sentence.
        """
        ends = {0}
        if self.is_ragged:
            extents: dict[tuple[str, int], list[tuple[int, int]]] = {}
            for number, indices in enumerate(self._plan):
                for name, shape in self._opened.locate(int(indices[0]))[0].row_shapes:
                    for axis, extent in enumerate(shape):
                        extents.setdefault((name, axis), []).append((extent, number))
            ends |= {end(of_axis)[1] for of_axis in extents.values() for end in (min, max)}
        for number in sorted(ends):
            yield Samples(self._opened, self.specs, self._plan[number], self._batch_size)

    def alike(self) -> "Samples":
        """Those of the shape that most samples have; all where there is one shape."""
        if not self.is_ragged:
            return self
        by_shape: dict[object, list[Indices]] = {}
        for indices in self._plan:
            by_shape.setdefault(self._opened.locate(int(indices[0]))[0].row_shapes, []).append(indices)
        most = max(by_shape.values(), key=lambda feeds: sum(map(len, feeds)))
        return Samples(self._opened, self.specs, np.concatenate(most), self._batch_size, self._mirror_axis)

    def typical(self, least: int = 1) -> Feed:
        """A feed of median length that holds so many samples, if one does; the first where all are of one shape."""
        size = max(self._batch_size, least)
        full = Samples(self._opened, self.specs, self._indices, size)
        return next(Samples(self._opened, self.specs, full._plan[full._typical(least)], size).batches())

    def few(self, count: int, rng: np.random.Generator) -> Feed:
        """A feed of so many random samples; where shapes differ of those of median length, or fewer."""
        if not self.is_ragged:
            return next(self.subset(min(count, self.count), rng).batches())
        indices = self._plan[self._typical(count)][: max(count, self._fixed_batch or 0)]
        return next(Samples(self._opened, self.specs, indices, self._batch_size).batches())

    def _typical(self, least: int) -> int:
        """The number of the feed of median length among those with so many samples."""
        at = 0
        if self.is_ragged:
            parts = [self._opened.locate(int(indices[0]))[0] for indices in self._plan]
            sizes = np.array([sum(math.prod(shape) for _, shape in part.row_shapes) for part in parts])
            counts = np.array([len(indices) for indices in self._plan])
            by_size = np.argsort(sizes, kind="stable")
            half = np.searchsorted(np.cumsum(counts[by_size]), counts.sum() / 2)
            distance = np.abs(sizes - sizes[by_size[half]]).astype(np.float64)
            at = int(np.argmin(np.where(counts >= min(least, counts.max()), distance, np.inf)))
        return at

    @property
    def fed(self) -> int:
        """How many inputs `batches` hold together: `count`, or with mirror images twice as many."""
        return self.count if self._mirror_axis is None else 2 * self.count

    @property
    def batch_count(self) -> int:
        """How many feeds `batches` gives."""
        return len(self._plan) if self._mirror_axis is None else 2 * len(self._plan)

    def _given(self) -> Iterator[Feed]:
        for indices, arrays in zip(self._plan, self._opened.batches(self._plan), strict=True):
            yield {spec.name: self._finish(arrays[spec.name], spec, indices) for spec in self.specs}

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The class of each sample, (count,), where that is what the labels are; else None."""
        return self.labels if not self.is_paired and are_classes(self.labels, self.count) else None

    def batch_labels(self) -> Iterator[Labels | None]:
        """The labels of each feed of `batches`, in step with it: a row a sample in the feed, or None.

        Where labels are one a position, a row is as long as the samples of the feed.
        """
        yield from map(self._opened.labels_of_feed, self._plan)

    def batch_numbers(self) -> Iterator[Indices]:
        """The numbers that the samples of each feed have in the source."""
        yield from self._plan

    def pairs_of(self, numbers: Indices) -> Indices | None:
        """The pair that each sample of such a number belongs to; None where they are no pairs."""
        return self._opened.pairs_of(numbers)

    def batch_name(self, number: int) -> str:
        """Where the samples of one of `batches` come from, for a sentence: the first and the last."""
        number = number if self._mirror_axis is None else number // 2
        first, last = (self._name(int(self._plan[number][at])) for at in (0, -1))
        return first if first == last else f"batch {number} ({first} to {last})"

    def first_of(self, places: Indices) -> str:
        """Of samples at some places (0 to count - 1) the first in the source, for a sentence."""
        return self._name(int(self._indices[places].min()))

    def take(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> "Samples":
        """The samples at `indices` (0 to count - 1), in that order, still lazy.

        Raises:
            IndexError: an index is out of range.
            InputError: fewer samples than the model's fixed batch are left.
        """
        places = np.asarray(indices, np.intp)
        if places.size and (places.min() < 0 or places.max() >= self.count):
            raise IndexError(f"indices {places.min()} to {places.max()} of {self.count} samples")
        return Samples(self._opened, self.specs, self._indices[places], self._batch_size, self._mirror_axis)

    def subset(self, count: int, rng: np.random.Generator) -> "Samples":
        """A random subset of `count` samples in the order of the source, all of them if there are fewer.

        With a fixed batch, `count` is rounded down to whole feeds, at least one.
        """
        count = max(count, self._fixed_batch or 0)
        return self if count >= self.count else self.take(self._draw(count, rng))

    def limited(self, count: int, seed: int) -> "Samples":
        """A random subset of at most `count` samples, in memory where each reading would begin at the start."""
        drawn = self.subset(count, np.random.default_rng(seed))
        return drawn._kept() if drawn._opened.is_packed or drawn._opened.is_sequential else drawn

    def kept(self, ticks: Ticks = no_ticks) -> "Samples":
        """The same samples, in memory where each reading would begin at the source's start or decode pictures anew."""
        opened = self._opened
        return self._kept(ticks) if opened.is_packed or opened.is_decoded or opened.is_sequential else self

    def _kept(self, ticks: Ticks = no_ticks) -> "Samples":
        """The same samples in memory, and in the order that this allows, if they are not too large for it."""
        opened = self._opened.keeping(self._indices, ticks)
        kept = Samples(opened, self.specs, self._indices[self.order], self._batch_size, self._mirror_axis)
        kept.warnings, kept.notes = self.warnings, self.notes
        return kept

    def shortened(self, starts: Indices, stops: Indices, axes: Mapping[str, Sequence[int]]) -> "Samples":
        """The same samples, each cut to a part of its length; those of one length share feeds.

        Args:
            starts: where each begins, (count,).
            stops: where it ends, (count,).
            axes: of a feed, by input: those along which it is cut.
        """
        kept = self._kept() if self._opened.is_packed or self._opened.is_sequential else self
        order = self.order
        opened = shortened(kept._opened, self._indices[order], starts[order], stops[order], axes)
        if kept._opened.is_packed:  # too large for memory: it is read from start to end, in the order it lies in
            opened = replace(opened, is_sequential=True)
        result = Samples(opened, self.specs, np.arange(self.count), self._batch_size, self._mirror_axis)
        result.warnings, result.notes = self.warnings, self.notes
        return result

    def split(self, fraction: float, rng: np.random.Generator) -> tuple["Samples", "Samples"]:
        """Split at random into `fraction` of the samples and the rest, both in the order of the source.

        Raises:
            InputError: one of the two would be empty.
        """
        drawn = self._draw(round(fraction * self.count), rng)
        return self.take(drawn), self.take(np.setdiff1d(np.arange(self.count), drawn))

    def digest(self) -> str:
        """The sha256 (hex) of all inputs and labels as the model gets them, whatever the batch size."""
        hashes = {spec.name: hashlib.sha256(f"{spec.name} {spec.dtype}".encode()) for spec in self.specs}
        before = None
        for indices, feed in zip(self._plan, self._given(), strict=True):
            part, _ = self._opened.locate(int(indices[0]))
            for name, array in feed.items():
                if name in part.constants:
                    samples = [] if part is before else [array]
                else:
                    samples = list(array) if part.batched else [array]
                for sample in samples:
                    hashes[name].update(repr(sample.shape).encode() + sample.tobytes())
            before = part
        whole = hashlib.sha256(b"".join(one.digest() for one in hashes.values()))
        whole.update(b"" if self.labels is None else as_bytes(self.labels) + (b"pairs" if self.is_paired else b""))
        return whole.hexdigest()

    def _draw(self, count: int, rng: np.random.Generator) -> Indices:
        """Places of `count` random samples, in order; of whole pairs, and whole feeds where the batch is fixed."""
        if self._fixed_batch and count >= self._fixed_batch:
            count -= count % self._fixed_batch
        pairs = self._opened.pairs_of(self._indices)
        if pairs is None:
            return np.sort(rng.permutation(self.count)[:count])
        drawn = rng.permutation(np.unique(pairs))[: max(count // 2, 1)]
        return np.flatnonzero(np.isin(pairs, drawn))

    def _finish(self, array: Array, spec: InputSpec, indices: Indices) -> Array:
        """Cast to the model's type, drop the axis of single samples, and check that all is finite."""
        part, _ = self._opened.locate(int(indices[0]))
        if spec.name in part.constants:
            return cast(array, spec, lambda row: part.origin)
        finished = cast(array, spec, lambda row: self._name(int(indices[row])))
        return finished if part.batched else finished.squeeze(0)

    def _name(self, index: int) -> str:
        part, row = self._opened.locate(index)
        return f"sample {part.first + row} of {part.origin}"
