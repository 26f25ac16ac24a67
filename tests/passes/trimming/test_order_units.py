"""Units in another order: who reads one reads it in its new place."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from trimmable_models import network_of, normal, outputs, pictures, residual_network

from netsurgeon.passes.dependencies import Dependencies, analyse
from netsurgeon.passes.layers import find_layers, layers_by_name
from netsurgeon.passes.trimming.order_units import LARGE, OrderUnits, large_weights
from netsurgeon.pipeline.runtime import Runtime, observe

node = onnx.helper.make_node


def analysed(proto: onnx.ModelProto) -> tuple[ir.Model, Dependencies]:
    model = ir.from_proto(proto)
    return model, analyse(model, observe(model, {"x": pictures(2)}, Runtime()))


def array_of(model: ir.Model, name: str) -> np.ndarray:
    constant = model.graph.initializers[name].const_value
    assert constant is not None
    return constant.numpy()


def test_units_are_sorted_and_outputs_stay() -> None:
    proto = residual_network()
    model, dependencies = analysed(proto)
    before = {name: array_of(model, name) for name in model.graph.initializers}
    scores = np.arange(len(dependencies.units))[::-1].astype(float)
    assert OrderUnits(dependencies, scores)(model).modified
    # all groups are turned round: the channels of the stream, and those inside of each block
    np.testing.assert_array_equal(array_of(model, "a1"), before["a1"][::-1, ::-1])
    np.testing.assert_array_equal(array_of(model, "b1_bias"), before["b1_bias"][::-1])
    np.testing.assert_array_equal(array_of(model, "head"), before["head"][::-1])
    np.testing.assert_array_equal(array_of(model, "stem"), before["stem"][::-1])
    np.testing.assert_allclose(outputs(model, pictures()), outputs(proto, pictures()), atol=1e-5)


def test_one_group_alone_would_change_the_outputs() -> None:
    """What the comparison above would find if a reader were left out."""
    proto = residual_network()
    model, dependencies = analysed(proto)
    OrderUnits(dependencies, np.arange(len(dependencies.units))[::-1].astype(float))(model)
    model.graph.initializers["head"].const_value = ir.tensor(normal(12, 5), name="head")
    assert np.abs(outputs(model, pictures()) - outputs(proto, pictures())).max() > 1e-2


def test_equal_scores_change_nothing() -> None:
    model, dependencies = analysed(residual_network())
    assert not OrderUnits(dependencies, np.zeros(len(dependencies.units)))(model).modified


def test_rows_with_as_many_large_weights_lie_side_by_side() -> None:
    model, dependencies = analysed(residual_network())
    OrderUnits(dependencies, large_weights(dependencies, find_layers(model.graph)[0]))(model)
    for name in ("a1", "a2"):
        sizes = np.abs(layers_by_name(model.graph)[name].matrix()[0])
        counts = (sizes > np.quantile(sizes, 1.0 - LARGE)).sum(axis=1)
        assert (np.diff(counts) >= 0).all()
        assert counts[0] < counts[-1]


@pytest.mark.parametrize(("groups", "changes"), [(1, True), (2, False), (12, True)])
def test_channels_of_groups_keep_their_places(groups: int, changes: bool) -> None:
    """But for those of a depthwise convolution, where each has a group of its own."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], "first"),
        node("Conv", ["a", "v"], ["b"], "second", group=groups),
        node("GlobalAveragePool", ["b"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "head"], ["y"], "head"),
    ]
    weights = {"w": normal(12, 3, 1, 1), "v": normal(12, 12 // groups, 1, 1), "head": normal(12, 5)}
    proto = network_of(nodes, weights, ["N", 3, 6, 6])
    model, dependencies = analysed(proto)
    OrderUnits(dependencies, np.random.default_rng(0).random(len(dependencies.units)))(model)
    assert (not np.array_equal(array_of(model, "w"), weights["w"])) == changes
    np.testing.assert_allclose(outputs(model, pictures()), outputs(proto, pictures()), atol=1e-5)
