"""A goal that is missed through rounding alone is met with finer values, where the user has not chosen any."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from searched_models import FAST, Data, labelled

import netsurgeon
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.report.report import Report

FOR_FLOAT16, FOR_FLOAT32 = 0.02, 0.001
"""Shares of the weights by which pairs of neurons differ that the codebook loses, and that float16 loses as well."""


def network_of_differences(share: float) -> ir.Model:
    """Scores are differences of neurons whose weights are all but the same: nothing but rounding tells them apart."""
    rng = np.random.default_rng(0)
    same, apart, read = (rng.standard_normal(shape) for shape in ((24, 64), (24, 64), (64, 6)))
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,24] x, float[24,128] w1, float[128,6] w2) '
        "=> (float[N,6] y) { h = Gemm(x, w1) r = Relu(h) y = Gemm(r, w2) }"
    )
    weights = (np.concatenate([same + share * apart, same - share * apart], axis=1), np.concatenate([read, -read]))
    for value, weight in zip(list(model.graph.inputs)[1:], weights, strict=True):
        value.const_value = ir.tensor(weight.astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    return model


def compressed(share: float, **options: Any) -> Report:
    model = network_of_differences(share)
    data: list[Data] = [labelled(model, count, seed, scale=10.0) for count, seed in ((160, 1), (100, 2))]
    goal: Any = {"max_drop": "10%", "uniform": True, **FAST, **options}
    return netsurgeon.compress(model, data[0], test=data[1], **goal).report


@pytest.mark.parametrize(("share", "values"), [(FOR_FLOAT16, "float16"), (FOR_FLOAT32, "float32")])
def test_the_next_finer_values_that_keep_to_the_goal_are_taken_and_that_is_said(share: float, values: str) -> None:
    report = compressed(share)
    assert report.search is not None
    assert report.search.form == values
    assert report.search.evidence.drop <= 0.1
    (note,) = [note for note in report.notes if note.code == "finer-values"]
    whole = next(point for point in report.search.points if point.kept == 1.0)
    assert whole.form == "codebook"
    assert note.data == {"values": values, "default": "codebook", "drop": whole.drop, "bound": whole.bound}
    assert f"stored as {values}, not as codebook" in note
    (chosen,) = [point for point in report.search.points if point.chosen]
    assert (chosen.form, chosen.bytes) == (values, report.compressed.bytes)


@pytest.mark.parametrize(
    ("share", "values", "advice"),
    [(FOR_FLOAT16, "codebook", "float16 or --values float32"), (FOR_FLOAT32, "float16", "float32")],
)
def test_values_that_the_user_has_chosen_stay_and_finer_ones_are_advised(
    share: float, values: str, advice: str
) -> None:
    with pytest.raises(CheckFailedError, match=f"with 100% of the weights kept .*give --max-drop .*--values {advice}$"):
        compressed(share, values=values)


def test_a_goal_that_the_default_values_meet_is_met_with_them(report: Report) -> None:
    assert report.search is not None
    assert report.search.form == "codebook"
    assert "finer-values" not in [note.code for note in report.notes]
    assert {point.form for point in report.search.points} == {None, "codebook"}


def share_right(outputs: Any, labels: Any) -> float:
    return float(np.mean(outputs["y"].argmax(axis=1) == labels))


def test_finer_values_for_a_structure_and_a_metric_of_ones_own() -> None:
    report = compressed(FOR_FLOAT16, metric=share_right, max_macs=1e6)
    assert report.search is not None
    assert (report.search.form, report.search.evidence.measure) == ("float16", "metric")


def test_a_run_that_goes_on_takes_no_candidate_for_one_of_other_values(tmp_path: Path) -> None:
    first, second = (compressed(FOR_FLOAT16, work=tmp_path) for _ in range(2))
    assert first.compressed.sha256 == second.compressed.sha256
    assert first.search is not None
    assert second.search is not None
    assert first.search.points == second.search.points
    kept_names = {path.name for path in tmp_path.glob("provisional-candidate-*-whole-1.000000.json")}
    assert kept_names == {f"provisional-candidate-{values}-whole-1.000000.json" for values in ("codebook", "float16")}
