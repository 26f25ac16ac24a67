"""Whole compressions of models whose layers lie in bodies of If and Loop, judged by ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from control_flow_models import Array, choosing, inputs, looping, merged

import netsurgeon
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.runtime.session import Runtime

FAST: dict[str, Any] = {"method": "obs", "damping": 0.01, "sparsity": 0.5, "uniform": True}


def feeds(count: int, *, sign: int = 0, seed: int = 0) -> list[dict[str, Array]]:
    """Batches of eight rows each, which take a branch together."""
    rows = inputs(8 * count, sign=sign, seed=seed).reshape(count, 8, -1)
    return [{"x": batch} for batch in rows]


def compressed(proto: onnx.ModelProto, *, sign: int = 0, **options: Any) -> Compression:
    return netsurgeon.compress(proto, feeds(20, sign=sign), test=feeds(8, sign=sign, seed=1), **FAST | options)


def error_of(model: ir.Model, dense: onnx.ModelProto, *, sign: int = 0) -> float:
    """Relative error on inputs that nothing was corrected on."""
    sessions = [Runtime().session(compared) for compared in (dense, model)]
    pairs = [[session.run(feed)["y"] for session in sessions] for feed in feeds(12, sign=sign, seed=2)]
    lost = sum(float(np.square(one - other).sum()) for one, other in pairs)
    return lost / sum(float(np.square(one).sum()) for one, _ in pairs)


def zeros_in_bodies(model: ir.Model) -> dict[str, float]:
    """Share of zeros of the layers in bodies."""
    layers = find_layers(normal_form()(model.clone()).model.graph)[0]
    return {layer.name: float(np.mean(layer.matrix() == 0)) for layer in layers if layer.host is not None}


@pytest.mark.parametrize("make", [choosing, looping])
def test_layers_in_bodies_are_pruned_to_the_sparsity_and_corrected(make: Callable[[], onnx.ModelProto]) -> None:
    dense = make()
    corrected, plain = (compressed(dense, method=method, pack=False) for method in ("obs", "magnitude"))
    in_bodies = zeros_in_bodies(corrected.model)
    assert in_bodies == pytest.approx(dict.fromkeys(in_bodies, 0.5), abs=0.01)
    assert in_bodies
    assert zeros_in_bodies(plain.model) == pytest.approx(in_bodies, abs=0.01)
    assert corrected.report.declined == ()
    assert error_of(corrected.model, dense) < 0.5 * error_of(plain.model, dense)


def test_correcting_layers_in_bodies_pays_beyond_that_of_the_layers_around() -> None:
    """The same zeros in the bodies and everything else dense: the corrections in the bodies are what is compared."""
    dense, errors = choosing(), {}
    around: Any = {"layers": {"first": 0.0, "last": 0.0}}
    for method in ("obs", "magnitude"):
        errors[method] = error_of(compressed(dense, method=method, pack=False, **around).model, dense)
    assert errors["obs"] < 0.5 * errors["magnitude"]


@pytest.mark.parametrize("make", [choosing, looping])
def test_weights_of_bodies_are_packed_and_unpacked(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    dense, small = make(), tmp_path / "small.onnx"
    result = compressed(dense, output=small)
    plain = compressed(dense, pack=False)
    packed = [layer for layer in result.report.layers if layer.bytes_after < layer.bytes_before]
    assert {layer.name for layer in packed} >= set(zeros_in_bodies(plain.model))
    assert result.report.compressed.bytes < plain.report.compressed.bytes
    sessions = [Runtime().session(compared) for compared in (onnx.load(small), plain.model)]
    for feed in feeds(10, seed=3):
        np.testing.assert_array_equal(sessions[0].run(feed)["y"], sessions[1].run(feed)["y"])


def test_a_branch_that_no_calibration_input_takes_is_left_alone_and_named() -> None:
    dense = choosing()
    result = compressed(dense, sign=-1, pack=False)
    reason = "no calibration input takes the then branch of If 'choice'"
    assert {(entry.node, entry.reason) for entry in result.report.declined} == {
        ("then_wide", reason),
        ("then_narrow", reason),
    }
    assert zeros_in_bodies(result.model) == pytest.approx(
        {"then_wide": 0.0, "then_narrow": 0.0, "else_wide": 0.5}, abs=0.01
    )


def test_a_weight_of_both_branches_is_solved_for_both_and_stays_one_tensor() -> None:
    """As in decoders whose branches go on from a cache or begin without one."""
    dense, errors = merged(), {}
    for method in ("obs", "magnitude"):
        result = compressed(dense, method=method, pack=False)
        assert zeros_in_bodies(result.model) == pytest.approx(
            {"then_up": 0.5, "then_down": 0.5, "else_up": 0.5, "else_down": 0.5}, abs=0.01
        )
        assert result.report.compressed.parameters == result.report.dense.parameters
        errors[method] = [error_of(result.model, dense, sign=sign) for sign in (1, -1)]
    assert all(ours < 0.7 * plain for ours, plain in zip(errors["obs"], errors["magnitude"], strict=True)), errors


def test_a_weight_of_a_branch_that_is_not_taken_stays_for_the_other_one_too_and_the_reason_names_the_branch() -> None:
    result = compressed(merged(), sign=1, pack=False)
    reason = "no calibration input takes the else branch of If 'choice'"
    assert {entry.node: entry.reason for entry in result.report.declined} == {
        "else_up": reason,
        "else_down": reason,
        "then_up": f"it shares its weight with 'else_up', which is left alone ({reason})",
        "then_down": f"it shares its weight with 'else_down', which is left alone ({reason})",
    }
    assert [layer.name for layer in result.report.layers] == ["last"]


def test_a_loop_that_never_runs_is_left_alone_and_named() -> None:
    rows = [{"x": -np.abs(feed["x"])} for feed in feeds(20)]
    result = netsurgeon.compress(looping(iterations=None), rows, **FAST)
    assert [(entry.node, entry.reason) for entry in result.report.declined] == [
        ("recurrent", "no calibration input makes Loop 'loop' run")
    ]


def test_trimming_leaves_what_enters_a_body_in_place() -> None:
    result = compressed(choosing(), trim="up-to:0.3")
    assert result.report.trim is not None
    assert result.report.trim.saved == 0.0
    assert error_of(result.model, choosing()) < 0.3


def test_sensitivities_of_layers_in_bodies_are_measured() -> None:
    inspection = netsurgeon.inspect_sensitivity(looping(), feeds(10), method="obs", damping=0.01)
    losses = {layer.name: layer.losses[0] for layer in inspection.layers}
    assert losses["recurrent"] > 0.0
