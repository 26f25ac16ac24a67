"""Units of a model: who has a bias, what hangs together, and what may be a candidate."""

import numpy as np
import onnx.helper
import onnx_ir as ir
from perceptron_models import built, calibration_of, inputs, perceptron, random

from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.unit_finder import find_units, give_biases, no_units


def unbiased() -> ir.Model:
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w1"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("Gemm", ["r", "w2"], ["y"], name="second"),
    ]
    return ir.from_proto(built(nodes, {"w1": random(32, 8), "w2": random(8, 10)}))


def test_layers_get_biases_of_zero_that_change_no_output() -> None:
    model, x = unbiased(), inputs(7)
    runtime = Runtime(threads=1)
    before = runtime.session(model).run({"x": x})["y"]
    layers = find_layers(model.graph)[0]
    assert all(layer.node.inputs[2:] == () for layer in layers)
    give_biases(layers)
    biases = [layer.node.inputs[2] for layer in layers]
    for bias, rows in zip(biases, (8, 10), strict=True):
        assert bias is not None
        assert bias.const_value is not None
        np.testing.assert_array_equal(bias.const_value.numpy(), np.zeros(rows, np.float32))
    np.testing.assert_array_equal(runtime.session(model).run({"x": x})["y"], before)
    give_biases(layers)
    assert [layer.node.inputs[2] for layer in layers] == biases, "those that are there stay"


def test_every_hidden_neuron_is_a_unit_that_its_readers_hang_on() -> None:
    model = ir.from_proto(perceptron())
    units = find_units(model, calibration_of(model, inputs(20))).units
    first, second = (label(layer.node) for layer in find_layers(model.graph)[0][:2])
    rows = find_layers(model.graph)[0][0].rows
    assert len(units) == rows
    assert {part.node for unit in units for part in unit.parts} >= {first}
    assert {part.node for unit in units for part in unit.consumers} == {second}


def test_units_of_layers_that_are_left_alone_are_no_candidates() -> None:
    model = ir.from_proto(perceptron())
    layers, calibration = find_layers(model.graph)[0], calibration_of(model, inputs(20))
    plan = no_units(model, layers, calibration)
    assert not plan.removed.any()
    np.testing.assert_array_equal(plan.candidates, [unit.number for unit in plan.dependencies.units])
    assert no_units(model, layers[:1], calibration).candidates.size == 0, "the second layer reads every one of them"
