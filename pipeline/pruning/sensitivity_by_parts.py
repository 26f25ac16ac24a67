"""Sensitivities of many layers in deep models, part by part: running the whole model once a layer takes too long.

A layer is replaced in its part alone, and the error at the part's end is measured. What an error there costs the
outputs behind it is measured once a part, with the error that one of its layers makes; it grows with the square of the
error. What outputs lose that the part itself makes is added to it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.pipeline.calibration import Extractor, used_values
from netsurgeon.pipeline.pruning.sensitivity import Probe, Trial
from netsurgeon.pipeline.runtime import Feed, Session, is_large
from netsurgeon.pipeline.verification import float_outputs, lost_share, output_loss, output_losses

FEWEST_PARTS = 3
"""With fewer the whole model is not much more work."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Nodes of a graph in a row, between two places where a single value carries what layers have made of the inputs.

    Attributes:
        inputs: values that enter it.
        outputs: values that leave it; the graph's outputs behind the last part.
        carrier: the value among its outputs that carries what layers have made; empty behind the last part.
        layers: names of its layers.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    carrier: str
    layers: tuple[str, ...]


def measure_from_parts(probe: Probe) -> dict[str, float] | None:
    """`measure_sensitivity`, where a layer is replaced from its part on: what lies in front stays the dense model's.

    None where a model does not fall into parts, has no float outputs, or layers share a weight.
    """
    walk = _DenseWalk.of(probe)
    if walk is None:
        return None
    dense = walk.counted(walk.entering[-1], walk.outputs)
    result: dict[str, float] = {}
    for at, part in enumerate(walk.parts):
        for name in part.layers:
            probe.ticks(len(result), len(probe.trials))
            loss = output_loss(dense, walk.outputs_without(at, name, probe.trials[name]))
            result[name] = max(loss, 0.0) / max(probe.trials[name].error, 1e-12)
    return result if any(result.values()) else dict.fromkeys(probe.trials, 1.0)


