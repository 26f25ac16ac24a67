"""Models arrive with the weights that they had, which do not travel within the message."""

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.calibration.sent_model import SentModel


def wide(seed: int = 0) -> ir.Model:
    """Two products, the first of them large."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,256] x, float[256,128] w, float[128,4] v) => '
        "(float[N,4] z) { y = MatMul(x, w) z = MatMul(y, v) }"
    )
    rng = np.random.default_rng(seed)
    for value in [model.graph.inputs.pop(), model.graph.inputs.pop()]:
        assert value.shape is not None
        array = rng.standard_normal(value.shape.numpy()).astype(np.float32)
        value.const_value = ir.tensor(array, name=value.name)
        model.graph.register_initializer(value)
    return model


def test_large_weights_travel_beside_the_nodes() -> None:
    sent = SentModel.of(wide(), is_known=True)
    assert list(sent.weights) == ["w"]
    assert len(sent.nodes) < 4000
    assert ir.to_proto(sent.model()).SerializeToString() == ir.to_proto(wide()).SerializeToString()


def test_a_model_is_known_by_its_content() -> None:
    one, same, other = (SentModel.of(wide(seed), is_known=True) for seed in (0, 0, 1))
    assert (one, hash(one)) == (same, hash(same))
    assert one != other
    assert SentModel.of(wide(), is_known=False) != SentModel.of(wide(), is_known=False)


def test_layers_of_a_skeleton_have_the_shapes_of_the_model_which_stays_what_it_is() -> None:
    model = wide()
    skeleton = SentModel.skeleton(model)
    assert not skeleton.weights
    assert len(skeleton.nodes) < 1500
    here, there = (
        [(layer.name, layer.rows, layer.columns) for layer in find_layers(graph)[0]]
        for graph in (model.graph, skeleton.model().graph)
    )
    assert here == there
    assert all(np.isfinite(layer.matrix()).all() for layer in find_layers(model.graph)[0])
