"""What guides a search, what proves its goal, and what has the last word."""

import gc
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from plain_models import DIGITS
from searched_models import FAST, Data, labelled

import netsurgeon
from netsurgeon.pipeline import compress as compress_module
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.report import StoredModel
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.run import store_model, validate_applied
from netsurgeon.pipeline.runtime import Remembering, Session


def test_few_inputs_guide_in_turn_and_are_not_reported(report: Report, page: Path) -> None:
    assert report.search is not None
    assert report.test is not None
    assert report.search.folds == 2
    assert report.calibration.samples == report.search.guide.samples == report.search.evidence.samples == 450
    assert report.search.measured.samples == report.test.samples == 300
    assert report.search.guide.sha256 != report.test.sha256
    assert "judged on the other, in turn" in page.read_text("utf-8")


def test_too_few_inputs_prove_nothing_and_that_is_said(
    network: Path, guiding: Data, final: Data, tmp_path: Path
) -> None:
    """Half a point from 128 inputs: even if all of them agreed, 327 would be needed."""
    page = tmp_path / "report.html"
    goal: Any = {**FAST, "max_drop": "0.5%", "limit": 128, "values": "float32"}
    result = netsurgeon.compress(network, guiding, test=final, report=page, **goal).report
    assert result.search is not None
    assert result.search.proven is False
    assert result.search.needed is not None
    assert result.search.needed > result.search.guide.samples
    (warning,) = [warning for warning in result.warnings if warning.code == "goal-unproven"]
    assert warning.data["needed"] == result.search.needed
    assert f"promise at most {result.search.evidence.high:.2%}" in warning
    assert "is not proven" in page.read_text("utf-8")


def test_labels_of_the_test_inputs_decide_nothing(network: Path, guiding: Data, final: Data) -> None:
    other = {**final, "labels": (final["labels"] + 1) % 6}  # both models get all of them wrong
    result = [
        netsurgeon.compress(network, guiding, test=each, max_drop="2%", uniform=True, **FAST).report
        for each in (final, other)
    ]
    assert result[0].compressed.sha256 == result[1].compressed.sha256
    measured = [each.search.measured.dense for each in result if each.search]
    assert measured == [1.0, 0.0]


def test_labels_of_the_test_inputs_alone_leave_agreement_to_guide_and_that_is_said(
    network: Path, guiding: Data, final: Data
) -> None:
    result = netsurgeon.compress(network, {"x": guiding["x"]}, test=final, max_drop="10%", uniform=True, **FAST).report
    assert result.search is not None
    assert (result.search.evidence.measure, result.search.measured.measure) == ("agreement", "top-1")
    assert "labels-only-measure" in [warning.code for warning in result.warnings]


def test_the_final_measurement_has_the_last_word(network: Path, guiding: Data, tmp_path: Path) -> None:
    goal: Any = {**FAST, "max_drop": "2%"}
    strange = labelled(network, 300, seed=3, scale=30.0)  # nothing like what guided the search
    with pytest.raises(CheckFailedError, match="is missed: on the 300 inputs of the final measurement the drop is"):
        netsurgeon.compress(network, guiding, test=strange, output=tmp_path / "small.onnx", **goal)
    assert not list(tmp_path.iterdir())


def test_a_loose_goal_is_proven_and_the_set_split_where_it_is_the_only_one(network: Path, guiding: Data) -> None:
    result = netsurgeon.compress(network, guiding, max_drop="10%", uniform=True, **FAST).report
    assert result.search is not None
    assert result.search.proven
    assert result.search.evidence.high <= 0.10
    assert "goal-unproven" not in [warning.code for warning in result.warnings]
    assert result.test is None
    assert [result.calibration.samples, result.search.guide.samples, result.validation.samples] == [175, 175, 50]
    assert result.search.folds == 1
    assert result.calibration.sha256 != result.search.guide.sha256


def recall_of_class_4(outputs: Any, labels: Any) -> float:
    """Recall of one class, a metric of one's own."""
    (scores,) = outputs.values()
    return float(np.mean(scores.argmax(axis=1)[labels == 4] == 4))


def test_a_metric_of_ones_own_guides(network: Path, guiding: Data, final: Data) -> None:
    options = {**FAST, "metric": recall_of_class_4, "uniform": True}
    result = netsurgeon.compress(network, guiding, test=final, max_drop="25%", **options).report
    assert result.search is not None
    assert result.search.evidence.measure == result.search.measured.measure == "metric"
    assert result.search.evidence.drop <= 0.25


def test_too_few_inputs_for_a_goal() -> None:
    few = {"image": np.zeros((20, 1, 8, 8), np.float32)}
    with pytest.raises(InputError, match=r"20 inputs are too few for --max-drop 1%.* give 64 or more, or --sparsity"):
        netsurgeon.compress(DIGITS / "digits.onnx", few)


def test_a_first_look_runs_the_dense_model_once_on_what_guides_it_closes_it_and_packs_a_model_once(
    network: Path, guiding: Data, final: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: Counter[bytes] = Counter()

    class Counting(Session):
        def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
            runs[b"".join(np.asarray(value).tobytes() for value in feed.values())] += 1
            return super().run(feed, outputs)

    made: list[weakref.ref[Remembering]] = []

    def remembering(session: Session) -> Remembering:
        dense = Remembering(Counting(session._inference))
        made.append(weakref.ref(dense))
        return dense

    def validated(*arguments: Any, **options: Any) -> Any:
        gc.collect()
        assert [dense() for dense in made] == [None]
        return validate_applied(*arguments, **options)

    packed: list[ir.Model] = []

    def packing(steps: Any, context: Any, model: ir.Model, source: Any) -> StoredModel:
        packed.append(model)
        return store_model(steps, context, model, source)

    monkeypatch.setattr(compress_module, "store_model", packing)
    monkeypatch.setattr(compress_module, "Remembering", remembering)
    monkeypatch.setattr(compress_module, "validate_applied", validated)
    report = netsurgeon.compress(network, guiding, test=final, effort="fast", max_drop="5%", values="float32").report
    assert report.search is not None
    assert sum(runs.values()) >= report.search.guide.samples // 32
    assert set(runs.values()) == {1}
    assert (
        len(packed)
        == len({id(model) for model in packed})
        == sum(point.kind == "candidate" for point in report.search.points)
    )
