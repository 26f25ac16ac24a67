"""Show what enters a layer inside a body: a further output of the If or Loop that the body belongs to."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import bodies, tensor
from netsurgeon.passes.layers.layer import Layer, exposed_name
from netsurgeon.passes.layers.layer_finder import find_layers


def expose(model: ir.Model, names: Collection[str]) -> ir.Model:
    """A clone in which the hosts of layers in bodies show what enters them, as outputs named by `exposed_name`.

    Where an If takes its other branch that is an empty tensor, and iterations of a Loop lie on a further axis in front.

    Args:
        model: is not changed.
        names: of these outputs.
    """
    clone = model.clone()
    for layer in find_layers(clone.graph)[0]:
        if layer.host is not None and layer.input_name in names:
            _expose(layer, layer.host)
    return clone


def _expose(layer: Layer, host: ir.Node) -> None:
    weight = tensor(layer.weight)
    name, kind = exposed_name(layer.node), ir.TensorType(weight.dtype)
    for index, body in enumerate(bodies(host)):
        # An output must be made in its body: what enters the layer may come from outside.
        shown = ir.Value(name=f"{name}, body {index}", type=kind)
        if body is layer.node.graph:
            node = ir.node("Identity", [layer.input], outputs=[shown])
        else:
            nothing = ir.tensor(np.zeros(0, weight.numpy().dtype))
            node = ir.node("Constant", [], {"value": nothing}, outputs=[shown])
        body.append(node)
        body.outputs.append(shown)
    host.resize_outputs(len(host.outputs) + 1)
    host.outputs[-1].name, host.outputs[-1].type = name, kind
