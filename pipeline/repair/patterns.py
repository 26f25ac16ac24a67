"""Which integers of a model that was put on them are free to be other than 0."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label, optional_input, tensor
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import find_integer_weights

Pattern = npt.NDArray[np.bool_]


def integer_patterns(floats: ir.Model, integers: ir.Model) -> Mapping[str, Pattern]:
    """Where weights may be other than 0, by name of the initializer that holds their integers.

    What is 0 in the float model stays so; what rounding alone has made 0 may grow again. A layer that the float model
    does not have keeps all its zeros, and so does one that has a bias only since then: zeros have paid for it.

    Args:
        floats: the model that was rounded, with the same rows and columns.
        integers: the model after.
    """
    biased = {label(node) for node in integers.graph if optional_input(node, 2) is not None}
    kept = {
        layer.name: tensor(layer.weight).numpy() != 0
        for layer in find_layers(floats.graph)[0]
        if layer.has_bias or layer.name not in biased
    }
    patterns = {}
    for layer, weight in find_integer_weights(integers.graph).items():
        if layer in kept:
            patterns[weight.name] = (weight.codes != 0) | kept[layer]
    return patterns
