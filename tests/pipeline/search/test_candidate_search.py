"""Goals from end to end on the embedded network: kept, proven or not, replayed, refused with the nearest model."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import numpy as np
import onnx_ir as ir
import pytest

import netsurgeon
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.compression import StepContext
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.execution.run_folder import RunFolder
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.profiling import model_profile
from netsurgeon.pipeline.report.report import Report, as_json
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.search import candidates
from netsurgeon.pipeline.search.candidate_search import UNPROVEN, _Descent
from netsurgeon.pipeline.search.candidates import CandidateEvaluator, Fold, SearchContext, Structure
from netsurgeon.pipeline.search.goal_search import candidate_options
from netsurgeon.pipeline.trimming.structures import named, order_units
from netsurgeon.pipeline.verification.confidence import DropEstimate, paired_proportion_ci
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.splits import open_inputs

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"
FAST: Any = {"method": "obs", "damping": 0.01}
Data = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "report.html"


@pytest.fixture(scope="module")
def report(page: Path) -> Report:
    """Without a goal: a drop of 1 %. The test split is larger, so that it stands for a user's calibration set."""
    data, test = DIGITS / "test.npz", DIGITS / "calibration.npz"
    return netsurgeon.compress(DIGITS / "digits.onnx", data, test=test, report=page, **FAST).report


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemm, Relu and Gemm from x (N, 24) by 48 neurons to 6 classes."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    ir.save(small_network(), path)
    return path


@pytest.fixture(scope="module")
def given(model: Path) -> Data:
    return labelled(model, 400, seed=1)


@pytest.fixture(scope="module")
def test(model: Path) -> Data:
    return labelled(model, 300, seed=2)


def labelled(model: Path, count: int, seed: int, scale: float = 1.0) -> Data:
    """Inputs that depend on few numbers, labelled by the dense model itself."""
    mixing = np.random.default_rng(0).standard_normal((6, 24))
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((count, 6)) @ mixing + scale * 0.1 * rng.standard_normal((count, 24))).astype(np.float32)
    return {"x": x, "labels": Runtime().session(model).run({"x": x})["y"].argmax(axis=1)}


def test_without_a_goal_one_point_may_be_lost(report: Report) -> None:
    assert report.search is not None
    assert report.search.goals.max_drop == 0.01
    assert report.search.evidence.drop <= 0.005  # half of it: so few inputs prove nothing
    assert report.ratio > 5.0
    (chosen,) = [each for each in report.search.points if each.chosen]
    assert chosen.drop == report.search.evidence.drop
    assert chosen.bytes == report.compressed.bytes
    smaller = [each for each in report.search.points if each.bytes and each.bytes < chosen.bytes]
    assert all(each.drop is not None and each.drop > 0.005 for each in smaller)
    assert {each.kind for each in report.search.points} == {"rehearsal", "candidate"}


def test_few_inputs_guide_in_turn_and_are_not_reported(report: Report, page: Path) -> None:
    assert report.search is not None
    assert report.test is not None
    assert report.search.folds == 2
    assert report.calibration.samples == report.search.guide.samples == report.search.evidence.samples == 450
    assert report.search.measured.samples == report.test.samples == 300
    assert report.search.guide.sha256 != report.test.sha256
    assert "judged on the other, in turn" in page.read_text("utf-8")


def test_too_few_inputs_prove_nothing_and_that_is_said(tmp_path: Path) -> None:
    """Half a point from 64 inputs: even if all of them agreed, 327 would be needed."""
    page, data, test = tmp_path / "report.html", DIGITS / "test.npz", DIGITS / "calibration.npz"
    goal: Any = {**FAST, "max_drop": "0.5%", "limit": 128}
    result = netsurgeon.compress(DIGITS / "digits.onnx", data, test=test, report=page, **goal).report
    assert result.search is not None
    assert result.search.proven is False
    assert result.search.needed is not None
    assert result.search.needed > result.search.guide.samples
    (warning,) = [each for each in result.warnings if "is not proven" in each]
    assert f"{result.search.needed:,} would prove it" in warning
    assert f"promise at most {result.search.evidence.high:.2%}" in warning
    assert "is not proven" in page.read_text("utf-8")


