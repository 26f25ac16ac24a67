"""Layers in bodies of If and Loop that calibration shows nothing of, found before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import Layer, expose, find_layers
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.runtime import Runtime, first_line


def unobserved_layers(model: ir.Model, samples: Samples, runtime: Runtime) -> dict[str, str]:
    """Names of the layers that no input passes through, or whose inputs cannot be shown, and the reason of each."""
    hosts: dict[ir.Node, list[Layer]] = {}
    for layer in find_layers(model.graph)[0]:
        if layer.host is not None:
            hosts.setdefault(layer.host, []).append(layer)
    reasons: dict[str, str] = {}
    for host, layers in hosts.items():
        reasons |= _unobserved(model, host, layers, samples, runtime)
    return reasons


def _unobserved(
    model: ir.Model, host: ir.Node, layers: Sequence[Layer], samples: Samples, runtime: Runtime
) -> dict[str, str]:
    """The same of the layers of one If or Loop, which runs until each was seen."""
    waiting = {layer.input_name: layer for layer in layers}
    try:
        exposed = expose(model, list(waiting))
        inputs = [value.name or "" for value in exposed.graph.inputs]
        graph = ir.convenience.extract(exposed.graph, inputs, list(waiting))
        session = runtime.session(ir.Model(graph, ir_version=model.ir_version))
        for feed in samples.batches():
            shown = session.run(feed, list(waiting))
            waiting = {name: layer for name, layer in waiting.items() if not shown[name].size}
            if not waiting:
                break
    except CheckFailedError as error:
        reason = f"what enters it inside {host.op_type} {label(host)!r} cannot be shown ({first_line(error)})"
        return {layer.name: reason for layer in layers}
    return {layer.name: _reason(layer, host) for layer in waiting.values()}


def _reason(layer: Layer, host: ir.Node) -> str:
    if host.op_type == "Loop":
        return f"no calibration input makes Loop {label(host)!r} run"
    then = layer.node.graph is host.attributes["then_branch"].as_graph()
    return f"no calibration input takes the {'then' if then else 'else'} branch of If {label(host)!r}"
