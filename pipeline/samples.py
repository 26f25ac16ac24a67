"""Where a model's inputs come from: arrays, files, pictures, feeds or a function, as batches for ONNX Runtime.

Whatever the source, it is seen as *parts* (one mapping of arrays, one file, one feed) that hold samples. A plan of
batches is made from the parts' shapes alone; contents are read when a batch is asked for, cast to the model's types
and checked to be finite. How a part is read against the model's inputs:

- an array with the model's rank carries samples along axis 0: cut into `batch_size` where axis 0 is dynamic, else
  into the model's fixed batch;
- an array with one axis more enumerates feeds, each one sample;
- an array that is exactly what the model takes, beside others that carry samples, is a constant of every feed.
"""

import hashlib
import importlib
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.pictures import (
    SUFFIXES,
    PictureOptions,
    Pictures,
    check_fits,
    find_pictures,
)

__all__ = ["InputSpec", "PictureOptions", "Samples", "Source", "open_samples", "random_samples"]

Array = NDArray[Any]
Feed: TypeAlias = dict[str, Array]
Source: TypeAlias = (
    str
    | os.PathLike[str]
    | Array
    | Mapping[str, Any]
    | Iterable[Mapping[str, Any]]
    | Callable[[], Iterable[Mapping[str, Any]]]
)

_Header: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]
_Read: TypeAlias = Callable[[int, NDArray[np.intp]], Feed]  # (part, rows in it) -> arrays of those rows