def test_the_report_keeps_to_the_schema_and_the_page_shows_what_was_tried(report: Report, page: Path) -> None:
    jsonschema.Draft202012Validator(netsurgeon.report_schema()).validate(json.loads(as_json(report)))
    text = page.read_text("utf-8")
    assert "What was tried" in text
    assert "<dc:title>" not in text
    assert text.count("candidate") >= len([each for each in report.search.points if each.kind == "candidate"])  # type: ignore[union-attr]


def test_labels_of_the_test_inputs_decide_nothing(model: Path, given: Data, test: Data) -> None:
    other = {**test, "labels": (test["labels"] + 1) % 6}  # both models get all of them wrong
    result = [netsurgeon.compress(model, given, test=each, max_drop="2%", **FAST).report for each in (test, other)]
    assert result[0].compressed.sha256 == result[1].compressed.sha256
    measured = [each.search.measured.dense for each in result if each.search]
    assert measured == [1.0, 0.0]


def test_the_final_measurement_has_the_last_word(model: Path, given: Data, tmp_path: Path) -> None:
    strange = labelled(model, 300, seed=3, scale=30.0)  # nothing like what guided the search
    with pytest.raises(CheckFailedError, match="is missed: on the 300 inputs of the final measurement the drop is"):
        netsurgeon.compress(model, given, test=strange, output=tmp_path / "small.onnx", max_drop="2%", **FAST)
    assert not list(tmp_path.iterdir())


def test_a_loose_goal_is_proven_and_the_set_split_where_it_is_the_only_one(model: Path, given: Data) -> None:
    result = netsurgeon.compress(model, given, max_drop="10%", uniform=True, **FAST).report
    assert result.search is not None
    assert result.search.proven
    assert result.search.evidence.high <= 0.10
    assert not any("is not proven" in each for each in result.warnings)
    assert result.test is None
    assert [result.calibration.samples, result.search.guide.samples, result.validation.samples] == [175, 175, 50]
    assert result.search.folds == 1
    assert result.calibration.sha256 != result.search.guide.sha256


def recall_of_class_4(outputs: Any, labels: Any) -> float:
    """Recall of one class, a metric of one's own."""
    (scores,) = outputs.values()
    return float(np.mean(scores.argmax(axis=1)[labels == 4] == 4))


def test_a_metric_of_ones_own_guides(model: Path, given: Data, test: Data) -> None:
    options = {**FAST, "metric": recall_of_class_4, "uniform": True}
    result = netsurgeon.compress(model, given, test=test, max_drop="25%", **options).report
    assert result.search is not None
    assert result.search.evidence.measure == result.search.measured.measure == "metric"
    assert result.search.evidence.drop <= 0.25


