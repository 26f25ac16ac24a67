"""Where integers may be other than 0: where the float model's weights are, or where they are integers already."""

import numpy as np
from integer_models import float_net, integer_net

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.repair import integer_patterns


def test_what_rounding_has_made_zero_may_grow_again_and_nothing_else() -> None:
    dense = float_net(zeros=0.5)
    integers = integer_net(dense, most=1)
    patterns, weights = integer_patterns(dense, integers), find_integer_weights(integers.graph)
    floats = {layer.name: tensor(layer.weight).numpy() for layer in find_layers(dense.graph)[0]}
    assert len(patterns) == 4
    for layer, weight in weights.items():
        assert np.array_equal(patterns[weight.name], floats[layer] != 0)
        assert (patterns[weight.name] & (weight.codes == 0)).any()


def test_a_layer_that_only_the_integer_model_has_keeps_its_zeros() -> None:
    dense = float_net(zeros=0.5)
    integers = integer_net(dense)
    next(node for node in dense.graph if node.op_type == "Conv").name = "another"
    assert len(integer_patterns(dense, integers)) == 3


def test_zeros_that_have_paid_for_a_bias_stay() -> None:
    dense = float_net(zeros=0.5)
    integers = integer_net(dense, most=1)
    assert "first" in integer_patterns(dense, integers)
    next(node for node in dense.graph if node.op_type == "Conv").replace_input_with(2, None)
    assert "first" not in integer_patterns(dense, integers)
