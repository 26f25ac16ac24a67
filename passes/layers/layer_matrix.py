"""A layer's weight by itself, for whoever solves the layer without its graph: a task on another machine."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers.layer import Array, Layer


@dataclasses.dataclass(frozen=True, eq=False)
class LayerMatrix:
    """What `Layer.matrix` gives, and how it is stored.

    Attributes:
        name: of the layer.
        values: (groups x blocks, rows, columns / blocks), of the weight's own type where that is exact.
        dtype: the weight's own type.
        scale: Gemm's alpha, which multiplies the stored weight.
        blocks: column blocks that each group is cut into.
        has_room_for_bias: whether the layer has a bias, or could have one.
    """

    name: str
    values: npt.NDArray[np.generic] = dataclasses.field(repr=False)
    dtype: np.dtype[np.generic]
    scale: float
    blocks: int
    has_room_for_bias: bool

    @classmethod
    def of(cls, layer: Layer) -> LayerMatrix:
        """That of a layer."""
        matrix, dtype = layer.matrix(), tensor(layer.weight).numpy().dtype
        return cls(
            name=layer.name,
            values=matrix.astype(dtype) if layer.scale == 1.0 else matrix,
            dtype=dtype,
            scale=layer.scale,
            blocks=layer.blocks,
            has_room_for_bias=layer.bias_slot() is not None,
        )

    def matrix(self) -> Array:
        """The weight as float64, alpha included."""
        return self.values.astype(np.float64, order="C")

    def rounded(self, matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Another weight of its shape, of the type that it is stored in where that is exact."""
        return matrix.astype(self.dtype) if self.scale == 1.0 else matrix

    def read_back(self, matrix: npt.NDArray[np.floating]) -> Array:
        """What `Layer.matrix` gives once another weight is written."""
        if self.scale == 1.0:
            return matrix.astype(self.dtype).astype(np.float64, order="C")
        return (matrix / self.scale).astype(self.dtype).astype(np.float64, order="C") * self.scale
