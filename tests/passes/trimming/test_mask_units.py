"""A masked unit is read by nobody: its columns are zero, and no other weight has changed."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from trimming_networks import Net, X, analysed

from netsurgeon.passes.graph.nodes import present, tensor
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.pipeline.runtime.session import Runtime

SHAPE = (2, 4, 6, 6)


def arrays_of(model: ir.Model) -> dict[tuple[str, int], NDArray[Any]]:
    """The constants that every node reads."""
    return {
        (node.name or "", index): tensor(present(value)).numpy().copy()
        for node in model.graph
        for index, value in enumerate(node.inputs)
        if value is not None and value.is_initializer()
    }


def test_only_the_columns_that_read_the_units_are_zero() -> None:
    net = Net(*SHAPE)
    model, dependencies = analysed(net, net.conv(net.op("Sigmoid", net.conv(X, 4, 8)), 8, 3, 3))
    before = arrays_of(model)
    assert MaskUnits([dependencies.units[1], dependencies.units[6]])(model).modified
    after = arrays_of(model)
    expected = before["Conv2", 1].copy()
    expected[:, [1, 6]] = 0
    np.testing.assert_array_equal(after.pop(("Conv2", 1)), expected)
    assert all(np.array_equal(array, before[place]) for place, array in after.items())


def test_a_masked_unit_does_not_count_whatever_it_computes() -> None:
    net = Net(*SHAPE)
    model, dependencies = analysed(net, net.conv(net.op("Exp", net.conv(X, 4, 8)), 8, 3, 3))
    MaskUnits(dependencies.units[2:3])(model)
    first = Runtime().session(model).run(net.feed)
    bias = present(model.graph[0].inputs[2])
    changed = tensor(bias).numpy().copy()
    changed[2] += 3.0
    bias.const_value = ir.tensor(changed, name=bias.name)
    (name,) = first
    np.testing.assert_array_equal(Runtime().session(model).run(net.feed)[name], first[name])
    changed[3] += 3.0
    assert not np.array_equal(Runtime().session(model).run(net.feed)[name], first[name])


def test_every_group_of_a_grouped_convolution_loses_its_own_column() -> None:
    net = Net(*SHAPE)
    model, dependencies = analysed(net, net.conv(net.conv(net.conv(X, 4, 12), 12, 6, group=2), 6, 3))
    unit = next(unit for unit in dependencies.units if any(part.groups == 2 for part in unit.consumers))
    before = arrays_of(model)["Conv1", 1]
    MaskUnits([unit])(model)
    zeros = arrays_of(model)["Conv1", 1][..., 0, 0] == 0
    assert before.all()
    assert zeros[:3].all(axis=0).sum() == zeros[3:].all(axis=0).sum() == 1
    assert zeros.sum() == 6


def test_nodes_that_a_correction_will_zero_are_left_alone() -> None:
    net = Net(*SHAPE)
    hidden = net.conv(X, 4, 8)
    model, dependencies = analysed(net, net.op("Add", net.conv(hidden, 8, 3), net.conv(net.op("Exp", hidden), 8, 3)))
    before = arrays_of(model)
    MaskUnits(dependencies.units[:2], frozenset({"Conv1"}))(model)
    after = arrays_of(model)
    np.testing.assert_array_equal(after["Conv1", 1], before["Conv1", 1])
    assert not after["Conv3", 1][:, :2].any()
    assert not MaskUnits(dependencies.units[:2], frozenset({"Conv1", "Conv3"}))(model).modified


def test_a_constant_that_other_nodes_read_as_well_is_cloned() -> None:
    net = Net(*SHAPE)
    weight = net.weight(8, 8, 1, 1)
    hidden = net.conv(X, 4, 8)
    both = net.op("Add", net.op("Conv", hidden, weight), net.op("Conv", net.op("Exp", hidden), weight))
    model, dependencies = analysed(net, net.conv(both, 8, 3))
    before = arrays_of(model)
    MaskUnits(dependencies.units[:1], frozenset({"Conv3"}))(model)
    after = arrays_of(model)
    assert not after["Conv1", 1][:, 0].any()
    np.testing.assert_array_equal(after["Conv3", 1], before["Conv3", 1])


def test_no_units_change_nothing() -> None:
    net = Net(*SHAPE)
    model, _ = analysed(net, net.conv(net.conv(X, 4, 8), 8, 3))
    before = arrays_of(model)
    assert not MaskUnits([])(model).modified
    assert all(np.array_equal(array, before[place]) for place, array in arrays_of(model).items())


def test_a_model_that_was_not_analysed_is_refused() -> None:
    net, other = Net(*SHAPE), Net(*SHAPE)
    _, dependencies = analysed(net, net.conv(net.op("Relu", net.conv(X, 4, 8)), 8, 3))
    with pytest.raises(ValueError, match="node 'Conv2' is not in the model: analyse it again"):
        MaskUnits(dependencies.units[:1])(other.build(other.conv(X, 4, 3)))
