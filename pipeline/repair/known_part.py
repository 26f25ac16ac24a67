"""The part of a graph that PyTorch can run: what lies in front of the operators that it does not know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
from onnx_ir import tensor_adapters

from netsurgeon.passes.graph import label, operator_key
from netsurgeon.pipeline.calibration import Extractor, used_values
from netsurgeon.pipeline.errors import CheckFailedError

COMPLETE = frozenset({"Split"})
"""Operators that PyTorch gives all outputs of; of others it gives the first, not the places of MaxPool's largest."""


def known_part(
    model: ir.Model, known: Collection[str], layers: Collection[str], feed: Mapping[str, npt.NDArray[Any]]
) -> tuple[ir.Model, tuple[str, ...]]:
    """The model without what depends on a node that is not known, and what these nodes are called.

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
        lacking = lacking_operator(node, known)
        beyond |= {} if lacking is None else {lacking: None}
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
    """Nodes that depend on no node that is not known."""
    lost: set[ir.Value] = set()
    for node in graph:
        if lacking_operator(node, known) is None and lost.isdisjoint(used_values(node)):
            yield node
        else:
            lost |= set(node.outputs)


def unknown_operators(graph: ir.Graph, known: Collection[str]) -> tuple[str, ...]:
    """What `lacking_operator` calls the nodes of a graph that are not known, in its order."""
    names = dict.fromkeys(lacking_operator(node, known) for node in graph)
    return tuple(name for name in names if name is not None)


def lacking_operator(node: ir.Node, known: Collection[str]) -> str | None:
    """What PyTorch lacks of a node: its operator, or an output or a type that is used; None = nothing.

    Args:
        node: of a graph.
        known: operators, of other domains with the domain in front.
    """
    operator = operator_key(node.domain, node.op_type)
    if operator not in known:
        return operator
    if any(value is not None and value.dtype == ir.DataType.STRING for value in node.inputs):
        return f"{operator} of strings"
    if operator == "Cast":
        kind = ir.DataType(node.attributes["to"].as_int())
        return None if _has_torch_type(kind) else f"Cast to {kind}"
    if any(value.dtype == ir.DataType.STRING for value in node.outputs):
        return f"{operator} to strings"
    is_used = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return f"{operator} with {len(node.outputs)} outputs" if is_used and operator not in COMPLETE else None


def _has_torch_type(kind: ir.DataType) -> bool:
    try:
        tensor_adapters.to_torch_dtype(kind)
    except TypeError:
        return False
    return True
