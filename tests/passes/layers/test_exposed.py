"""What enters layers in bodies, shown by the If or Loop around them: against the same sums in NumPy."""

import numpy as np
import onnx_ir as ir
import pytest
from control_flow_models import HIDDEN, Array, choosing, inputs, looping, weight

from netsurgeon.passes.layers.exposed import expose
from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.runtime.session import Runtime


def layers_in_bodies(model: ir.Model) -> dict[str, Layer]:
    return {layer.name: layer for layer in find_layers(model.graph)[0] if layer.host is not None}


def shown(model: ir.Model, x: Array) -> dict[str, Array]:
    """What enters each layer in a body, by the layer's name."""
    layers = layers_in_bodies(model)
    exposed = expose(model, [layer.input_name for layer in layers.values()])
    outputs = {value.name: value for node in exposed.graph for value in node.outputs}
    exposed.graph.outputs.extend(outputs[layer.input_name] for layer in layers.values())
    result = Runtime().session(exposed).run({"x": x})
    return {name: result[layer.input_name] for name, layer in layers.items()}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_branch_shows_what_enters_its_layers_and_the_other_one_nothing(sign: int) -> None:
    model, x = normal_form()(ir.from_proto(choosing())).model, inputs(4, sign=sign)
    h = np.maximum(x @ weight(16, HIDDEN, seed=6), 0)
    values = shown(model, x)
    if sign > 0:
        hidden = np.maximum(h @ weight(HIDDEN, HIDDEN, seed=1) + weight(HIDDEN, seed=2), 0)
        np.testing.assert_allclose(values["then_wide"], h, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values["then_narrow"], hidden, rtol=1e-4, atol=1e-5)
        assert values["else_wide"].size == 0
    else:
        np.testing.assert_allclose(values["else_wide"], h, rtol=1e-4, atol=1e-5)
        assert values["then_wide"].size == values["then_narrow"].size == 0


def test_a_loop_shows_every_iteration() -> None:
    model, x = normal_form()(ir.from_proto(looping())).model, inputs(4)
    states = [x @ weight(16, HIDDEN, seed=6)]
    for _ in range(2):
        states.append(np.tanh(states[-1] @ (3 * weight(HIDDEN, HIDDEN, seed=1)) + weight(HIDDEN, seed=2)))
    (values,) = shown(model, x).values()
    np.testing.assert_allclose(values, np.stack(states), rtol=1e-3, atol=1e-4)


def test_samples_of_a_loop_are_those_of_all_iterations_and_of_a_branch_not_taken_none() -> None:
    model = normal_form()(ir.from_proto(looping())).model
    (layer,) = layers_in_bodies(model).values()
    states = np.arange(3 * 4 * HIDDEN, dtype=np.float32).reshape(3, 4, HIDDEN)
    np.testing.assert_array_equal(layer.samples(states), states.reshape(1, 12, HIDDEN))
    assert layer.positions(states) == 12
    assert layer.samples(np.zeros(0, np.float32)).shape == (1, 0, HIDDEN)
    assert layer.positions(np.zeros(0, np.float32)) == 0


def test_weights_and_new_biases_of_layers_in_bodies_belong_to_the_graph() -> None:
    model = normal_form()(ir.from_proto(choosing())).model
    layer = layers_in_bodies(model)["then_narrow"]
    layer.write(np.zeros((1, HIDDEN, HIDDEN)))
    layer.shift_bias(np.ones(HIDDEN))
    bias = layer.node.inputs[2]
    assert bias is not None
    assert bias.graph is model.graph
    x = inputs(4, sign=1)
    expected = np.ones((4, HIDDEN)) @ weight(HIDDEN, 6, seed=7)
    np.testing.assert_allclose(Runtime().session(model).run({"x": x})["y"], expected, rtol=1e-4)


def test_the_model_itself_is_left_as_it_is() -> None:
    model = normal_form()(ir.from_proto(choosing())).model
    before = ir.to_proto(model).SerializeToString()
    expose(model, [layer.input_name for layer in layers_in_bodies(model).values()])
    assert ir.to_proto(model).SerializeToString() == before
