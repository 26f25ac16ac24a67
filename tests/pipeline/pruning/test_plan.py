"""How many weights layers keep: sensitivities are tempered, and weights spread by them."""

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import perceptron

from netsurgeon.passes.solvers.error_curve import Curve
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.plan import Plan, SensitivityScaling, spread


def test_temper_raises_to_a_power_and_tilts_from_the_first_layer_to_the_last() -> None:
    curve = Curve(np.array([1.0, 0.5]), np.array([0.0, 1.0]))
    costs = {name: Cost(curve, 10, 4.0) for name in ("first", "middle", "last")}
    changed = [cost.sensitivity for cost in SensitivityScaling(0.5, 1.0).of(costs).values()]
    np.testing.assert_allclose(changed, 2.0 * np.exp([0.0, 0.5, 1.0]))
    assert [cost.sensitivity for cost in SensitivityScaling(0.0).of(costs).values()] == [1.0, 1.0, 1.0]
    assert [cost.sensitivity for cost in SensitivityScaling(1.0).of(costs).values()] == [4.0, 4.0, 4.0]


def measured_costs(*names: str) -> dict[str, Cost]:
    """Two layers of a perceptron, of which the second loses ten times as much."""
    kept = np.linspace(1.0, 0.0, 21)
    steepness = {"first": 0.1, "second": 1.0}
    sizes = {"first": 2048, "second": 640}
    return {name: Cost(Curve(kept, steepness[name] * (1.0 - kept) ** 2, 0.25), sizes[name], 1.0) for name in names}


@pytest.mark.parametrize("keep", [2688, 1344, 300, 1])
def test_no_more_weights_are_kept_than_were_asked_for(keep: int) -> None:
    selection = select(ir.from_proto(perceptron()), Options())
    plan = spread(measured_costs("first", "second"), keep, selection, SensitivityScaling())
    assert 0.9 * keep <= sum(plan.keep.values()) <= keep
    assert set(plan.prices) == {"first", "second"}


def test_layers_that_lose_more_keep_more() -> None:
    selection = select(ir.from_proto(perceptron()), Options())
    plan = spread(measured_costs("first", "second"), 1000, selection, SensitivityScaling())
    assert plan.keep["second"] / 640 > plan.keep["first"] / 2048


def test_layers_with_a_sparsity_of_their_own_are_beside_the_budget() -> None:
    selection = select(ir.from_proto(perceptron()), Options(layers={"second": 0.25}))
    plan = spread(measured_costs("first"), 1000, selection, SensitivityScaling())
    assert plan.keep == {"first": 1000, "second": 480}
    assert plan.damping("first") == 0.25
    assert plan.damping("second") is None
    assert Plan({"first": 1}, {}).damping("first") is None
