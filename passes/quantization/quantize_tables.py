"""Tables that a Gather looks rows up in, on integers of 8 bits with a scale a row: half of a small language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, present, set_initializer, tensor
from netsurgeon.passes.quantization.insert_quantizers import Constants
from netsurgeon.passes.quantization.store_blocks import replace
from netsurgeon.passes.solvers import nearest_integers

FEWEST_NUMBERS = 1 << 16
"""Smaller tables are not worth the nodes that take them."""
MOST = 127


def find_tables(graph: ir.Graph, stay: Mapping[str, str]) -> list[ir.Node]:
    """Every Gather of rows of a large constant matrix of floats that nothing but such nodes takes.

    Args:
        graph: in normal form, its nodes named.
        stay: names of nodes that stay floats.
    """
    tables = [node for node in graph if _looks_up(node) and label(node) not in stay]
    return [node for node in tables if all(use.node in tables for use in present(node.inputs[0]).uses())]


def _looks_up(node: ir.Node) -> bool:
    if node.op_type != "Gather" or node.domain or node.attributes.get_int("axis", 0) != 0:
        return False
    table = node.inputs[0]
    if table is None or not is_constant(table) or node.inputs[1] is table:
        return False
    constant = tensor(table)
    return constant.dtype == ir.DataType.FLOAT and len(constant.shape) == 2 and constant.size >= FEWEST_NUMBERS


@dataclasses.dataclass(frozen=True)
class RoundTables(ir.passes.InPlacePass):
    """Put tables on integers times the scales of their rows; they stay floats.

    Attributes:
        nodes: names of nodes that look rows up.
        errors: what each table loses, relative to its energy, by name of node: added.
        scales: of the rows of each table, (rows,), by name of node: added.
    """

    nodes: frozenset[str]
    errors: dict[str, float] = dataclasses.field(default_factory=dict, repr=False)
    scales: dict[str, npt.NDArray[np.float64]] = dataclasses.field(default_factory=dict, repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round in place."""
        for node in model.graph:
            if label(node) in self.nodes:
                table = tensor(present(node.inputs[0])).numpy().astype(np.float64)
                integers = nearest_integers(table[None], MOST)
                rounded, energy = integers.weight[0], float(np.square(table).sum())
                self.scales[label(node)] = integers.scales[0]
                self.errors[label(node)] = float(np.square(rounded - table).sum()) / energy if energy else 0.0
                set_initializer(node, 0, rounded.astype(np.float32), present(node.inputs[0]).name or "table")
        return ir.passes.PassResult(model, bool(self.nodes))


@dataclasses.dataclass(frozen=True)
class StoreTables(ir.passes.InPlacePass):
    """Store tables that lie on integers as such: rows of these and their scales are looked up, and multiplied.

    Attributes:
        scales: of the rows of each table, (rows,), by name of the node that looks them up.
    """

    scales: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place."""
        graph, constants = model.graph, Constants(model.graph)
        for node in list(graph):
            scales = self.scales.get(label(node))
            if scales is None:
                continue
            table = tensor(present(node.inputs[0])).numpy()
            codes = np.rint(table / scales[:, None]).astype(np.int8)
            stored = constants.own(codes, constants.freed(node, 0))
            steps = constants.own(scales[:, None].astype(np.float32), constants.unused("scale"))
            rows = ir.node("Gather", [stored, node.inputs[1]], name=label(node))
            floats = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT.value}, name=constants.unused("cast"))
            factors = ir.node("Gather", [steps, node.inputs[1]], name=constants.unused("gather"))
            for other in (rows, floats, factors):
                other.outputs[0].name = constants.unused("value")
            graph.insert_before(node, [rows, floats, factors])
            product = replace(node, "Mul", [floats.outputs[0], factors.outputs[0]], {})
            product.name = constants.unused("multiply")
        return ir.passes.PassResult(model, bool(self.scales))
