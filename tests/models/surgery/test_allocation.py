"""How a ratio is spread over the layers."""

import numpy as np
import pytest
import torch
from surgery_networks import loss_of, network

from netsurgeon.models.surgery.allocation import ALLOCATIONS, Standing, find_thresholds
from netsurgeon.models.surgery.masks import Surgery, SurgeryPlan, bake


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_ratio_is_reached_and_never_missed(allocation: str) -> None:
    net = network()
    plan = SurgeryPlan(c={"*": 0.0}, gamma=0.0, stop=60, ratio=10.0, allocation=allocation, interval=5)
    surgery = Surgery(net, plan)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, target = torch.rand(64, 20), torch.randint(0, 5, (64,))
    for step in range(70):
        surgery.update(step)
        optimizer.zero_grad()
        loss_of(net, x, target).backward()
        surgery.feel()
        optimizer.step()
    assert surgery.size / surgery.kept >= 10.0
    assert surgery.kept >= 0.9 * surgery.size / 10.0
    bake(net)
    assert sum(int(parameter.count_nonzero()) for parameter in net.parameters()) == surgery.kept


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_thresholds_leave_the_number_asked_for(allocation: str) -> None:
    rng = np.random.default_rng(0)
    draws = [np.sort(np.abs(rng.standard_normal(size)) * scale) for size, scale in ((400, 1.0), (900, 0.1))]
    layers = [Standing(d[::2].copy(), d[1::2].copy(), float(d.mean()), float(d.std()), 1.0) for d in draws]
    for count in (1, 13, 200):
        thresholds = find_thresholds(allocation, layers, count, 0.9, 1.1)
        left = sum(layer.count(0.9 * t, 1.1 * t) for layer, t in zip(layers, thresholds, strict=True))
        assert count - 2 <= left <= count


def test_fisher_spares_the_layer_with_the_larger_gradient() -> None:
    draw = np.sort(np.abs(np.random.default_rng(0).standard_normal(500)))
    calm, steep = (Standing(draw, draw[:0], 1.0, 1.0, curvature) for curvature in (1.0, 100.0))
    low, high = find_thresholds("fisher", [steep, calm], 300, 1.0, 1.0)
    assert high == pytest.approx(10 * low)
