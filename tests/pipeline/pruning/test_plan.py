"""How many weights layers keep: sensitivities are tempered, and weights spread by them."""

import numpy as np

from netsurgeon.passes.solvers.error_curve import Curve
from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.plan import SensitivityScaling


def test_temper_raises_to_a_power_and_tilts_from_the_first_layer_to_the_last() -> None:
    curve = Curve(np.array([1.0, 0.5]), np.array([0.0, 1.0]))
    costs = {name: Cost(curve, 10, 4.0) for name in ("first", "middle", "last")}
    changed = [cost.sensitivity for cost in SensitivityScaling(0.5, 1.0).of(costs).values()]
    np.testing.assert_allclose(changed, 2.0 * np.exp([0.0, 0.5, 1.0]))
    assert [cost.sensitivity for cost in SensitivityScaling(0.0).of(costs).values()] == [1.0, 1.0, 1.0]
    assert [cost.sensitivity for cost in SensitivityScaling(1.0).of(costs).values()] == [4.0, 4.0, 4.0]
