"""Integers that a model came with: floats while it is pruned, and the same integers again behind it."""

import numpy as np
import onnx_ir as ir
from incoming_models import quantized_perceptron
from perceptron_models import perceptron

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.model_files.integer_weights import (
    IntegerWeights,
    find_integers,
    weights_to_floats,
    weights_to_integers,
)


def constants(model: ir.Model) -> dict[str, np.ndarray]:
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def test_a_model_of_floats_has_none_and_is_not_cloned() -> None:
    model = ir.from_proto(perceptron())
    floats, integers = weights_to_floats(model)
    assert floats is model
    assert integers == IntegerWeights()
    assert weights_to_integers(model, integers) is model


def test_integers_come_back_to_the_last_bit() -> None:
    model = ir.from_proto(quantized_perceptron())
    before = constants(model)
    floats, integers = weights_to_floats(model)
    assert integers.grids
    assert {layer.name for layer in find_layers(floats.graph)[0]} >= integers.grids.keys()
    assert constants(model).keys() == before.keys(), "the model that came is left as it is"
    back = weights_to_integers(floats, integers)
    codes = {name: array for name, array in before.items() if array.dtype == np.int8}
    kept = [array for array in constants(back).values() if array.dtype == np.int8]
    assert codes
    for array in codes.values():
        assert any(array.shape == other.shape and np.array_equal(array, other) for other in kept)


def test_they_are_found_without_a_change() -> None:
    model = ir.from_proto(quantized_perceptron())
    before = ir.to_proto(model).SerializeToString()
    assert find_integers(model).layers
    assert ir.to_proto(model).SerializeToString() == before
