"""What removing weights costs each layer, and what that costs the model's outputs."""

import copy
import dataclasses

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import built, calibration_of, inputs, perceptron, random

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import LayerMatrix
from netsurgeon.passes.pruning import LayerMoments
from netsurgeon.passes.pruning.layer_plan import RemovedSlices
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.execution import weight_file
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning import costs as costs_module
from netsurgeon.pipeline.pruning import sensitivity
from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.costs import measure_costs
from netsurgeon.pipeline.pruning.sensitivity import Probe
from netsurgeon.pipeline.runtime import large_models


def measured(
    model: ir.Model, options: Options | None = None, removed_slices: RemovedSlices | None = None
) -> dict[str, Cost]:
    selection = select(model, options or Options())
    if removed_slices is not None:
        selection = dataclasses.replace(selection, removed_slices={"first": removed_slices})
    return measure_costs(model, selection, calibration_of(model, inputs(200)), lambda *_: None, 0.5)


def test_every_layer_has_a_curve_that_starts_dense_and_only_rises() -> None:
    costs = measured(ir.from_proto(perceptron()))
    assert {name: cost.size for name, cost in costs.items()} == {"first": 32 * 64, "second": 64 * 10}
    for cost in costs.values():
        assert (cost.curve.kept[0], cost.curve.errors[0]) == (1.0, 0.0)
        assert (np.diff(cost.curve.kept) < 0.0).all()
        assert (np.diff(cost.curve.errors) >= 0.0).all()
        assert 0.9 < cost.curve.errors[-1] / (1.0 + cost.curve.damping) < 1.1, "without weights all is lost"
        assert cost.sensitivity > 0.0


@pytest.mark.parametrize("samples", [60, 400])
@pytest.mark.parametrize("sizes", [(), (127,)])
@pytest.mark.parametrize("tiles", [None, solvers.Tiles(16, np.arange(24))])
def test_the_generator_behind_a_layer_has_drawn_what_its_cost_has(
    samples: int, sizes: tuple[int, ...], tiles: solvers.Tiles | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    fit = solvers.Moments(1, 24, paired=False)
    fit.update(rng.standard_normal((1, samples, 24)).astype(np.float32))
    held_out = fit.like()
    held_out.update(rng.standard_normal((1, samples // 4, 24)).astype(np.float32))
    weight = rng.standard_normal((1, 80, 24))
    matrix = LayerMatrix("layer", weight, weight.dtype, 1.0, 1, has_room_for_bias=True)
    asked = costs_module.Measurement(matrix, None, tiles, 0.5, sizes, "fast")
    moments = LayerMoments(fit, held_out)
    behind = costs_module.generator_behind(asked, moments, rng)
    monkeypatch.setattr(copy, "deepcopy", lambda generator: generator)
    costs_module.measure_cost(asked, moments, rng)
    assert rng.bit_generator.state == behind.bit_generator.state


def test_the_same_inputs_give_the_same_costs() -> None:
    one, other = (measured(ir.from_proto(perceptron())) for _ in range(2))
    for name, cost in one.items():
        np.testing.assert_array_equal(cost.curve.errors, other[name].curve.errors)
        assert cost.sensitivity == other[name].sensitivity


def test_layers_with_a_sparsity_of_their_own_are_not_measured() -> None:
    assert list(measured(ir.from_proto(perceptron()), Options(layers={"first": 0.5}))) == ["second"]


def test_a_layer_that_hardly_reaches_the_output_hardly_counts() -> None:
    """The output is the sum of two layers, of which one is scaled down a thousand times."""
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "loud"], ["h"], name="a"),
        onnx.helper.make_node("MatMul", ["x", "faint"], ["g"], name="b"),
        onnx.helper.make_node("Mul", ["g", "scale"], ["k"]),
        onnx.helper.make_node("Add", ["h", "k"], ["y"]),
    ]
    weights = {"loud": random(32, 10), "faint": random(32, 10, seed=1), "scale": np.array(1e-3)}
    model = ir.from_proto(built(nodes, weights))
    costs = measured(model)
    np.testing.assert_allclose(costs["a"].curve.errors[:40], costs["b"].curve.errors[:40], atol=0.15)
    assert costs["b"].sensitivity < 1e-3 * costs["a"].sensitivity


def test_layers_of_a_large_model_that_share_a_weight_are_all_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 1000)
    monkeypatch.setattr(weight_file, "EXTERNAL_BYTES", 256)
    names = [f"layer{at}" for at in range(6)]
    nodes, entered = [], "x"
    for name in names:
        nodes.append(onnx.helper.make_node("MatMul", [entered, "square"], [f"{name}_h"], name=name))
        nodes.append(onnx.helper.make_node("Tanh", [f"{name}_h"], ["y" if name == names[-1] else f"{name}_t"]))
        entered = f"{name}_t"
    model = ir.from_proto(built(nodes, {"square": random(32, 32) / 6.0}, end=("N", 32)))
    costs = measured(model)
    assert list(costs) == names
    assert all(cost.sensitivity > 0.0 for cost in costs.values())


def test_what_trimming_takes_costs_nothing_more() -> None:
    """Half of the inputs go: the curve is that of the weights that are left."""
    columns, rows = np.zeros((1, 32), bool), np.zeros((1, 64), bool)
    columns[0, ::2] = True
    cost = measured(ir.from_proto(perceptron()), removed_slices=RemovedSlices(columns, rows))["first"]
    assert cost.size == 16 * 64
    assert (cost.curve.kept[0], cost.curve.errors[0]) == (1.0, 0.0)
    assert (cost.curve.errors[cost.curve.kept < 0.8] > 0.0).all(), "of the weights that are left, none goes for nothing"


def test_the_model_is_only_looked_at() -> None:
    model = ir.from_proto(perceptron())
    before = ir.to_proto(model).SerializeToString()
    measured(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_fewer_probes_where_each_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a fewest and a most, as many as the work allows."""
    counts: list[int] = []
    real = sensitivity.measure_sensitivity

    def noted(probe: Probe) -> dict[str, float]:
        counts.append(sum(len(feed["x"]) for feed in probe.feeds))
        return real(probe)

    monkeypatch.setattr(costs_module, "measure_sensitivity", noted)
    for work in (1e12, 0.0):
        monkeypatch.setattr(costs_module, "PROBE_WORK", work)
        measured(ir.from_proto(perceptron()))
    assert counts == [costs_module.PROBED_INPUTS[1], costs_module.PROBED_INPUTS[0]]


def test_a_hessian_without_a_factor_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FactorizationError("not positive definite")

    monkeypatch.setattr(solvers, "trial", fails)
    with pytest.raises(FactorizationError, match=r"layer 'first', damping [0-9.e-]+: not positive definite"):
        measured(ir.from_proto(perceptron()))


def test_all_but_the_rows_held_out_are_ample_in_a_first_look() -> None:
    """Else it would choose dampings, which takes longer than the rows: a fifth is held out."""
    assert 0.8 * round(Calibration.rows_per_column * costs_module.MEASURED["hasty"]) >= solvers.AMPLE
