"""What is done to the inputs of a repair, so that a few hundred of them are not learnt by heart."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import attention_masks
from netsurgeon.pipeline.data import InputSpec, Samples, plain_name
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Feed, Runtime
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


def choose_changes(samples: Samples, options: Options, dense: ir.Model, runtime: Runtime) -> Changes:
    """What suits the inputs, of what the user allows.

    With `augment` "auto" colour pictures are moved and mirrored, grey ones moved, and other floats get noise.

    Args:
        samples: whose first feeds are looked at.
        options: of the compression; `augment` is "auto", "none", or names of changes with commas between them.
        dense: the dense model, whose inputs say which axes are as long as each other.
        runtime: to try it on shorter inputs.
    """
    if options.augment == "none" or not samples.batched:
        return Changes()
    is_auto = options.augment == "auto"
    allowed = USUAL if is_auto else frozenset(options.augment.split(","))
    feeds = list(itertools.islice(samples.batches(), LOOKED_AT))
    changes = _of_sequences(samples, options, dense, feeds) if "lengths" in allowed else Changes()
    if changes.lengths and not _run_shorter(feeds[0], changes, dense, runtime):
        changes = Changes()
    channels = {name: _channels(array) for name, array in feeds[0].items() if array.dtype.kind == "f"}
    pictures = {name: axis for name, axis in channels.items() if axis is not None}
    if pictures and allowed & {"shift", "flip", "crop"}:
        are_colours = all(feeds[0][name].shape[axis] == 3 for name, axis in pictures.items())
        changes = dataclasses.replace(
            changes,
            shifts={name: _shift(feeds[0][name], axis) if "shift" in allowed else 0 for name, axis in pictures.items()},
            channels_last=frozenset(name for name, axis in pictures.items() if axis == 3),
            flip="flip" in allowed and (are_colours or not is_auto),
            crop="crop" in allowed,
        )
    others = channels.keys() - pictures.keys() if "noise" in allowed else ()
    noises = {name: _noise([feed[name] for feed in feeds], changes.lengths.get(name, ())) for name in sorted(others)}
    return dataclasses.replace(changes, noises={name: noise for name, noise in noises.items() if noise is not None})


def _channels(array: npt.NDArray[Any]) -> int | None:
    """The axis of the channels of pictures, 1 or 3; None where a batch holds no pictures."""
    axis = next((axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in (1, 3)), None)
    return axis if axis is not None and min(_sides(array, axis)) >= LEAST_SIDE else None


def _sides(pictures: npt.NDArray[Any], axis: int) -> tuple[int, ...]:
    return pictures.shape[2:] if axis == 1 else pictures.shape[1:3]


def _shift(pictures: npt.NDArray[Any], axis: int) -> int:
    return min(min(_sides(pictures, axis)) // SHIFT_SHARE, MOST_SHIFT)


def _noise(arrays: Sequence[npt.NDArray[Any]], cut: Sequence[int]) -> npt.NDArray[np.float32] | None:
    """Standard deviation of the noise of each place, one for all along axes whose extents vary; None for a mask."""
    if all(np.isin(array, (0.0, 1.0)).all() for array in arrays):  # a mask stays one
        return None
    axes = range(1, arrays[0].ndim)
    varying = (0, *(at for at in axes if at in cut or len({array.shape[at] for array in arrays}) > 1))
    count = sum(math.prod(array.shape[at] for at in varying) for array in arrays)
    mean = sum(array.sum(axis=varying, dtype=np.float64, keepdims=True) for array in arrays) / count
    squares = sum(np.square(array - mean).sum(axis=varying, keepdims=True) for array in arrays)
    return np.asarray(NOISE * np.sqrt(squares[0] / count), np.float32)


def _of_sequences(samples: Samples, options: Options, dense: ir.Model, feeds: Sequence[Feed]) -> Changes:
    """Cut the axes of inputs that run over the positions of sequences, and the inputs that say how many these are.

    These are axes that the model leaves open and calls like the axis of a mask, or that a count of each sample gives
    the extent of. Where a mask excludes something, a part might be all excluded: then none is cut.
    """
    names = {
        value.name: [getattr(size, "value", None) for size in value.shape or ()]
        for value in dense.graph.inputs
        if value.name in feeds[0]
    }
    masks = mask_inputs(samples.specs, options.mask, attention_masks(dense.graph))
    if samples.mask is not None or any(np.ptp(feed[mask.name]) for mask in masks for feed in feeds):
        return Changes()
    counted = {spec.name: _counted_axis(spec, names, feeds) for spec in samples.specs}
    counts = {name: size for name, size in counted.items() if size is not None}
    called = {*counts.values(), *(names[mask.name][1] for mask in masks)} - {None}
    axes = {name: tuple(at for at, size in enumerate(sizes) if at and size in called) for name, sizes in names.items()}
    return Changes(lengths={name: places for name, places in axes.items() if places}, counts=tuple(counts))


def _counted_axis(spec: InputSpec, names: Mapping[str, Sequence[str | None]], feeds: Sequence[Feed]) -> str | None:
    """What the model calls the axis whose extent an input gives for each sample; None where no axis is the one."""
    arrays = [feed[spec.name] for feed in feeds]
    are_counts = all(array.ndim == 1 and array.dtype.kind == "i" for array in arrays)
    if not are_counts or not plain_name(spec.name).endswith(LENGTHS):
        return None
    called = {
        size
        for name, sizes in names.items()
        for at, size in enumerate(sizes)
        if at and size is not None
        if all((array == feed[name].shape[at]).all() for array, feed in zip(arrays, feeds, strict=True))
    }
    return called.pop() if len(called) == 1 else None


def _run_shorter(feed: Feed, changes: Changes, dense: ir.Model, runtime: Runtime) -> bool:
    """Whether the model takes a feed of half the length, and gives finite floats."""
    from netsurgeon.models.repair import Augmentation

    shorter = Augmentation(**dataclasses.asdict(changes)).cut(feed, 0.5)
    try:
        outputs = dict(runtime.session(dense).run(shorter))
    except CheckFailedError:
        return False
    return all(np.isfinite(outputs[name]).all() for name in float_outputs(outputs))
