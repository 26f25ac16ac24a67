"""Goals of a measure that is named or found: what guides, what is proven, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import scipy.stats
from searched_models import FAST

import netsurgeon
from netsurgeon.pipeline.report.format import comparison_rows
from netsurgeon.pipeline.report.sentences.goals import goal_summary
from netsurgeon.pipeline.runtime.session import Runtime

WIDTH = 32


def text_of(array: np.ndarray) -> str:
    return "{" + ", ".join(f"{value:.6g}" for value in array.ravel()) + "}"


@pytest.fixture(scope="module")
def encoder() -> ir.Model:
    """Gemm, Relu and Gemm from x (N, 24) to an embedding of 32 numbers."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((24, 48)) / 5.0, rng.standard_normal((48, WIDTH)) / 7.0
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> encoder (float[N, 24] x) => (float[N, {WIDTH}] embedding) '
        f"<float[24, 48] a = {text_of(first)}, float[48, {WIDTH}] b = {text_of(second)}> "
        "{ h = MatMul(x, a) r = Relu(h) embedding = MatMul(r, b) }"
    )


def pairs(encoder: ir.Model, count: int, seed: int) -> dict[str, Any]:
    """Inputs that are more or less alike two by two, and scores that go with the cosines of their embeddings."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((count, 24))
    second = first + rng.uniform(0.1, 3.0, (count, 1)) * rng.standard_normal((count, 24))
    x = np.stack([first, second], axis=1).reshape(-1, 24).astype(np.float32)
    labels = cosines(encoder, x) + 0.1 * rng.standard_normal(count)
    return {"x": x, "labels": labels}


def cosines(model: ir.Model, x: np.ndarray) -> np.ndarray:
    (values,) = Runtime().session(model).run({"x": x}).values()
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.sum(unit[::2] * unit[1::2], axis=1))


def test_a_correlation_over_pairs_guides_a_search(encoder: ir.Model, tmp_path: Path) -> None:
    data, test = pairs(encoder, 200, 1), pairs(encoder, 100, 2)
    goal: Any = {**FAST, "uniform": True, "metric": "spearman", "max_drop": "5%"}
    page = tmp_path / "report.html"
    result = netsurgeon.compress(encoder, data, test=test, report=page, **goal)
    report = result.report
    assert report.search is not None
    assert report.search.evidence.measure == report.search.measured.measure == report.validation.measure == "spearman"
    assert (report.search.guide.samples % 2, report.validation.samples) == (0, 200)
    assert report.search.proven
    assert report.search.evidence.high <= 0.05
    figures = [
        scipy.stats.spearmanr(cosines(model, test["x"]), test["labels"]).statistic
        for model in (encoder, ir.from_proto(result.model) if not isinstance(result.model, ir.Model) else result.model)
    ]
    assert report.validation.dense.metric == pytest.approx(figures[0], abs=1e-4)
    assert report.validation.compressed.metric == pytest.approx(figures[1], abs=1e-4)
    assert report.search.measured.drop == pytest.approx(figures[0] - figures[1], abs=2e-4)
    assert goal_summary(report)[1].startswith("Drop of Spearman correlation on the 200 inputs that guided")
    assert "Spearman correlation" in page.read_text("utf-8")


def test_embeddings_are_judged_by_their_cosine_where_nothing_is_named(encoder: ir.Model) -> None:
    data = {"x": pairs(encoder, 200, 1)["x"]}
    report = netsurgeon.compress(encoder, data, max_drop="2%", uniform=True, **FAST).report
    assert report.search is not None
    assert (report.search.evidence.measure, report.search.evidence.dense) == ("cosine", 1.0)
    assert 0.0 < report.search.measured.drop <= 0.02
    assert report.validation.drop == report.search.measured
    assert report.validation.compressed.metric == pytest.approx(1.0 - report.search.measured.drop)


def test_less_error_is_better(encoder: ir.Model) -> None:
    """A goal of an error is a share of the dense model's, and a model that is worse has more of it."""
    x = pairs(encoder, 200, 1)["x"]
    (values,) = Runtime().session(encoder).run({"x": x}).values()
    targets = values + 0.1 * np.random.default_rng(3).standard_normal(values.shape)
    data: Any = {"x": x, "labels": targets}
    report = netsurgeon.compress(encoder, data, metric="mse", max_drop="20%", uniform=True, **FAST).report
    assert report.search is not None
    before, after = report.validation.dense.metric, report.validation.compressed.metric
    assert before is not None
    assert after is not None
    assert after > before
    assert report.search.measured.drop == pytest.approx(after / before - 1.0)
    assert report.search.evidence.drop <= 0.20
    (_, guided, _) = goal_summary(report)
    assert guided.startswith("Rise of mean squared error, as a share of the dense model's, on the ")
    rows = {name: cells for name, *cells in comparison_rows(report.dense, report.compressed, report.validation)}
    assert rows["mean squared error"][2].startswith("+")
    frontier = report.frontier()
    assert frontier.axis == "mean squared error (less is better)"
    assert frontier.goal == pytest.approx(1.2 * before)
    assert frontier.delivered.low >= frontier.delivered.score >= frontier.delivered.high