_LABELS = "labels"
_RANDOM_COUNT = 64
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    MemoryError,
    SyntaxError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class InputSpec:
    """One input of the model: its shape has None for a dynamic axis, and is None where the rank is unknown."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class _Part:
    """Samples that are read together: all of a mapping, a file, or one feed.

    Attributes:
        origin: what messages call it.
        rows: the number of samples.
        row_shapes: the shape of one sample, for each input that carries samples.
        constants: inputs that are fed whole with every batch.
        batched: whether axis 0 of a feed enumerates samples.
        batch: the model's fixed batch, if it has one.
        whole: it is one feed of `rows` samples, never cut.
    """

    origin: str
    rows: int
    row_shapes: tuple[tuple[str, tuple[int, ...]], ...]
    constants: frozenset[str]
    batched: bool
    batch: int | None
    whole: bool = False

    def feed_size(self, batch_size: int) -> int:
        if self.whole:
            return self.rows
        return self.batch or (batch_size if self.batched else 1)


@dataclass(frozen=True)
class _Opened:
    """A source: what its parts hold, and how to read them, in any order but fastest in theirs."""

    parts: tuple[_Part, ...]
    labels: NDArray[np.int64] | None
    reader: Callable[[], AbstractContextManager[_Read]]
    class_names: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
    offsets: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        if len({part.batched for part in self.parts}) > 1:
            raise InputError(
                "some of the data has a batch axis and some has none: give all of it with the same number of axes"
            )
        object.__setattr__(self, "offsets", np.cumsum([0] + [part.rows for part in self.parts]))

    def part_of(self, indices: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.searchsorted(self.offsets, indices, side="right") - 1


class Samples:
    """Inputs of a model in a fixed order, read lazily and as often as wanted; made by `open_samples`.

    Attributes:
        specs: the model's inputs.
        count: the number of samples.
        labels: (count,) classes, or None.
        batched: True when axis 0 of a feed enumerates its samples, False when a feed is one sample.
        warnings: what was left out and why.
        class_names: the names of the classes, for pictures in class folders.
    """

    def __init__(
        self,
        opened: _Opened,
        specs: Sequence[InputSpec],
        indices: NDArray[np.intp],
        batch_size: int,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._opened = opened
        self._batch_size = batch_size
        self._plan = _plan_batches(opened, indices, batch_size)
        self._indices = np.concatenate(self._plan) if self._plan else indices[:0]
        self.specs = tuple(specs)
        self.count = len(self._indices)
        self.labels = None if opened.labels is None else opened.labels[self._indices]
        self.batched = opened.parts[0].batched
        self.warnings = warnings + _dropped(len(indices), self.count, opened.parts[0].batch)
        self.class_names = opened.class_names

    def batches(self) -> Iterator[Feed]:
        """Feeds for ONNX Runtime, of the model's types.

        Raises:
            InputError: the source cannot be read, changed since it was opened, or holds NaN or Inf.
        """
        with self._opened.reader() as read:
            for indices in self._plan:
                arrays = _read_batch(self._opened, read, indices)
                yield {spec.name: self._finish(arrays[spec.name], spec, indices) for spec in self.specs}

    def batch_labels(self) -> Iterator[NDArray[np.int64] | None]:
        """The labels of each feed of `batches`, in step with it: (samples in the feed,), or None."""
        labels = self._opened.labels
        for indices in self._plan:
            yield None if labels is None else labels[indices]

    def take(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> "Samples":
        """The samples at `indices` (0 to count - 1), in that order, still lazy.

        Raises:
            IndexError: an index is out of range.
            InputError: fewer samples than the model's fixed batch are left.
        """
        chosen = np.asarray(indices, np.intp)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.count):
            raise IndexError(f"indices {chosen.min()} to {chosen.max()} of {self.count} samples")
        return Samples(self._opened, self.specs, self._indices[chosen], self._batch_size, self.warnings)

    def subset(self, count: int, rng: np.random.Generator) -> "Samples":
        """A random subset of `count` samples in the order of the source, all of them if there are fewer.

        With a fixed batch, `count` is rounded down to whole feeds.
        """
        if count >= self.count:
            return self
        return self.take(_draw_indices(self.count, self._round(count), rng))

    def split(self, fraction: float, rng: np.random.Generator) -> tuple["Samples", "Samples"]:
        """Split at random into `fraction` of the samples and the rest, both in the order of the source.

        Raises:
            InputError: one of the two would be empty.
        """
        chosen = _draw_indices(self.count, self._round(round(fraction * self.count)), rng)
        return self.take(chosen), self.take(np.setdiff1d(np.arange(self.count), chosen))

    def digest(self) -> str:
        """The sha256 (hex) of all inputs and labels as the model gets them, whatever the batch size."""
        hashes = {spec.name: hashlib.sha256(f"{spec.name} {spec.dtype}".encode()) for spec in self.specs}
        seen: dict[str, object] = {}
        for indices, feed in zip(self._plan, self.batches(), strict=True):
            part = int(self._opened.part_of(indices[:1])[0])
            constants = self._opened.parts[part].constants
            for name, array in feed.items():
                shape = array.shape[1:] if self.batched and name not in constants else array.shape
                header = (part, shape) if name in constants else shape
                if name in constants and seen.get(name) == header:
                    continue
                if seen.get(name) != header:
                    hashes[name].update(repr(shape).encode())
                    seen[name] = header
                hashes[name].update(array.tobytes())
        whole = hashlib.sha256(b"".join(one.digest() for one in hashes.values()))
        whole.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        return whole.hexdigest()

    def _round(self, count: int) -> int:
        return _whole_feeds(count, self._opened.parts[0].batch)

    def _finish(self, array: Array, spec: InputSpec, indices: NDArray[np.intp]) -> Array:
        """Cast to the model's type, drop the axis of single samples, and check that all is finite."""
        part = self._opened.parts[int(self._opened.part_of(indices[:1])[0])]
        if spec.name in part.constants:
            return _cast(array, spec, lambda row: f"of {part.origin}")
        cast = _cast(array, spec, lambda row: f"of {self._name(int(indices[row]))}")
        return cast if part.batched else cast.reshape(cast.shape[1:])

    def _name(self, index: int) -> str:
        part = int(self._opened.part_of(np.array([index]))[0])
        return f"sample {index - self._opened.offsets[part]} of {self._opened.parts[part].origin}"


def open_samples(
    source: Source,
    specs: Sequence[InputSpec],
    *,
    pictures: PictureOptions | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    seed: int = 0,
    classes: Path | None = None,
) -> Samples:
    """Open inputs for a model.

    Args:
        source: a path of an .npz (arrays by input name, optional "labels"), of an .npy (models with one input), of a
            folder of these (one feed or many samples a file; `labels.npy` holds labels), or of a folder or .zip of
            pictures (class folders give labels); "random" or "random:N" (see `random_samples`); "module:function",
            or a function without arguments, that gives dicts of arrays, one a feed, and is called again for each
            iteration; an array (models with one input); a mapping of arrays by input name; an iterable of dicts,
            one a feed, kept in memory if it can be iterated only once.
        specs: the model's inputs.
        pictures: how a picture becomes an input; only for pictures.
        batch_size: samples a feed where the model leaves it open. Feeds given as dicts are batched anew only if
            axis 0 of every input is dynamic.
        limit: keep a random subset of this many samples.
        seed: for `limit` and for random inputs.
        classes: a file with one class a line; labels are then line numbers from 0; only for pictures.

    Raises:
        InputError: the source cannot be read or does not fit the model.
    """
    _check_arguments(specs, batch_size, limit, seed)
    opened = _open(source, tuple(specs), pictures, classes, seed)
    total = int(opened.offsets[-1])
    if not total:
        raise InputError(f"{_describe_source(source)} holds no samples: give at least one")
    indices = np.arange(total)
    if limit is not None and limit < total:
        kept = _whole_feeds(limit, opened.parts[0].batch)
        indices = _draw_indices(total, kept, np.random.default_rng(seed))
    return Samples(opened, specs, indices, batch_size, opened.warnings)


