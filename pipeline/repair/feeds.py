"""The inputs of a repair, step by step, and what is done to them so that they are not learnt by heart."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.runtime import Feed

SHIFT_SHARE, MOST_SHIFT = 8, 16
"""A picture is moved by up to an eighth of its side, as is usual where networks are trained on small pictures."""
LEAST_SIDE = 8
"""Pixels of what is taken for a picture."""
LOOKED_AT = 16
"""Feeds that inputs are judged by."""
NOISE = 0.1
"""Of inputs that are no pictures, as a share of their standard deviation."""


@dataclasses.dataclass(frozen=True)
class StepFeeds:
    """Calibration inputs in the order of steps: all of them in an epoch, each epoch in an order of its own.

    Attributes:
        training: what is trained on.
        held_out_samples: what is not trained on.
        batch: samples of a step, or a few more where feeds are of other sizes.
        seed: of the orders.
    """

    training: Samples
    held_out_samples: Samples
    batch: int
    seed: int

    def steps(self, start: int) -> Iterator[Sequence[tuple[Feed, int]]]:
        """The feeds of each step from this one on, with the samples in each; without end."""
        step = 0
        for epoch in itertools.count():
            order = np.random.default_rng((self.seed, epoch)).permutation(self.training.count)
            feeds: list[tuple[Feed, int]] = []
            for feed, count in _counted(self.training.take(order).in_feeds_of(self.batch)):
                feeds.append((feed, count))
                if sum(counted for _, counted in feeds) >= min(self.batch, self.training.count):
                    if step >= start:
                        yield feeds
                    step, feeds = step + 1, []

    def held_out(self) -> Iterator[tuple[Feed, int]]:
        """Feeds of the inputs held out, with the samples in each."""
        return _counted(self.held_out_samples)

    def entries(
        self, name: str, feed: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]
    ) -> npt.NDArray[np.bool_] | None:
        """Which entries of a value count: those at positions that no mask excludes; None = all."""
        mask = self.training.mask
        return None if mask is None else mask.entries(name, mask.kept(feed), shape)


def _counted(samples: Samples) -> Iterator[tuple[Feed, int]]:
    """Feeds with the samples in each; of mirrored samples each feed stands twice."""
    sizes = [len(numbers) for numbers in samples.batch_numbers()]
    return zip(samples.batches(), np.repeat(sizes, samples.batch_count // len(sizes)).tolist(), strict=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """What is done to the inputs of a step.

    Attributes:
        shifts: by input with pictures: pixels that each is moved, at most.
        channels_last: those whose channels are the last axis.
        flip: whether half of the pictures are mirrored.
        noises: by input without pictures: standard deviation of the noise, of a place each.
    """

    shifts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    flip: bool = False
    noises: Mapping[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """In words."""
        done = [f"pictures moved by up to {max(self.shifts.values())} pixels"] if self.shifts else []
        done += ["half of them mirrored"] if self.flip else []
        done += [f"noise of {NOISE:g} standard deviations"] if self.noises else []
        return ", ".join(done) or "none"


def choose_changes(samples: Samples, augment: str) -> Changes:
    """What suits the inputs: colour pictures are moved and mirrored, grey ones moved, other floats get noise.

    Args:
        samples: whose first feeds are looked at.
        augment: "auto", "shift" = no picture is mirrored, or "none".
    """
    if augment == "none" or not samples.batched:
        return Changes()
    feeds = list(itertools.islice(samples.batches(), LOOKED_AT))
    feed = feeds[0]
    shifts, noises, last, colours = {}, {}, set(), []
    for spec in samples.specs:
        array = feed[spec.name]
        if array.dtype.kind != "f":
            continue
        axis = next((axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in (1, 3)), None)
        sides = array.shape[2:] if axis == 1 else array.shape[1:3]
        if axis is None or min(sides) < LEAST_SIDE:
            arrays = [feed[spec.name] for feed in feeds if feed[spec.name].shape[1:] == array.shape[1:]]
            together = np.concatenate(arrays)
            if not np.isin(together, (0.0, 1.0)).all():  # a mask stays one
                noises[spec.name] = np.asarray(NOISE * together.std(axis=0), np.float32)
            continue
        shifts[spec.name] = min(min(sides) // SHIFT_SHARE, MOST_SHIFT)
        last |= {spec.name} if axis == 3 else set()
        colours.append(array.shape[axis] == 3)
    is_flipped = augment == "auto" and bool(colours) and all(colours)
    return Changes(shifts=shifts, channels_last=frozenset(last), flip=is_flipped, noises=noises)
