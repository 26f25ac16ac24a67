"""Measures of numbers: by the dense model's outputs (cosine, energy), or by targets (mean squared error, PSNR)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.verification.measures.base import (
    Array,
    Batch,
    CorpusMeasure,
    Measure,
    Outputs,
    Reading,
    RowReading,
)
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, student_ci
from netsurgeon.pipeline.verification.measures.ranks import cosines
from netsurgeon.pipeline.verification.measures.scoring import measurable
from netsurgeon.pipeline.verification.measures.vectors import embeddings


class _BesideDense(Measure):
    """What each input adds to the distance from the dense model, whose mean is the drop."""

    needs_dense = True

    def figures(self, dense: object, other: Reading) -> tuple[float, float]:
        """1, and what is left of it."""
        return 1.0, 1.0 - float(np.mean(self._losses(other)))

    def estimate(self, dense: object, other: Reading, seed: int) -> DropEstimate:
        """The mean, with Student's bounds.

        Raises:
            CheckFailedError: an output is not finite where it was.
        """
        losses = self._losses(other)
        if not np.isfinite(losses).all():
            raise CheckFailedError("an output of a candidate is NaN or infinite where it was not")
        return student_ci(self.name, 1.0, losses)

    def _losses(self, other: Reading) -> Array:
        raise NotImplementedError


class Cosine(_BesideDense):
    """Cosine of each input's embedding with the dense model's; of several embeddings the mean.

    Inputs to which the dense model itself gives no finite embedding, such as a mean over no position, are left out.
    """

    name = "cosine"

    def __init__(self, embedding_outputs: Collection[str] = ()):
        """Keep which outputs are embeddings."""
        self._names = embedding_outputs

    def reading(self) -> RowReading:
        """An empty one."""
        return RowReading(self._read)

    def _read(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> Array:
        assert dense is not None
        before, after = (list(embeddings(side, batch, self._names)) for side in (dense, outputs))
        if not before:
            raise InputError(
                "the metric cosine needs an embedding, and no output is a vector of numbers for each input"
            )
        is_finite = np.all([np.isfinite(vectors).all(axis=1) for vectors in before], axis=0)
        pairs = zip(before, after, strict=True)
        similarities = [cosines(*(vectors[is_finite] for vectors in pair)) for pair in pairs]
        return np.asarray(np.mean(similarities, axis=0)[:, None])

    def _losses(self, other: Reading) -> Array:
        assert isinstance(other, RowReading)
        if not len(other.rows):
            raise InputError("the dense model's embedding is NaN or infinite for all inputs: give others")
        return np.asarray(1.0 - other.rows[:, 0])


class Energies(Reading):
    """Squared differences from the dense model's float outputs, and the energy of those."""

    def __init__(self) -> None:
        self._errors: dict[str, list[Array]] = {}
        self._energies: dict[str, list[Array]] = {}
        self._counts: list[int] = []

    def add(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> None:
        """Sum up a batch."""
        assert dense is not None
        self._counts.append(batch.count)
        for name, output in dense.items():
            before, after = measurable(output), measurable(outputs[name])
            if before is None or after is None or before.dtype.kind != "f" or before.shape != after.shape:
                continue
            sums = _squares(before.astype(np.float64), after.astype(np.float64))
            # axis 0 may not tell the samples apart: whether it does is known in the end
            rows = [len(array) if array.ndim and len(array) == batch.count else 1 for array in sums]
            for kept, array, count in zip((self._errors, self._energies), sums, rows, strict=True):
                kept.setdefault(name, []).append(array.reshape(count, -1).sum(axis=1))

    @property
    def shares(self) -> Array:
        """Share of the outputs' energy that each difference has, averaged over the outputs.

        One a sample; one a feed where axis 0 of an output does not tell its samples apart.

        Raises:
            InputError: there is no float output.
        """
        if not self._errors:
            raise InputError("the model has no float output to compare: give --sparsity or --trim in place of a goal")
        apart = all([len(batch) for batch in batches] == self._counts for batches in self._errors.values())
        shares = []
        for name in self._errors:
            error, energy = (_joined(side[name], apart) for side in (self._errors, self._energies))
            mean = float(np.mean(energy))
            shares.append(error / mean if mean else np.where(error > 0.0, 1.0, 0.0))  # all is lost of what was zero
        return np.asarray(np.mean(shares, axis=0))


class OutputEnergy(_BesideDense):
    """Share of the outputs' energy that the difference does not have; 1 % lost is a relative error of 10 %."""

    name = "outputs"

    def reading(self) -> Energies:
        """An empty one."""
        return Energies()

    def _losses(self, other: Reading) -> Array:
        assert isinstance(other, Energies)
        return other.shares


class _OfTargets(CorpusMeasure):
    """What is read is the squared difference from the targets, which are the labels."""

    needs_labels = True
    takes_pairs = False

    def reading(self) -> RowReading:
        """An empty one."""
        return RowReading(self._read)

    def _read(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> Array:
        """Sum of squares and numbers of each sample, (samples, 2)."""
        assert batch.labels is not None
        targets = batch.labels.reshape(batch.count, -1).astype(np.float64)
        for output in outputs.values():
            value = measurable(output)
            if value is not None and value.dtype.kind == "f" and value.size == targets.size:
                squares = np.square(value.reshape(batch.count, -1).astype(np.float64) - targets).sum(axis=1)
                return np.stack([squares, np.full(batch.count, float(targets.shape[1]))], axis=1)
        raise InputError(
            f"the metric {self.name} needs an output as large as the labels, {targets.shape[1]:,} numbers a sample: "
            "the model's are others"
        )

    def figure(self, rows: Array) -> Array:
        """Their mean, of (draws, samples, sums)."""
        squares, numbers = np.moveaxis(rows.sum(axis=1), -1, 0)
        return np.asarray(squares / numbers)


class SquaredDifference(_OfTargets):
    """Mean squared difference from the targets."""

    name = "mse"


class Psnr(_OfTargets):
    """Peak signal-to-noise ratio in decibels, 10 log10(peak² / mean squared error over all inputs)."""

    name = "psnr"

    def __init__(self, peak: float):
        """Keep the largest value that there can be."""
        self._peak = peak

    def figure(self, rows: Array) -> Array:
        """Of (draws, samples, sums)."""
        with np.errstate(divide="ignore"):
            return np.asarray(10.0 * np.log10(self._peak**2 / super().figure(rows)))


def peak_of(targets: npt.NDArray[np.generic]) -> float:
    """The largest value of pictures like these: 1, or 255 where they go beyond 1."""
    return 1.0 if float(np.max(targets)) <= 1.0 else 255.0


def _squares(dense: Array, candidate: Array) -> tuple[Array, Array]:
    """Squared difference and square of each number; one that is NaN or infinite counts only where the other is not."""
    same = (dense == candidate) | (np.isnan(dense) & np.isnan(candidate))
    both = np.isfinite(dense) & np.isfinite(candidate)
    difference = np.where(both, candidate, 0.0) - np.where(both, dense, 0.0)
    return np.where(same, 0.0, np.where(both, difference**2, np.inf)), np.where(np.isfinite(dense), dense, 0.0) ** 2


def _joined(batches: list[Array], apart: bool) -> Array:
    """Sums over each sample, or each batch."""
    return np.concatenate(batches) if apart else np.array([batch.sum() for batch in batches])
