"""Plans are rehearsed in haste, and the temper whose rehearsal stays closest to the dense model is taken."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import calibration_of, perceptron, weights_of
from perceptron_models import inputs as perceptron_inputs
from tiled_weights import loose_tiles

from netsurgeon.passes.solvers import methods
from netsurgeon.passes.solvers.error_curve import Curve
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning import low_fidelity, plan
from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.costs import measure_costs
from netsurgeon.pipeline.pruning.low_fidelity import (
    can_evaluate_at_low_fidelity,
    choose_sensitivity_scaling,
    evaluate_at_low_fidelity,
    low_fidelity_inputs,
)
from netsurgeon.pipeline.pruning.plan import EXPONENTS, Plan, SensitivityScaling, spread
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.inputs import open_inputs
from netsurgeon.pipeline.verification.measures import output_divergence

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"


def test_the_closest_rehearsal_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with rehearsals of our own, on the inputs that the plans are compared on."""
    runtime, options = Runtime(), Options(sparsity=0.85, limit=240)
    source = open_model(DIGITS / "digits.onnx", runtime)
    model, inputs = source.model, open_inputs(source, DIGITS / "calibration.npz", None, options)
    calibration, selection = Calibration(inputs.calibration, runtime), select(model, options)
    costs = measure_costs(model, selection, calibration, lambda *_: None, 0.15)
    keep = round(0.15 * sum(selection.sizes.values()))
    compared: list[list[float]] = []
    real = low_fidelity._divergences

    def noted(*given: Any) -> list[float]:
        compared.append(found := real(*given))
        return found

    monkeypatch.setattr(low_fidelity, "_divergences", noted)
    chosen = choose_sensitivity_scaling(model, costs, keep, selection, calibration, lambda *_: None)
    (one, other), (tilted, tilted_other) = compared[:2], compared[2:]  # the two parts of the inputs take turns
    found = np.mean([[*one, *tilted], [*other, *tilted_other]], axis=0)
    assert len(set(found)) == len(found) > len(EXPONENTS)

    parts = calibration.samples.split(0.5, np.random.default_rng(0))
    plans = [spread(costs, keep, selection, chosen)]
    losses = [
        real(model, evaluate_at_low_fidelity(model, plans, selection, Calibration(part, runtime)), others, calibration)
        for part, others in (parts, parts[::-1])
    ]
    assert np.mean(losses) == pytest.approx(min(found), rel=1e-6)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (95, None, []),
        (96, None, [(48, 48)] * 2),
        (1023, None, [(512, 511), (511, 512)]),
        (1024, None, [(512, 512)]),
        (1500, None, [(512, 512)]),
        (128, 128, []),
    ],
)
def test_parts_take_turns_where_inputs_are_few(count: int, batch: int | None, sizes: list[tuple[int, int]]) -> None:
    specs = [InputSpec("x", np.dtype(np.float32), (batch, 1))]
    samples = open_samples({"x": np.arange(count, dtype=np.float32)[:, None]}, specs)
    parts = [
        tuple({value for feed in part.batches() for value in feed["x"].ravel().tolist()} for part in pair)
        for pair in low_fidelity._evaluation_parts(Calibration(samples, Runtime()), 512)
    ]
    assert [(len(one), len(other)) for one, other in parts] == sizes
    assert all(one.isdisjoint(other) for one, other in parts)
    assert parts[1:] == [pair[::-1] for pair in parts[:1]][: len(parts) - 1]


def test_fewer_inputs_are_tried_where_each_is_more_work() -> None:
    curve = Curve(np.array([1.0, 0.5]), np.array([0.0, 1.0]))
    few, most = low_fidelity.LOW_FIDELITY_INPUTS
    for positions, expected in ((1.0, most), (100.0, 100), (1e6, few)):
        cost = Cost(curve, round(low_fidelity.LOW_FIDELITY_WORK / 1e4), 1.0, positions=positions)
        assert low_fidelity_inputs({"layer": cost}) == expected


