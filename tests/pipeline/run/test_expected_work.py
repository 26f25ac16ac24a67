"""What a run is expected to do is what it does, whatever is asked for."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from perceptron_models import DIGITS, UNIFORM, built, inputs, perceptron, random
from searched_models import labelled, small_network

from netsurgeon.pipeline.calibration import Calibration, select
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.options import options as checked_options
from netsurgeon.pipeline.progress import CANDIDATES, RunProgress, Status, Step, Work
from netsurgeon.pipeline.run.expected_work import REPAIRED, ExpectedWork, seconds_of_an_input
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.verification import open_inputs

RUNTIME = Runtime()


def expected(
    count: int = 400, seconds: float = 0.01, model: onnx.ModelProto | None = None, **chosen: Any
) -> ExpectedWork:
    options = Options(**chosen)
    source = open_model(model or perceptron(), RUNTIME)
    (entry,) = source.model.graph.inputs
    assert entry.shape is not None
    assert isinstance(entry.shape[1], int)
    data = open_inputs(source, random(count, entry.shape[1], seed=2), None, options)
    return ExpectedWork(
        dense=source.model,
        selection=select(source.model, options),
        calibration=Calibration(data.calibration, RUNTIME),
        inputs=data,
        options=options,
        seconds=seconds,
    )


def works(work: ExpectedWork) -> dict[str, Work]:
    return {one.stage: one for step in work.steps() for one in step.works}


def names(work: ExpectedWork) -> list[str]:
    return [step.name for step in work.steps()]


def test_what_is_asked_for_says_which_steps_there_are() -> None:
    assert names(expected(sparsity=0.5, uniform=True)) == ["opening", "pruning", "packing", "validating", "writing"]
    assert names(expected(trim=0.3, profile=True)) == [
        "opening",
        "choosing units",
        "pruning",
        "packing",
        "validating",
        "timing",
        "writing",
    ]
    assert names(expected(max_drop=0.05, quantize="none")) == [
        "opening",
        "judging the dense model",
        "measuring layers",
        "making candidates",
        "making the chosen model",
        "validating",
        "writing",
    ]
    assert "timing integers" in names(expected(max_drop=0.05))
    assert "timing structures" in names(expected(speedup=1.1))


@pytest.mark.parametrize(
    ("asked", "visits"),
    [({"max_drop": "5%"}, 3), ({"max_size": "2KB"}, 1), ({"sparsity": 0.5}, 1), ({}, 0), ({"target": "cpu"}, 0)],
)
def test_sparse_kernels_are_timed_where_there_are_zeros_for_them(
    asked: dict[str, Any], visits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_options, "can_run", lambda _: True)
    sparse = works(expected(**{"target": "cpu-sparse", "quantize": "int8", **asked}))["timing sparse kernels"]
    assert sparse.visits == visits


def test_of_few_inputs_each_half_makes_candidates_and_all_make_the_delivered_model() -> None:
    halves = expected(max_drop=0.01, quantize="none")
    assert len(halves.inputs.folds) == 2
    pruning = works(halves)["pruning layers"]
    assert (pruning.of_a_candidate, pruning.visits) == (2, 1)
    assert works(halves)["measuring layers"].visits == 2
    whole = works(expected(max_size="2KB"))["pruning layers"]
    assert (whole.of_a_candidate, whole.visits) == (1, 0)


def test_the_delivered_model_of_many_inputs_takes_longer_than_its_candidates() -> None:
    pruning = works(expected(8000, max_drop=0.01, quantize="none"))["pruning layers"]
    assert pruning.of_a_candidate == 1
    assert 1.0 <= pruning.visits < 2.0
    assert pruning.last > 2.0


def test_slower_models_and_more_inputs_take_longer() -> None:
    one, slower, more = (
        works(work)
        for work in (expected(sparsity=0.5), expected(seconds=0.02, sparsity=0.5), expected(800, sparsity=0.5))
    )
    for stage in ("measuring layers", "pruning layers", "validating"):
        assert one[stage].seconds < slower[stage].seconds
        assert one[stage].seconds < more[stage].seconds


def one_layer(columns: int) -> onnx.ModelProto:
    nodes = [onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer")]
    return built(nodes, {"w": random(columns, 64), "b": random(64)}, entry=("N", columns), end=("N", 64))


def test_wide_layers_are_iterated_on_and_plans_of_the_widest_are_not_tried() -> None:
    narrow, wide, widest = (
        works(expected(model=one_layer(columns), seconds=0.0, sparsity=0.5)) for columns in (1024, 1088, 2400)
    )
    for stage in ("measuring layers", "pruning layers"):
        assert wide[stage].seconds < 0.7 * narrow[stage].seconds
        assert wide[stage].seconds < widest[stage].seconds
    assert narrow["trying plans"].seconds > wide["trying plans"].seconds > 0.0
    assert widest["trying plans"].seconds == 0.0


def test_an_input_takes_some_time() -> None:
    source = open_model(perceptron(), RUNTIME)
    samples = open_inputs(source, inputs(64), None, Options(sparsity=0.5)).calibration
    assert 0.0 < seconds_of_an_input(RUNTIME.session(source.original), samples, time.perf_counter) < 1.0


class Recorder(RunProgress):
    """Keeps what was expected and what was told."""

    def __init__(self) -> None:
        self.statuses: list[Status] = []
        self.steps: list[Step] = []
        super().__init__(self.statuses.append)

    def expect(self, steps: Any) -> None:
        self.steps = list(steps)
        super().expect(steps)


RUNS: Mapping[str, dict[str, Any]] = {
    "sparsity": {"sparsity": 0.5},
    "trim": {"trim": 0.3, **UNIFORM},
    "integers": {"quantize": "int8"},
    "size": {"max_size": "4KB", **UNIFORM},
    "macs": {"max_macs": 3000, **UNIFORM},
}


@pytest.mark.parametrize("name", RUNS)
def test_every_stage_of_a_run_is_expected_and_steps_go_forwards(name: str, tmp_path: Path) -> None:
    recorder = Recorder()
    compress(perceptron(), inputs(), output=tmp_path / "small.onnx", progress=recorder, **RUNS[name])
    known = {work.stage for step in recorder.steps for work in step.works}
    assert {status.stage for status in recorder.statuses} <= known
    numbers = [status.step for status in recorder.statuses if status.steps]
    assert numbers == sorted(numbers)
    assert recorder.steps[numbers[-1] - 1].name in ("writing", "timing the delivered model")
    assert all(status.left is not None and status.left >= 0.0 for status in recorder.statuses if status.steps)


def test_a_goal_is_forecast_from_the_start(tmp_path: Path) -> None:
    recorder, network = Recorder(), small_network()
    data, test = labelled(network, 200, seed=1), labelled(network, 300, seed=2)
    goals: dict[str, Any] = {"max_drop": "5%", "threads": 1, "method": "obs", "damping": 0.01}
    compress(network, data, test=test, output=tmp_path / "small.onnx", progress=recorder, **goals)
    made = [status for status in recorder.statuses if status.stage == CANDIDATES]
    assert all(1 <= status.candidate <= status.candidates for status in made)
    first = next(status for status in recorder.statuses if status.steps)
    assert first.left is not None
    assert first.left > 0.0
    known = {work.stage for step in recorder.steps for work in step.works}
    assert {status.stage for status in recorder.statuses} <= known


def behind_unknown(front: int = 32, back: int = 24) -> onnx.ModelProto:
    """A layer, an operator that PyTorch lacks, and two more layers."""
    lines = [("MatMul", ["x", "u"], "f", "zero"), ("Celu", ["f"], "c", "unknown"), ("MatMul", ["c", "w"], "h", "first")]
    lines += [("Relu", ["h"], "r", "relu"), ("MatMul", ["r", "v"], "y", "second")]
    nodes = [onnx.helper.make_node(kind, entering, [end], name=name) for kind, entering, end, name in lines]
    return built(nodes, {"u": random(32, front), "w": random(front, back), "v": random(back, 10)})


def test_stretches_of_a_repair_are_expected_beside_what_lies_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("netsurgeon.pipeline.repair.repair.MOST_STEPS", 20)
    recorder = Recorder()
    compress(behind_unknown(), inputs(100), progress=recorder, sparsity=0.5, repair=True, **UNIFORM)
    known = {work.stage: work for step in recorder.steps for work in step.works}
    stages = {status.stage for status in recorder.statuses}
    assert "repairing stretch 1" in stages
    assert stages <= known.keys()


def test_a_stretch_takes_as_long_as_there_is_to_do_in_it_and_in_front_of_it() -> None:
    pytest.importorskip("torch")

    def seconds(**sizes: int) -> tuple[float, float]:
        stages = works(expected(model=behind_unknown(**sizes), sparsity=0.5, repair=True))
        return stages["repairing"].seconds, stages["repairing stretch 1"].seconds

    (front, stretch), (wide_front, after_wide) = seconds(), seconds(front=320)
    assert wide_front > front, "a larger part of the model"
    assert front + stretch == pytest.approx(works(expected(sparsity=0.5, repair=True))["repairing"].seconds, rel=0.6)
    parts = np.array([320 * 32, 320 * 24 + 24 * 10])  # multiply-adds in front, and of the stretch
    own, behind = parts / parts.sum()
    assert after_wide / wide_front == pytest.approx((REPAIRED * behind + 2.0 - behind) / (REPAIRED * own), rel=0.01)
    unrepaired = works(expected(sparsity=0.5))
    assert "repairing" not in unrepaired or unrepaired["repairing"].seconds == 0.0


class Simulated(Recorder):
    """A run in which every stage takes just what was predicted of a visit, so that only their number can be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.predicted = 0.0, dict[str, float]()
        self.clock = lambda: self.now

    def expect(self, steps: Any) -> None:
        self.predicted = {work.stage: work.seconds for step in steps for work in step.works}
        super().expect(steps)

    def __call__(self, stage: str, done: int, count: int) -> None:
        before = self.status().stage
        if stage != before:
            self.now += self.predicted.get(before, 0.0)
        super().__call__(stage, done, count)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"max_drop": "5%", "effort": "fast", "quantize": "none"}])
def test_the_parts_of_a_run_add_up_to_its_forecast(options: dict[str, Any], tmp_path: Path) -> None:
    run = Simulated()
    compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        output=tmp_path / "small.onnx",
        progress=run,
        threads=1,
        **options,
    )
    forecast = next(status.left for status in run.statuses if status.steps)
    assert forecast is not None
    assert run.now / 1.5 < forecast < 1.5 * run.now
