"""What ONNX Runtime runs each layer's integers as, read from the graph that it makes."""

from quantized_models import RUNTIME, conv_net, on_integers, pictures

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.quantization.kernels import integer_kernels, unfused


def test_layers_on_integers_have_integer_kernels_and_those_on_floats_none() -> None:
    model = conv_net()
    names = [layer.name for layer in find_layers(model.graph)[0]]
    integers = on_integers(model, pictures())
    kernels = integer_kernels(integers.model, RUNTIME)
    assert kernels.keys() <= set(names)
    assert kernels["first"] == "QLinearConv"
    assert integer_kernels(model, RUNTIME) == {}


def test_where_integers_are_not_fused_that_is_the_reason() -> None:
    integers = on_integers(conv_net(), pictures()).model
    as_written = RUNTIME.on_floats()
    assert unfused(integers, ["first"], RUNTIME) == {}
    assert unfused(integers, ["first"], as_written) == {
        "first": "ONNX Runtime makes floats of its integers while the model runs"
    }
