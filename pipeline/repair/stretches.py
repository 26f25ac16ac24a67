"""Stretches of a graph behind operators that PyTorch does not know: from a narrow value to a narrow value."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.pipeline.calibration import Extractor
from netsurgeon.pipeline.repair.inner_values import narrow_values
from netsurgeon.pipeline.repair.known_part import lacking_operator


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Nodes between two narrow values that are tuned together.

    Attributes:
        start: name of the value that enters.
        ends: names of the values that leave: a narrow one, or the graph's outputs.
        layers: labels of its nodes with weights.
    """

    start: str
    ends: tuple[str, ...]
    layers: tuple[str, ...]


def stretches_behind(graph: ir.Graph, layers: Iterable[ir.Node], known: Collection[str]) -> tuple[Stretch, ...]:
    """The longest stretches with layers and without an operator that is not known, but for the one at the inputs.

    Args:
        graph: without what feeds no output.
        layers: its nodes with weights.
        known: operators, of other domains with the domain in front.
    """
    nodes, layer_nodes = list(graph), set(layers)
    outputs = tuple(value.name or "" for value in graph.outputs)
    unknown = {node for node in nodes if lacking_operator(node, known) is not None}
    cuts = [(place, (value.name or "",)) for place, _, value in narrow_values(graph, layer_nodes | unknown)]
    stretches: list[Stretch] = []
    start, first, is_in_front, goes_on = "", 0, True, True
    for place, ends in (*cuts, (len(nodes) - 1, outputs)):
        inside = nodes[first : place + 1]
        is_known = unknown.isdisjoint(inside)
        is_in_front = is_in_front and is_known
        if is_known and not is_in_front:
            labels = tuple(label(node) for node in inside if node in layer_nodes)
            last = stretches.pop() if goes_on else Stretch(start, ends, ())
            stretches.append(Stretch(last.start, ends, (*last.layers, *labels)))
        start, first, goes_on = ends[0], place + 1, is_known
    return tuple(stretch for stretch in stretches if stretch.layers)


def part_of(model: ir.Model, stretch: Stretch, inner: Iterable[str], feed: Mapping[str, npt.NDArray[Any]]) -> ir.Model:
    """A stretch as a model of its own, which the inputs of the whole one enter, too; weights are those of the model.

    Args:
        model: that it is a part of.
        stretch: where it begins and ends.
        inner: names of further values that are outputs of the part.
        feed: an input of the model, with the value that enters.
    """
    entering = [value.name or "" for value in model.graph.inputs]
    graph = Extractor(model.graph).extract([*entering, stretch.start], [*stretch.ends, *inner], dict(feed))
    return ir.Model(graph, ir_version=model.ir_version)


def in_front_of(model: ir.Model, names: Iterable[str], feed: Mapping[str, npt.NDArray[Any]]) -> ir.Model:
    """The model up to values of these names, which are its outputs."""
    inputs = [value.name or "" for value in model.graph.inputs]
    return ir.Model(Extractor(model.graph).extract(inputs, list(names), dict(feed)), ir_version=model.ir_version)
