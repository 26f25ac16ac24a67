"""Where weights that are 0 are free to be others: integers that rounding made 0, and masks that may move."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label, optional_input, tensor
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.pruning import LayerPattern
from netsurgeon.passes.quantization import find_integer_weights

Pattern = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.int64]


def integer_patterns(floats: ir.Model, integers: ir.Model) -> Mapping[str, Pattern]:
    """Where weights may be other than 0, by name of the initializer that holds their integers.

    What is 0 in the float model stays so; what rounding alone has made 0 may grow again. A layer that the float model
    does not have keeps all its zeros, and so does one that has a bias only since then: zeros have paid for it.

    Args:
        floats: the model before it was put on integers.
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
            same_shape = weight.codes.shape == kept[layer].shape
            patterns[weight.name] = (weight.codes != 0) | (kept[layer] if same_shape else False)
    return patterns


def cells_of_weights(model: ir.Model, layers: Collection[str], pattern: LayerPattern | None) -> Mapping[str, Cells]:
    """In which sets of weights a mask may move, by name of the initializer: a number for each set, at all its weights.

    So many weights as a set keeps it keeps behind a move. Without a pattern all weights of a layer are one set.

    Args:
        model: pruned.
        layers: names of those whose masks may move.
        pattern: that they keep to.
    """
    cells = {}
    for layer in find_layers(model.graph)[0]:
        if layer.name not in layers:
            continue
        stored = tensor(layer.weight).numpy()
        own = pattern.on(layer) if pattern is not None else None
        sets = np.zeros(stored.size, np.int64)
        if own is not None:
            places = layer.as_matrix(np.arange(stored.size).reshape(stored.shape)) / layer.scale
            sets[np.rint(places).astype(np.int64)] = own.cells(places.shape)
        cells[layer.weight.name or ""] = sets.reshape(stored.shape)
    return cells
