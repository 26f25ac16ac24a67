"""Units leave a graph only where nothing reads them any more, and constants that nodes share are shared afterwards."""

import numpy as np
import onnx_ir as ir
import pytest
from trimming_networks import Net, X, analysed

from netsurgeon.passes.dependencies.analysis import Dependencies
from netsurgeon.passes.graph.nodes import present, set_initializer, tensor
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.equivalence import check_equivalence


def sample(dtype: type = np.float32) -> tuple[ir.Model, Dependencies, Net]:
    net = Net(2, 4, 6, 6, dtype=dtype)
    model, dependencies = analysed(net, net.conv(net.op("Relu", net.conv(X, 4, 8)), 8, 3))
    return model, dependencies, net


def bytes_of(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def test_columns_that_still_count_are_refused() -> None:
    model, dependencies, _ = sample()
    before = bytes_of(model)
    with pytest.raises(ir.passes.PassError) as caught:
        ir.passes.Sequential(TrimNeurons(dependencies, dependencies.units[:2]))(model)
    assert "its columns there are not zero" in str(caught.value.__cause__)
    assert bytes_of(model) == before


def test_the_last_unit_of_a_group_stays() -> None:
    model, dependencies, _ = sample()
    MaskUnits(dependencies.units)(model)
    before = bytes_of(model)
    with pytest.raises(ValueError, match="at least one must stay"):
        TrimNeurons(dependencies, dependencies.units)(model)
    assert bytes_of(model) == before


def test_a_model_that_was_not_analysed_is_refused() -> None:
    _, dependencies, _ = sample()
    other = Net(2, 4, 6, 6)
    model = other.build(other.conv(X, 4, 3))
    with pytest.raises(ValueError, match="analyse it again"):
        TrimNeurons(dependencies, dependencies.units[:1])(model)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float16, 1e-2)])
def test_the_proof_can_fail(dtype: type, tolerance: float) -> None:
    model, dependencies, net = sample(dtype)
    units = dependencies.units[:3]
    MaskUnits(units)(model)
    trimmed = model.clone()
    TrimNeurons(dependencies, units)(trimmed)
    feeds = [dict(net.feed)]
    proof = check_equivalence(model, trimmed, feeds, Runtime())
    assert proof.holds
    assert proof.tolerance == tolerance
    node = next(node for node in trimmed.graph if node.op_type == "Conv")
    weight = tensor(present(node.inputs[1])).numpy()
    set_initializer(node, 1, (weight * (1 + 10 * tolerance)).astype(dtype), "weight")
    assert not check_equivalence(model, trimmed, feeds, Runtime()).holds


def test_shared_constants_are_cloned_where_the_uses_differ() -> None:
    net = Net(2, 4, 6, 6)
    shared = net.weight(8)
    one = net.op("Conv", X, net.weight(8, 4, 1, 1), shared)
    other = net.op("Conv", X, net.weight(8, 4, 1, 1), shared)
    model, dependencies = analysed(net, net.op("Add", net.conv(one, 8, 3), net.conv(net.op("Exp", other), 8, 3)))
    units = [dependencies.units[0], dependencies.units[8], dependencies.units[9]]
    MaskUnits(units)(model)
    trimmed = model.clone()
    TrimNeurons(dependencies, units)(trimmed)
    assert check_equivalence(model, trimmed, [dict(net.feed)], Runtime()).holds
    biases = [tensor(present(node.inputs[2])).size for node in trimmed.graph if node.op_type == "Conv"]
    assert sorted(biases) == [3, 3, 6, 7]


def test_shared_matrices_stay_shared() -> None:
    net = Net(2, 4, 6, 6)
    shared = net.weight(8, 4, 1, 1)
    one, other = (net.op("Conv", X, shared), net.op("Conv", net.op("Neg", X), shared))
    model, dependencies = analysed(net, net.op("Add", net.conv(one, 8, 3), net.conv(net.op("Exp", other), 8, 3)))
    assert [len(group.units) for group in dependencies.groups] == [8]
    assert all(len(unit.consumers) == 2 for unit in dependencies.units)
    MaskUnits(dependencies.units[:2])(model)
    count = len(model.graph.initializers)
    TrimNeurons(dependencies, dependencies.units[:2])(model)
    assert len(model.graph.initializers) == count
