"""Which axes of a graph's values run over the samples of a batch and over the positions of each, such as tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.axes import Axes, Axis, Classes, Observation, Split, Tracks
from netsurgeon.passes.dependencies.track import track

Booleans = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class PositionAxes:
    """The axes of one value that know positions.

    Attributes:
        batch: the axis of samples; None where there is none.
        length: the axis of positions; the same as `batch` where one axis runs over the positions of all samples.
    """

    batch: int | None
    length: int

    def of(self, kept: Booleans, shape: tuple[int, ...]) -> Booleans | None:
        """Which entries of a value belong to kept positions, of its rank, with extents of 1 where all are alike.

        Args:
            kept: of a batch, (samples, positions).
            shape: of the value for that batch.

        Returns:
            None where the value is of another batch.
        """
        extents = [1] * len(shape)
        if self.batch is None:
            extents[self.length] = kept.shape[1]
            kept = kept if len(kept) == 1 else np.zeros((0, 0), bool)
        elif self.batch == self.length:
            extents[self.length] = kept.size
        else:
            extents[self.batch], extents[self.length] = kept.shape
            kept = kept if self.batch < self.length else kept.T
        fits = kept.size and all(extent in (1, size) for extent, size in zip(extents, shape, strict=True))
        return kept.reshape(extents) if fits else None


def position_axes(
    graph: ir.Graph, observation: Observation, inputs: Mapping[str, Sequence[int]]
) -> dict[str, PositionAxes]:
    """The axes of every value that are known to run over positions, by its name.

    Args:
        graph: whose operators say how axes travel.
        observation: of a run with a batch of two samples or more, if that is possible.
        inputs: those with positions: axes of each that run over them; axis 0 runs over samples.
    """
    (samples, length), *_ = (
        (observation.shapes[name][0], observation.shapes[name][axes[0]]) for name, axes in inputs.items()
    )
    batch, positions = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def enter(tracks: Tracks) -> dict[str, Axes]:
        nonlocal batch, positions
        batch, positions = tracks.labels.fresh(samples), tracks.labels.fresh(length)
        return {
            name: tuple(
                batch if at == 0 else positions if at in axes else tracks.labels.fixed(extent)
                for at, extent in enumerate(observation.shapes[name])
            )
            for name, axes in inputs.items()
        }

    tracks = track(graph, observation, enter)
    classes = tracks.labels.joined()
    position_classes = _PositionClasses(classes, batch, positions, tracks.labels.splits)
    placed = ((name, position_classes.of(axes)) for name, axes in tracks.axes.items())
    return {name: axes for name, axes in placed if axes is not None}


class _PositionClasses:
    """What the labels of samples, of positions and of both together are, in classes of labels."""

    def __init__(self, classes: Classes, batch: Axis, positions: Axis, splits: Sequence[Split]):
        self._of = classes.of
        self._batch, self._length = [classes.of[batch]], [classes.of[positions]]
        self._merged: list[Axis] = []
        # joined with each other by some operator: nothing tells them apart
        self._is_lost = bool(np.intersect1d(self._batch[0], self._length[0]).size)
        self._follow([split for split in splits if len(split.factors) == 2])

    def _follow(self, splits: list[Split]) -> None:
        """Find axes that run over both, and those that they are cut into again, one after the other."""
        while True:
            waiting = []
            for split in splits:
                batch, length = split.factors
                if self._is(batch, self._batch) and self._is(length, self._length):
                    self._merged.append(self._of[split.flat])
                elif self._is(split.flat, self._merged) and len(batch) == len(self._batch[0]):
                    self._batch.append(self._of[batch])
                    self._length.append(self._of[length])
                else:
                    waiting.append(split)
            if len(waiting) == len(splits):
                return
            splits = waiting

    def _is(self, axis: Axis, known: Sequence[Axis]) -> bool:
        return len(axis) > 1 and any(np.array_equal(self._of[axis], labels) for labels in known)

    def of(self, axes: Axes) -> PositionAxes | None:
        """The axes of a value; the first of several that run over positions, None where none does."""
        if self._is_lost:
            return None
        for at, axis in enumerate(axes):
            if self._is(axis, self._merged):
                return PositionAxes(at, at)
        batch = [at for at, axis in enumerate(axes) if self._is(axis, self._batch)]
        length = [at for at, axis in enumerate(axes) if self._is(axis, self._length)]
        return PositionAxes(batch[0] if batch else None, length[0]) if length else None