@pytest.mark.parametrize(
    "losses", [[0.0, 0.0, 0.0], [np.nan, np.nan, np.nan], [np.inf, np.nan, np.inf], [-1e-16, 0, 0]]
)
def test_the_usual_temper_where_nothing_can_be_compared(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    assert _chosen(monkeypatch, [losses]) == SensitivityScaling()


def test_a_rehearsal_that_is_not_finite_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _chosen(monkeypatch, [[np.nan, 0.2, 0.3], [0.19, np.nan]]) == SensitivityScaling(
        EXPONENTS[1], plan.DEPTH_BIASES[1]
    )


def _chosen(monkeypatch: pytest.MonkeyPatch, losses: list[list[float]]) -> SensitivityScaling:
    """The temper of a network whose rehearsals diverge by so much, round by round, whichever inputs they take."""
    runtime, options = Runtime(), Options(sparsity=0.85, limit=240)
    source = open_model(DIGITS / "digits.onnx", runtime)
    calibration = Calibration(open_inputs(source, DIGITS / "calibration.npz", None, options).calibration, runtime)
    selection = select(source.model, options)
    curve = Curve(np.array([1.0, 0.5]), np.array([0.0, 1.0]))
    costs = {name: Cost(curve, size, 1.0) for name, size in selection.sizes.items()}
    given = iter([each for each in losses for _ in range(2)])
    monkeypatch.setattr(low_fidelity, "evaluate_at_low_fidelity", lambda *_: [])
    monkeypatch.setattr(low_fidelity, "_divergences", lambda *_: next(given))
    return choose_sensitivity_scaling(source.model, costs, 1000, selection, calibration, lambda *_: None)


def test_few_inputs_are_compared_where_outputs_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, options = Runtime(), Options(sparsity=0.85, limit=240)
    source = open_model(DIGITS / "digits.onnx", runtime)
    samples = open_inputs(source, DIGITS / "calibration.npz", None, options).calibration
    counted: list[int] = []
    real = output_divergence

    def noted(dense: Any, changed: Any) -> float:
        counted.append(sum(len(next(iter(batch.values()))) for batch in dense))
        return real(dense, changed)

    monkeypatch.setattr(low_fidelity, "output_divergence", noted)
    for numbers in (low_fidelity.COMPARED_NUMBERS, 1000, 10):  # ten classes
        monkeypatch.setattr(low_fidelity, "COMPARED_NUMBERS", numbers)
        low_fidelity._divergences(source.model, [source.model], samples, Calibration(samples, runtime))
    assert counted == [samples.count, 100, low_fidelity.FEWEST_COMPARED]


def test_models_are_pruned_side_by_side_as_their_plans_say() -> None:
    model = ir.from_proto(perceptron())
    before = ir.to_proto(model).SerializeToString()
    plans = [Plan({"first": 1000, "second": 300}, {}), Plan({"first": 1500, "second": 200}, {})]
    selection = select(model, Options())
    rehearsed = evaluate_at_low_fidelity(model, plans, selection, calibration_of(model, perceptron_inputs()))
    for asked, pruned in zip(plans, rehearsed, strict=True):
        arrays = weights_of(pruned)
        assert [np.count_nonzero(arrays[name]) for name in ("w1", "w2")] == list(asked.keep.values())
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("is_wide", [False, True])
def test_plans_are_tried_in_the_pattern(is_wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_wide:
        monkeypatch.setattr(methods, "OBS_COLUMNS", 8)
    model = ir.from_proto(perceptron())
    selection = select(model, Options(pattern="tile:16x16"))
    calibration = calibration_of(model, perceptron_inputs())
    (pruned,) = evaluate_at_low_fidelity(model, [Plan({"first": 1000, "second": 300}, {})], selection, calibration)
    arrays = weights_of(pruned)
    assert [np.count_nonzero(arrays[name]) for name in ("w1", "w2")] == [1000, 300]
    assert loose_tiles(arrays["w1"].T, 16) == 1


def test_only_layers_that_take_part_can_be_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ir.from_proto(perceptron())
    assert can_evaluate_at_low_fidelity(model, ["first", "second"])
    monkeypatch.setattr(low_fidelity, "WIDEST_AT_LOW_FIDELITY", 32)
    assert can_evaluate_at_low_fidelity(model, ["first"])
    assert not can_evaluate_at_low_fidelity(model, ["first", "second"])
