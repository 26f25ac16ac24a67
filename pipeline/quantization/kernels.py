"""What ONNX Runtime runs of a model on integers: read from the graph that it makes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.runtime import Runtime

TURNED = "_T"


def integer_kernels(model: ir.Model, runtime: Runtime) -> dict[str, str]:
    """The operator that takes each layer's integers, by layer name; DequantizeLinear where floats are made of them.

    Layers whose integers are not in the optimised graph any more are left out.
    """
    graph = runtime.optimised_graph(model)
    readers: dict[str, str] = {}
    for node in graph.node:
        readers.update(dict.fromkeys(node.input, node.op_type))
    weights = find_integer_weights(model.graph).items()
    # a weight that ONNX Runtime turns to fuse it has another name then
    names = {layer: (weight.name, f"{weight.name}{TURNED}") for layer, weight in weights}
    return {layer: readers[name] for layer, both in names.items() for name in both if name in readers}


def unfused(model: ir.Model, layers: Collection[str], runtime: Runtime) -> Mapping[str, str]:
    """Layers that are not run on integers though the model would have it so, and the reason for the report."""
    kernels = integer_kernels(model, runtime)
    return {
        name: "ONNX Runtime makes floats of its integers while the model runs"
        for name in layers
        if kernels.get(name, "DequantizeLinear") == "DequantizeLinear"
    }