def random_samples(
    specs: Sequence[InputSpec], count: int = _RANDOM_COUNT, seed: int = 0, batch_size: int = 32
) -> Samples:
    """Made-up inputs, for a user who asks for them: they say nothing about accuracy.

    Floats are normal (0, 1), integers 0 or 1, booleans even. Dynamic axes other than the batch are 1: give specs
    with those axes filled in for other sizes. `count` is rounded up to whole feeds where the batch is fixed.

    Raises:
        InputError: an input has an unknown rank or no numeric type.
    """
    _check_arguments(specs, batch_size, count, seed)
    opened = _open_random(tuple(specs), count, seed)
    return Samples(opened, specs, np.arange(opened.offsets[-1]), batch_size)


# The plan of batches


def _plan_batches(opened: _Opened, indices: NDArray[np.intp], batch_size: int) -> list[NDArray[np.intp]]:
    """Cut the indices into feeds: never across parts that do not stack, never short of a fixed batch."""
    if not len(indices):
        raise InputError("no samples are left: give or keep at least one")
    groups = _stackable(opened.parts)[opened.part_of(indices)]
    plan: list[NDArray[np.intp]] = []
    for run in np.split(indices, np.flatnonzero(np.diff(groups)) + 1):
        part = opened.parts[int(opened.part_of(run[:1])[0])]
        size = part.feed_size(batch_size)
        stop = len(run) - len(run) % size if part.batch else len(run)
        plan += [run[start : start + size] for start in range(0, stop, size)]
    if not plan:
        batch = opened.parts[0].batch
        raise InputError(
            f"{len(indices)} samples are fewer than the model's fixed batch of {batch}: give at least {batch}"
        )
    return plan


def _stackable(parts: Sequence[_Part]) -> NDArray[np.intp]:
    """A number for each part; parts with the same one can share a feed."""
    numbers: dict[object, int] = {}
    keys: list[object] = [
        index if part.constants or part.whole else (part.row_shapes, part.batch) for index, part in enumerate(parts)
    ]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def _dropped(given: int, kept: int, batch: int | None) -> tuple[str, ...]:
    if given == kept:
        return ()
    return (f"{given - kept} of {given} samples dropped: the model's batch is fixed to {batch}",)


def _whole_feeds(count: int, batch: int | None) -> int:
    return count - count % batch if batch and count >= batch else count


