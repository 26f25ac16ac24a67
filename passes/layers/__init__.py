"""Layers with a weight matrix: find them in a graph, and read and write their weights."""

from netsurgeon.passes.layers.cells import Cell, find_cells
from netsurgeon.passes.layers.exposed import expose
from netsurgeon.passes.layers.layer import Counted, Layer, exposed_name, own_biases
from netsurgeon.passes.layers.layer_finder import LAYER_OPERATORS, Declined, find_layers, layers_by_name
from netsurgeon.passes.layers.layer_matrix import LayerMatrix
from netsurgeon.passes.layers.pooling import PooledMap, ridge_of
from netsurgeon.passes.layers.positions import multiply_adds_of, positions_of
from netsurgeon.passes.layers.sharing import Shared, can_be_solved_together, sharing_layers
from netsurgeon.passes.layers.tables import FEWEST_NUMBERS, Table, find_tables

__all__ = [
    "FEWEST_NUMBERS",
    "LAYER_OPERATORS",
    "Cell",
    "Counted",
    "Declined",
    "Layer",
    "LayerMatrix",
    "PooledMap",
    "Shared",
    "Table",
    "can_be_solved_together",
    "expose",
    "exposed_name",
    "find_cells",
    "find_layers",
    "find_tables",
    "layers_by_name",
    "multiply_adds_of",
    "own_biases",
    "positions_of",
    "ridge_of",
    "sharing_layers",
]
