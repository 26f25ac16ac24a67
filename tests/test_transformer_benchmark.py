"""What the benchmark of transformers runs beside netsurgeon, and what it asks of rows."""

from pathlib import Path
from typing import Any

import _language_peers
import numpy as np
import onnx
import onnx.parser
import pytest
import transformer
from _transformer_cases import CASES, PADDED
from onnx import numpy_helper

from netsurgeon.passes.solvers import DAMPINGS, Moments, Problem, prune

MODEL = """<ir_version: 8, opset_import: ["" : 18]> language
    (int64[batch, length] input_ids) => (float[batch, length, 24] logits)
    <float[24,12] table, float[12,16] up, float[16,12] down> {
        tokens = Gather (table, input_ids)
        hidden = MatMul (tokens, up)
        active = Relu (hidden)
        back = MatMul (active, down)
        sum = Add (tokens, back)
        turned = Transpose <perm = [1, 0]> (table)
        logits = MatMul (sum, turned)
    }"""


def correlated(columns: int = 32, rows: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, columns)) @ (np.eye(columns) + 0.3 * rng.standard_normal((columns, columns)))


def error(weight: np.ndarray, other: np.ndarray, x: np.ndarray) -> float:
    return float(np.sum(np.square(x @ (weight - other).T)))


def test_the_page_speaks_of_published_methods_where_it_has_their_rows(tmp_path: Path) -> None:
    row = {"status": "failed", "error": "not enough memory"}
    for name, is_told in (("language --sparsity 0.5", False), ("language SparseGPT at 0.5", True)):
        transformer._render(tmp_path, {name: row})
        assert ("SparseGPT and rounding" in (tmp_path / "transformer.md").read_text()) == is_told


def test_sparsegpt_on_uncorrelated_inputs_is_magnitude_pruning() -> None:
    weight = np.random.default_rng(1).standard_normal((8, 16))
    pruned = _language_peers.sparsegpt(weight, np.eye(16), 0.5)
    assert np.count_nonzero(pruned) == weight.size // 2
    kept = np.abs(weight) > np.sort(np.abs(weight), axis=None)[weight.size // 2 - 1]
    np.testing.assert_allclose(pruned, np.where(kept, weight, 0.0))


def test_sparsegpt_lies_between_magnitude_pruning_and_ours() -> None:
    x, weight = correlated(), np.random.default_rng(1).standard_normal((24, 32))
    published = _language_peers.sparsegpt(weight, x.T @ x / len(x), 0.5)
    moments = Moments(1, 32, paired=False)
    moments.update(x[None].astype(np.float32))
    problem = Problem.of(weight[None], moments.statistics(centred=False), DAMPINGS[0])
    ours, magnitude = (prune(problem, weight.size // 2, method)[0] for method in ("auto", "magnitude"))
    assert error(weight, ours, x) < error(weight, published, x) < 0.9 * error(weight, magnitude, x)


def test_an_input_that_never_fires_loses_its_weights() -> None:
    x = correlated()
    x[:, 3] = 0.0
    pruned = _language_peers.sparsegpt(np.ones((4, 32)), x.T @ x / len(x), 0.25)
    assert not pruned[:, 3].any()
    assert np.isfinite(pruned).all()


def test_the_nearest_of_sixteen_levels() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 40))
    rounded = _language_peers.nearest(weight)
    for row, block in ((0, np.s_[:32]), (2, np.s_[32:])):
        step = np.abs(weight[row, block]).max() / 7
        np.testing.assert_allclose(rounded[row, block] / step, np.round(weight[row, block] / step), atol=1e-9)


@pytest.mark.parametrize(("kind", "task"), [("prune", {"sparsity": 0.5}), ("round_weights", {})])
def test_a_peer_takes_all_products_but_the_head_that_is_tied(kind: str, task: dict[str, Any], tmp_path: Path) -> None:
    model, rng = onnx.parser.parse_model(MODEL), np.random.default_rng(0)
    for name, shape in (("table", (24, 12)), ("up", (12, 16)), ("down", (16, 12))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "language.onnx")
    np.savez(tmp_path / "ids.npz", input_ids=rng.integers(0, 24, (6, 10)))
    places = {"model": str(tmp_path / "language.onnx"), "output": str(tmp_path / "out.onnx"), "models": str(tmp_path)}
    getattr(_language_peers, kind)({**places, "data": "ids.npz", **task})
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / file).graph.initializer}
        for file in ("language.onnx", "out.onnx")
    )
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"up", "down"}
    if kind == "prune":
        assert np.count_nonzero(after["down"]) == after["down"].size // 2


def test_embeddings_of_padded_calibration_must_err_as_much() -> None:
    (case,) = [case for case in CASES if case.data == PADDED]
    row: dict[str, Any] = {"status": "ok", "figure": 0.8, "ratio": 4.0, "embedding_error": 0.400}

    def misses(padded: float | None) -> list[str]:
        rows = {case.unpadded: row, case.name: {**row, "embedding_error": padded}}
        return transformer._misses(rows, case)

    assert misses(0.407) == []
    assert misses(0.409) == ["embedding error 2.2% apart from that without padding, at most 2%"]
    assert misses(None) == ["the errors of the embeddings are not measured yet"]
