"""What arrays are to a model: which carry samples, which go with every batch, and whether their values fit.

- An array with the model's rank carries samples along axis 0: cut into batches where axis 0 is dynamic, else into the
  model's fixed batch.
- An array with one axis more enumerates feeds, each one sample.
- An array that is exactly what the model takes, beside others that carry samples, is a constant of every feed.
- An array with one axis less is one sample, or, for an input of one number a sample, a column of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.values import to_array
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message

Array: TypeAlias = NDArray[Any]


Feed: TypeAlias = dict[str, Array]


Labels: TypeAlias = NDArray[Any]


Shape: TypeAlias = tuple[int, ...]


Role: TypeAlias = Literal["rows", "exact", "feeds"]


LABELS = "labels"


@dataclass(frozen=True)
class Shard:
    """Samples that are read together: all of a mapping, a file, or one feed.

    Attributes:
        origin: what messages call it.
        rows: the number of samples.
        row_shapes: the shape of one sample, for each input that carries samples.
        constants: inputs that are fed whole with every batch.
        batched: whether axis 0 of a feed enumerates samples.
        batch: the model's fixed batch, if it has one.
        whole: it is one feed of `rows` samples, never cut.
        notes: what the user should know of types and shapes.
        first: the number that its origin has for its first row.
    """

    origin: str
    rows: int
    row_shapes: tuple[tuple[str, Shape], ...]
    constants: frozenset[str]
    batched: bool
    batch: int | None = None
    whole: bool = False
    notes: tuple[Message, ...] = ()
    first: int = 0

    def feed_size(self, batch_size: int) -> int:
        """Samples a feed, where the user wants `batch_size`."""
        return self.rows if self.whole else self.batch or (batch_size if self.batched else 1)


def examine(
    source: Mapping[str, Any], specs: Sequence[InputSpec], origin: str, *, feed: bool = False
) -> tuple[Shard, Feed, Labels | None]:
    """What arrays by input name (and perhaps labels) are to the model, the arrays, and the labels apart.

    Only shapes and types are looked at. `feed` says that it is one feed of several. Samples of these are stacked only
    if every input has its samples along axis 0; other feeds stay as they are: one sample each, or, where labels say
    so, as many as there are labels.
    """
    arrays = {str(name): to_array(value, str(name), origin) for name, value in source.items()}
    labels = None if any(spec.name == LABELS for spec in specs) else arrays.pop(LABELS, None)
    _check_names(arrays, specs, origin)
    arrays |= {spec.name: with_batch_axis(arrays[spec.name], spec) for spec in specs}
    part = _describe(arrays, specs, origin)
    if feed:
        part = _as_feed(part, labels, specs)
    return part, arrays, None if labels is None else check_labels(labels, part.rows, origin)


def stand_in(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """An array of that shape and type that takes no memory."""
    return np.broadcast_to(np.empty((), dtype), shape)


def only_input(specs: Sequence[InputSpec], what: str) -> str:
    """The name of the model's one input."""
    if len(specs) != 1:
        raise InputError(
            f"{what} was given but the model has the inputs {', '.join(repr(spec.name) for spec in specs)}: give a "
            f"dict or an .npz with one array for each, {dict_to_write(specs)}"
        )
    return specs[0].name


def with_batch_axis(array: Array, spec: InputSpec) -> Array:
    """The array with an axis for samples where it has one less than the model takes: one sample, or a column."""
    if spec.shape is None or array.ndim != len(spec.shape) - 1:
        if array.ndim == 0 and spec.shape is not None and spec.shape[1:] == (1,):
            return array.reshape(1, 1)
        return array
    if _fits(array.shape, spec.shape[1:]):
        return array[np.newaxis]
    return array[:, np.newaxis] if spec.shape[1:] == (1,) else array


def dict_to_write(specs: Sequence[InputSpec]) -> str:
    """What a feed looks like, as it is written in Python."""
    return "{" + ", ".join(f"{spec.name!r}: {spec.dtype} {_in_words(spec)}" for spec in specs) + "}"