def test_a_candidate_is_made_in_each_fold_and_delivered_from_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are called by the inputs they were corrected on; the file of one has as many bytes as its name says."""
    done: list[str] = []

    def apply_plan(steps: Any, step_context: StepContext) -> Any:
        done.append(f"corrected on {step_context.calibration.samples}")
        return SimpleNamespace(model=step_context.calibration.samples)

    def fold(corrected: str, guide: str) -> Fold:
        def estimate_drop(model: str) -> DropEstimate:
            done.append(f"{model} judged on {guide}")
            return paired_proportion_ci("top-1", 10, 9, *((2, 0) if guide == "100" else (0, 1)))

        return Fold(calibration(corrected), cast(DropEvaluator, SimpleNamespace(estimate_drop=estimate_drop)))

    def calibration(name: str) -> Calibration:
        return cast(Calibration, SimpleNamespace(samples=name, runtime=SimpleNamespace(session=str)))

    monkeypatch.setattr(candidates, "apply_plan", apply_plan)
    monkeypatch.setattr(candidates, "make_plan", lambda *_: None)
    context = SearchContext(
        dense=cast(Any, None),
        selection=cast(Any, SimpleNamespace(sizes={"a": 10})),
        folds=(fold("100", "300"), fold("300", "100")),
        calibration=calibration("999"),
        clock=cast(Any, None),
        size=cast(Any, int),
        options=Options(uniform=True, sparsity=0.5),
        progress=lambda *_: None,
        work=RunFolder(None, {}),
        steps=(),
    )
    evaluator = CandidateEvaluator(context)
    candidate = evaluator.candidate(evaluator.structure(0, None), 0.5)
    assert done == ["corrected on 100", "100 judged on 300", "corrected on 300", "300 judged on 100"]
    assert candidate.evidence == paired_proportion_ci("top-1", 20, 18, 2, 1)
    assert candidate.bytes == 200
    assert evaluator.size(candidate) == 999
    assert done[4:] == ["corrected on 999"]
    alone = CandidateEvaluator(dataclasses.replace(context, folds=(fold("999", "300"),)))
    assert alone.size(alone.candidate(alone.structure(0, None), 0.5)) == 999
    assert done[5:] == ["corrected on 999", "999 judged on 300"]


def test_the_size_of_the_file(model: Path, given: Data, test: Data, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = netsurgeon.compress(model, given, test=test, max_size="2500", output=output, **FAST).report
    assert 2_200 < output.stat().st_size <= 2_500
    assert output.stat().st_size == result.compressed.bytes
    assert result.search is not None
    assert result.search.proven is None


def test_multiply_adds_and_a_drop(model: Path, given: Data, test: Data) -> None:
    options = {**FAST, "uniform": True, "round_to": 1}
    dense = netsurgeon.compress(model, given, test=test, trim=0.01, round_to=1, **FAST).report.trim
    assert dense is not None
    limit = 0.8 * dense.macs_dense
    result = netsurgeon.compress(model, given, test=test, max_macs=limit, max_drop="15%", **options).report
    assert result.trim is not None
    assert 0.6 * limit < result.trim.macs <= limit
    assert result.search is not None
    assert result.search.evidence.drop <= 0.15
    assert {each.kind for each in result.search.points} >= {"structure", "candidate"}


@pytest.mark.parametrize(
    ("goals", "nearest"),
    [
        ({"max_size": 500}, r"[\d,]+ bytes, with [\d.]+% of the weights kept, is the smallest model found"),
        ({"max_drop": "1%", "max_size": 2000}, r"[\d,]+ bytes is the smallest model found whose drop is within 1.00%"),
        ({"max_macs": 10}, r"with all units gone that may go the model is one of [\d,]+ of [\d,]+ multiply-adds"),
        (
            {"max_macs": 400, "max_drop": ".1%", "round_to": 8},
            r"with a drop of at most 0.10% the nearest model found is one of",
        ),
    ],
)
def test_what_cannot_be_met_names_the_nearest(
    goals: Any, nearest: str, model: Path, given: Data, test: Data, tmp_path: Path
) -> None:
    with pytest.raises(CheckFailedError, match=f"cannot be met.*{nearest}"):
        netsurgeon.compress(model, given, test=test, output=tmp_path / "small.onnx", uniform=True, **goals, **FAST)
    assert not list(tmp_path.iterdir())


def test_too_few_inputs_for_a_goal() -> None:
    few = {"image": np.zeros((20, 1, 8, 8), np.float32)}
    with pytest.raises(InputError, match=r"20 inputs are too few for --max-drop 1%.* give 64 or more, or --sparsity"):
        netsurgeon.compress(DIGITS / "digits.onnx", few)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The final models are timed for a moment only."""
    monkeypatch.setattr(model_profile, "BUDGET", 0.2)
    monkeypatch.setattr(model_profile, "TRACE_SECONDS", 0.01)