def measure_by_parts(probe: Probe) -> dict[str, float] | None:
    """`measure_sensitivity` by parts; None where those of `measure_from_parts` are."""
    trials, walk = probe.trials, _DenseWalk.of(probe)
    if walk is None:
        return None
    parts, outputs = walk.parts, walk.outputs
    dense = walk.counted(walk.entering[-1], outputs)
    compared = list(output_losses(dense, dense))
    result: dict[str, float] = {}
    for at, part in enumerate(parts):
        left = [name for name in compared if name in walk.entering[at][0]]
        leaving = [name for name in compared if name in walk.entering[at + 1][0] and name not in left]
        later = [name for name in compared if name not in left and name not in leaving]
        losses: dict[str, float] = {}
        carried: dict[str, float] = {}
        for name in part.layers:
            probe.ticks(len(result) + len(losses), len(trials))
            changed = walk.replaced(at, name, trials[name])
            losses[name] = walk.lost(changed, leaving)
            if part.carrier and later:
                carried[name] = walk.lost_share(at, changed)
        reaching = sorted((name for name in carried if carried[name] > 0.0), key=carried.__getitem__)
        if reaching:
            # the middle one of the errors stands for all, which go on alike
            middle = reaching[len(reaching) // 2]
            ends = walk.to_the_end(at + 1, walk.replaced(at, middle, trials[middle]))
            gain = walk.lost(ends, later) / carried[middle]
            losses = {name: loss + gain * carried[name] for name, loss in losses.items()}
        scale = max(len(compared), 1)
        result |= {name: loss / scale / max(trials[name].error, 1e-12) for name, loss in losses.items()}
    return result if any(result.values()) else dict.fromkeys(trials, 1.0)


class _DenseWalk:
    """Sessions of a model's parts, and what the dense model lets enter each.

    Attributes:
        parts: of the model.
        entering: feeds of each part by name, and behind the last one those with the outputs.
        outputs: names of the float outputs.
    """

    @classmethod
    def of(cls, probe: Probe) -> _DenseWalk | None:
        """That of a probe's model; None where it does not fall into parts, or has no float outputs.

        Nor is there one where layers share a weight: replaced in one part, it would stay as it is in another.
        """
        graph = probe.model.graph
        layers = {layer.name: layer for layer in find_layers(graph)[0] if layer.name in probe.trials}
        parts = find_parts(graph, layers.values(), round(math.sqrt(2 * len(layers))))
        weights = {name: layer.weight.name or "" for name, layer in layers.items()}
        if len(parts) < FEWEST_PARTS or len(set(weights.values())) < len(weights):
            return None
        walk = cls(probe, parts, weights)
        return walk if walk.outputs else None

    def __init__(self, probe: Probe, parts: Sequence[Part], weights: Mapping[str, str]):
        self._probe, self.parts, self._weights = probe, parts, weights
        model, feeds = probe.model, probe.feeds
        self._sessions: list[Session] = []
        self.entering: list[list[Feed]] = [[dict(feed) for feed in feeds]]
        extractor = Extractor(model.graph)
        for part in parts:
            graph = extractor.extract(part.inputs, part.outputs, self.entering[-1][0])
            # so that a run can replace them
            graph.inputs.extend({graph.initializers[weights[name]]: None for name in part.layers})
            session_model = ir.Model(graph, ir_version=model.ir_version)
            self._sessions.append(probe.runtime.session(session_model, is_of_large=is_large(model)))
            self.entering.append(self._run(len(self._sessions) - 1, self.entering[-1]))
        self.outputs = float_outputs({name: self.entering[-1][0][name] for name in parts[-1].outputs})

    def outputs_without(self, at: int, name: str, trial: Trial) -> list[dict[str, Any]]:
        """The model's outputs where one of the layers of part `at` is replaced; no more is kept of any feed."""
        weight, outputs = {self._weights[name]: trial.weight}, []
        for feed, entering in zip(self._probe.feeds, self.entering[at], strict=True):
            (end,) = self.to_the_end(at, [{**entering, **weight}])
            outputs.append(self._counted(end, feed, self.outputs))
        return outputs

    def replaced(self, at: int, name: str, trial: Trial) -> list[Feed]:
        """What part `at` lets out where one of its layers is replaced."""
        weight = {self._weights[name]: trial.weight}
        return self._run(at, [{**feed, **weight} for feed in self.entering[at]])

    def to_the_end(self, at: int, feeds: Sequence[Feed]) -> Sequence[Feed]:
        """What comes out behind the last part where these feeds enter part `at`."""
        for later in range(at, len(self.parts)):
            feeds = self._run(later, feeds)
        return feeds

    def counted(self, values: Sequence[Feed], names: Sequence[str]) -> list[dict[str, Any]]:
        """Values that are compared, by name; what does not count is 0."""
        return [self._counted(batch, feed, names) for batch, feed in zip(values, self._probe.feeds, strict=True)]

    def _counted(self, batch: Feed, feed: Feed, names: Sequence[str]) -> dict[str, Any]:
        named, mask = {name: batch[name] for name in names}, self._probe.mask
        return named if mask is None else mask.counted(named, feed)

    def lost(self, values: Sequence[Feed], outputs: Sequence[str]) -> float:
        """What some outputs lose, all together."""
        dense, changed = (self.counted(side, outputs) for side in (self.entering[-1], values))
        return sum(max(loss, 0.0) for loss in output_losses(dense, changed).values())

    def lost_share(self, at: int, values: Sequence[Feed]) -> float:
        """What the carrier behind part `at` loses: nothing where it does not vary; infinite numbers are left out."""
        carrier = self.parts[at].carrier
        dense, changed = (
            [{name: np.nan_to_num(value, posinf=0.0, neginf=0.0) for name, value in batch.items()} for batch in counted]
            for counted in (self.counted(side, [carrier]) for side in (self.entering[at + 1], values))
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            share = lost_share(dense, changed, carrier)
        return share if math.isfinite(share) and share > 0.0 else 0.0

    def _run(self, at: int, feeds: Sequence[Feed]) -> list[Feed]:
        return [{**feed, **self._sessions[at].run(feed, self.parts[at].outputs)} for feed in feeds]


def find_parts(graph: ir.Graph, layers: Iterable[Layer], count: int) -> list[Part]:
    """About so many parts of a graph, each with about as many of the layers as another."""
    nodes = list(graph)
    by_node: dict[ir.Node, list[str]] = {}
    for layer in layers:
        by_node.setdefault(layer.host or layer.node, []).append(layer.name)
    left = sum(map(len, by_node.values()))
    most = math.ceil(left / max(count, 1))
    live = _Live(graph, nodes)
    parts: list[Part] = []
    names: list[str] = []
    inputs = live.names
    for node in nodes:
        names += by_node.get(node, [])
        live.go_behind(node, is_layer=node in by_node)
        if len(names) >= most and len(live.carriers) == 1 and left > len(names):
            parts.append(Part(inputs, live.names, next(iter(live.carriers)).name or "", tuple(names)))
            inputs, left, names = live.names, left - len(names), []
    # an initializer says nothing of the inputs
    outputs = tuple(value.name or "" for value in graph.outputs if not value.is_initializer())
    return [*parts, Part(inputs, outputs, "", tuple(names))]


class _Live:
    """Values that are made before a place in a graph and read behind it.

    Attributes:
        carriers: those that layers have a part in and nodes read, in the order in which they were made.
    """

    def __init__(self, graph: ir.Graph, nodes: Sequence[ir.Node]):
        self._last_reader = {value: node for node in nodes for value in used_values(node)}
        self._outputs = set(graph.outputs)
        self._made_by_layers: set[ir.Value] = set()
        self._live = {value: None for value in graph.inputs if not value.is_initializer()}
        self.carriers: dict[ir.Value, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all values that lie across the place."""
        return tuple(sorted(value.name or "" for value in self._live))

    def go_behind(self, node: ir.Node, *, is_layer: bool) -> None:
        """Move the place behind a node."""
        used = dict.fromkeys(value for value in used_values(node) if value in self._live)  # one may be read twice
        if not used:  # a constant, which every part makes for itself
            return
        results = [value for value in node.outputs if value in self._last_reader or value in self._outputs]
        self._live.update(dict.fromkeys(results))
        if is_layer or not self._made_by_layers.isdisjoint(used):
            self._made_by_layers.update(results)
            self.carriers.update(dict.fromkeys(value for value in results if value in self._last_reader))
        for value in used:
            if self._last_reader[value] is node:
                self.carriers.pop(value, None)
                if value not in self._outputs:
                    del self._live[value]
