"""Run the model over the calibration samples and stream the statistics of each layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes._find_layers import find_layers
from netsurgeon.passes._layers import Layer
from netsurgeon.passes.prune_weights import LayerMoments
from netsurgeon.passes.statistics import Moments, Rows
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.samples import Samples
from netsurgeon.pipeline.walk import Walk, cut

MOST_ROWS = 262_144
POOLED_ROWS = 2048
"""Small batches are pooled up to this many rows before they enter the moments."""
HELD_EVERY = 5
"""One stretch of rows in so many is held out to choose the damping."""
STRETCHES = 80
"""Rows of one picture are alike and pictures are often sorted by class: stretches are held out, from all over."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Everything a sweep needs.

    Attributes:
        samples: inputs of the model.
        runtime: how sessions are made.
        seed: of the rows drawn from large feature maps.
        elements: numbers drawn for a layer: narrow ones get more rows, up to MOST_ROWS.
        rows_per_column: rows drawn for each column of a layer's matrix, at least.
    """

    samples: Samples
    runtime: Runtime
    seed: int = 0
    elements: int = 30_000_000
    rows_per_column: int = 48

    def dense(self, model: ir.Model, chosen: Sequence[str]) -> Iterator[tuple[Layer, Moments]]:
        """One dense sweep: the moments of each chosen layer's input, to be used and dropped one at a time."""
        layers = _by_name(model, chosen)
        segments = cut(model.graph, [layer.node for layer in layers.values()])
        with Walk(model, segments, self.samples.batches(), self.runtime) as walk:
            for at, segment in enumerate(segments):
                walk.run(at)
                for name in segment.layers:
                    yield layers[name], self._moments(layers[name], walk, None).fit
                walk.leave(at)

    def paired(
        self, dense: ir.Model, current: ir.Model, plan: Mapping[str, bool]
    ) -> Iterator[tuple[int, int, dict[str, LayerMoments]]]:
        """Segment by segment, dense and current model side by side.

        The caller prunes `current` between two segments, so later ones see its new activations.

        Args:
            dense: the model to be matched.
            current: a clone of it, changed on the way.
            plan: layers to look at; True = on the current model's inputs, False = on the dense ones.

        Yields:
            index of the segment, number of segments, and the moments of its layers.
        """
        layers = _by_name(dense, list(plan))
        segments = cut(dense.graph, [layer.node for layer in layers.values()])
        with (
            Walk(dense, segments, self.samples.batches(), self.runtime) as reference,
            Walk(current, segments, self.samples.batches(), self.runtime) as walk,
        ):
            for at, segment in enumerate(segments):
                reference.run(at)
                walk.run(at)
                moments = {}
                for name in segment.layers:
                    moments[name] = self._moments(layers[name], reference, walk if plan[name] else None)
                reference.leave(at)
                walk.leave(at)
                yield at, len(segments), moments

    def _moments(self, layer: Layer, dense: Walk, current: Walk | None) -> LayerMoments:
        columns = layer.columns // layer.blocks
        fit = Moments(layer.groups * layer.blocks, columns, paired=current is not None)
        held: Moments | None = None
        wanted = max(self.rows_per_column * columns, min(MOST_ROWS, self.elements // columns))
        limit = math.ceil(wanted / dense.batches)
        pool: list[tuple[Rows, ...]] = []
        for batch in range(dense.batches):
            pool.append(self._rows(layer, dense, current, batch, limit))
            if batch == dense.batches - 1 or sum(each[0].shape[1] for each in pool) >= POOLED_ROWS:
                rows = [np.concatenate(side, axis=1) for side in zip(*pool, strict=True)]
                pool.clear()
                chosen = _held_out(rows[0].shape[1])
                fit.update(*(side[:, ~chosen] for side in rows))
                held = held or fit.like()
                held.update(*(side[:, chosen] for side in rows))
        if held is None:
            raise InputError("no calibration samples were given")
        return LayerMoments(fit, held)

    def _rows(self, layer: Layer, dense: Walk, current: Walk | None, batch: int, limit: int) -> tuple[Rows, ...]:
        """What a batch adds to the moments: dense inputs, current ones, and what an added branch has lost."""

        def same_rows() -> np.random.Generator:
            return np.random.default_rng([self.seed, batch])

        x = dense.value(layer.input.name or "", batch)
        _check_finite(x, layer)
        rows = [layer.samples(x, limit, same_rows())]
        if current is not None:
            rows.append(layer.samples(current.value(layer.input.name or "", batch), limit, same_rows()))
            branch = _known_branch(layer, dense, current)
            if branch is not None:
                before, now = (
                    layer.output_samples(walk.value(branch, batch), limit, same_rows()) for walk in (dense, current)
                )
                rows.append(before - now)
        return tuple(rows)


def _by_name(model: ir.Model, chosen: Sequence[str]) -> dict[str, Layer]:
    wanted = set(chosen)
    return {layer.name: layer for layer in find_layers(model.graph)[0] if layer.name in wanted}


def _held_out(count: int) -> npt.NDArray[np.bool_]:
    """Which of so many rows are held out."""
    return np.asarray(np.arange(count) * STRETCHES // count % HELD_EVERY == HELD_EVERY - 1)


def _known_branch(layer: Layer, dense: Walk, current: Walk) -> str | None:
    """The branch that is added to the layer's output, where its values are there already and need no broadcasting."""
    branch = layer.branch
    if branch is None or not (dense.holds(branch.name or "") and current.holds(branch.name or "")):
        return None
    x, z = dense.value(layer.input.name or "", 0), dense.value(branch.name or "", 0)
    fits = z.ndim == x.ndim and z.ndim > 1 and z.size == layer.positions(x) * layer.groups * layer.rows
    return branch.name if fits else None


def _check_finite(x: np.ndarray, layer: Layer) -> None:
    if not np.isfinite(x).all():
        raise InputError(
            f"the input of layer {layer.name!r} is NaN or infinite on the calibration samples: "
            "check the samples' preprocessing, or the model itself"
        )
