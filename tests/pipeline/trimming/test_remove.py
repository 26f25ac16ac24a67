"""Units go from every tensor, chosen or left without a reader by pruning, and the outputs stay."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import onnxruntime as ort
import pytest
from operation_counts import count_calls
from trimmable_models import (
    DIGITS,
    FAST,
    Array,
    idle_network,
    network_of,
    normal,
    outputs,
    residual_network,
    trimmed,
)

from netsurgeon.cli import run
from netsurgeon.passes.dependencies import Group, analyse
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Runtime, observe
from netsurgeon.pipeline.trimming import TrimPlan, costs, remove
from netsurgeon.pipeline.trimming.remove import below_ceiling, remove_units
from netsurgeon.pipeline.verification import EquivalenceCheck


def run_all(model: ir.Model, feed: dict[str, Array]) -> list[Array]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value, np.float64) for value in session.run(None, feed)]


def test_units_that_pruning_leaves_unread_go() -> None:
    given = {"trim": 0.1, "sparsity": 0.95, "round_to": 1, **FAST}
    result = compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", **given)
    trim = trimmed(result)
    assert trim.unread > 0
    assert trim.proof is not None
    assert trim.proof.holds
    assert result.report.compressed.parameters < 0.8 * result.report.dense.parameters


@pytest.fixture(scope="module")
def pruned() -> tuple[Compression, Compression]:
    """The digits network, its units that nothing reads removed after pruning, and left in place."""
    given: dict[str, Any] = {"sparsity": 0.95, "round_to": 1, "uniform": True, **FAST}
    first, second = (
        compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", keep_unread=keep, **given)
        for keep in (False, True)
    )
    return first, second


def test_pruning_alone_removes_units_that_nothing_reads_any_more(pruned: tuple[Compression, Compression]) -> None:
    removed, left = pruned
    trim, report = trimmed(removed), removed.report
    assert trim.asked is None
    assert trim.unread == sum(group.removed for group in trim.groups) > 0
    assert trim.proof is not None
    assert trim.proof.holds
    assert trim.proof.is_informative
    assert trim.saved == pytest.approx(1 - report.compressed.parameters / left.report.compressed.parameters)
    assert report.sparsity >= left.report.sparsity == pytest.approx(0.95, abs=1e-3)
    assert [layer.weights for layer in report.layers] == [layer.weights for layer in left.report.layers]
    with np.load(DIGITS / "test.npz") as test:
        feed = {name: test[name] for name in test.files if name != "labels"}
    scores = [np.concatenate([np.ravel(each) for each in run_all(result.model, feed)]) for result in pruned]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4 * np.abs(scores[1]).max())
    assert report.bound == left.report.bound, "that of the pruned model before its unread units go"


def test_units_that_nothing_reads_can_stay(pruned: tuple[Compression, Compression]) -> None:
    left = pruned[1]
    assert left.report.trim is None
    constants = {name: value.const_value for name, value in left.model.graph.initializers.items()}
    shapes = {name: constant.shape for name, constant in constants.items() if constant is not None}
    for initializer in onnx.load(DIGITS / "digits.onnx").graph.initializer:
        assert shapes[initializer.name] == tuple(initializer.dims)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"round_to": 1}, 20),
        ({"round_to": 8}, 24),
        ({"round_to": 1, "exclude": ("first",)}, 32),
        ({"round_to": 1, "exclude": ("second",)}, 32),
        ({"round_to": 1, "keep_unread": True}, 32),
        ({"round_to": 1, "sparsity": None, "pattern": "2:4"}, 32),
    ],
)
def test_which_unread_units_go(options: dict[str, Any], left: int) -> None:
    """Counts are rounded, excluded layers keep their shape, and a pattern its places."""
    result = compress(
        idle_network(),
        {"x": normal(80, 16)},
        **{"sparsity": 0.4, "method": "magnitude", "uniform": True, **FAST, **options},
    )
    weight = result.model.graph.initializers["w"].const_value
    assert weight is not None
    assert weight.shape.numpy() == (16, left)


def test_units_that_are_constant_become_a_part_of_the_next_bias() -> None:
    """Six of 32 units read only an input that never varies: they go first, and nothing changes."""
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"),
        node("Sigmoid", ["h"], ["s"]),
        node("Gemm", ["s", "v", "c"], ["y"], "second"),
    ]
    x, first = normal(80, 16), normal(16, 32)
    x[:, 0] = 0.5
    first[1:, 4:10] = 0
    model = network_of(nodes, {"w": first, "b": normal(32), "v": normal(32, 5), "c": normal(5)}, ["N", 16])
    result = compress(model, {"x": x}, trim=6 / 32 - 0.01, round_to=1, **FAST)
    assert sum(group.removed for group in trimmed(result).groups) == 6
    before = outputs(model, x)
    np.testing.assert_allclose(outputs(result.model, x), before, atol=1e-4 * np.abs(before).max())


@pytest.mark.parametrize(("goal", "left"), [("up-to:0.1", 29), ("up-to:0.5", 16), (0.1, 20)])
def test_what_trimming_alone_leaves_unread_goes_below_a_ceiling(goal: str | float, left: int) -> None:
    """Twelve of 32 units are silent, so that corrections read them no more: all go, unless that is above a ceiling."""
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["y"], "second"),
    ]
    bias = np.where(np.arange(32) < 12, np.float32(-1e3), normal(32))
    model = network_of(nodes, {"w": normal(16, 32), "b": bias, "v": normal(32, 5), "c": normal(5)}, ["N", 16])
    result = compress(model, {"x": normal(80, 16)}, trim=goal, round_to=1, **FAST)
    weight = result.model.graph.initializers["w"].const_value
    assert weight is not None
    assert weight.shape.numpy() == (16, left)
    assert isinstance(goal, float) or trimmed(result).saved <= float(goal.removeprefix("up-to:"))


def test_what_pruning_leaves_unread_is_told_apart_from_what_a_ceiling_allows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, report = str(DIGITS / "digits.onnx"), str(DIGITS / "calibration.npz"), tmp_path / "report.json"
    given = [model, "--data", data, "-o", str(tmp_path / "small.onnx"), "--report", str(report)]
    assert run(["compress", *given, "--trim", "up-to:0.05", "--sparsity", "0.95", "--damping", "0.01"]) == 0
    trim = json.loads(report.read_text())["trim"]
    assert trim["saved_by_choice"] <= 0.05 < trim["saved"]
    chosen, others = f"{trim['saved_by_choice']:.1%}", f"{trim['saved'] - trim['saved_by_choice']:.1%}"
    printed = " ".join(capsys.readouterr().out.split())
    assert f"units saved {chosen} of the parameters, up to 5.0% were asked for; another {others} went" in printed
    assert f"units chosen save {chosen} of the parameters, up to 5% were asked for" in printed
    assert f"nothing reads it any more ({trim['unread']} units)" in printed


def test_what_fails_is_found_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt clones the model and runs it: not one a group."""
    groups = tuple(
        Group(node=f"layer {at}", operators=("Conv",), units=(2 * at, 2 * at + 1), parameters=1) for at in range(64)
    )
    units = tuple(SimpleNamespace(group=number // 2) for number in range(128))
    dependencies: Any = SimpleNamespace(units=units, groups=groups)
    removed, tried = np.arange(128) % 2 == 0, list[Array]()
    proof = EquivalenceCheck((), 1e-4)

    def attempt(masked: ir.Model, _: Any, removed: Array, *__: Any) -> Any:
        tried.append(removed)
        failing = [group for group in (10, 41) if removed[2 * group]]
        return Message(f"{failing} fails", "outputs-differ") if failing else (masked, proof)

    monkeypatch.setattr(remove, "_attempt", attempt)
    masked = ir.from_proto(idle_network())
    result = remove_units(masked, dependencies, removed, [], Runtime())
    assert [(group.node, str(reason)) for group, reason in result.failed] == [
        ("layer 10", "[10] fails"),
        ("layer 41", "[41] fails"),
    ]
    np.testing.assert_array_equal(np.flatnonzero(removed & ~result.removed), [20, 82])
    assert result.proof is proof
    assert len(tried) <= 2 + 2 * 2 * 6


def test_the_model_is_weighed_once_for_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each group that loses its readers."""
    model = ir.from_proto(residual_network())
    dependencies = analyse(model, observe(model, {"x": normal(2, 3, 6, 6)}, Runtime()))
    nothing, going = np.zeros(len(dependencies.units), bool), np.zeros(len(dependencies.units), bool)
    going[[group.units[0] for group in dependencies.groups]] = True
    plan = TrimPlan(dependencies=dependencies, layers=(), candidates=np.arange(len(going)), removed=nothing)
    calls = count_calls(monkeypatch, costs, "unit_costs")
    np.testing.assert_array_equal(below_ceiling(model, plan, going, Options(trim="up-to:0.9")), going)
    assert (calls[0], going.sum()) == (1, len(dependencies.groups))
    assert len(dependencies.groups) > 2
