"""Recurrent cells: nodes that carry a state from step to step, with a weight for what enters and one for the state."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, set_initializer, tensor, traits_of

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """An LSTM, GRU or RNN.

    Attributes:
        node: its node.
    """

    WEIGHTS = (1, 2)
    """Inputs that hold the weights: of what enters, and of the state, each (directions, gates x hidden, columns)."""

    node: ir.Node

    @property
    def name(self) -> str:
        """Name of the node, or else of what it computes."""
        return label(self.node)

    @property
    def operator(self) -> str:
        """Operator type."""
        return self.node.op_type

    @property
    def input(self) -> ir.Value:
        """The activation that enters: a row for each step and sample, (steps, batch, columns)."""
        return present(self.node.inputs[0])

    @property
    def weights(self) -> tuple[ir.Value, ...]:
        """Those of its weights that are constants: of what enters, and of the state."""
        values = (optional_input(self.node, index) for index in self.WEIGHTS)
        return tuple(value for value in values if value is not None and is_constant(value))

    def matrices(self) -> tuple[Array, ...]:
        """Its constant weights, (directions, gates x hidden, columns) each."""
        return tuple(tensor(weight).numpy().astype(np.float64) for weight in self.weights)

    def write(self, *matrices: npt.NDArray[np.floating]) -> None:
        """Replace both weights, of the shapes of `matrices()`, rounded to their own type."""
        for index, matrix in zip(self.WEIGHTS, matrices, strict=True):
            weight = present(self.node.inputs[index])
            set_initializer(self.node, index, matrix.astype(tensor(weight).dtype.numpy()), name=weight.name or "weight")


def find_cells(graph: ir.Graph) -> list[Cell]:
    """Every recurrent cell of the graph and of bodies in it, in order, but for those that make nothing."""
    nodes = (node for node in graph.all_nodes() if node.outputs and not node.domain)
    return [Cell(node) for node in nodes if traits_of(node).is_recurrent]
