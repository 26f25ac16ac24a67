"""An opened source: what its parts hold, the plan of batches made from that, and how the parts are read for it."""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netsurgeon.pipeline.data.limits import check_samples
from netsurgeon.pipeline.data.matching import Array, Feed, Labels, Shard
from netsurgeon.pipeline.data.position_mask import PositionMask
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking

Indices: TypeAlias = NDArray[np.intp]
Piece: TypeAlias = tuple[int, Indices]
"""A part's number and rows in it."""
MOST_KEPT_BYTES = 1 << 30
"""Rows that a limit has drawn are kept in memory up to this size, and read again each time beyond it."""
MOST_AT_ONCE, NUMBERS_AT_ONCE = 32, 1_250_000
"""Samples of a feed, and numbers in it, at most, where the batch is free: 8 pictures of ImageNet, whose sweep takes 0.6
of the processor time, and of the memory, of one in feeds of 32. The system is slow to give memory for large values."""
_WIDEST = 8
"""Bytes of the widest numbers that are common: a file may hold wider ones than the model takes."""


class Indexed(Protocol):
    """A dataset whose items have numbers, such as those of PyTorch."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, number: int, /) -> Any:
        """One of them."""


DataSource: TypeAlias = (
    str
    | os.PathLike[str]
    | Array
    | Image.Image
    | Mapping[str, Any]
    | Iterable[Any]
    | Indexed
    | Callable[[], Iterable[Any]]
)
"""What docs/data.md lists."""

SAME_EACH_TIME = "data must be the same each time it is read, which happens several times"
"""What is asked of a source."""


@dataclass(frozen=True)
class OpenedData:
    """A source, whose samples are numbered through its parts.

    Attributes:
        parts: what it holds; all with a batch axis, or none.
        read: the arrays of each piece asked for, in turn; any order works, that of the parts is fastest.
        labels: a row a sample, or one for every two, which are a pair then; or None.
        class_names: the names of the classes, for pictures in class folders.
        warnings: what was left out and why.
        is_packed: whether a row is found only by unpacking others.
        is_decoded: whether a row is made anew each time it is read, as a picture is.
        is_sequential: whether a part that lies before another is read only by reading all from the start once more.
        mask: which positions count of what is fed; None = all.
        taken: how many of its first samples a limit has taken, where the count of all is unknown; None = all.
        pair_numbers: of a part of another source, which label of a pair each sample has.
        label_lengths: how many of the entries of its label belong to each sample, which has been cut; None = all.
    """

    parts: Sequence[Shard]
    read: Callable[[Iterable[Piece]], Iterator[Feed]]
    labels: Labels | None = None
    class_names: tuple[str, ...] | None = None
    warnings: tuple[Message, ...] = ()
    is_packed: bool = False
    is_decoded: bool = False
    is_sequential: bool = False
    mask: PositionMask | None = None
    taken: int | None = None
    pair_numbers: Indices | None = None
    label_lengths: Indices | None = None

    def __post_init__(self) -> None:
        if self.parts:
            check_samples(sum(part.rows for part in self.parts), self.parts[0].origin)
        if len({part.batched for part in self.parts}) > 1:
            raise InputError(
                "some of the data has a batch axis and some has none: give all of it with the same number of axes"
            )

    def pairs_of(self, indices: Indices) -> Indices | None:
        """The pair that each sample belongs to, of which 2 i and 2 i + 1 are one; None where they are none."""
        if self.pair_numbers is not None:
            return self.pair_numbers[indices]
        is_paired = self.labels is not None and len(self.labels) < int(self.offsets[-1])
        return indices // 2 if is_paired else None

    def labels_of(self, indices: Indices) -> Labels | None:
        """A row a sample; None without labels."""
        pairs = self.pairs_of(indices)
        return None if self.labels is None else self.labels[indices if pairs is None else pairs]

    def labels_of_feed(self, indices: Indices) -> Labels | None:
        """The same of samples that share a feed, no longer than they are."""
        labels = self.labels_of(indices)
        if labels is None or self.label_lengths is None:
            return labels
        return labels[:, : self.label_lengths[indices].max()]

    @cached_property
    def offsets(self) -> Indices:
        """The number of each part's first sample, and the count of all."""
        return np.cumsum([0] + [part.rows for part in self.parts])

    @property
    def fitting_batch(self) -> int:
        """Samples a feed where nobody has said how many."""
        numbers = max(sum(prod(shape) for _, shape in part.row_shapes) for part in self.parts)
        return int(np.clip(NUMBERS_AT_ONCE // max(numbers, 1), 1, MOST_AT_ONCE))

    def locate(self, index: int) -> tuple[Shard, int]:
        """The part that holds a sample, and the row it is there."""
        number = int(self._part_of(np.array([index]))[0])
        return self.parts[number], index - int(self.offsets[number])

    @property
    def is_ragged(self) -> bool:
        """Whether samples of one shape lie among those of another, so that they are far from each other."""
        return 1 < len(np.unique(self._stacks)) < 1 + int(np.count_nonzero(np.diff(self._stacks)))

    def shapes(self, indices: Indices) -> set[object]:
        """The different shapes of samples."""
        return {self.parts[number].row_shapes for number in np.unique(self._part_of(indices))}

    def plan(self, indices: Indices, batch_size: int) -> list[Indices]:
        """Cut the indices into feeds: never across parts that do not stack, never short of a fixed batch.

        Samples that stack share feeds wherever they lie, unless going back is reading all once more.
        """
        if not len(indices):
            raise InputError("no samples are left: give or keep at least one")
        plan: list[Indices] = []
        stacks = self._stacks[self._part_of(indices)]
        order = np.arange(len(indices)) if self.is_sequential else _by_first(stacks)
        for run in _runs(indices[order], stacks[order]):
            part, _ = self.locate(int(run[0]))
            size = part.feed_size(batch_size)
            stop = len(run) - len(run) % size if part.batch else len(run)
            plan += [run[start : start + size] for start in range(0, stop, size)]
        if not plan:
            batch = self.parts[0].batch
            raise InputError(
                f"the data holds {counted(len(indices), 'sample')}, fewer than the model's fixed batch of "
                f"{batch}: give at least {batch}"
            )
        return plan

    def batches(self, plan: Sequence[Indices]) -> Iterator[Feed]:
        """The arrays of each batch of a plan, as the source holds them."""
        cut = [self._pieces(indices) for indices in plan]
        read = self.read(piece for pieces in cut for piece in pieces)
        for pieces in cut:
            feeds = list(islice(read, len(pieces)))
            if len(feeds) == 1:
                yield feeds[0]
            else:
                yield {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}

    def keeping(self, indices: Indices, ticks: Ticks = no_ticks) -> "OpenedData":
        """The source with these samples in memory, after one reading that ends with the last; others cannot be read.

        It stays as it is where rows are quick to find anyway, or these are too many for memory. Every part of the
        reading is a tick.
        """
        pieces = self._pieces(np.unique(indices))
        numbers = sum(len(rows) * prod(shape) for at, rows in pieces for _, shape in self.parts[at].row_shapes)
        if not (self.is_packed or self.is_decoded or self.is_sequential) or numbers * _WIDEST > MOST_KEPT_BYTES:
            return self
        kept: dict[int, tuple[Indices, Feed]] = {number: (rows, {}) for number, rows in pieces}
        pieces = [chunk for piece in pieces for chunk in _chunks(piece)] if self.is_decoded else pieces
        feeds = self.read(ticking(pieces, ticks, len(pieces)))
        left = MOST_KEPT_BYTES
        for (number, rows), feed in zip(pieces, feeds, strict=True):
            left -= sum(array.nbytes for array in feed.values())
            if left < 0:  # constants, which lie in every file anew
                return self
            _put(feed, rows, kept[number], self.parts[number].constants)
        read = partial(_read_kept, self.parts, kept)
        return replace(self, read=read, is_packed=False, is_decoded=False, is_sequential=False)

    @cached_property
    def _stacks(self) -> Indices:
        """A number for each part; parts with the same one can share a feed."""
        numbers: dict[object, int] = {}
        keys = [
            number if part.whole or part.constants else (part.row_shapes, part.batch)
            for number, part in enumerate(self.parts)
        ]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)

    def _part_of(self, indices: Indices) -> Indices:
        return np.searchsorted(self.offsets, indices, side="right") - 1

    def _pieces(self, indices: Indices) -> list[Piece]:
        numbers = self._part_of(indices)
        rows = indices - self.offsets[numbers]
        return [(int(numbers[run[0]]), rows[run]) for run in _runs(np.arange(len(indices)), numbers)]


def read_parts(
    parts: Sequence[Shard], load: Callable[[int], tuple[Shard, Feed]], pieces: Iterable[Piece]
) -> Iterator[Feed]:
    """Read parts that load as a whole, with one in memory at a time, and check that they are what they were."""
    loaded_number = -1
    for number, rows in pieces:
        if number != loaded_number:
            arrays: Feed = {}  # lets go of the part before
            now, arrays = load(number)
            if now != parts[number]:
                raise InputError(f"{now.origin} holds other shapes than when it was opened: {SAME_EACH_TIME}")
            loaded_number = number
        selection: Any = slice(rows[0], rows[-1] + 1) if np.all(np.diff(rows) == 1) else rows
        yield {name: array if name in parts[number].constants else array[selection] for name, array in arrays.items()}


def _read_kept(
    parts: Sequence[Shard], kept: Mapping[int, tuple[Indices, Feed]], pieces: Iterable[Piece]
) -> Iterator[Feed]:
    """Rows out of those kept of each part, which lie in rising order."""
    for number, rows in pieces:
        kept_rows, arrays = kept[number]
        places = np.searchsorted(kept_rows, rows)
        yield {name: array if name in parts[number].constants else array[places] for name, array in arrays.items()}


def _chunks(piece: Piece) -> list[Piece]:
    """A piece in rows that are read at once."""
    number, rows = piece
    return [(number, rows[start : start + MOST_AT_ONCE]) for start in range(0, len(rows), MOST_AT_ONCE)]


def _put(feed: Feed, rows: Indices, kept: tuple[Indices, Feed], constants: Container[str]) -> None:
    """Put rows of a part where those kept of it lie, in rising order, so that none is in memory twice."""
    kept_rows, arrays = kept
    start = int(np.searchsorted(kept_rows, rows[0]))
    for name, array in feed.items():
        if name in constants:
            arrays[name] = array.copy()  # not a view of the whole file
            continue
        if name not in arrays:
            arrays[name] = np.empty((len(kept_rows), *array.shape[1:]), array.dtype)
        arrays[name][start : start + len(rows)] = array


def _by_first(keys: Indices) -> Indices:
    """The order in which equal keys lie together, those first that come first."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.argsort(first[inverse], kind="stable")


def _runs(values: Indices, keys: Indices) -> list[Indices]:
    """Cut `values` where the key beside them changes."""
    return np.split(values, np.flatnonzero(np.diff(keys)) + 1)
