"""Which unit owns which column and row of a layer, and which indices of a constant."""

from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from trimmable_models import network_of, normal, residual_network

from netsurgeon.passes.dependencies.analysis import Dependencies, analyse
from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.unit_owners import STAYS, Owners, along, owners_of


def analysed(proto: onnx.ModelProto, *shape: int) -> tuple[Dependencies, dict[str, Layer]]:
    model = ir.from_proto(proto)
    dependencies = analyse(model, observe(model, {"x": normal(*shape)}, Runtime()))
    return dependencies, {layer.name: layer for layer in find_layers(model.graph)[0]}


def perceptron(transposed: bool) -> onnx.ModelProto:
    """16 inputs, 6 neurons, 5 outputs, the weights of Gemm as they lie or transposed."""
    node = onnx.helper.make_node
    options: dict[str, Any] = {"transB": 1} if transposed else {}
    first, second = normal(16, 6), normal(6, 5)
    nodes = [
        node("Gemm", ["x", "w"], ["h"], "first", **options),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v"], ["y"], "second", **options),
    ]
    weights = {"w": first.T.copy() if transposed else first, "v": second.T.copy() if transposed else second}
    return network_of(nodes, weights, ["N", 16])


@pytest.mark.parametrize("transposed", [False, True])
def test_a_neuron_owns_its_row_and_the_column_that_reads_it(transposed: bool) -> None:
    dependencies, layers = analysed(perceptron(transposed), 4, 16)
    first, second = (Owners.of(layers[name], dependencies) for name in ("first", "second"))
    assert first.rows.shape == (1, 6)
    assert sorted(first.rows[0].tolist()) == list(range(6))
    np.testing.assert_array_equal(second.columns, first.rows)
    assert (first.columns == STAYS).all(), "inputs of the model stay"
    assert (second.rows == STAYS).all(), "outputs of the model stay"


def test_a_channel_owns_a_whole_kernel_of_columns() -> None:
    dependencies, layers = analysed(residual_network(), 2, 3, 6, 6)
    inside, behind = (Owners.of(layers[name], dependencies) for name in ("a1", "b1"))
    assert behind.columns.shape == (1, 16 * 9)
    np.testing.assert_array_equal(behind.columns[0], np.repeat(inside.rows[0], 9))


def test_channels_that_are_added_have_one_owner() -> None:
    dependencies, layers = analysed(residual_network(), 2, 3, 6, 6)
    rows = [Owners.of(layers[name], dependencies).rows for name in ("stem", "b1", "b2")]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(Owners.of(layers["head"], dependencies).columns, rows[0])


def test_in_a_grouped_convolution_every_group_has_columns_of_its_own() -> None:
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["h"], "first"),
        node("Relu", ["h"], ["r"]),
        node("Conv", ["r", "v"], ["g"], "grouped", group=2),
        node("GlobalAveragePool", ["g"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "u"], ["y"], "head"),
    ]
    weights = {"w": normal(8, 3, 1, 1), "v": normal(6, 4, 3, 3), "u": normal(6, 5)}
    dependencies, layers = analysed(network_of(nodes, weights, ["N", 3, 6, 6]), 2, 3, 6, 6)
    grouped = Owners.of(layers["grouped"], dependencies)
    assert grouped.columns.shape == (2, 4 * 9)
    assert grouped.rows.shape == (2, 3)
    np.testing.assert_array_equal(
        grouped.columns[:, ::9].ravel(), Owners.of(layers["first"], dependencies).rows.ravel()
    )


def test_each_index_of_an_axis_has_its_unit() -> None:
    dependencies, layers = analysed(perceptron(False), 4, 16)
    for unit in dependencies.units:
        for part in unit.parts:
            (slot,) = (slot for slot in dependencies.tracks.slots[part.node, part.index] if slot.axis == part.axis)
            assert set(owners_of(slot.labels, dependencies)[part.indices]) == {unit.number}
    assert layers


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_constant_becomes_rows_along_an_axis(axis: int) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    rows = along(array, axis, 1)
    for index in range(array.shape[axis]):
        np.testing.assert_array_equal(rows[index], array.take(index, axis).ravel())


def test_groups_of_a_constant_have_rows_of_their_own() -> None:
    array = np.arange(4 * 3 * 2).reshape(4, 3, 2)
    rows = along(array, 1, 2)
    assert rows.shape == (6, 4)
    np.testing.assert_array_equal(rows[0], array[:2, 0].ravel())
    np.testing.assert_array_equal(rows[3], array[2:, 0].ravel())
