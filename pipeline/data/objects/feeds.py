"""Feeds as a source, from an iterable or a function: looked at once and then given again in order."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_FED_BYTES, MOST_FEEDS, check_bytes, in_words
from netsurgeon.pipeline.data.matching import (
    Array,
    Feed,
    Labels,
    Shard,
    dict_to_write,
    examine,
    join_labels,
    labels_beside,
)
from netsurgeon.pipeline.data.objects.adapter import Adapter
from netsurgeon.pipeline.data.objects.loaders import is_sized
from netsurgeon.pipeline.data.opened import SAME_EACH_TIME, OpenedData, Piece, read_parts
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted

Examined = tuple[Shard, Feed, Labels | None]


def open_feeds(
    function: Callable[[], Any],
    specs: Sequence[InputSpec],
    origin: str,
    *,
    limit: int | None,
    adapter: Adapter,
    beside: Array | None = None,
) -> OpenedData:
    """Look at every feed once, for the plan; each is given again when it is read.

    Args:
        function: gives the feeds, in the same order each time.
        specs: the model's inputs.
        origin: what messages call it.
        limit: most samples that are used; None = all.
        adapter: makes arrays by input name of each feed.
        beside: labels of pairs of samples, which are in no feed.

    What does not say how many feeds it gives may have no end: of that, no more are asked for than hold `limit` samples.
    Of others all are looked at, so that samples can be drawn from the whole.
    """
    examined = partial(_examined, specs=specs, origin=origin, adapter=adapter)
    source = _called(function, origin)
    taken = None if is_sized(source) else limit
    parts: list[Shard] = []
    labels: list[Labels | None] = []
    checksums: list[int] = []
    total_samples = total_bytes = label_bytes = 0
    for number, item in enumerate(_iterate(source, origin)):
        part, feed, label = examined(item, number)
        total_samples += part.rows
        total_bytes += sum(array.nbytes for array in feed.values())
        if number >= MOST_FEEDS or total_bytes > MOST_FED_BYTES:
            raise InputError(
                f"{origin} gives more than {MOST_FEEDS:,} feeds or {in_words(MOST_FED_BYTES)}, of which all are read "
                "before any is drawn: let it end, such as with itertools.islice, or give a limit"
            )
        parts.append(part)
        label_bytes += 0 if label is None else label.nbytes
        check_bytes(label_bytes, f"the labels of {origin}", "give fewer samples, or leave such large targets out")
        labels.append(label)
        checksums.append(_checksum(feed, label))
        if taken is not None:
            batch = part.batch or 1
            taken = max(taken - taken % batch, batch)
            if total_samples >= taken:
                break
    if not parts:
        raise InputError(f"{origin} gave no samples: expected {dict_to_write(specs)}, one a feed")

    joined = join_labels(labels, [part.rows for part in parts], origin)
    joined = joined if beside is None else labels_beside(beside, total_samples, origin)
    read = _reader(function, origin, examined=examined, parts=parts, checksums=checksums)
    return OpenedData(parts, read, joined, is_sequential=True, taken=taken)


def _reader(
    function: Callable[[], Any],
    origin: str,
    *,
    examined: Callable[[Any, int], Examined],
    parts: Sequence[Shard],
    checksums: Sequence[int],
) -> Callable[[Iterable[Piece]], Iterator[Feed]]:
    """What reads rows of the feeds again, which must be what they were when they were looked at."""

    def read(pieces: Iterable[Piece]) -> Iterator[Feed]:
        feeds, at = _iterate(_called(function, origin), origin, len(parts)), -1

        def load(number: int) -> tuple[Shard, Feed]:
            nonlocal feeds, at
            if number < at:
                feeds, at = _iterate(_called(function, origin), origin, len(parts)), -1
            item = next(islice(feeds, number - at - 1, None))
            at = number
            part, feed, label = examined(item, number)
            if part == parts[number] and _checksum(feed, label) != checksums[number]:
                raise InputError(
                    f"{part.origin} holds other values than before: {SAME_EACH_TIME}; leave out what is random, such "
                    "as augmentation, or give a list of it, which is read once"
                )
            return part, {name: array.copy() for name, array in feed.items()}  # a function may fill one array again

        return read_parts(parts, load, pieces)

    return read


def _examined(item: Any, number: int, *, specs: Sequence[InputSpec], origin: str, adapter: Adapter) -> Examined:
    name = f"feed {number} of {origin}"
    return examine(adapter.mapping(item, name), specs, name, feed=True)


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
        raise InputError(
            f"{origin} gave only {counted(fed_count, 'feed')} where it gave {expected} before: {SAME_EACH_TIME}"
        )


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