def _draw_indices(total: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return np.sort(rng.permutation(total)[:count])


def _read_batch(opened: _Opened, read: _Read, indices: NDArray[np.intp]) -> Feed:
    """Read the samples at `indices`, a piece from each part they lie in."""
    parts = opened.part_of(indices)
    pieces = [
        read(int(parts[run[0]]), indices[run] - opened.offsets[parts[run[0]]])
        for run in np.split(np.arange(len(indices)), np.flatnonzero(np.diff(parts)) + 1)
    ]
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _rows_of(arrays: Mapping[str, Array], part: _Part, rows: NDArray[np.intp]) -> Feed:
    consecutive = len(rows) == rows[-1] - rows[0] + 1 and bool(np.all(np.diff(rows) == 1))
    chosen: Any = slice(rows[0], rows[-1] + 1) if consecutive else rows
    return {name: array if name in part.constants else array[chosen] for name, array in arrays.items()}


# Types and values


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or (dtype.kind == "V" and dtype.name.startswith(("int", "uint")))


def _check_dtype(dtype: np.dtype[Any], spec: InputSpec, origin: str) -> None:
    """Integers and floats may become floats, integers and booleans integers; nothing else changes its kind."""
    if dtype.hasobject:
        raise InputError(f"{origin} holds Python objects for {spec.name!r}: save plain numbers, pickles are not read")
    fits = (
        dtype == spec.dtype
        or (_is_float(spec.dtype) and (_is_float(dtype) or _is_integer(dtype) or dtype.kind == "b"))
        or (_is_integer(spec.dtype) and (_is_integer(dtype) or dtype.kind == "b"))
    )
    if not fits or dtype.kind in "USO":
        raise InputError(
            f"{origin} holds {dtype} for the input {spec.name!r} but the model takes {spec.dtype}: convert the data"
        )


def _cast(array: Array, spec: InputSpec, where: Callable[[int], str]) -> Array:
    """The array in the model's type; `where` names row i of it for messages."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.asarray(array).astype(spec.dtype, order="C", copy=False)
    if _is_float(spec.dtype):
        good = np.isfinite(cast)
        problem = "NaN or Inf"
    elif array.dtype == spec.dtype or np.can_cast(array.dtype, spec.dtype):
        return cast
    else:
        good = (cast == array) & ((cast < 0) == (array < 0))
        problem = f"integers beyond {spec.dtype}"
    if not good.all():
        row = int(np.argwhere(~np.atleast_1d(good))[0][0])
        raise InputError(f"the input {spec.name!r} {where(row)} holds {problem}: repair or remove that sample")
    return cast


def _check_labels(labels: Array, count: int, origin: str) -> NDArray[np.int64]:
    if labels.dtype.kind not in "iu":
        raise InputError(f"the labels of {origin} are {labels.dtype}: expected integers, one a sample")
    if labels.shape != (count,):
        raise InputError(f"the labels of {origin} have shape {labels.shape}: expected ({count},), one a sample")
    return labels.astype(np.int64)


# Shapes against the model's inputs


def _check_names(found: Iterable[str], specs: Sequence[InputSpec], origin: str) -> None:
    names, wanted = sorted(found), [spec.name for spec in specs]
    if set(names) == set(wanted):
        return
    listed, expected = ", ".join(map(repr, names)) or "no arrays", ", ".join(map(repr, wanted))
    if missing := [name for name in wanted if name not in names]:
        advice = f"rename or add {', '.join(map(repr, missing))}"
    else:
        advice = "remove the others"
    raise InputError(
        f"{origin} holds {listed} but the model's inputs are {expected}: {advice} (classes may be given as 'labels')"
    )


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        size is None or have == size for have, size in zip(shape, wanted, strict=True)
    )


def _role(shape: tuple[int, ...], spec: InputSpec, origin: str) -> Literal["rows", "exact", "feeds"]:
    """How an array stands to the model: samples along axis 0, exactly one feed's worth, or one axis more."""
    if spec.shape is None:
        return "rows" if shape else "exact"
    if len(shape) == len(spec.shape) and _fits(shape[1:], spec.shape[1:]):
        return "exact" if not shape or shape[0] == spec.shape[0] else "rows"
    if shape and _fits(shape[1:], spec.shape):
        return "feeds"
    wanted = ", ".join("any" if size is None else str(size) for size in spec.shape)
    raise InputError(
        f"{origin} holds an array of shape {shape} for the input {spec.name!r} but the model takes ({wanted}): "
        f"reshape it, the first axis may count the samples"
    )


def _describe(headers: Mapping[str, _Header], specs: Sequence[InputSpec], origin: str) -> _Part:
    """What arrays of these shapes and types are to the model.

    Raises:
        InputError: names, types or shapes do not fit.
    """
    _check_names(headers, specs, origin)
    for spec in specs:
        _check_dtype(headers[spec.name][1], spec, origin)
    shapes = {spec.name: headers[spec.name][0] for spec in specs}
    roles = {spec.name: _role(shapes[spec.name], spec, origin) for spec in specs}
    if "feeds" in roles.values():
        return _enumerated(shapes, roles, origin)
    return _stacked(shapes, roles, specs, origin)


def _agreed(sizes: Mapping[str, int], origin: str) -> int:
    """The one number of samples that all inputs have."""
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} for {name!r}" for name, size in sizes.items())
        raise InputError(f"{origin} holds different numbers of samples ({listed}): give as many for each input")
    return next(iter(sizes.values()))


def _row_shapes(
    shapes: Mapping[str, tuple[int, ...]], constants: frozenset[str]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, shape[1:]) for name, shape in shapes.items() if name not in constants)


def _enumerated(shapes: Mapping[str, tuple[int, ...]], roles: Mapping[str, str], origin: str) -> _Part:
    """Axis 0 counts feeds that have no batch axis of their own."""
    if rows := [name for name, role in roles.items() if role == "rows"]:
        raise InputError(
            f"{origin} holds one axis more than the model takes for some inputs but not for {rows[0]!r}: give all of "
            f"them with an axis that counts the feeds"
        )
    count = _agreed({name: shapes[name][0] for name, role in roles.items() if role == "feeds"}, origin)
    constants = frozenset(name for name, role in roles.items() if role == "exact")
    return _Part(origin, count, _row_shapes(shapes, constants), constants, batched=False, batch=None)


