"""Surgery: masks, splicing, the authors' constants and what is refused."""

import dataclasses
from typing import Any

import pytest
import torch
from surgery_networks import loss_of, network

from netsurgeon.models.networks.presets import NETWORKS
from netsurgeon.models.surgery.masks import Surgery, SurgeryPlan

ALWAYS = SurgeryPlan(c={"*": 1.0}, gamma=0.0, stop=100)


def pooled(layer: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in (layer.weight, layer.bias)])


def test_thresholds_and_masks_are_those_of_the_paper() -> None:
    net = network()
    before = [pooled(net[0]), pooled(net[2])]
    surgery = Surgery(net, dataclasses.replace(ALWAYS, c={"0": 0.5, "2": -0.25}))
    surgery.update(0)
    for module, values, c in zip((net[0], net[2]), before, (0.5, -0.25), strict=True):
        magnitudes = values.abs().double()
        threshold = magnitudes.mean() + c * magnitudes.std(correction=0)
        # all take part at first: those between 0.9 t and 1.1 t stay
        expected = torch.where(magnitudes > 0.9 * threshold, values, 0.0)
        assert 0 < int((expected == 0).sum()) < len(values)
        assert torch.equal(pooled(module), expected)


def test_a_pruned_weight_gets_the_gradient_and_a_step_splices_it_back() -> None:
    net = network()
    surgery = Surgery(net, ALWAYS)
    surgery.update(0)
    mask = net[0].parametrizations.weight[0].mask
    original = net[0].parametrizations.weight.original
    x, target = torch.rand(64, 20), torch.randint(0, 5, (64,))
    loss_of(net, x, target).backward()
    assert original.grad is not None
    assert not mask.all()
    assert original.grad[~mask].count_nonzero() > 0
    # the gradient is the one of the masked weight, as of a plain network with these weights
    plain = network()
    with torch.no_grad():
        for at in (0, 2):
            plain[at].weight.copy_(net[at].weight)
            plain[at].bias.copy_(net[at].bias)
    loss_of(plain, x, target).backward()
    torch.testing.assert_close(original.grad, plain[0].weight.grad)

    surgery.record(0)
    pruned = ~mask.clone()
    step = 2 * surgery.layers["0"].threshold / original.grad[pruned].abs().max()
    with torch.no_grad():
        original -= step * original.grad
    surgery.update(1)
    spliced = pruned & mask
    assert spliced.any()
    assert net[0].weight[spliced].count_nonzero() == spliced.sum()
    counts = {row.layer: row for row in surgery.record(1)}
    assert counts["0"].spliced >= int(spliced.sum())


def test_between_the_thresholds_nothing_changes() -> None:
    net = network()
    surgery = Surgery(net, ALWAYS)
    surgery.update(0)
    layer = surgery.layers["0"]
    mask = net[0].parametrizations.weight[0].mask
    before = mask.clone()
    with torch.no_grad():
        layer.parameters[0].fill_(layer.threshold)
    surgery.update(1)
    assert torch.equal(mask, before)


def test_a_mask_that_multiplies_without_passing_the_gradient_splices_nothing() -> None:
    """The negative control of the test above: the plain product starves pruned weights."""
    weight: Any = torch.ones(4, requires_grad=True)
    loss: Any = (weight * torch.tensor([1.0, 0.0, 1.0, 0.0])).sum()
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_updates_become_rare_and_stop() -> None:
    surgery = Surgery(network(), SurgeryPlan(gamma=1.0, power=1.0, stop=1000))
    calls = []
    for layer in surgery.layers.values():
        layer.prune_and_splice = lambda low, high: calls.append((low, high))  # type: ignore[method-assign]
    counts = []
    for steps in (range(100), range(900, 1000), range(1000, 1100)):
        calls.clear()
        for step in steps:
            surgery.update(step)
        counts.append(len(calls))
    expected = 2 * sum(1 / (1 + i) for i in range(100))
    assert abs(counts[0] - expected) < 4 * expected**0.5
    assert 2 <= counts[1] <= 8  # the last step of surgery is certain
    assert counts[2] == 0


def test_groups_take_turns() -> None:
    plan = SurgeryPlan(c={"*": 1.0}, gamma=0.0, stop=3, groups=(("0",), ("2",)))
    surgery = Surgery(network(), plan)
    kept = []
    for step in range(plan.end):
        surgery.update(step)
        kept.append([layer.kept < layer.size for layer in surgery.layers.values()])
    assert kept == [[True, False]] * 3 + [[True, True]] * 3


def test_what_is_zero_starts_as_pruned() -> None:
    net = network()
    with torch.no_grad():
        net[0].weight[:, :7] = 0.0
    surgery = Surgery(net, ALWAYS)
    assert surgery.layers["0"].kept == surgery.layers["0"].size - 7 * 30


def test_surgery_to_a_ratio_goes_on_from_the_masks_it_is_given() -> None:
    net = network()
    with torch.no_grad():
        net[0].weight[:, :18] = 0.0
    surgery = Surgery(net, SurgeryPlan(c={"*": 0.0}, gamma=0.0, stop=60, ratio=10.0, allocation="lamp", interval=9))
    start, optimizer = surgery.kept, torch.optim.SGD(net.parameters(), lr=0.1)
    x, target = torch.rand(64, 20), torch.randint(0, 5, (64,))
    for step in range(60):
        surgery.update(step)
        assert surgery.kept <= start  # pruned weights have grown, and only take the places of others
        optimizer.zero_grad()
        loss_of(net, x, target).backward()
        optimizer.step()
    assert sum(row.spliced for row in surgery.record(60)) > 0
    assert surgery.size / surgery.kept >= 10.0


def test_the_authors_constants_are_presets() -> None:
    lenet5, lenet300 = NETWORKS["lenet5"].surgery, NETWORKS["lenet300"].surgery
    assert [lenet5.c_of(name) for name in ("conv1", "conv2", "ip1", "ip2")] == [2, 3, 4, 2.5]
    assert [lenet300.c_of(name) for name in ("ip1", "ip2", "ip3")] == [5, 3, 3]
    assert (lenet5.stop, lenet300.stop) == (14_000, 20_000)
    assert {(plan.gamma, plan.power, plan.low, plan.high) for plan in (lenet5, lenet300)} == {(1e-4, 1, 0.9, 1.1)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0.5}, "ratio is 0.5"),
        ({"stop": 0}, "stop is 0"),
        ({"low": 2.0}, "low <= high"),
        ({"ramp": 0.0}, "ramp is 0"),
        ({"allocation": "magic"}, "allocation is 'magic'"),
    ],
)
def test_constants_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SurgeryPlan(**values)  # type: ignore[arg-type]


def test_layers_without_constants_are_refused() -> None:
    with pytest.raises(ValueError, match="no c is given for the layers 2"):
        Surgery(network(), SurgeryPlan(c={"0": 1.0}))
    with pytest.raises(ValueError, match="group conv\\* matches none"):
        Surgery(network(), SurgeryPlan(groups=(("conv*",),)))
