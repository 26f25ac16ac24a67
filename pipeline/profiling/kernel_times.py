"""What each node of a model costs, from ONNX Runtime's profiler."""

from __future__ import annotations

import collections
import dataclasses
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import Cell, Layer
from netsurgeon.pipeline.runtime import CPU, Runtime, full_name, is_of_package

WARM_UP = 3
_SUFFIX = "_kernel_time"
_ADDED = re.compile(r"(_token_\d+|_nchwc|_nhwc)+$")
"""What ONNX Runtime adds to the names of nodes that it replaces."""


@dataclasses.dataclass(frozen=True)
class NodeTime:
    """A node of the graph as ONNX Runtime has optimised it.

    Attributes:
        name: its name there; fused nodes have the name of one of their parts, or a new one. If a package's provider ran
            it, the name of the layer's node.
        operator: its operator type there; the provider's name if a package's ran it.
        provider: what ran it.
        milliseconds: a run, median over the runs; in a loop, of all its turns.
        reason: why such a provider has not taken a layer; None where it has, or where it says nothing of the node.
    """

    name: str
    operator: str
    provider: str
    milliseconds: float
    reason: str | None = None


def node_times(
    model: ir.Model | Path, feed: Mapping[str, Any], runtime: Runtime, runs: int = 20
) -> tuple[NodeTime, ...]:
    """Time of every node that ran, in the order of the graph; the profiler itself slows short nodes down.

    Raises:
        CheckFailedError: the model cannot be loaded, or cannot run on the feed.
    """
    with tempfile.TemporaryDirectory(prefix="netsurgeon-") as folder:
        explanation = Path(folder) / "explanation"
        if is_of_package(runtime.provider):
            options = (*runtime.provider_options, ("explain", str(explanation)))
            runtime = dataclasses.replace(runtime, provider_options=options)
        session = runtime.session(model, trace=Path(folder) / "trace")
        for _ in range(WARM_UP + runs):
            session.run(feed)
        events = json.loads(session.end_trace().read_text("utf-8"))
        times = _medians(events, runs)
        return _explained(times, explanation.read_text("utf-8")) if explanation.exists() else times


def left_to_the_cpu(model: ir.Model | Path, feed: Mapping[str, Any], runtime: Runtime) -> tuple[str, ...]:
    """Nodes that the CPU runs though another provider was asked for, as `operator name`.

    Raises:
        CheckFailedError: the model cannot be loaded, or cannot run on the feed.
    """
    if full_name(runtime.provider) == CPU:
        return ()
    nodes = [node for node in node_times(model, feed, runtime, runs=1) if node.provider == CPU]
    nodes.sort(key=lambda node: node.reason is None)  # what could have been taken comes first
    return tuple(f"{node.operator} {node.name}" + (f" ({node.reason})" if node.reason else "") for node in nodes)


def times_in_package(nodes: Sequence[NodeTime], provider: str) -> dict[str, float]:
    """Milliseconds of the layers that a package's provider runs, by name."""
    name = full_name(provider)
    return {node.name: node.milliseconds for node in nodes if node.provider == name}


def _medians(events: list[dict[str, Any]], runs: int) -> tuple[NodeTime, ...]:
    """Kernel times summed over each run, and the median over the last `runs` runs."""
    ran = sorted((event["ts"], event["dur"]) for event in events if event["name"] == "model_run")[-runs:]
    starts = np.array([start for start, _ in ran])
    totals: dict[tuple[str, str, str], Any] = collections.defaultdict(lambda: np.zeros(len(ran)))
    kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith(_SUFFIX)]
    for event in sorted(kernels, key=lambda event: event["ts"]):
        # A kernel belongs to the last run that began before it; those before the first one warmed up.
        number = int(np.searchsorted(starts, event["ts"], side="right")) - 1
        if number >= 0:
            arguments = event["args"]
            name = event["name"].removesuffix(_SUFFIX) or f"#{arguments.get('node_index', '')}"
            totals[name, arguments["op_name"], arguments.get("provider", "")][number] += event["dur"]
    return tuple(NodeTime(*key, float(np.median(micros)) / 1000.0) for key, micros in totals.items())


def _explained(nodes: Sequence[NodeTime], explanation: str) -> tuple[NodeTime, ...]:
    """Nodes with the names of the layers that a package's provider has made nodes of its own of.

    Args:
        nodes: as ONNX Runtime names them.
        explanation: lines of "taken", a layer and the node that it has become, or "left", a layer and why, between
            tabs; what was left at first and taken later is taken.
    """
    lines = [line.split("\t", 2) for line in explanation.splitlines() if line.count("\t") >= 2]
    layers = {fused: _ADDED.sub("", layer) for what, layer, fused in lines if what == "taken"}
    reasons = {_ADDED.sub("", layer): reason for what, layer, reason in lines if what == "left"}
    named = []
    for node in nodes:
        layer = next((layers[fused] for fused in (node.name, node.name.rpartition("_")[0]) if fused in layers), None)
        if layer is not None:
            named.append(dataclasses.replace(node, name=layer, operator=node.provider))
        else:
            named.append(dataclasses.replace(node, reason=reasons.get(_ADDED.sub("", node.name))))
    return tuple(named)


def times_of_layers(nodes: Mapping[str, float], layers: Sequence[Layer | Cell]) -> dict[str, float]:
    """Milliseconds of layers by name, with what is fused into them, but for those that ONNX Runtime shows none of.

    Args:
        nodes: milliseconds by the names that nodes have in the graph as ONNX Runtime has optimised it.
        layers: of the model that it was given.
    """
    named = {_ADDED.sub("", name): milliseconds for name, milliseconds in nodes.items()}
    kernels = {layer.name: next((name for name in _names(layer) if name in named), None) for layer in layers}
    return {layer: named[kernel] for layer, kernel in kernels.items() if kernel is not None}


def _names(layer: Layer | Cell) -> list[str]:
    """Names that a layer's kernel may have: its own, or those of what is fused into it or of what that makes."""
    if isinstance(layer, Cell):
        return [layer.name]
    value = layer.node.outputs[0]
    # a convolution in blocks of channels has the name of what it makes, a Gemm with a Relu is "fused" and its own
    names = [label(layer.node), value.name or "", f"fused {label(layer.node)}"]
    while len(value.uses()) == 1:
        (use,) = value.uses()
        node = use.node
        if node.op_type not in ("Relu", "Clip", "Add"):
            break
        value = node.outputs[0]
        names += [label(node), value.name or ""]
    return names