def _one_feed(shapes: Mapping[str, tuple[int, ...]], origin: str) -> _Part:
    return _Part(origin, 1, (), frozenset(shapes), batched=False, batch=None)


def _stacked(
    shapes: Mapping[str, tuple[int, ...]],
    roles: Mapping[str, str],
    specs: Sequence[InputSpec],
    origin: str,
) -> _Part:
    """Axis 0 counts samples; what is exactly the model's shape beside other arrays is a constant."""
    sizes = {name: shapes[name][0] for name, role in roles.items() if role == "rows"}
    if not sizes:
        sizes = {name: shape[0] for name, shape in shapes.items() if shape}
        if len(set(sizes.values())) != 1:
            return _one_feed(shapes, origin)
    rows = _agreed(sizes, origin)
    carries = {name for name, shape in shapes.items() if shape and shape[0] == rows}
    constants = frozenset(shapes) - carries
    batch = _fixed_batch([spec for spec in specs if spec.name in carries], origin)
    free = [size for spec in specs if spec.name in constants for size in _free_axes(spec, shapes[spec.name])]
    if any(size != 1 for size in free):  # the batch may hide in another axis: feed it as it is
        return _one_feed(shapes, origin)
    return _Part(origin, rows, _row_shapes(shapes, constants), constants, True, 1 if free else batch)


def _free_axes(spec: InputSpec, shape: tuple[int, ...]) -> list[int]:
    return [have for have, size in zip(shape, spec.shape or (), strict=False) if size is None]


def _fixed_batch(specs: Sequence[InputSpec], origin: str) -> int | None:
    fixed = {spec.shape[0] for spec in specs if spec.shape and spec.shape[0] is not None}
    if len(fixed) > 1:
        raise InputError(
            f"the model's inputs have different fixed sizes {sorted(fixed)} along axis 0, so the samples of {origin} "
            f"cannot be batched: give an iterable of dicts, one a feed"
        )
    return next(iter(fixed), None)


# Sources


def _open(
    source: Source,
    specs: tuple[InputSpec, ...],
    options: PictureOptions | None,
    classes: Path | None,
    seed: int,
) -> _Opened:
    path = _as_path(source)
    if path is not None and _holds_pictures(path):
        return _open_pictures(find_pictures(path, classes), specs, options or PictureOptions())
    if options is not None or classes is not None:
        raise InputError(
            f"picture options and class lists are for pictures, but {_describe_source(source)} holds none: leave "
            f"them out"
        )
    if path is not None:
        return _open_files(_array_files(path), specs, path)
    if isinstance(source, str):
        return _open_named(source, specs, seed)
    return _open_object(source, specs)


def _open_object(source: Any, specs: tuple[InputSpec, ...]) -> _Opened:
    if isinstance(source, np.ndarray):
        return _open_arrays({_only_input(specs, "an array"): source}, specs, "the array")
    if isinstance(source, Mapping):
        return _open_arrays(source, specs, "the mapping")
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        again = list(source) if isinstance(source, Iterator) else source
        return _open_feeds(lambda: again, specs, "the data")
    if callable(source):
        return _open_feeds(source, specs, getattr(source, "__qualname__", "the function"))
    raise InputError(
        f"data of type {type(source).__name__} is not understood: give a path, an array, a mapping of arrays, an "
        f"iterable of dicts or a function"
    )


def _open_named(source: str, specs: tuple[InputSpec, ...], seed: int) -> _Opened:
    """A string that is no path: "random", "random:N" or "module:function"."""
    name, _, rest = source.partition(":")
    if name == "random":
        if rest and not (rest.isascii() and rest.isdigit() and int(rest)):
            raise InputError(f"{source} is not understood: expected random or random:N, as in random:64")
        return _open_random(specs, int(rest or _RANDOM_COUNT), seed)
    return _open_feeds(_import_function(source), specs, source)


def _as_path(source: Source) -> Path | None:
    """The path a source names, None for what is not a path; "random" and "module:function" are none."""
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source)
    if isinstance(source, str):
        if re.fullmatch(r"random(:.*)?", source):
            return None
        if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source) and not path.exists():
            return None
    if not path.exists():
        raise InputError(f"{path} does not exist: give a file or folder, module:function, or random")
    return path


