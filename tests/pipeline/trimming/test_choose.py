"""Trimming from end to end: what is asked for goes, the rest is corrected, and the function is proven to stand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from trimmable_models import (
    DIGITS,
    FAST,
    elements,
    network_of,
    normal,
    outputs,
    pictures,
    residual_network,
    trimmed,
)

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError


@pytest.mark.parametrize("round_to", [1, 8])
def test_what_is_asked_for_goes(round_to: int) -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, round_to=round_to, **FAST)
    trim, report = trimmed(result), result.report
    assert trim.saved >= 0.3
    assert report.compressed.parameters <= 0.7 * (report.dense.parameters + 2 * 16 + 12 + 5), "biases are created"
    assert report.compressed.parameters == elements(result.model)
    assert trim.proof is not None
    assert trim.proof.holds
    assert trim.proof.is_informative
    assert trim.macs < trim.macs_dense
    assert trim.groups
    assert not trim.failed
    for group in trim.groups:
        assert 0 < group.removed < group.units
        assert round_to == 1 or (group.units - group.removed) % 4 == 0


def test_a_share_is_one_of_what_units_have() -> None:
    """Of a model that is mostly a table of rows that no unit owns nearly all units would go otherwise."""
    node = onnx.helper.make_node
    nodes = [
        node("Gather", ["table", "x"], ["rows"], "look-up"),
        node("MatMul", ["rows", "w"], ["h"], "first"),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["scores"], "second"),
        node("ReduceMean", ["scores"], ["y"], axes=[1], keepdims=0),
    ]
    weights = {"table": normal(1000, 8), "w": normal(8, 64), "v": normal(64, 5)}
    model = network_of(nodes, weights, ["N", 6])
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    rows = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["N", 6, 8])
    model.graph.output.append(rows)  # whose width is no unit's then
    data = {"x": np.random.default_rng(0).integers(0, 1000, (80, 6))}
    trim = trimmed(compress(model, data, trim=0.3, round_to=1, **FAST))
    units = 64 * (8 + 5)
    assert 64 * 0.3 <= sum(group.removed for group in trim.groups if group.units == 64) <= 64 * 0.3 + 1
    assert trim.trimmable == pytest.approx(units / (8000 + units), rel=0.01)
    assert trim.saved_by_choice / trim.trimmable >= 0.3
    assert trim.scarce == ()
    assert f"of the parameters that they have ({trim.saved_by_choice:.1%} of all), 30.0%" in trim.summary("parameters")


def test_excluded_layers_stay_as_they_are() -> None:
    model = residual_network()
    result = compress(model, {"x": pictures()}, trim="up-to:0.5", exclude=("a1", "b1"), round_to=1, **FAST)
    after = {name: value.const_value for name, value in result.model.graph.initializers.items()}
    for initializer in model.graph.initializer:
        if initializer.name in ("a1", "b1"):
            held_out = after[initializer.name]
            assert held_out is not None
            np.testing.assert_array_equal(held_out.numpy(), onnx.numpy_helper.to_array(initializer))
    assert trimmed(result).groups


def test_more_than_can_go_is_an_error_unless_it_was_a_wish() -> None:
    with pytest.raises(CheckFailedError, match=r"trim is 0.9999, but .* is all that units can save .* up-to:0.9999"):
        compress(residual_network(), {"x": pictures()}, trim=0.9999, round_to=1, **FAST)
    result = compress(residual_network(), {"x": pictures()}, trim="up-to:0.9999", round_to=1, **FAST)
    assert 0.9 < trimmed(result).saved < 0.9999
    assert trimmed(result).scarce, "only once nothing else can go"
    assert [warning.code for warning in result.report.warnings if warning.code == "units-scarce"] == ["units-scarce"]
    assert outputs(result.model, pictures(2)).shape == (2, 5)


@pytest.mark.parametrize("round_to", [1, 4])
def test_a_wish_is_a_ceiling(round_to: int) -> None:
    trim = trimmed(compress(residual_network(), {"x": pictures()}, trim="up-to:0.3", round_to=round_to, **FAST))
    assert 0.15 < trim.saved <= 0.3


def test_a_wish_that_is_far_from_met_says_why() -> None:
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w"], ["h"], "first"),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v"], ["few"], "second"),
        node("Gemm", ["x", "u"], ["g"], "left"),
        node("Relu", ["g"], ["s"]),
        node("Gemm", ["s", "t"], ["many"], "alone"),
        node("Add", ["few", "many"], ["y"]),
    ]
    weights = {"w": normal(16, 4), "v": normal(4, 5), "u": normal(16, 40), "t": normal(40, 5)}
    model = network_of(nodes, weights, ["N", 16])
    options: Any = {"trim": "up-to:0.9", "round_to": 1, "exclude": ("left", "alone"), **FAST}
    report = compress(model, {"x": normal(80, 16)}, **options).report
    (warning,) = [warning for warning in report.warnings if warning.code == "trim-fell-short"]
    assert warning.data["saved"] < 0.5 * warning.data["asked"] == 0.45
    assert "units may go" in warning


def test_where_nothing_can_go_a_wish_leaves_the_model_alone(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    model = network_of([node("Gemm", ["x", "w", "b"], ["y"], "only")], {"w": normal(32, 5), "b": normal(5)}, ["N", 32])
    data = {"x": normal(80, 32)}
    with pytest.raises(CheckFailedError, match="0 units may go; frozen: "):
        compress(model, data, trim=0.3, **FAST)
    output = tmp_path / "small.onnx"
    result = compress(model, data, trim="up-to:0.3", output=output, **FAST)
    assert trimmed(result).saved == 0.0
    assert trimmed(result).proof is None
    np.testing.assert_allclose(outputs(onnx.load(output), data["x"]), outputs(model, data["x"]), rtol=1e-5, atol=1e-5)


def test_a_wish_that_nothing_meets_neither_rounds_nor_packs_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = onnx.helper.make_node
    weights = {"w": normal(32, 5), "b": normal(5)}
    onnx.save(network_of([node("Gemm", ["x", "w", "b"], ["y"], "only")], weights, ["N", 32]), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", normal(80, 32))
    given = [str(tmp_path / "model.onnx"), "--data", str(tmp_path / "x.npy"), "-o", str(tmp_path / "small.onnx")]
    assert run(["compress", *given, "--trim", "up-to:0.3"]) == 0
    stored = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "small.onnx").graph.initializer
    }
    np.testing.assert_array_equal(stored["w"], weights["w"])
    np.testing.assert_array_equal(stored["b"], weights["b"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "nothing was removed, the weights are left as they were: 0 units may go; frozen: output" in printed
    assert "units saved 0.0% of the parameters, up to 30.0% were asked for" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trim": 1.0}, "expected a share above 0 and below 1"),
        ({"trim": 0.0}, "expected a share above 0 and below 1"),
        ({"trim": "much"}, "expected a share such as 30% or 0.3, or up-to:30%"),
        ({"trim": 0.3, "importance": "luck"}, "importance is 'luck'"),
        ({"trim": 0.3, "save": "time"}, "save is 'time'"),
        ({"trim": 0.3, "round_to": 0}, "round-to is 0"),
        ({"trim": 0.3, "pattern": "2:4"}, "trim first, then give the trimmed model the pattern"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        netsurgeon.Options(**options)


def test_sparsity_is_half_unless_units_are_trimmed() -> None:
    assert netsurgeon.Options().pruned_share == 0.5
    assert netsurgeon.Options(trim=0.3).pruned_share == 0.0
    assert netsurgeon.Options(trim=0.3, sparsity=0.8).pruned_share == 0.8


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "small.onnx"
    given = [str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz"), "-o", str(output)]
    assert run(["compress", *given, "--trim", "0.4", "--damping", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert "units removed" in shown
    assert "masked against trimmed model: outputs differ by at most" in shown
    assert run(["compare", given[0], str(output), "--data", given[2]]) == 0
    assert "no error bound: the graphs differ in more than their weights" in capsys.readouterr().out
    output.unlink()
    assert run(["compress", *given, "--trim", "0.999"]) == 1
    assert "is all that units can save" in capsys.readouterr().err
    assert not output.exists()
    assert run(["compress", *given, "--trim", "some"]) == 2
