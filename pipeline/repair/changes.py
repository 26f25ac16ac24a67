"""What is done to the inputs of a repair, so that a few hundred of them are not learnt by heart."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import attention_masks
from netsurgeon.pipeline.data import Samples, plain_name
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Feed, Runtime, Session
from netsurgeon.pipeline.verification import float_outputs, mask_inputs

SHIFT_SHARE, MOST_SHIFT = 8, 16
"""A picture is moved by up to an eighth of its side, as is usual where networks are trained on small pictures."""
LEAST_SIDE = 8
"""Pixels of what is taken for a picture."""
LOOKED_AT = 16
"""Feeds that inputs are judged by."""
NOISE = 0.1
"""Of inputs that are no pictures, as a share of their standard deviation."""
LENGTHS = ("length", "lengths", "len", "lens")
"""How inputs are called that say how long each sample is, alone or behind another word."""
CUTS_TRIED = 4
"""Lengths from half of a sequence on that the dense model has to take."""
PICTURES = frozenset({"shift", "flip", "crop"})
"""What is done to pictures alone."""
USUAL = frozenset({"shift", "flip", "noise"})
"""What `augment` "auto" allows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """What is done to the inputs of a step.

    Attributes:
        shifts: by input with pictures: pixels that each is moved, at most.
        channels_last: those whose channels are the last axis.
        flip: whether half of the pictures are mirrored.
        crop: whether each picture is cut to a part of it, which is enlarged to the size of the whole.
        noises: by input without pictures: standard deviation of the noise, of a place each.
        lengths: by input with sequences: axes along which all are cut to a part of their length.
        counts: inputs that say how long each sequence is.
    """

    shifts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    flip: bool = False
    crop: bool = False
    noises: Mapping[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    lengths: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    counts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words."""
        farthest = max(self.shifts.values(), default=0)
        done = [f"pictures moved by up to {farthest} pixels"] if farthest else []
        done += ["half of the pictures mirrored"] if self.flip else []
        done += ["pictures cut to a part and enlarged"] if self.crop else []
        done += [f"noise of {NOISE:g} standard deviations"] if self.noises else []
        done += ["sequences cut short"] if self.lengths else []
        return ", ".join(done) or "none"


def choose_changes(
    samples: Samples, options: Options, dense: ir.Model, runtime: Runtime
) -> tuple[Changes, dict[str, str]]:
    """What suits the inputs, of what the user allows, and why what the user names is not done, by name.

    With `augment` "auto" colour pictures are moved and mirrored, grey ones moved, and other floats get noise.

    Args:
        samples: that are trained on.
        options: of the compression; `augment` is "auto", "none", or names of changes with commas between them.
        dense: the dense model, whose inputs say which axes are as long as each other.
        runtime: to try it on shorter inputs.
    """
    if options.augment == "none":
        return Changes(), {}
    is_auto = options.augment == "auto"
    allowed = USUAL if is_auto else frozenset(options.augment.split(","))
    if not samples.batched:
        return Changes(), {} if is_auto else dict.fromkeys(sorted(allowed), "axis 0 of the inputs is not a batch")
    feeds = list(itertools.islice(samples.batches(), LOOKED_AT))
    changes, left_out = Changes(), dict[str, str]()
    if "lengths" in allowed:
        try:
            changes = _of_sequences(samples, options, dense, runtime)
        except CheckFailedError as error:
            left_out["lengths"] = str(error)
    pictures = _pictures(feeds, changes)
    if pictures and allowed & PICTURES:
        are_colours = all(feeds[0][name].shape[axis] == 3 for name, axis in pictures.items())
        changes = dataclasses.replace(
            changes,
            shifts={name: _shift(feeds[0][name], axis) if "shift" in allowed else 0 for name, axis in pictures.items()},
            channels_last=frozenset(name for name, axis in pictures.items() if axis == 3),
            flip="flip" in allowed and (are_colours or not is_auto),
            crop="crop" in allowed,
        )
    elif not pictures:
        left_out |= dict.fromkeys(sorted(allowed & PICTURES), "no input holds pictures of floats or bytes")
    if "noise" in allowed:
        changes = dataclasses.replace(changes, noises=_noises(samples, feeds, changes, pictures))
        left_out |= {} if changes.noises else {"noise": "no input holds floats that are neither pictures nor masks"}
    return changes, {} if is_auto else left_out


def _pictures(feeds: Sequence[Feed], changes: Changes) -> dict[str, int]:
    """Inputs that hold pictures, with the axis of their channels.

    Floats or bytes: other integers may say anything. A mask beside other inputs is none, nor is what is cut along both
    sides, as what is added to scores of attention.
    """
    axes = {
        name: _channels(array) for name, array in feeds[0].items() if array.dtype.kind == "f" or array.dtype == np.uint8
    }
    return {
        name: axis
        for name, axis in axes.items()
        if axis is not None
        and len(changes.lengths.get(name, ())) < 2
        and not (len(feeds[0]) > 1 and _is_mask([feed[name] for feed in feeds]))
    }


def _noises(
    samples: Samples, feeds: Sequence[Feed], changes: Changes, pictures: Collection[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """The noise of inputs of floats that are neither pictures nor masks."""
    ends = [feed for part in samples.end_parts() for feed in part.batches()]
    noises = {}
    for name in sorted(feeds[0].keys() - set(pictures)):
        arrays, cut = [feed[name] for feed in feeds], changes.lengths.get(name, ())
        if arrays[0].dtype.kind == "f" and len(cut) < 2 and not _is_mask(arrays):
            shapes = {feed[name].shape for feed in ends}
            varying = {at for at in range(1, arrays[0].ndim) if len({shape[at] for shape in shapes}) > 1}
            noises[name] = _noise(arrays, (0, *sorted(varying | set(cut))))
    return noises


def _is_mask(arrays: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether there are two values at most, such as 0 and 1, or 0 and what is added to leave a position out."""
    low, high = min(array.min() for array in arrays), max(array.max() for array in arrays)
    return all(((array == low) | (array == high)).all() for array in arrays)


def _channels(array: npt.NDArray[Any]) -> int | None:
    """The axis of the channels of pictures, 1 or 3; None where a batch holds no pictures."""
    axis = next((axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in (1, 3)), None)
    return axis if axis is not None and min(_sides(array, axis)) >= LEAST_SIDE else None


def _sides(pictures: npt.NDArray[Any], axis: int) -> tuple[int, ...]:
    return pictures.shape[2:] if axis == 1 else pictures.shape[1:3]


def _shift(pictures: npt.NDArray[Any], axis: int) -> int:
    return min(min(_sides(pictures, axis)) // SHIFT_SHARE, MOST_SHIFT)


def _noise(arrays: Sequence[npt.NDArray[Any]], varying: Sequence[int]) -> npt.NDArray[np.float32]:
    """Standard deviation of the noise of each place, one for all along these axes."""
    count = sum(math.prod(array.shape[at] for at in varying) for array in arrays)
    mean = sum(array.sum(axis=tuple(varying), dtype=np.float64, keepdims=True) for array in arrays) / count
    squares = sum(np.square(array - mean).sum(axis=tuple(varying), keepdims=True) for array in arrays)
    return np.asarray(NOISE * np.sqrt(squares[0] / count), np.float32)


def _of_sequences(samples: Samples, options: Options, dense: ir.Model, runtime: Runtime) -> Changes:
    """Cut the axes of inputs that run over the positions of sequences, and the inputs that say how many these are.

    These are axes that the model leaves open and calls like the axis of a mask, or that a count of each sample gives
    the extent of.

    Raises:
        CheckFailedError: a part of a sequence might be something else than a shorter one.
    """
    names = {
        value.name or "": [getattr(size, "value", None) for size in value.shape or ()]
        for value in dense.graph.inputs
        if value.name in {spec.name for spec in samples.specs}
    }
    masks = [mask.name for mask in mask_inputs(samples.specs, options.mask, attention_masks(dense.graph))]
    counts = [spec.name for spec in samples.specs if plain_name(spec.name).endswith(LENGTHS)]
    called, integers = _looked_over(samples, names, masks, counts)
    positions = {*called, *(names[mask][1] for mask in masks)} - {None}
    axes = {
        name: tuple(at for at, size in enumerate(sizes) if at and size in positions) for name, sizes in names.items()
    }
    lengths = {name: places for name, places in axes.items() if places}
    if not lengths:
        raise CheckFailedError("no mask and no input of lengths shows an axis of positions that the model leaves open")
    for name in integers - lengths.keys() - set(counts):
        raise CheckFailedError(f"the input {name!r} may say places in a sequence, and has no axis that is cut with it")
    changes = Changes(lengths=lengths, counts=tuple(counts))
    _check_shorter(samples, changes, runtime.session(dense))
    return changes


def _looked_over(
    samples: Samples, names: Mapping[str, Sequence[str | None]], masks: Sequence[str], counts: Sequence[str]
) -> tuple[set[str], set[str]]:
    """What axes are called whose extent the counts give in all samples, and integers that vary as places would.

    Args:
        samples: all are looked at.
        names: what the model calls the axes of its inputs.
        masks: inputs that may exclude positions.
        counts: inputs that are called like lengths.

    Raises:
        CheckFailedError: a mask excludes something, and a part might be all excluded; or a count is of no axis.
    """
    open_axes = {size for sizes in names.values() for size in sizes[1:] if size is not None}
    called = {name: set(open_axes) for name in counts}
    values: dict[str, tuple[int, int]] = {}
    longest = 0
    if samples.mask is not None:
        raise CheckFailedError("a mask excludes positions, and a part might be all excluded")
    for feed in samples.batches():
        for name in masks:
            if (feed[name] != feed[name].flat[0]).any():
                raise CheckFailedError(f"the mask {name!r} excludes positions, and a part might be all excluded")
        for name in counts:
            called[name] &= _counted_axes(feed[name], feed, names)
        for name, array in feed.items():
            longest = max(
                longest, *(size for size, axis in zip(array.shape[1:], names[name][1:], strict=False) if axis), 0
            )
            if array.dtype.kind in "iu" and array.size:
                low, high = values.get(name, (array.min(), array.max()))
                values[name] = min(low, array.min()), max(high, array.max())
    for name, axes in called.items():
        if len(axes) != 1:
            raise CheckFailedError(f"the input {name!r} is called like a length, and is not that of one axis")
    places = {name for name, (low, high) in values.items() if low < high < longest and low >= -longest}
    return set().union(*called.values()), places


def _counted_axes(counts: npt.NDArray[Any], feed: Feed, names: Mapping[str, Sequence[str | None]]) -> set[str]:
    """What the model calls the axes whose extent an input gives for each sample of a feed."""
    if counts.ndim != 1 or counts.dtype.kind != "i":
        return set()
    return {
        size
        for name, sizes in names.items()
        for at, size in enumerate(sizes)
        if at and size is not None and (counts == feed[name].shape[at]).all()
    }


def _check_shorter(samples: Samples, changes: Changes, session: Session) -> None:
    """Check that the shortest and the longest feeds can be cut to half, and to lengths near it, odd and even.

    Raises:
        CheckFailedError: the model does not run on a part, gives numbers that are not finite, or other samples.
    """
    from netsurgeon.models.repair import Augmentation

    augmentation = Augmentation(**dataclasses.asdict(changes))
    for feed in (feed for part in samples.end_parts() for feed in part.batches()):
        outputs = dict(session.run(feed))
        length = max(feed[name].shape[at] for name, axes in changes.lengths.items() for at in axes)
        half = math.ceil(length / 2)
        for stop in range(half, min(half + CUTS_TRIED, length)):
            try:
                shorter = dict(session.run(augmentation.cut(feed, stop / length)))
            except CheckFailedError as error:
                raise CheckFailedError(f"the dense model does not run on {stop} of {length} positions") from error
            for name in float_outputs(shorter):
                if not np.isfinite(shorter[name]).all() or shorter[name].shape[:1] != outputs[name].shape[:1]:
                    raise CheckFailedError(
                        f"the output {name!r} of {stop} of {length} positions is not finite, or not of as many samples"
                    )
