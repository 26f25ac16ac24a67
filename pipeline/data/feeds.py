"""Feeds as a source: dicts of arrays from an iterable or a function, looked at once and then given again in order."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from netsurgeon.pipeline.data.dataset import SAME_EACH_TIME, Dataset, Piece, read_parts
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_BYTES, MOST_FED_BYTES, MOST_FEEDS, in_words
from netsurgeon.pipeline.data.matching import Feed, Labels, Shard, examine, join_labels
from netsurgeon.pipeline.errors import InputError


def open_feeds(function: Callable[[], Any], specs: Sequence[InputSpec], origin: str) -> Dataset:
    """Look at every feed once, for the plan; each is given again when it is read."""

    def look(number: int, item: Any) -> tuple[Shard, Feed, Labels | None]:
        name = f"feed {number} of {origin}"
        if not isinstance(item, Mapping):
            raise InputError(f"{name} is of type {type(item).__name__}: expected a dict of arrays by input name")
        return examine(item, specs, name, feed=True)

    parts: list[Shard] = []
    labels: list[Labels | None] = []
    checksums: list[int] = []
    total = 0
    for number, item in enumerate(_iterate(function, origin)):
        part, feed, label = look(number, item)
        total += sum(array.nbytes for array in feed.values())
        if number >= MOST_FEEDS or total > MOST_FED_BYTES:
            raise InputError(
                f"{origin} gives more than {MOST_FEEDS:,} feeds or {in_words(MOST_FED_BYTES)}, of which all are read "
                "before any is drawn: let it end, such as with itertools.islice"
            )
        parts.append(part)
        labels.append(label)
        checksums.append(_checksum(feed, label))
    if not parts:
        raise InputError(f"{origin} gave no samples: expected dicts of arrays, one a feed")

    def read(pieces: Iterable[Piece]) -> Iterator[Feed]:
        feeds, at = _iterate(function, origin, len(parts)), -1

        def load(number: int) -> tuple[Shard, Feed]:
            nonlocal feeds, at
            if number < at:
                feeds, at = _iterate(function, origin, len(parts)), -1
            item = next(islice(feeds, number - at - 1, None))
            at = number
            part, feed, label = look(number, item)
            if part == parts[number] and _checksum(feed, label) != checksums[number]:
                raise InputError(f"{part.origin} holds other values than before: {SAME_EACH_TIME}")
            return part, {name: array.copy() for name, array in feed.items()}  # a function may fill one array again

        return read_parts(parts, load, pieces)

    return Dataset(parts, read, join_labels(labels, origin))


def kept_in_memory(source: Iterator[Any], origin: str) -> list[Any]:
    """All that an iterator gives, which can be asked only once.

    Raises:
        InputError: it gives more than is kept.
    """
    kept: list[Any] = []
    total = 0
    for item in source:
        kept.append(item)
        total += sum(getattr(array, "nbytes", 0) for array in item.values()) if isinstance(item, Mapping) else 0
        if len(kept) > MOST_FEEDS or total > MOST_BYTES:
            raise InputError(
                f"{origin} gives more than {MOST_FEEDS:,} feeds or {in_words(MOST_BYTES)}, which is the most that is "
                "kept of an iterator: let it end, or give a function that can be called again"
            )
    return kept


def _checksum(feed: Feed, labels: Labels | None) -> int:
    """CRC-32 of the values of a feed and of its labels."""
    total = 0
    for array in [*(feed[name] for name in sorted(feed)), *([] if labels is None else [labels])]:
        total = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, total)
    return total


def _iterate(function: Callable[[], Any], origin: str, expected: int = 0) -> Iterator[Any]:
    """What the user's function gives; whatever it raises, or too few feeds, becomes one clear error."""
    fed_count = 0
    try:
        for item in function():
            fed_count += 1
            yield item
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{origin} failed with {type(error).__name__} ({error}): expected dicts of arrays, one a feed"
        ) from error
    if fed_count < expected:
        raise InputError(f"{origin} gave only {fed_count} feeds where it gave {expected} before: {SAME_EACH_TIME}")
