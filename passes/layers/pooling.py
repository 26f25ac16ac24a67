"""Feature maps whose mean over all positions is the input of a layer, as of a classifier behind global pooling.

Such a layer sees one sample a picture, often fewer than it has columns. How its input would differ in further pictures
is seen within each of them: a position of the map differs from the map's mean in the directions in which means differ.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, present, tensor, traits_of
from netsurgeon.passes.layers.layer import Layer, draw
from netsurgeon.passes.solvers import Array, Moments, Rows, needs_float64

ROUNDING = 1e-10
"""Deviations with no more than this share of a map's energy are none."""
ISOTROPIC = 0.1
"""Part of a ridge that is the same in all directions: positions do not show all, and some units fire nowhere."""


@dataclasses.dataclass(frozen=True)
class PooledMap:
    """The map behind a layer whose input is its mean.

    Attributes:
        value: the map.
        axes: what is averaged; None = all but the first two.
    """

    value: ir.Value
    axes: tuple[int, ...] | None

    @classmethod
    def of(cls, layer: Layer) -> PooledMap | None:
        """What an average in front of the layer reads; `deviations` tells whether all of it is averaged."""
        if layer.host is not None or layer.groups * layer.blocks != 1 or layer.weight_index < layer.data_index:
            return None
        producer = layer.input.producer()
        while producer is not None and traits_of(producer).keeps_order:
            producer = present(producer.inputs[0]).producer()
        if producer is None or not traits_of(producer).averages:
            return None
        if producer.op_type != "ReduceMean":
            return cls(present(producer.inputs[0]), None)
        axes_input = optional_input(producer, 1)
        if axes_input is not None and not is_constant(axes_input):
            return None
        axes = (
            producer.attributes.get_ints("axes", ())
            if axes_input is None
            else tensor(axes_input).numpy().ravel().tolist()
        )
        return cls(present(producer.inputs[0]), tuple(axes)) if axes else None

    def deviations(self, x: npt.NDArray[np.generic], layer: Layer, limit: int, rng: np.random.Generator) -> Rows | None:
        """Positions of a batch of the map less the mean of their sample, (1, rows, columns).

        Args:
            x: a batch of the map.
            layer: reads averages of it.
            limit: at most this many rows, drawn by `rng`.
            rng: draws them.

        Returns:
            None where what is averaged leaves more than a number a column and sample, or is one position.
        """
        averaged = {axis % x.ndim for axis in self.axes or range(2, x.ndim)}
        left = [axis for axis in range(x.ndim) if axis not in averaged]
        if len(left) != 2 or left[0] != 0 or x.shape[left[1]] != layer.columns:
            return None
        positions = np.moveaxis(x, left[1], -1).reshape(len(x), -1, layer.columns).astype(np.float32)
        if positions.shape[1] < 2:
            return None
        if needs_float64(positions):
            positions = positions.astype(np.float64)
        # The spread of the map around its mean is what the mean of few inputs cannot show: it becomes the ridge.
        rows = (positions - positions.mean(axis=1, keepdims=True)).reshape(-1, layer.columns)
        if np.vdot(rows, rows) <= ROUNDING * np.vdot(positions, positions):
            rows = np.zeros_like(rows)
        sampled_rows = draw(len(rows), limit, rng)
        return np.asarray((rows if sampled_rows is None else rows[sampled_rows])[None])


def ridge_of(deviations: Moments) -> Array | None:
    """What damping multiplies, (1, columns, columns): mostly the covariance within samples; None where there is none.

    Its mean diagonal is 1, as the identity's. Damping towards the dense weight is then what a prior for the covariance
    of the samples gives, an inverse Wishart distribution of that shape.
    """
    if deviations.count == 0 or not deviations.varies:
        return None
    within = deviations.statistics(centred=False).gram
    if not np.isfinite(within).all():  # numbers that the average leaves out
        return None
    within *= (1.0 - ISOTROPIC) / np.einsum("gii->gi", within).mean(axis=1)[:, None, None]
    diagonal = np.einsum("gii->gi", within)
    diagonal += ISOTROPIC
    return within
