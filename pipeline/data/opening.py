"""Which kind of source the user has given, and the samples in it."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from netsurgeon.pipeline.data.arrays import array_files, open_arrays, open_files, open_random
from netsurgeon.pipeline.data.images import PictureOptions, open_pictures
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_SAMPLES, check_path
from netsurgeon.pipeline.data.named_functions import NAMED_FUNCTION, import_function
from netsurgeon.pipeline.data.objects import (
    Adapter,
    Dataset,
    IndexedRows,
    RowReader,
    is_column_dataset,
    is_frame,
    is_indexed,
    is_labelled,
    open_feeds,
    ragged_samples,
    rereadable,
    without_pair_labels,
)
from netsurgeon.pipeline.data.opened import DataSource, OpenedData
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.data.values import is_array
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted

_RANDOM_COUNT = 64


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
    inputs, pair_labels = without_pair_labels(source, specs)
    if (ragged := ragged_samples(inputs, specs)) is not None:
        return open_feeds(lambda: ragged, specs, "the data", limit=limit, adapter=adapter, beside=pair_labels)
    if pair_labels is not None and not isinstance(inputs, Mapping):
        return open_feeds(lambda: inputs, specs, "the data", limit=limit, adapter=adapter, beside=pair_labels)
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
            raise InputError(
                f"the data holds {counted(len(inputs), 'input')} and {counted(len(labels), 'label')}: give one for each"
            )
        return lambda: list(zip(inputs, labels, strict=True)), "the data"
    if is_indexed(source):
        return lambda: IndexedRows(source), "the data"
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
