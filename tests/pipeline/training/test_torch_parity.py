"""Whether a PyTorch network and an ONNX model are the same function, as a number."""

from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import built, random

from netsurgeon.pipeline.runtime.session import Runtime, Session
from netsurgeon.pipeline.training.torch_parity import torch_difference

torch = pytest.importorskip("torch")
WEIGHT = random(32, 10)


def session(factor: float = 1.0) -> Session:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="only")
    return Runtime().session(ir.from_proto(built([node], {"w": factor * WEIGHT})))


def network(*more: Any) -> Any:
    linear = torch.nn.Linear(32, 10, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(WEIGHT.T.copy()))
    return torch.nn.Sequential(linear, *more)


@pytest.mark.parametrize(("factor", "difference"), [(1.0, 0.0), (2.0, 0.5), (0.5, 1.0)])
def test_the_difference_is_a_share_of_what_onnx_runtime_gives(factor: float, difference: float) -> None:
    assert torch_difference(session(factor), network(), random(8, 32)) == pytest.approx(difference, abs=1e-5)


@pytest.mark.parametrize("count", [1, 300])
def test_one_input_or_more_than_a_batch(count: int) -> None:
    assert torch_difference(session(), network(), random(count, 32)) < 1e-5


def test_a_network_that_trains_is_compared_as_it_infers_and_left_as_it_was() -> None:
    """Dropout would change the outputs, batch normalisation the network."""
    trains = network(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(10, eps=0.0)).train()
    before = {name: value.clone() for name, value in trains.state_dict().items()}
    assert torch_difference(session(), trains, random(8, 32)) < 1e-5
    assert all(module.training for module in trains.modules())
    assert all(torch.equal(value, before[name]) for name, value in trains.state_dict().items())


def test_numbers_that_are_none_are_a_difference() -> None:
    broken = network()
    with torch.no_grad():
        broken[0].weight[0, 0] = float("nan")
    assert not torch_difference(session(), broken, random(8, 32)) <= 1.0


def test_an_input_that_does_not_fit_the_network_is_an_error_of_pytorch() -> None:
    wider = torch.nn.Linear(31, 10)
    with pytest.raises(RuntimeError, match="shape"):
        torch_difference(session(), wider, random(8, 32))
    assert np.isfinite(WEIGHT).all()
