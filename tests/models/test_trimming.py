"""A network takes the widths of a state, and constants of trimming that make no sense are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netsurgeon.models.trimming import TrimmingPlan, is_narrower, shrink

ROWS = torch.tensor([0, 2, 3])


def network() -> Any:
    """In evaluation mode, with statistics that are not those of the start."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 5, 3, groups=5),
        nn.Flatten(),
        nn.Linear(20, 3),
    )
    layers(torch.rand(9, 2, 6, 6))
    return layers.eval()


def narrow(whole: nn.Module) -> dict[str, Tensor]:
    """The state of `whole` with three of its five channels."""
    state = {name: tensor.detach().clone() for name, tensor in whole.state_dict().items()}
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "3.weight", "3.bias"):
        state[name] = state[name][ROWS]
    state["5.weight"] = state["5.weight"].reshape(3, 5, 4)[:, ROWS].reshape(3, 12)
    return state


def masked(whole: Any) -> Any:
    """`whole` in which nobody reads the other channels."""
    with torch.no_grad():
        columns = whole[5].weight.view(3, 5, 4)
        columns[:, [1, 4]] = 0.0
    return whole


@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_network_of_fewer_channels_computes_what_the_masked_one_does(as_arrays: bool) -> None:
    small = network()
    state: dict[str, Any] = narrow(small)
    if as_arrays:
        state = {name: tensor.numpy() for name, tensor in state.items()}
    grouped = small[3]
    grouped.groups = 3  # what the code of a network fixes is not in its state
    shrink(small, state)
    pictures = torch.rand(4, 2, 6, 6)
    torch.testing.assert_close(small(pictures), masked(network())(pictures))
    first, normalisation, classifier = (small[place] for place in (0, 1, 5))
    assert (first.out_channels, first.in_channels, grouped.in_channels, grouped.out_channels) == (3, 2, 3, 3)
    assert normalisation.num_features == 3
    assert (classifier.in_features, classifier.out_features) == (12, 3)


def test_a_shrunk_network_shares_nothing_with_the_state_and_can_be_trained() -> None:
    small: Any = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    first = small[0]
    state: dict[str, Any] = {"0.weight": torch.ones(2, 4), "0.bias": np.ones(2), "1.weight": torch.ones(2, 2)}
    bias = small[1].bias.detach().clone()
    shrink(small, state)
    assert small[0] is first
    assert torch.equal(small[1].bias.detach(), bias)
    assert {parameter.dtype for parameter in small.parameters()} == {torch.float32}
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    small(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(state["0.weight"], torch.ones(2, 4))
    assert not torch.equal(small.state_dict()["0.weight"], state["0.weight"])


def test_narrower_is_the_same_layers_and_classes_with_fewer_units() -> None:
    whole = network()
    state = whole.state_dict()
    assert is_narrower(narrow(whole), whole)
    assert is_narrower(state, whole)
    wider = {**state, "0.weight": torch.zeros(6, 2, 3, 3)}
    other_classes = {**state, "5.weight": torch.zeros(2, 20), "5.bias": torch.zeros(2)}
    other_axes = {**state, "0.weight": torch.zeros(5, 2)}
    other_layers = {name: tensor for name, tensor in state.items() if name != "1.weight"}
    assert not any(is_narrower(other, whole) for other in (wider, other_classes, other_axes, other_layers))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deviations": -0.1}, "deviations of 0 or more"),
        ({"epsilon": 1.0}, "epsilon and tolerance of at least 0 and below 1"),
        ({"tolerance": -0.1}, "epsilon and tolerance of at least 0 and below 1"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 1.1}, "share is 1.1"),
        ({"ratio": 1.0}, "the ratio is 1.0, expected a number above 1"),
        ({"ratio": float("nan")}, "the ratio is nan"),
        ({"rounds": 0}, "rounds is 0"),
    ],
)
def test_constants_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrimmingPlan(**values)


def test_constants_at_the_ends_of_their_range_are_taken() -> None:
    plan = TrimmingPlan(deviations=0.0, epsilon=0.0, tolerance=0.0, share=1.0, rounds=1)
    assert plan.ratio is None