def _in_words(spec: InputSpec) -> str:
    if spec.shape is None:
        return "array"
    sizes = ["any" if size is None else str(size) for size in spec.shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _describe(arrays: Feed, specs: Sequence[InputSpec], origin: str) -> Shard:
    part = _shard(arrays, specs, origin)
    integers = [
        spec.name
        for spec in specs
        if is_float(spec.dtype) and arrays[spec.name].dtype.kind in "iu" and spec.name not in part.constants
    ]
    if not integers:
        return part
    types = ", ".join(f"{name!r} ({arrays[name].dtype})" for name in integers)
    text = (
        f"integers were given for inputs of floats, {types}, and are taken as they are: where the model was trained on "
        "scaled or normalised numbers, scale them in the same way"
    )
    return replace(part, notes=(*part.notes, Message(text, "integers-for-floats", inputs=integers)))


def _shard(arrays: Feed, specs: Sequence[InputSpec], origin: str) -> Shard:
    for spec in specs:
        _check_dtype(arrays[spec.name].dtype, spec, origin)
    shapes = {spec.name: arrays[spec.name].shape for spec in specs}
    roles = {spec.name: _role(shapes[spec.name], spec, origin) for spec in specs}
    if "feeds" in roles.values():
        return _enumerated(shapes, roles, origin)
    if not any(spec.has_batch for spec in specs):
        return _one_feed(shapes, origin)
    return _stacked(shapes, roles, specs, origin)


def _as_feed(part: Shard, labels: Array | None, specs: Sequence[InputSpec]) -> Shard:
    if part.row_shapes and not part.batched:
        raise InputError(f"{part.origin} holds one axis more than the model takes: give each dict as one feed")
    if len({(None,) if spec.shape is None else spec.shape[:1] for spec in specs}) == 1:
        return part
    if part.batched and labels is not None and labels.shape[:1] == (part.rows,):
        return replace(part, whole=True, batch=None)
    return _one_feed([spec.name for spec in specs], part.origin)


def _check_names(given_names: Iterable[str], specs: Sequence[InputSpec], origin: str) -> None:
    names, expected_names = sorted(given_names), [spec.name for spec in specs]
    if set(names) == set(expected_names):
        return
    listed, expected = ", ".join(map(repr, names)) or "no arrays", ", ".join(map(repr, expected_names))
    missing = ", ".join(repr(name) for name in expected_names if name not in names)
    advice = f"rename or add {missing}, as in {dict_to_write(specs)}" if missing else "remove the others"
    raise InputError(
        f"{origin} holds {listed} but the model's inputs are {expected}: {advice} (classes may be given as 'labels')"
    )


def _role(shape: Shape, spec: InputSpec, origin: str) -> Role:
    """How an array stands to the model: samples along axis 0, exactly one feed's worth, or one axis more."""
    if spec.shape is None:
        return "rows" if shape else "exact"
    if not spec.has_batch and _fits(shape, spec.shape):
        return "exact"
    if len(shape) == len(spec.shape) and _fits(shape[1:], spec.shape[1:]):
        return "exact" if shape[:1] == spec.shape[:1] else "rows"
    if shape and _fits(shape[1:], spec.shape):
        return "feeds"
    raise InputError(
        f"{origin} holds an array of shape {shape} for the input {spec.name!r} but the model takes {_in_words(spec)}: "
        "reshape it, the first axis may count the samples"
    )


def _fits(shape: Shape, expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(take in (None, have) for have, take in zip(shape, expected, strict=True))


def _enumerated(shapes: Mapping[str, Shape], roles: Mapping[str, Role], origin: str) -> Shard:
    """Axis 0 counts feeds that have no batch axis of their own."""
    if rows := [name for name, role in roles.items() if role == "rows"]:
        raise InputError(
            f"{origin} holds one axis more than the model takes for some inputs but not for {rows[0]!r}: give all of "
            f"them with an axis that counts the feeds"
        )
    carriers = {name: shapes[name] for name, role in roles.items() if role == "feeds"}
    constants = frozenset(shapes).difference(carriers)
    return Shard(origin, _count(carriers, origin), _row_shapes(carriers), constants, batched=False)


def _stacked(shapes: Mapping[str, Shape], roles: Mapping[str, Role], specs: Sequence[InputSpec], origin: str) -> Shard:
    """Axis 0 counts samples; what is exactly the model's shape beside other arrays is a constant."""
    counting = {name: shapes[name] for name, role in roles.items() if role == "rows"}
    if not counting:
        counting = {name: shape for name, shape in shapes.items() if shape}
        if len({shape[0] for shape in counting.values()}) != 1:
            return _one_feed(shapes, origin, _why_one_feed(shapes))
    rows = _count(counting, origin)
    carriers = {name: shape for name, shape in shapes.items() if shape[:1] == (rows,)}
    constants = frozenset(shapes).difference(carriers)
    batch = _fixed_batch([spec for spec in specs if spec.name in carriers], origin)
    free = {size for spec in specs if spec.name in constants for size in _free_axes(shapes[spec.name], spec)}
    if free - {1}:  # the batch may hide in another axis: feed it as it is
        return _one_feed(shapes, origin, _why_one_feed(shapes))
    return Shard(origin, rows, _row_shapes(carriers), constants, batched=True, batch=1 if free else batch)


def _one_feed(names: Iterable[str], origin: str, notes: tuple[Message, ...] = ()) -> Shard:
    return Shard(origin, 1, (), frozenset(names), batched=False, notes=notes)


def _why_one_feed(shapes: Mapping[str, Shape]) -> tuple[Message, ...]:
    """A note where many samples may be meant: of inputs that share no axis 0 all are fed at once, as one sample."""
    longest = max(shapes, key=lambda name: shapes[name][:1])
    count = (shapes[longest] or (1,))[0]
    if count < 2:
        return ()
    listed = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
    text = (
        f"all of the data is fed at once, as one sample, for the arrays have no axis 0 in common ({listed}): if they "
        f"are {count} samples, give a list of {count} dicts, one a sample, or every input with {count} along axis 0"
    )
    return (Message(text, "one-feed", entries=count, input=longest),)


def _row_shapes(carriers: Mapping[str, Shape]) -> tuple[tuple[str, Shape], ...]:
    return tuple((name, shape[1:]) for name, shape in carriers.items())


def _free_axes(shape: Shape, spec: InputSpec) -> list[int]:
    return [have for have, size in zip(shape, spec.shape or (), strict=False) if size is None]


def _count(shapes: Mapping[str, Shape], origin: str) -> int:
    """The one number of samples that all inputs have."""
    if len({shape[0] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{shape[0]} for {name!r}" for name, shape in shapes.items())
        single = [name for name, shape in shapes.items() if shape[0] == 1]
        most = max(shape[0] for shape in shapes.values())
        how = f", such as numpy.repeat({single[0]}, {most}, axis=0)" if single else ""
        raise InputError(f"{origin} holds different numbers of samples ({listed}): give as many for each input{how}")
    return next(iter(shapes.values()))[0]


def _fixed_batch(specs: Sequence[InputSpec], origin: str) -> int | None:
    fixed = {spec.shape[0] for spec in specs if spec.shape and spec.shape[0] is not None}
    if len(fixed) > 1:
        raise InputError(
            f"the model's inputs have different fixed sizes {sorted(fixed)} along axis 0, so the samples of {origin} "
            f"cannot be batched: give an iterable of dicts, one a feed"
        )
    return next(iter(fixed), None)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is a float, those that NumPy itself does not know included."""
    return "float" in dtype.name


def is_whole(dtype: np.dtype[Any]) -> bool:
    """Whether it is an integer of any width, or boolean."""
    return "int" in dtype.name or dtype.kind == "b"


def _check_dtype(dtype: np.dtype[Any], spec: InputSpec, origin: str) -> None:
    """Integers and floats may become floats, integers and booleans integers; nothing else changes its kind."""
    if dtype.hasobject:
        raise InputError(f"{origin} holds Python objects for {spec.name!r}: save plain numbers, pickles are not read")
    to_float = is_float(spec.dtype) and (is_float(dtype) or is_whole(dtype))
    to_integer = is_whole(spec.dtype) and spec.dtype.kind != "b" and is_whole(dtype)
    if dtype != spec.dtype and not to_float and not to_integer:
        raise InputError(
            f"{origin} holds {dtype} for the input {spec.name!r} but the model takes {spec.dtype}: convert the data"
        )


def cast(array: Array, spec: InputSpec, where: Callable[[int], str]) -> Array:
    """The array in the model's type, finite and without overflow; `where` names row i of it for messages."""
    with np.errstate(over="ignore", invalid="ignore"):
        values: Array = np.asarray(array).astype(spec.dtype, order="C", copy=False)
    good = np.isfinite(values) if is_float(spec.dtype) else values == array
    if not good.all():
        row = int(np.argwhere(~np.atleast_1d(good))[0][0])
        fitting = is_float(spec.dtype) and not np.isfinite(np.atleast_1d(array)[row].astype(np.float64)).all()
        problem = "NaN or Inf" if fitting else f"numbers beyond {spec.dtype}"
        raise InputError(f"the input {spec.name!r} of {where(row)} holds {problem}: repair or remove that sample")
    return values


def check_labels(labels: Array, count: int, origin: str) -> Labels:
    """The labels of a part, a row a sample or one for every two; `join_labels` tells which it is, from all parts.

    Integers and truth values become int64, a column loses its axis; a single sample may have its row without an axis
    for it. Whether rows are one-hot is told by all of them: `one_hot_as_classes`.
    """
    if labels.ndim == 0 or (count == 1 < labels.size and len(labels) != 1):
        labels = labels[np.newaxis]
    if labels.dtype.kind not in "biuf":
        raise InputError(f"the labels of {origin} are {labels.dtype}: expected numbers, such as one class a sample")
    if len(labels) != count and 2 * len(labels) != count:
        pairs = f", or {count // 2} for pairs" if count % 2 == 0 else ""
        raise InputError(f"the labels of {origin} have shape {labels.shape}: expected ({count},), one a sample{pairs}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError(f"the labels of {origin} hold NaN or Inf: repair or remove those samples")
    return labels if labels.dtype.kind == "f" else labels.astype(np.int64)


def are_classes(labels: Labels | None, count: int) -> bool:
    """Whether labels are the class of each of so many samples; else they are targets of another kind, or of pairs."""
    return labels is not None and labels.shape == (count,) and labels.dtype.kind == "i"


def as_bytes(labels: Labels) -> bytes:
    """Labels for a checksum: the same for the same numbers, whatever wrote them."""
    return labels.astype("<f8" if labels.dtype.kind == "f" else "<i8").tobytes()


def one_hot_as_classes(labels: Labels) -> Labels:
    """Of one-hot rows the place of the 1, int64; others as they are."""
    # sums that are 1 with entries of 0 and 1 alone
    if labels.ndim == 2 and ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all():
        classes: Labels = np.argmax(labels, axis=1)
        return classes
    return labels


def labels_beside(labels: Array, count: int, origin: str) -> Labels | None:
    """Labels that stand beside all parts, and are told apart by the count of all samples."""
    return join_labels([check_labels(labels, count, origin)], [count], origin)


def join_labels(labels: Sequence[Labels | None], counts: Sequence[int], origin: str) -> Labels | None:
    """The labels of all parts in a row, None if no part has any: one a sample of all parts, or one for two in all.

    Args:
        labels: of each part, see `check_labels`.
        counts: samples of each part.
        origin: what messages call all of it.

    Raises:
        InputError: some parts have none, or rows of another shape than others, or as many as there are samples where
            others have half as many.
    """
    label_arrays = [one for one in labels if one is not None]
    if not label_arrays:
        return None
    if len(label_arrays) < len(labels):
        raise InputError(
            f"{len(label_arrays)} of {len(labels)} parts of {origin} have labels: give labels with all or none"
        )
    if len({one.shape[1:] for one in label_arrays}) > 1:
        raise InputError(f"the labels of {origin} are not of one shape: fill them up to the longest")
    halves = sum(len(one) < count for one, count in zip(label_arrays, counts, strict=True))
    if 0 < halves < len(label_arrays):
        raise InputError(
            f"{halves} of {len(label_arrays)} parts of {origin} have half as many labels as samples, which are those "
            "of pairs, and the others as many: give one label a sample in all parts, or one for two in all"
        )
    return one_hot_as_classes(np.concatenate(label_arrays))
