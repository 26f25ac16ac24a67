"""Units are the slices that go together: what one of them holds, feeds, saves and costs, and what stays and why."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from trimming_networks import Net, X, analysed

from netsurgeon.passes.dependencies.analysis import Part, by_group, split_by
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.passes.trimming.trim_neurons import TrimNeurons

SHAPE = (2, 4, 6, 6)


def plain(net: Net) -> str:
    return net.conv(net.op("Relu", net.conv(X, 4, 8)), 8, 3, 3)


def depthwise(net: Net) -> str:
    return net.conv(net.conv(net.conv(X, 4, 8), 8, 8, 3, group=8), 8, 3)


def grouped(net: Net) -> str:
    return net.conv(net.conv(net.conv(X, 4, 12), 12, 6, 3, group=2), 6, 3)


def transposed(net: Net) -> str:
    up = net.op("ConvTranspose", net.conv(X, 4, 8), net.weight(8, 6, 2, 2), net.weight(6), strides=[2, 2])
    return net.conv(up, 6, 3)


def flattened(net: Net) -> str:
    flat = net.op("Flatten", net.op("Relu", net.conv(X, 4, 8)))
    return str(net.op("Gemm", flat, net.weight(3, 288), net.weight(3), transB=1))


def scaled_residual(net: Net) -> str:
    stream = net.op("Mul", net.conv(X, 4, 8), net.weight(8, 1, 1))
    return net.conv(net.op("Add", stream, net.conv(X, 4, 8)), 8, 3)


def dense(net: Net) -> str:
    return net.dense(net.op("Relu", net.dense(X, 6, 8)), 8, 3)


NETWORKS = pytest.mark.parametrize(
    "build",
    [plain, depthwise, grouped, transposed, flattened, scaled_residual, dense],
    ids=lambda build: build.__name__,
)


def parameters(model: ir.Model) -> int:
    values = model.graph.initializers.values()
    return sum(v.const_value.size for v in values if v.const_value is not None and v.dtype != ir.DataType.INT64)


def test_a_unit_is_a_row_its_bias_and_the_columns_that_read_it() -> None:
    net = Net(*SHAPE)
    _, dependencies = analysed(net, plain(net))
    unit = dependencies.units[5]
    assert (unit.number, unit.name, unit.group) == (5, "Conv0[5]", 0)
    parts = [(part.node, part.index, part.axis, part.indices.tolist()) for part in unit.parts]
    assert parts == [("Conv0", 1, 0, [5]), ("Conv0", 2, 0, [5])]
    (consumer,) = unit.consumers
    assert (consumer.node, consumer.index, consumer.axis, consumer.indices.tolist()) == ("Conv2", 1, 1, [5])
    assert consumer.columns is not None
    assert consumer.columns.tolist() == [list(range(45, 54))]
    assert unit.parameters == 4 + 1 + 3 * 9
    assert unit.macs == 4 * 36 + 3 * 9 * 36  # of one sample
    assert not unit.products
    assert not unit.zeroed


def test_a_group_is_named_after_its_first_layer_and_holds_all_units_on_the_same_axes() -> None:
    net = Net(*SHAPE)
    _, dependencies = analysed(net, net.conv(scaled_residual(net), 3, 2))
    stream, last = dependencies.groups
    assert (stream.node, stream.operators, stream.units) == ("Conv0", ("Conv", "Mul"), tuple(range(8)))
    assert stream.parameters == dependencies.units[0].parameters == 2 * (4 + 1) + 1 + 3
    assert (last.node, len(last.units)) == ("Conv4", 3)


@NETWORKS
def test_parameters_are_those_that_go_with_a_unit_alone(build: Callable[[Net], str]) -> None:
    net = Net(*SHAPE)
    model, dependencies = analysed(net, build(net))
    before = parameters(model)
    for group in dependencies.groups:
        unit = dependencies.units[group.units[-1]]
        trimmed = model.clone()
        ir.passes.Sequential(MaskUnits([unit]), TrimNeurons(dependencies, [unit]))(trimmed)
        assert before - parameters(trimmed) == unit.parameters


@NETWORKS
def test_columns_are_those_of_the_layer_s_matrix(build: Callable[[Net], str]) -> None:
    net = Net(*SHAPE)
    model, dependencies = analysed(net, build(net))
    unit = dependencies.units[dependencies.groups[0].units[2]]
    MaskUnits([unit])(model)
    layers = {layer.name: layer for layer in find_layers(model.graph)[0]}
    measured = [consumer for consumer in unit.consumers if consumer.node in layers]
    assert measured or build is transposed  # which is no layer: nothing is measured in front of it
    for consumer in measured:
        layer = layers[consumer.node]
        assert consumer.columns is not None
        expected = np.zeros((layer.groups, layer.columns), bool)
        np.put_along_axis(expected, consumer.columns, True, axis=1)
        weight = layer.matrix().reshape(layer.groups, layer.blocks, layer.rows, -1)
        zeros = (weight == 0).all(axis=2).reshape(layer.groups, -1)
        np.testing.assert_array_equal(zeros, expected)


def test_a_product_of_two_activations_has_terms_and_slices_to_zero() -> None:
    net = Net(2, 5, 6)
    query, key = net.dense(X, 6, 8), net.dense(X, 6, 8)
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 2, 1]))
    _, dependencies = analysed(net, scores)
    unit = dependencies.units[3]
    assert not unit.consumers
    (term,) = unit.products
    assert (term.node, term.indices.tolist()) == ("MatMul5", [3])
    assert {part.node for part in unit.parts} == {"MatMul0", "Add1", "MatMul2", "Add3"}
    assert {(part.node, part.indices[0]) for part in unit.zeroed} == {("MatMul0", 3), ("Add1", 3)}


def test_what_must_stay_is_told_once_with_what_it_holds() -> None:
    net = Net(*SHAPE)
    shared = net.weight(8, 4, 1, 1)
    model, dependencies = analysed(
        net, net.op("Add", net.op("Conv", X, shared), net.op("Conv", net.op("Neg", X), shared))
    )
    (entry,) = dependencies.frozen
    assert entry.value in model.graph.initializers
    assert (entry.axis, entry.indices, entry.parameters) == (0, 8, 32)
    assert (entry.operator, entry.reason) == ("output", "it is an output of the model")


def test_indices_that_stay_for_different_reasons_are_told_apart() -> None:
    net = Net(*SHAPE)
    one, other = net.op("Split", net.conv(X, 4, 8), net.const([6, 2]), axis=1, outputs=2)
    _, dependencies = analysed(net, net.conv(net.op("LRN", one, size=3), 6, 3), other)
    told = {(entry.operator, entry.indices, entry.parameters) for entry in dependencies.frozen if entry.indices != 3}
    assert told == {("LRN", 6, 24), ("output", 2, 8)}


# ------------------------------------------------------------------------------------------------ parts of arrays
def test_a_part_of_a_grouped_weight_has_columns_of_its_own_in_every_group() -> None:
    array = np.arange(24).reshape(6, 4)
    part = Part("conv", 1, 1, np.array([1, 6]), groups=2)  # column 1 of the first group and column 2 of the second
    np.testing.assert_array_equal(by_group(array, 2)[part.where(array.shape)], [[1, 5, 9], [14, 18, 22]])
    by_group(array, 2)[part.where(array.shape)] = -1  # a view: this writes into the array
    assert np.argwhere(array == -1).tolist() == [[0, 1], [1, 1], [2, 1], [3, 2], [4, 2], [5, 2]]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_part_without_groups_is_a_slice_along_its_axis(axis: int) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    part = Part("conv", 1, axis, np.array([2, 0]))
    np.testing.assert_array_equal(array[part.where(array.shape)], array.take([2, 0], axis))
    assert by_group(array, 1) is array


@pytest.mark.parametrize(
    ("keys", "expected"),
    [([], []), ([4], [(4, [10])]), ([3, -1, 3, 0, -1], [(-1, [11, 14]), (0, [13]), (3, [10, 12])])],
)
def test_values_are_split_by_their_keys_in_order(keys: list[int], expected: list[Any]) -> None:
    parts = split_by(np.array(keys, np.int64), np.arange(10, 10 + len(keys)))
    assert [(key, values.tolist()) for key, values in parts] == expected