@pytest.mark.usefixtures("hurried")
def test_structures_are_timed_and_the_times_reported(model: Path, given: Data, test: Data, tmp_path: Path) -> None:
    options: Any = {**FAST, "latency": "1s", "threads": 1, "timed_batch": 2}
    result = netsurgeon.compress(model, given, test=test, output=tmp_path / "small.onnx", **options).report
    assert result.search is not None
    (dense,) = result.search.timings.models.values()  # one structure is enough: the dense one is fast enough
    assert 0.0 < dense.model < 1000.0
    assert dense.speedup > 0.0
    assert result.search.timed == dense
    assert result.search.timings.machine
    assert sum(result.search.timings.nodes.values()) > 0.0
    assert result.latency is not None
    assert (result.latency.threads, result.latency.timings[0].batch) == (1, 2)
    jsonschema.Draft202012Validator(netsurgeon.report_schema()).validate(json.loads(as_json(result)))


@pytest.mark.usefixtures("hurried")
def test_recorded_times_are_replayed(model: Path, given: Data, test: Data, tmp_path: Path) -> None:
    """On the machine of the table the dense model takes two seconds, and what is left as much less as it does less."""
    table, outputs = tmp_path / "table.json", [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    table.write_text(json.dumps(_slow_machine(model, given, test)), "utf-8")
    options: Any = {**FAST, "latency": "1s", "round_to": 4}
    result = netsurgeon.compress(model, given, test=test, output=outputs[0], timings=table, **options).report
    assert result.search is not None
    assert result.search.timed is not None
    assert result.trim is not None
    assert 0.3 < result.trim.macs / result.trim.macs_dense < 0.5 / 1.02
    assert result.search.timed.model == pytest.approx(2000.0 * result.trim.macs / result.trim.macs_dense)
    assert result.latency is not None
    reported = tmp_path / "report.json"
    reported.write_text(as_json(result), "utf-8")
    netsurgeon.compress(model, given, test=test, output=outputs[1], timings=reported, **options)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def _slow_machine(model: Path, given: Data, test: Data) -> dict[str, Any]:
    options, runtime = Options(latency="1s", round_to=4, **FAST), Runtime()
    source = open_model(model, runtime)
    inputs = open_inputs(source, given, test, options)
    calibration = Calibration(inputs.calibration, runtime, options.seed)
    selection = select(source.model, options)
    structures = order_units(
        source.model, selection, calibration, candidate_options(options), lambda *_: None, {"x": 1.0}
    )
    assert structures.top > 3
    shares = [structures.macs(level) / structures.macs(0) for level in range(structures.top + 1)]
    names = [named(structures.plan(level).removed) for level in range(structures.top + 1)]
    times = [{"dense": 2000.0, "model": 2000.0 * share, "speedup": 1.0 / share} for share in shares]
    return {"machine": "made up", "nodes": {"x": 1.0}, "models": dict(zip(names, times, strict=True))}


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match=r"table\.json holds no timing table"):
        netsurgeon.compress(
            DIGITS / "digits.onnx", DIGITS / "calibration.npz", timings=tmp_path / "table.json", speedup=2
        )


def small_network() -> ir.Model:
    rng = np.random.default_rng(0)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,24] x, float[24,48] w1, float[48,6] w2) '
        "=> (float[N,6] y) { h = Gemm(x, w1) r = Relu(h) y = Gemm(r, w2) }"
    )
    for value, shape in zip(list(model.graph.inputs)[1:], ((24, 48), (48, 6)), strict=True):
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    return model


def test_where_nothing_can_be_proven_the_expected_drop_decides_and_the_drop_found_has_a_veto() -> None:
    descent = _Descent(cast(CandidateEvaluator, None), cast(Structure, None), 0.01)
    descent.has_enough = False
    unlucky, lucky, beyond = (paired_proportion_ci("top-1", 250, 210, *each) for each in ((3, 1), (9, 9), (5, 2)))
    descent.low_fidelity_estimates = [paired_proportion_ci("top-1", 250, 210, 14, 6), unlucky, lucky, beyond]
    assert unlucky.drop > UNPROVEN * 0.01
    assert descent._excess(unlucky) <= 0.0
    assert lucky.drop == 0.0
    assert descent._excess(lucky) > 0.0
    assert descent._excess(beyond) > 0.0
