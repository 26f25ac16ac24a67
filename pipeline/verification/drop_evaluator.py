"""How much worse a candidate is than the dense model, on inputs that its corrections never saw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.progress import Ticks, no_ticks, part_of, ticking
from netsurgeon.pipeline.runtime import Remembering, Session, counted
from netsurgeon.pipeline.verification.measures import COUNTED, MEANS, Batch, DropEstimate, Measure, Reading, batches_of

EVERY = 4
"""Of the feeds, those that are run first where a drop need only be known to lie beyond a limit."""
FEWEST_FEEDS = 6
"""Feeds that such a part has at least: inputs that lie by class are alike within a feed, so that few feeds do not stand
for all. Of the fewest inputs that guide a first look, in batches of 32, so many are a part."""


class DropEvaluator:
    """Compares models with the dense one on the same inputs.

    What a measure reads of the dense model is kept; one that compares outputs themselves has the dense model run again
    beside each candidate.
    """

    def __init__(self, dense: Session, samples: Samples, measure: Measure, seed: int = 0, ticks: Ticks = no_ticks):
        """Run the dense model on all samples, with a tick for every batch."""
        dense = counted(dense, samples.mask)
        self._dense, self._samples, self._measure, self._seed = dense, samples, measure, seed
        self._reading = measure.reading()
        self._part: DropEvaluator | None = None
        if not measure.needs_dense:
            self._read(dense, self._reading, ticks)

    @property
    def samples(self) -> int:
        """Inputs that models are compared on."""
        return self._samples.count

    def estimate_drop(self, candidate: Session, ticks: Ticks = no_ticks) -> DropEstimate:
        """How much worse the candidate is; every batch is a tick.

        Raises:
            CheckFailedError: its outputs are not finite where the dense model's are.
            InputError: the measure cannot be used.
        """
        reading = self._measure.reading()
        self._read(counted(candidate, self._samples.mask), reading, ticks)
        return self._measure.estimate(self._reading, reading, self._seed)

    def estimate_rough_drop(self, candidate: Session, limit: float, ticks: Ticks = no_ticks) -> DropEstimate:
        """The same, of a part of the inputs alone where that shows that it lies beyond a limit.

        Args:
            candidate: what is judged; not what is delivered, of which all inputs have a say.
            limit: a drop; how far beyond it others lie matters little.
            ticks: called for every batch.
        """
        is_counted = self._measure.name in COUNTED & MEANS and not self._samples.is_paired
        if self._samples.batch_count <= (FEWEST_FEEDS - 1) * EVERY or not is_counted:
            return self.estimate_drop(candidate, ticks)
        candidate = Remembering(candidate)  # run once on the part
        if self._part is None:
            part = every_so_many_feeds(self._samples, EVERY)
            self._part = DropEvaluator(self._dense, part, self._measure, self._seed)
        of_part = self._part.estimate_drop(candidate, part_of(ticks, 0, 2))
        return of_part if of_part.low > limit else self.estimate_drop(candidate, part_of(ticks, 1, 2))

    def _read(self, session: Session, reading: Reading, ticks: Ticks) -> None:
        for batch in self._batches(ticks):
            dense = self._dense.run(batch.feed) if self._measure.needs_dense else None
            reading.add(session.run(batch.feed), batch, dense)

    def _batches(self, ticks: Ticks) -> Iterator[Batch]:
        return ticking(batches_of(self._samples), ticks, self._samples.batch_count)


def every_so_many_feeds(samples: Samples, every: int) -> Samples:
    """The samples of each feed of so many, in feeds as they are."""
    ends = np.cumsum([len(numbers) for numbers in samples.batch_numbers()])
    feeds = np.split(np.arange(samples.count), ends[:-1])
    return samples.take(np.concatenate(feeds[::every]))
