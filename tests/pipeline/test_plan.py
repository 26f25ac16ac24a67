"""Plans: sensitivities are tempered, and the temper whose rehearsal stays closest to the dense model is taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsurgeon.passes.solvers import Curve
from netsurgeon.pipeline import plan
from netsurgeon.pipeline.budget import Cost
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.inputs import open_inputs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.plan import TRUSTS, Temper, choose_temper, measure_costs, rehearse, spread
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.selection import select
from netsurgeon.pipeline.source import open_model

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"


def test_temper_raises_to_a_power_and_tilts_from_the_first_layer_to_the_last() -> None:
    curve = Curve(np.array([1.0, 0.5]), np.array([0.0, 1.0]))
    costs = {name: Cost(curve, 10, 4.0) for name in ("first", "middle", "last")}
    changed = [cost.sensitivity for cost in Temper(0.5, 1.0).of(costs).values()]
    np.testing.assert_allclose(changed, 2.0 * np.exp([0.0, 0.5, 1.0]))
    assert [cost.sensitivity for cost in Temper(0.0).of(costs).values()] == [1.0, 1.0, 1.0]
    assert [cost.sensitivity for cost in Temper(1.0).of(costs).values()] == [4.0, 4.0, 4.0]


def test_the_closest_rehearsal_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with rehearsals of our own, on the inputs that the plans are compared on."""
    runtime, options = Runtime(), Options(sparsity=0.85, limit=240)
    source = open_model(DIGITS / "digits.onnx", runtime)
    model, inputs = source.model, open_inputs(source, DIGITS / "calibration.npz", None, options)
    calibration, selection = Calibration(inputs.calibration, runtime), select(model, options)
    costs = measure_costs(model, selection, calibration, lambda *_: None, 0.15)
    keep = round(0.15 * sum(selection.sizes.values()))
    compared: list[float] = []
    real = plan._divergences

    def noted(*given: Any) -> list[float]:
        compared.extend(found := real(*given))
        return found

    monkeypatch.setattr(plan, "_divergences", noted)
    chosen = choose_temper(model, costs, keep, selection, calibration, lambda *_: None)
    assert len(set(compared)) == len(compared) > len(TRUSTS)
    part, rest = calibration.samples.split(plan.REHEARSED, np.random.default_rng(0))
    (rehearsed,) = rehearse(model, [spread(costs, keep, selection, chosen)], selection, Calibration(part, runtime))
    assert real(model, [rehearsed], list(rest.batches()), calibration) == [pytest.approx(min(compared), rel=1e-6)]
