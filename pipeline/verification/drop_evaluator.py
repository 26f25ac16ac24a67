"""How much worse a candidate is than the dense model, on inputs that its corrections never saw."""

from __future__ import annotations

from collections.abc import Iterator

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import Session, counted
from netsurgeon.pipeline.verification.measures import Batch, DropEstimate, Measure, Reading, batches_of


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
        if not measure.needs_dense:
            self._read(dense, self._reading, ticks)

    def estimate_drop(self, candidate: Session, ticks: Ticks = no_ticks) -> DropEstimate:
        """How much worse the candidate is; every batch is a tick.

        Raises:
            CheckFailedError: its outputs are not finite where the dense model's are.
            InputError: the measure cannot be used.
        """
        reading = self._measure.reading()
        self._read(counted(candidate, self._samples.mask), reading, ticks)
        return self._measure.estimate(self._reading, reading, self._seed)

    def _read(self, session: Session, reading: Reading, ticks: Ticks) -> None:
        for batch in self._batches(ticks):
            dense = self._dense.run(batch.feed) if self._measure.needs_dense else None
            reading.add(session.run(batch.feed), batch, dense)

    def _batches(self, ticks: Ticks) -> Iterator[Batch]:
        return ticking(batches_of(self._samples), ticks, self._samples.batch_count)