def _holds_pictures(path: Path) -> bool:
    if path.is_dir():
        return not _array_files(path)
    if path.suffix.lower() in (".npz", ".npy"):
        return False
    if path.suffix.lower() == ".zip":
        return True
    raise InputError(
        f"{path} is of a kind that is not read: expected .npz, .npy, a .zip of pictures, or a folder of .npz or .npy "
        f"files or of pictures"
    )


def _describe_source(source: object) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the data"


def _check_arguments(specs: Sequence[InputSpec], batch_size: int, limit: int | None, seed: int) -> None:
    if not specs:
        raise InputError("the model has no inputs: there is nothing to feed")
    if batch_size < 1 or (limit is not None and limit < 1) or seed < 0:
        raise InputError(
            f"batch size {batch_size}, number of samples {limit}, seed {seed}: expected at least 1, 1 and 0"
        )


def _only_input(specs: Sequence[InputSpec], what: str) -> str:
    if len(specs) != 1:
        raise InputError(
            f"{what} was given but the model has the inputs {', '.join(repr(spec.name) for spec in specs)}: give an "
            f".npz or a mapping with one array for each"
        )
    return specs[0].name


# Arrays in memory


def _to_array(value: object, name: str, origin: str) -> Array:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name!r} of {origin} is no array ({error}): give a numpy array") from error


def _headers(arrays: Mapping[str, Array]) -> dict[str, _Header]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _split_labels(source: Mapping[str, Any], specs: Sequence[InputSpec], origin: str) -> tuple[Feed, Array | None]:
    arrays = {str(name): _to_array(value, str(name), origin) for name, value in source.items()}
    is_input = any(spec.name == _LABELS for spec in specs)
    return arrays, None if is_input else arrays.pop(_LABELS, None)


def _open_arrays(source: Mapping[str, Any], specs: tuple[InputSpec, ...], origin: str) -> _Opened:
    arrays, labels = _split_labels(source, specs, origin)
    part = _describe(_headers(arrays), specs, origin)
    checked = None if labels is None else _check_labels(labels, part.rows, origin)

    @contextmanager
    def reader() -> Iterator[_Read]:
        yield lambda _, rows: _rows_of(arrays, part, rows)

    return _Opened((part,), checked, reader)


# Files of arrays


def _array_files(path: Path) -> list[Path]:
    """The .npz and .npy files a path stands for, without the labels of a folder."""
    if not path.is_dir():
        return [path]
    found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file()]
    arrays = [file for file in found if file.suffix.lower() in (".npz", ".npy") and file.name != f"{_LABELS}.npy"]
    if arrays and any(file.suffix.lower() in SUFFIXES for file in found):
        raise InputError(f"{path} holds both pictures and array files: keep one kind in a folder")
    return arrays


def _open_files(files: list[Path], specs: tuple[InputSpec, ...], path: Path) -> _Opened:
    parts = tuple(_describe(_file_headers(file, specs), specs, str(file)) for file in files)
    labels = [_file_labels(file, part.rows, specs) for file, part in zip(files, parts, strict=True)]
    joined = _join_labels(labels, str(path))
    beside = path / f"{_LABELS}.npy"
    if path.is_dir() and beside.is_file():
        if joined is not None:
            raise InputError(f"{path} has labels both in {beside.name} and in its files: keep one of the two")
        joined = _check_labels(_load(beside)[""], sum(part.rows for part in parts), str(beside))
    return _Opened(parts, joined, partial(_read_files, files, specs, parts))


def _join_labels(labels: Sequence[NDArray[np.int64] | None], origin: str) -> NDArray[np.int64] | None:
    given = [one for one in labels if one is not None]
    if given and len(given) < len(labels):
        raise InputError(f"{len(given)} of {len(labels)} parts of {origin} have labels: give labels with all or none")
    return np.concatenate(given) if given else None


@contextmanager
def _read_files(files: Sequence[Path], specs: tuple[InputSpec, ...], parts: Sequence[_Part]) -> Iterator[_Read]:
    """Read file by file, with one in memory at a time."""
    held: dict[int, Feed] = {}

    def read(index: int, rows: NDArray[np.intp]) -> Feed:
        if index not in held:
            held.clear()
            arrays, _ = _split_labels(_named(_load(files[index]), specs, files[index]), specs, str(files[index]))
            _check_unchanged(_describe(_headers(arrays), specs, str(files[index])), parts[index])
            held[index] = arrays
        return _rows_of(held[index], parts[index], rows)

    yield read


