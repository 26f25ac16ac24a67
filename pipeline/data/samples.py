"""Where a model's inputs come from: arrays, files, pictures, feeds or a function, as batches for ONNX Runtime.

Whatever the source, it is seen as *parts* (one mapping of arrays, one file, one feed) that hold samples. A plan of
batches is made from the parts' shapes alone; contents are read when a batch is asked for, cast to the model's types
and checked to be finite. `_parts` says how arrays are read against the model's inputs.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netsurgeon.pipeline.data.array_files import array_files, open_arrays, open_files, open_random
from netsurgeon.pipeline.data.image_folder import open_pictures
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_SAMPLES, check_path
from netsurgeon.pipeline.data.matching import Array, Feed, Labels, are_classes, as_bytes, cast
from netsurgeon.pipeline.data.named_functions import NAMED_FUNCTION, import_function
from netsurgeon.pipeline.data.objects import (
    Adapter,
    Dataset,
    RowReader,
    Rows,
    is_column_dataset,
    is_frame,
    is_indexed,
    is_labelled,
    open_feeds,
    ragged_samples,
    rereadable,
)
from netsurgeon.pipeline.data.opened import DataSource, Indices, OpenedData
from netsurgeon.pipeline.data.position_mask import PositionMask
from netsurgeon.pipeline.data.shortened import shortened
from netsurgeon.pipeline.data.values import is_array
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message

__all__ = ["DataSource", "InputSpec", "PictureOptions", "Samples", "open_samples", "random_samples"]


_RANDOM_COUNT = 64


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

    @property
    def batch_size(self) -> int:
        """Samples a feed, at most, where the model leaves it open."""
        return self._batch_size

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

    def ends(self) -> Iterator[Feed]:
        """The first feed, and the last one as well where shapes differ: two that differ in shape."""
        for end in self.end_parts():
            yield from end.batches()

    def end_parts(self) -> Iterator["Samples"]:
        """The samples of these feeds."""
        for indices in self._plan[:1] + (self._plan[-1:] if self.is_ragged else []):
            yield Samples(self._opened, self.specs, indices, self._batch_size)

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
        return next(Samples(self._opened, self.specs, self._plan[self._typical(least)], self._batch_size).batches())

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
        """The labels of each feed of `batches`, in step with it: a row a sample in the feed, or None."""
        yield from map(self._opened.labels_of, self._plan)

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
        """A random subset of at most `count` samples, in memory where each reading would unpack the whole source."""
        return self.subset(count, np.random.default_rng(seed)).kept()

    def kept(self) -> "Samples":
        """The same samples, in memory where each reading would unpack the whole source."""
        return self._kept() if self._opened.is_packed else self

    def _kept(self) -> "Samples":
        """The same samples in memory, and in the order that this allows, if they are not too large for it."""
        opened = self._opened.keeping(self._indices)
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


def open_samples(
    source: DataSource,
    specs: Sequence[InputSpec],
    *,
    pictures: PictureOptions | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    classes: Path | None = None,
) -> Samples:
    """Open inputs for a model.

    Args:
        source: a path of an .npz (arrays by input name, optional "labels"), of an .npy (models with one input), of a
            folder of these (one feed or many samples a file; `labels.npy` holds labels), or of a folder or .zip of
            pictures (class folders give labels); "random" or "random:N" (see `random_samples`); "module:function",
            or a function without arguments, that gives feeds, and is called again for each iteration; a mapping of
            arrays by input name, or a data frame; an array, a tensor or a picture (models with one input); any of
            these with labels, as (X, y); or whatever gives one of these after the other: a list, a loader, a dataset,
            a `Dataset` with a transform. What can be iterated only once is kept in memory.
        specs: the model's inputs.
        pictures: how a picture becomes an input; only for pictures.
        batch_size: samples a feed where the model leaves it open; None = 32, or fewer where they are large. Feeds given
            as dicts are batched anew only if axis 0 of every input is dynamic.
        limit: keep a random subset of this many samples; of a function or an iterator that does not say how many it
            gives, the first ones, and no more are asked for.
        seed: for `limit` and for random inputs.
        classes: a file with one class a line; labels are then line numbers from 0; only for pictures.

    Raises:
        InputError: the source cannot be read or does not fit the model.
    """
    _check_arguments(specs, batch_size, limit, seed)
    opened = _open(rereadable(source), specs, pictures=pictures, classes=classes, seed=seed, limit=limit)
    if not opened.offsets[-1]:
        raise InputError(f"{opened.parts[0].origin} holds no samples: give at least one")
    opened = replace(opened, warnings=(*opened.warnings, *_notes(opened)))
    samples = Samples(opened, specs, np.arange(opened.offsets[-1])[: opened.taken], batch_size)
    samples = samples if limit is None else samples.limited(limit, seed)
    return samples._kept() if opened.is_sequential and opened.is_ragged else samples


def _notes(opened: OpenedData) -> tuple[Message, ...]:
    """What the user should know of the parts, once each; of many parts that one is a single sample is no news."""
    notes = dict.fromkeys(note for part in opened.parts for note in part.notes)
    return tuple(note for note in notes if note.code != "one-feed" or opened.offsets[-1] == 1)


def random_samples(
    specs: Sequence[InputSpec], count: int = _RANDOM_COUNT, seed: int = 0, batch_size: int | None = None
) -> Samples:
    """Made-up inputs, for a user who asks for them: they say nothing about accuracy.

    Floats are normal (0, 1), integers 0 or 1, booleans even. Dynamic axes other than the batch are 1: give specs
    with those axes filled in for other sizes. `count` is rounded up to whole feeds where the batch is fixed.

    Raises:
        InputError: an input has an unknown rank or no numeric type.
    """
    _check_arguments(specs, batch_size, count, seed)
    opened = open_random(specs, count, seed)
    return Samples(opened, specs, np.arange(opened.offsets[-1]), batch_size)


def _open(
    source: DataSource,
    specs: Sequence[InputSpec],
    *,
    pictures: PictureOptions | None,
    classes: Path | None,
    seed: int,
    limit: int | None,
) -> OpenedData:
    path = _as_path(source)
    files = array_files(path) if path else []
    if path and not files:
        return open_pictures(path, classes, specs, pictures or PictureOptions())
    adapter = Adapter(specs, pictures)
    if path:
        opened = open_files(path, files, specs)
    elif isinstance(source, str):
        opened = _open_named(source, specs, seed=seed, limit=limit, adapter=adapter)
    else:
        opened = _open_object(source, specs, limit, adapter)
    if classes is not None or (pictures is not None and not adapter.has_pictures):
        raise InputError("picture options and class lists are for pictures, but the data holds none: leave them out")
    return opened


def _as_path(source: DataSource) -> Path | None:
    """The path a source names, None for what is not a path; "random" and "module:function" are none."""
    if not isinstance(source, str | os.PathLike):
        return None
    if isinstance(source, str) and (re.fullmatch(r"random(:.*)?", source) or NAMED_FUNCTION.fullmatch(source)):
        return None
    check_path(source, "the data")
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path} does not exist: give a file or folder, module:function, or random")
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is a device or a pipe, which is not read as data: give a file or folder")
    return path


def _open_named(
    source: str, specs: Sequence[InputSpec], *, seed: int, limit: int | None, adapter: Adapter
) -> OpenedData:
    """A string that is no path: "random", "random:N" or "module:function"."""
    name, _, rest = source.partition(":")
    if name != "random":
        return open_feeds(import_function(source), specs, source, limit=limit, adapter=adapter)
    if rest and not (rest.isascii() and rest.isdigit() and rest.strip("0")):
        raise InputError(f"{source} is not understood: expected random or random:N, as in random:64")
    if len(rest) > len(str(MOST_SAMPLES)):
        raise InputError(f"{source[:40]} asks for too many samples: at most {MOST_SAMPLES:,} are made up")
    return open_random(specs, int(rest or _RANDOM_COUNT), seed)


def _open_object(source: Any, specs: Sequence[InputSpec], limit: int | None, adapter: Adapter) -> OpenedData:
    """What is no path and no name: all of it in arrays, or feeds one after the other."""
    if (ragged := ragged_samples(source, specs)) is not None:
        return open_feeds(lambda: ragged, specs, "the data", limit=limit, adapter=adapter)
    if _holds_all(source, specs):
        what = {np.ndarray: "the array", dict: "the mapping"}.get(type(source), "the data")
        return open_arrays(adapter.mapping(source, what), specs, what)
    function, origin = _function(source, specs)
    return open_feeds(function, specs, origin, limit=limit, adapter=adapter)


def _holds_all(source: Any, specs: Sequence[InputSpec]) -> bool:
    """Whether it holds all samples in arrays: a mapping, a data frame, an array, a picture, or (X, y) of one of these.

    A list of two arrays is (X, y) only where the first is a batch and the second has one number a sample.
    """
    if isinstance(source, Mapping) or is_frame(source) or isinstance(source, Image.Image) or is_array(source):
        return True
    if not is_labelled(source, specs) or isinstance(source[0], list | tuple):
        return False
    if isinstance(source, tuple) or isinstance(source[0], Mapping):
        return True
    first, second = (tuple(getattr(entry, "shape", ())) for entry in source)
    return specs[0].shape is not None and len(first) == len(specs[0].shape) > 1 and second == first[:1]


def _function(source: Any, specs: Sequence[InputSpec]) -> tuple[Callable[[], Iterable[Any]], str]:
    """A function that gives the feeds, and what messages call it."""
    if hasattr(source, "get_inference_data"):  # a Dataset of NNCF
        return source.get_inference_data, "the data"
    if is_column_dataset(source):
        return lambda: Dataset(source, RowReader(specs, "the data")), "the data"
    if isinstance(source, tuple) and is_labelled(source, specs):  # a list of inputs, and a list of labels
        inputs, labels = source
        if len(inputs) != len(labels):
            raise InputError(f"the data holds {len(inputs)} inputs and {len(labels)} labels: give one for each")
        return lambda: list(zip(inputs, labels, strict=True)), "the data"
    if is_indexed(source):
        return lambda: Rows(source), "the data"
    if isinstance(source, Iterable) and not isinstance(source, bytes):
        return lambda: source, "the data"
    if callable(source):
        return source, getattr(source, "__qualname__", "the function")
    raise InputError(
        f"data of type {type(source).__name__} is not understood: give a path, an array, a dict of arrays, a loader or "
        "list of these, (X, y), or a function; docs/data.md has them all"
    )


def _check_arguments(specs: Sequence[InputSpec], batch_size: int | None, limit: int | None, seed: int) -> None:
    if not specs:
        raise InputError("the model has no inputs: there is nothing to feed")
    if (batch_size is not None and batch_size < 1) or (limit is not None and limit < 1) or seed < 0:
        raise InputError(
            f"batch size {batch_size}, number of samples {limit}, seed {seed}: expected at least 1, 1 and 0"
        )
