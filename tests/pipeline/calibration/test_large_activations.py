"""Activations that float32 holds and whose squares it does not: measured, pruned and corrected like any others."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import netsurgeon
from netsurgeon.passes.solvers import DAMPINGS, Moments, Problem, choose_damping, prune, trial
from netsurgeon.passes.solvers.methods import quick_refit
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.runtime import Runtime


def network(exponent: int) -> onnx.ModelProto:
    """Conv, pool and Gemm on the input times 2 to the exponent; what comes out is divided by that again."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4,4,4] x) => (float[N,10] y) { '
        "a = Mul(x, up) c = Conv <pads = [1, 1, 1, 1]> (a, k) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) "
        "h = Gemm(f, w) s = Relu(h) z = Gemm(s, v) y = Mul(z, down) }"
    )
    shapes = {"k": (24, 4, 3, 3), "w": (24, 32), "v": (32, 10)}
    arrays = {name: 0.2 * rng.standard_normal(shape) for name, shape in shapes.items()}
    arrays |= {"up": np.array(2.0**exponent), "down": np.array(2.0**-exponent)}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()
    )
    return model


def inputs() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((100, 4, 4, 4)).astype(np.float32)


def compressed(exponent: int, **options: Any) -> tuple[Compression, dict[str, np.ndarray]]:
    result = netsurgeon.compress(network(exponent), inputs(), values="float32", pack=False, **options)
    constants = {name: value.const_value for name, value in result.model.graph.initializers.items()}
    return result, {name: constant.numpy() for name, constant in constants.items() if constant is not None}


def test_a_scale_of_the_activations_changes_nothing_but_the_scale() -> None:
    options: dict[str, Any] = {"sparsity": 0.3, "trim": 0.2, "round_to": 1, "method": "obs"}
    plain, plain_weights = compressed(0, **options)
    large, large_weights = compressed(90, **options)
    errors = [result.report.validation.outputs[0].relative_error for result in (plain, large)]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
    assert large.report.sparsity == pytest.approx(plain.report.sparsity, abs=0.02)
    for name in ("w", "v"):
        assert large_weights[name].shape == plain_weights[name].shape


def problem_of(exponent: int, columns: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(2)
    rows = (rng.standard_normal((1, 3 * columns, columns)) @ rng.standard_normal((columns, columns))).astype(np.float32)
    weight = rng.standard_normal((1, 6, columns))
    halves = []
    for part in np.split(rows * np.float32(2.0**exponent), 3, axis=1)[:2]:
        moments = Moments(1, columns, paired=False)
        moments.update(part)
        halves.append(moments.statistics(centred=False))
    return weight, halves[0], halves[1]


def tried(problem: Problem, keep: int) -> Any:
    return trial(problem, keep)[0]


def pruned(problem: Problem, keep: int) -> Any:
    return prune(problem, keep, "auto")


@pytest.mark.parametrize("columns", [20, 340])
@pytest.mark.parametrize("exponent", [80, 110, -70])
def test_solutions_do_not_depend_on_the_scale(columns: int, exponent: int) -> None:
    keep = 2 * columns
    weight, fit, held_out = problem_of(0, columns)
    _, large_fit, large_held_out = problem_of(exponent, columns)
    chosen = choose_damping(weight, fit, held_out, keep, np.random.default_rng(0))
    assert chosen in DAMPINGS
    assert choose_damping(weight, large_fit, large_held_out, keep, np.random.default_rng(0)) == chosen
    plain, large = (Problem.of(weight, statistics, chosen) for statistics in (fit, large_fit))
    solvers = (quick_refit, tried, pruned) if columns < 100 else (quick_refit, tried)
    for solver in solvers:
        expected, found = solver(plain, keep), solver(large, keep)
        assert np.count_nonzero(found) == keep
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())
    assert trial(large, keep)[1] == pytest.approx(trial(plain, keep)[1], rel=1e-3)


def test_a_damping_is_chosen_where_no_error_can_be_told() -> None:
    weight, fit, held_out = problem_of(0, 20)
    held_out.gram[0, 3, 3] = np.nan
    assert choose_damping(weight, fit, held_out, 40, np.random.default_rng(0)) == DAMPINGS[0]


def test_the_network_computes_the_same_at_any_scale() -> None:
    sessions = [Runtime().session(ir.from_proto(network(at))) for at in (0, 90)]
    one, other = (session.run({"x": inputs()})["y"] for session in sessions)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