def _check_unchanged(now: _Part, before: _Part) -> None:
    if now != before:
        raise InputError(
            f"{before.origin} holds other shapes than when it was opened: data must be the same each time it is read"
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a broken file raises into one clear error."""
    try:
        yield
    except _UNREADABLE as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise InputError(f"{path} holds pickled Python objects, which are not read: save plain numbers") from error
        raise InputError(f"{path} cannot be read ({error}): write it again with numpy.save or savez") from error


def _named(arrays: Mapping[str, Any], specs: Sequence[InputSpec], path: Path) -> dict[str, Any]:
    """Name the array of an .npy after the model's only input."""
    if path.suffix.lower() != ".npy":
        return dict(arrays)
    return {_only_input(specs, str(path)): arrays[""]}


def _load(path: Path) -> Feed:
    """The arrays of a file by name; the one of an .npy, mapped into memory, is called ""."""
    with _reading(path):
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it is an .npz by content")
            return {"": array}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def _file_labels(path: Path, rows: int, specs: Sequence[InputSpec]) -> NDArray[np.int64] | None:
    if path.suffix.lower() == ".npy" or any(spec.name == _LABELS for spec in specs):
        return None
    with _reading(path), np.load(path, allow_pickle=False) as archive:
        labels = archive[_LABELS] if _LABELS in archive.files else None
    return None if labels is None else _check_labels(labels, rows, str(path))


def _file_headers(path: Path, specs: Sequence[InputSpec]) -> dict[str, _Header]:
    """Shapes and types of a file's inputs, read without their contents."""
    if path.suffix.lower() == ".npy":
        array = _load(path)[""]
        return _named({"": (array.shape, array.dtype)}, specs, path)
    with _reading(path), zipfile.ZipFile(path) as archive:
        headers = {name.removesuffix(".npy"): _member_header(archive, name) for name in archive.namelist()}
    if not any(spec.name == _LABELS for spec in specs):
        headers.pop(_LABELS, None)
    return headers


def _member_header(archive: zipfile.ZipFile, name: str) -> _Header:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        reads = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reads(member)
    return shape, dtype


# Feeds


def _open_feeds(function: Callable[[], Any], specs: tuple[InputSpec, ...], origin: str) -> _Opened:
    """Look at every feed once, for the plan; each is given again, in order, when it is read."""
    parts: list[_Part] = []
    labels: list[NDArray[np.int64] | None] = []
    for index, item in enumerate(_iterate(function, origin)):
        part, label, _ = _describe_feed(item, specs, f"feed {index} of {origin}")
        parts.append(part)
        labels.append(label)
    if not parts:
        raise InputError(f"{origin} gave no samples: expected dicts of arrays, one a feed")
    return _Opened(tuple(parts), _join_labels(labels, origin), partial(_read_feeds, function, specs, parts, origin))


@contextmanager
def _read_feeds(
    function: Callable[[], Any], specs: tuple[InputSpec, ...], parts: Sequence[_Part], origin: str
) -> Iterator[_Read]:
    cursor = _Cursor(function, origin)
    held: dict[int, Feed] = {}

    def read(index: int, rows: NDArray[np.intp]) -> Feed:
        if index not in held:
            held.clear()
            part, _, arrays = _describe_feed(cursor.seek(index), specs, f"feed {index} of {origin}")
            _check_unchanged(part, parts[index])
            held[index] = arrays
        return _rows_of(held[index], parts[index], rows)

    yield read


class _Cursor:
    """Steps through what a function gives; going back calls it again."""

    def __init__(self, function: Callable[[], Any], origin: str) -> None:
        self._function = function
        self._origin = origin
        self._feeds = _iterate(function, origin)
        self._at = -1
        self._item: Any = None

    def seek(self, index: int) -> Any:
        if index < self._at:
            self._feeds, self._at = _iterate(self._function, self._origin), -1
        while self._at < index:
            try:
                self._item = next(self._feeds)
            except StopIteration:
                raise InputError(
                    f"{self._origin} gave only {self._at + 1} feeds where it gave more before: data must be the same "
                    f"each time it is read"
                ) from None
            self._at += 1
        return self._item


def _iterate(function: Callable[[], Any], origin: str) -> Iterator[Any]:
    """What the user's function gives; whatever it raises becomes one clear error."""
    try:
        yield from function()
    except Exception as error:
        raise InputError(
            f"{origin} failed with {type(error).__name__} ({error}): expected dicts of arrays, one a feed"
        ) from error


def _describe_feed(
    item: Any, specs: tuple[InputSpec, ...], origin: str
) -> tuple[_Part, NDArray[np.int64] | None, Feed]:
    """What one feed is, its labels and its arrays.

    Samples of several feeds are stacked only if every input has its samples along axis 0. Other feeds stay as they
    are: one sample each, or, where labels say so, as many as there are labels.
    """
    if not isinstance(item, Mapping):
        raise InputError(f"{origin} is of type {type(item).__name__}: expected a dict of arrays by input name")
    arrays, labels = _split_labels(item, specs, origin)
    part = _describe(_headers(arrays), specs, origin)
    if not part.batched and part.row_shapes:
        raise InputError(f"{origin} holds one axis more than the model takes: give each dict as one feed")
    if len({spec.shape[0] if spec.shape else _no_axis(spec) for spec in specs}) > 1:
        per_row = part.batched and labels is not None and labels.shape == (part.rows,)
        part = replace(part, whole=True, batch=None) if per_row else _one_feed(_shapes(arrays), origin)
    if labels is None:
        return part, None, arrays
    return part, _check_labels(labels.reshape(-1) if part.rows == 1 else labels, part.rows, origin), arrays


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _no_axis(spec: InputSpec) -> str | None:
    """Stands for axis 0 of an input without a shape: dynamic where unknown, none for a scalar."""
    return None if spec.shape is None else "scalar"


def _import_function(name: str) -> Callable[[], Any]:
    """Import "module:function" with the current directory on the path."""
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        function: Callable[[], Any] = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise InputError(
            f"{name} cannot be imported ({type(error).__name__}: {error}): expected module:function, found from {here}"
        ) from error
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
    if not callable(function):
        raise InputError(f"{name} is of type {type(function).__name__}: expected a function that gives dicts of arrays")
    return function


# Pictures


def _open_pictures(pictures: Pictures, specs: tuple[InputSpec, ...], options: PictureOptions) -> _Opened:
    name = _only_input(specs, str(pictures.root))
    spec = specs[0]
    single = spec.shape is not None and len(spec.shape) == 3

    def check(batch: Array) -> Array:
        if spec.shape is not None:
            check_fits(batch.shape[1:], spec.shape if single else spec.shape[1:], name, options)
        return batch

    @contextmanager
    def reader() -> Iterator[_Read]:
        with pictures.reader(options, spec.dtype) as read:
            yield lambda _, rows: {name: check(read(rows))}

    with reader() as read:
        first = read(0, np.zeros(1, np.intp))[name]
    header = ((len(pictures.names), *first.shape[1:]), first.dtype)
    part = _describe({name: header}, specs, str(pictures.root))
    return _Opened((part,), pictures.labels, reader, pictures.class_names, pictures.warnings)


# Random inputs


def _open_random(specs: tuple[InputSpec, ...], count: int, seed: int) -> _Opened:
    shapes = {spec.name: _random_shape(spec) for spec in specs}
    first = {spec.shape[0] for spec in specs if spec.shape}
    stacks = len(first) == 1  # else the sizes of axis 0 have nothing to do with one another
    batch = next(iter(first)) if stacks else None
    count += -count % (batch or 1)
    if stacks:
        shapes = {name: (count, *shape[1:]) if shape else () for name, shape in shapes.items()}
    else:
        shapes = {name: (count, *shape) for name, shape in shapes.items()}
    part = _describe({spec.name: (shapes[spec.name], spec.dtype) for spec in specs}, specs, "random data")

    @contextmanager
    def reader() -> Iterator[_Read]:
        yield lambda _, rows: {
            spec.name: _draw(spec, shapes[spec.name], part, (seed, number), rows) for number, spec in enumerate(specs)
        }

    return _Opened((part,), None, reader)


def _random_shape(spec: InputSpec) -> tuple[int, ...]:
    if spec.shape is None:
        raise InputError(f"the rank of the input {spec.name!r} is unknown: give real data instead of random")
    return tuple(1 if size is None else size for size in spec.shape)


def _draw(spec: InputSpec, shape: tuple[int, ...], part: _Part, seed: tuple[int, ...], rows: NDArray[np.intp]) -> Array:
    """Random values, each sample from a generator of its own so that the batch size does not matter."""
    if spec.name in part.constants:
        return _draw_one(spec, shape, np.random.default_rng(seed))
    return np.stack([_draw_one(spec, shape[1:], np.random.default_rng((*seed, int(row)))) for row in rows])


def _draw_one(spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if _is_float(spec.dtype):
        return rng.standard_normal(shape, np.float32).astype(spec.dtype)
    if _is_integer(spec.dtype) or spec.dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(spec.dtype)
    raise InputError(f"random values of type {spec.dtype} for {spec.name!r} are not made: give real data")
