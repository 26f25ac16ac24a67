"""Loaders: what gives feeds or samples one after the other, as often as it is asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any

import numpy as np

from netsurgeon.pipeline.data.limits import MOST_BYTES, MOST_FEEDS, in_words
from netsurgeon.pipeline.errors import InputError


class Dataset:
    """A loader, and what makes the model's inputs of each thing it gives.

    Args:
        loader: a DataLoader, a dataset, a list, or whatever else can be iterated or indexed.
        transform: called with each thing it gives, such as a batch (x, y); returns a dict of arrays by input name, the
            array of the model's only input, or either with its labels as (inputs, labels). None = as it is.

    Batches of (ids, mask, labels) for a model with the inputs "ids" and "mask":
    ``Dataset(loader, lambda batch: {"ids": batch[0], "mask": batch[1], "labels": batch[2]})``.
    """

    def __init__(self, loader: Any, transform: Callable[[Any], Any] | None = None):
        self.loader = loader
        self.transform = transform

    def __iter__(self) -> Iterator[Any]:
        items = IndexedRows(self.loader) if is_indexed(self.loader) else self.loader
        return iter(items) if self.transform is None else map(self.transform, items)

    def __repr__(self) -> str:
        name = "" if self.transform is None else f", {getattr(self.transform, '__name__', 'transform')}"
        return f"Dataset({type(self.loader).__name__}{name})"


class IndexedRows:
    """A dataset that is indexed by whole numbers and does not say how it is iterated, such as those of PyTorch."""

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        return (self._dataset[number] for number in range(len(self._dataset)))


def is_indexed(source: object) -> bool:
    """Whether it has a length and items by number, and no order of its own."""
    return all(hasattr(source, name) for name in ("__len__", "__getitem__")) and not hasattr(source, "__iter__")


def rereadable(source: Any) -> Any:
    """What gives the same each time: an iterator, and a loader that shuffles, are kept in memory as they are read."""
    if isinstance(source, Dataset) and rereadable(source.loader) is not source.loader:
        return Replayed(iter(source), "the data")
    if isinstance(source, Iterator) or _shuffles(source):
        return Replayed(iter(source), "the data")
    return source


def _shuffles(source: Any) -> bool:
    """Whether it is a DataLoader of PyTorch in which the order of samples is not known to stay."""
    data = sys.modules.get("torch.utils.data")
    if data is None or not isinstance(source, data.DataLoader):
        return False
    is_plain = source.batch_sampler is None or type(source.batch_sampler) is data.BatchSampler
    return not (is_plain and isinstance(source.sampler, data.SequentialSampler))


def is_sized(source: object) -> bool:
    """Whether a source says how many feeds it gives."""
    return is_sized(source.loader) if isinstance(source, Dataset) else isinstance(source, Sized)


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
            self._bytes += _held_bytes(item)
            if len(self._kept) > MOST_FEEDS or self._bytes > MOST_BYTES:
                raise InputError(
                    f"{self._origin} gives more than {MOST_FEEDS:,} feeds or {in_words(MOST_BYTES)}, which is the most "
                    "that is kept of an iterator: let it end, or give a function that can be called again, or a limit"
                )
            yield item


def _held_bytes(item: Any) -> int:
    """Bytes of the arrays, tables and pictures in a mapping, a pair or a list."""
    if isinstance(item, Mapping):
        return sum(map(_held_bytes, item.values()))
    if isinstance(item, list | tuple):
        return sum(map(_held_bytes, item))
    pictures = sys.modules.get("PIL.Image")
    if pictures is not None and isinstance(item, pictures.Image):  # decoded, as it is kept
        return int(item.width * item.height * (1 if item.mode in ("1", "L", "P") else 4))
    if hasattr(item, "memory_usage"):  # a table of pandas
        return int(np.sum(item.memory_usage(deep=True)))
    return int(getattr(item, "nbytes", 0))
