"""What units cost, and what correction makes of their removal."""

from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from trimmable_models import DIGITS, FAST, network_of, normal, pictures, residual_network, trimmed

from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import Outcome, Solution
from netsurgeon.passes.pruning.layer_problem import LayerProblem
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.compression import trim_units
from netsurgeon.pipeline.pruning import prune


def digits_error(**options: Any) -> float:
    """Relative error of the digits network's scores on its test pictures, with 15 % of its parameters."""
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        **{"trim": 0.85, "round_to": 1, **FAST, **options},
    )
    error = result.report.validation.outputs[0].relative_error
    assert error is not None
    return error


@pytest.fixture(scope="module")
def corrected_error() -> float:
    """With the default importance and correction."""
    return digits_error()


def test_what_is_left_is_corrected(corrected_error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the same trimming where columns only vanish."""

    def only_removed(problem: LayerProblem, moments: LayerMoments, seed: int) -> Solution:
        del moments, seed
        removed_slices, dense = problem.plan.removed_slices, problem.layer.matrix()
        weight = dense if removed_slices is None else np.where(removed_slices.columns[:, None, :], 0.0, dense)
        return Solution(weight, None, Outcome(damping=0.01, samples=1000, varied=True, seconds=0.0))

    monkeypatch.setattr(prune, "solve_layer", only_removed)
    assert corrected_error < 0.5 * digits_error()


def test_the_correction_aims_at_the_dense_model(corrected_error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns masked before would hide from the correction what it has to make up for."""
    monkeypatch.setattr(trim_units, "MaskUnits", lambda units, corrected=frozenset(): MaskUnits(units))
    assert corrected_error < 0.8 * digits_error()


def test_prices_after_correction_are_better_than_magnitude(corrected_error: float) -> None:
    assert corrected_error < digits_error(importance="magnitude")


@pytest.mark.parametrize("importance", ["magnitude", "apoz"])
def test_other_importances(importance: str) -> None:
    given = {"trim": "up-to:0.15", "importance": importance, "round_to": 8, **FAST}
    result = compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", **given)
    assert 0.05 < trimmed(result).saved <= 0.15
    assert result.report.compressed.parameters < result.report.dense.parameters


def test_a_cell_of_which_only_the_last_cell_state_is_read() -> None:
    """No output shows the hidden state that its recurrent weights read."""
    node = onnx.helper.make_node
    nodes = [
        node("LSTM", ["x", "w", "r"], ["", "", "c"], "cell", hidden_size=12),
        node("Squeeze", ["c", "axis"], ["z"]),
        node("Gemm", ["z", "v", "b"], ["y"], "head"),
    ]
    weights = {"w": normal(1, 48, 3), "r": normal(1, 48, 12, scale=0.3), "v": normal(12, 5), "b": normal(5)}
    model = network_of(nodes, weights | {"axis": np.array([0], np.int64)}, [6, "N", 3])
    result = compress(model, {"x": normal(6, 80, 3)}, trim=0.3, round_to=1, **FAST)
    assert trimmed(result).saved >= 0.3


def test_few_inputs_are_enough_for_what_goes_to_go() -> None:
    """What a layer loses is zero in it even where samples are too few to call an input dead."""
    trim = trimmed(compress(residual_network(), {"x": pictures(8)}, trim=0.3, round_to=1, **FAST))
    assert not trim.failed
    assert trim.saved >= 0.3
