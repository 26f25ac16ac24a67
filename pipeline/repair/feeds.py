"""The inputs of a repair, step by step."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.runtime import Feed


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
