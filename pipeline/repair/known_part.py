"""The part of a graph that PyTorch can run: what lies in front of the operators that it does not know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label, operator_key
from netsurgeon.pipeline.calibration import Extractor, used_values
from netsurgeon.pipeline.errors import CheckFailedError


def known_part(
    model: ir.Model, known: Collection[str], layers: Collection[str], feed: Mapping[str, npt.NDArray[Any]]
) -> tuple[ir.Model, tuple[str, ...]]:
    """The model without what depends on an operator that is not known, and the names of these operators.

    What enters them becomes an output in the place of those that are gone. A model of known operators alone is
    returned as it is; weights of a part are those of the model.

    Args:
        model: not changed.
        known: operators, of other domains with the domain in front.
        layers: labels of nodes with weights, of which one must be in the part.
        feed: an input of the model.

    Raises:
        CheckFailedError: no layer lies in front of these operators.
    """
    fed = set(model.graph.inputs)  # what inputs reach: only that can be an output of the part, and no weight's floats
    lost: dict[ir.Value, None] = {}
    beyond: dict[str, None] = {}
    entering: dict[str, None] = {}
    in_front = set(nodes_in_front(model.graph, known))
    for node in model.graph:
        used = list(used_values(node))
        fed |= set(node.outputs) if fed.intersection(used) else set()
        if node in in_front:
            continue
        operator = operator_key(node.domain, node.op_type)
        beyond |= {} if operator in known else {operator: None}
        lost |= dict.fromkeys(node.outputs)
        inner = [value for value in used if value in fed and value.producer() is not None and value not in lost]
        entering |= {value.name or "": None for value in inner}
    if not beyond:
        return model, ()
    if not any(label(node) in layers for node in in_front):
        raise CheckFailedError(f"PyTorch does not know {', '.join(beyond)}, and no layer lies in front of it")
    kept = {value.name or "": None for value in model.graph.outputs if value not in lost}
    inputs = [value.name or "" for value in model.graph.inputs]
    graph = Extractor(model.graph).extract(inputs, list(kept | entering), dict(feed))
    return ir.Model(graph, ir_version=model.ir_version), tuple(beyond)


def nodes_in_front(graph: ir.Graph, known: Collection[str]) -> Iterator[ir.Node]:
    """Nodes that depend on no operator that is not known."""
    lost: set[ir.Value] = set()
    for node in graph:
        if operator_key(node.domain, node.op_type) in known and lost.isdisjoint(used_values(node)):
            yield node
        else:
            lost |= set(node.outputs)


def unknown_operators(graph: ir.Graph, known: Collection[str]) -> tuple[str, ...]:
    """Operators of a graph that are not known, in its order, of other domains with the domain in front."""
    names = dict.fromkeys(operator_key(node.domain, node.op_type) for node in graph)
    return tuple(name for name in names if name not in known)
