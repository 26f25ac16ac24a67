"""Feeds as a source: dicts of arrays from an iterable or a function, looked at once and then given again in order."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from netsurgeon.pipeline.data.dataset import SAME_EACH_TIME, Dataset, Piece, read_parts
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_BYTES, MOST_FED_BYTES, MOST_FEEDS, in_words
from netsurgeon.pipeline.data.matching import Feed, Labels, Shard, examine, join_labels
from netsurgeon.pipeline.errors import InputError


def open_feeds(
    function: Callable[[], Any], specs: Sequence[InputSpec], origin: str, limit: int | None = None
) -> Dataset:
    """Look at every feed once, for the plan; each is given again when it is read.

    What does not say how many feeds it gives may have no end: of that, no more are asked for than hold `limit` samples.
    Of others all are looked at, so that samples can be drawn from the whole.
    """
    source = _called(function, origin)
    taken = None if isinstance(source, Sized) else limit
    parts: list[Shard] = []
    labels: list[Labels | None] = []
    checksums: list[int] = []
    total_samples = total_bytes = 0
    for number, item in enumerate(_iterate(source, origin)):
        part, feed, label = _examined(item, number, specs, origin)
        total_samples += part.rows
        total_bytes += sum(array.nbytes for array in feed.values())
        if number >= MOST_FEEDS or total_bytes > MOST_FED_BYTES:
            raise InputError(
                f"{origin} gives more than {MOST_FEEDS:,} feeds or {in_words(MOST_FED_BYTES)}, of which all are read "
                "before any is drawn: let it end, such as with itertools.islice, or give a limit"
            )
        parts.append(part)
        labels.append(label)
        checksums.append(_checksum(feed, label))
        if taken is not None:
            batch = part.batch or 1
            taken = max(taken - taken % batch, batch)
            if total_samples >= taken:
                break
    if not parts:
        raise InputError(f"{origin} gave no samples: expected dicts of arrays, one a feed")

    def read(pieces: Iterable[Piece]) -> Iterator[Feed]:
        feeds, at = _iterate(_called(function, origin), origin, len(parts)), -1

        def load(number: int) -> tuple[Shard, Feed]:
            nonlocal feeds, at
            if number < at:
                feeds, at = _iterate(_called(function, origin), origin, len(parts)), -1
            item = next(islice(feeds, number - at - 1, None))
            at = number
            part, feed, label = _examined(item, number, specs, origin)
            if part == parts[number] and _checksum(feed, label) != checksums[number]:
                raise InputError(f"{part.origin} holds other values than before: {SAME_EACH_TIME}")
            return part, {name: array.copy() for name, array in feed.items()}  # a function may fill one array again

        return read_parts(parts, load, pieces)

    return Dataset(parts, read, join_labels(labels, origin), taken=taken)


def _examined(item: Any, number: int, specs: Sequence[InputSpec], origin: str) -> tuple[Shard, Feed, Labels | None]:
    name = f"feed {number} of {origin}"
    if not isinstance(item, Mapping):
        raise InputError(f"{name} is of type {type(item).__name__}: expected a dict of arrays by input name")
    return examine(item, specs, name, feed=True)


class Replayed:
    """What an iterator gives, which can be asked only once: kept as it comes, and given again from the start."""

    def __init__(self, source: Iterator[Any], origin: str):
        self._source = source
        self._origin = origin
        self._kept: list[Any] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[Any]:
        """What was kept, then what comes.

        Raises:
            InputError: it gives more than is kept.
        """
        yield from self._kept
        for item in self._source:
            self._kept.append(item)
            arrays = item.values() if isinstance(item, Mapping) else ()
            self._bytes += sum(getattr(array, "nbytes", 0) for array in arrays)
            if len(self._kept) > MOST_FEEDS or self._bytes > MOST_BYTES:
                raise InputError(
                    f"{self._origin} gives more than {MOST_FEEDS:,} feeds or {in_words(MOST_BYTES)}, which is the most "
                    "that is kept of an iterator: let it end, or give a function that can be called again, or a limit"
                )
            yield item


def _checksum(feed: Feed, labels: Labels | None) -> int:
    """CRC-32 of the values of a feed and of its labels."""
    total = 0
    for array in [*(feed[name] for name in sorted(feed)), *([] if labels is None else [labels])]:
        total = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, total)
    return total


def _called(function: Callable[[], Any], origin: str) -> Any:
    """What the user's function returns."""
    with _blamed_on(origin):
        return function()


def _iterate(source: Any, origin: str, expected: int = 0) -> Iterator[Any]:
    """What a source gives; too few feeds become one clear error."""
    fed_count = 0
    with _blamed_on(origin):
        for item in source:
            fed_count += 1
            yield item
    if fed_count < expected:
        raise InputError(f"{origin} gave only {fed_count} feeds where it gave {expected} before: {SAME_EACH_TIME}")


@contextmanager
def _blamed_on(origin: str) -> Iterator[None]:
    """Turn whatever the user's code raises into one clear error."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{origin} failed with {type(error).__name__} ({error}): expected dicts of arrays, one a feed"
        ) from error
