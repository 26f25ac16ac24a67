"""What the judge counts, by hand, and what it refuses."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.runtime.session import Runtime, Session
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.measures import OwnMetric


def model(shift: float = 0.0, classes: int = 3) -> ir.Model:
    """The inputs, of which the last class gets `shift` added."""
    shifts = ", ".join(["0"] * (classes - 1) + [str(shift)])
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,{classes}] x) => (float[N,{classes}] y) '
        f"<float[{classes}] shift = {{{shifts}}}> {{ y = Add(x, shift) }}"
    )


def session(shift: float = 0.0, classes: int = 3) -> Session:
    return Runtime().session(model(shift, classes))


def samples(labels: Any = None, classes: int = 3) -> Samples:
    x = np.random.default_rng(0).standard_normal((90, classes)).astype(np.float32)
    arrays: dict[str, Any] = {"x": x} if labels is None else {"x": x, "labels": labels(x)}
    return open_samples(arrays, input_specs(model(classes=classes)))


def answers(shift: float) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((90, 3)).astype(np.float32)
    return np.asarray((x + np.array([0, 0, shift], np.float32)).argmax(axis=1))


def evaluator(dense: Session, given: Samples, metric: Any = None, *, name: Any = "agreement", offset: int = 0) -> Any:
    own = None if metric is None else OwnMetric(metric, offset)
    judging = Judging("metric" if own else name, label_offset=offset, own=own)
    return DropEvaluator(dense, given, judging.measure(given))


def test_agreement_without_labels() -> None:
    found = evaluator(session(), samples()).estimate_drop(session(0.5))
    differ = int((answers(0.0) != answers(0.5)).sum())
    assert differ > 0
    assert (found.measure, found.samples, found.dense, found.drop) == ("agreement", 90, 1.0, differ / 90)
    assert evaluator(session(), samples()).estimate_drop(session()).drop == 0.0


class Counting(Session):
    """A session that counts its runs."""

    def __init__(self, shift: float) -> None:
        super().__init__(session(shift)._inference)
        self.runs = 0

    def run(self, feed: Any, outputs: Any = None) -> dict[str, Any]:
        self.runs += 1
        return super().run(feed, outputs)


@pytest.mark.parametrize(("shift", "batch", "runs", "judged"), [(5.0, 4, 6, 24), (0.05, 4, 23, 90), (5.0, 5, 18, 90)])
def test_what_loses_far_too_much_is_run_on_a_part_of_the_inputs(
    shift: float, batch: int, runs: int, judged: int
) -> None:
    x = np.random.default_rng(0).standard_normal((90, 3)).astype(np.float32)
    inputs = open_samples({"x": x}, input_specs(model()), batch_size=batch)
    whole, candidate = evaluator(session(), inputs), Counting(shift)
    seen: list[float] = []
    drop = whole.estimate_rough_drop(candidate, 0.01, lambda done, count: seen.append(done / count))
    assert seen == sorted(seen)
    assert seen, "what a part settles is seen, too"
    assert (candidate.runs, drop.samples) == (runs, judged)
    if judged == 90:
        assert drop == whole.estimate_drop(session(shift)), "no input is run twice, and all have a say"
    else:
        part = np.concatenate([np.arange(start, start + 4) for start in range(0, 90, 16)])
        assert drop.drop == np.mean(answers(shift)[part] != answers(0.0)[part])


def test_top1_with_labels_counts_what_is_lost_and_what_is_gained() -> None:
    found = evaluator(session(), samples(lambda x: answers(0.25))).estimate_drop(session(0.5))
    before, after = answers(0.0) == answers(0.25), answers(0.5) == answers(0.25)
    assert found.measure == "top-1"
    assert found.dense == pytest.approx(before.mean())
    assert found.drop == pytest.approx(before.mean() - after.mean())
    assert found.spread == pytest.approx(np.std(before.astype(int) - after.astype(int)))


def test_labels_are_shifted() -> None:
    drop_evaluator = evaluator(session(), samples(lambda x: answers(0.0) - 1), offset=1)
    assert drop_evaluator.estimate_drop(session()).dense == 1.0


def test_a_metric_of_ones_own() -> None:
    def metric(outputs: Any, labels: Any) -> float:
        return float(np.mean(outputs["y"][:, 2] * labels))

    found = evaluator(session(), samples(lambda x: np.ones(90, int)), metric).estimate_drop(session(-0.25))
    assert found.measure == "metric"
    assert found.drop == pytest.approx(0.25, abs=1e-6)
    assert found.low == pytest.approx(0.25, abs=1e-6)  # the same for every input: nothing is uncertain
    labelled = samples(lambda x: (x[:, 0] > 0).astype(int))
    varied = evaluator(session(), labelled, metric).estimate_drop(session(-0.25))
    assert varied.low < varied.drop < varied.high


def test_a_metric_that_fails() -> None:
    def metric(outputs: Any, labels: Any) -> float:
        raise KeyError("nothing")

    with pytest.raises(InputError, match="metric failed with KeyError"):
        evaluator(session(), samples(), metric).estimate_drop(session())


def test_a_metric_without_a_number_for_the_dense_model() -> None:
    with pytest.raises(InputError, match="gives NaN for the dense model"):
        evaluator(session(), samples(), lambda outputs, labels: float("nan")).estimate_drop(session())


def test_outputs_where_there_are_no_classes() -> None:
    found = evaluator(session(classes=1), samples(classes=1), name="outputs").estimate_drop(session(0.1, classes=1))
    x = np.random.default_rng(0).standard_normal((90, 1)).astype(np.float32)
    assert found.measure == "outputs"
    assert found.drop == pytest.approx(0.01 / float(np.mean(x.astype(np.float64) ** 2)), rel=1e-4)


def test_all_is_lost_of_an_output_that_was_zero() -> None:
    zero, same = session(0.0, classes=1), samples(classes=1)
    scaled = Runtime().session(
        ir.from_onnx_text(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[N,1] x) => (float[N,1] y) '
            "<float[1] factor = {0}> { y = Mul(x, factor) }"
        )
    )
    assert evaluator(scaled, same, name="outputs").estimate_drop(zero).drop == 1.0
    assert evaluator(scaled, same, name="outputs").estimate_drop(scaled).drop == 0.0


def test_an_output_without_a_batch_axis_counts_whole() -> None:
    def scaled(factor: float) -> Session:
        text = (
            '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,1] each, float all) '
            f"<float factor = {{{factor}}}> "
            "{ y = Mul(x, factor) each = ReduceMean<axes = [1]>(y) all = ReduceMean<keepdims = 0>(y) }"
        )
        return Runtime().session(ir.from_onnx_text(text))

    found = evaluator(scaled(1.0), samples(), name="outputs").estimate_drop(scaled(0.9))
    assert (found.measure, found.samples) == ("outputs", 3), "one a feed: samples of one are not independent"
    assert found.drop == pytest.approx(0.01, rel=1e-4)


def test_numbers_that_are_infinite_and_stay_so_are_left_out() -> None:
    def masked(factor: float, mask: str) -> Session:
        text = (
            '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3,1] z) '
            f"<float factor = {{{factor}}}, float[3] mask = {{1, 1, {mask}}}, int64[1] last = {{2}}> "
            "{ y = Mul(x, factor) l = Log(mask) s = Add(y, l) z = Unsqueeze(s, last) }"
        )
        return Runtime().session(ir.from_onnx_text(text))

    found = evaluator(masked(1.0, "0"), samples(), name="outputs").estimate_drop(masked(0.9, "0"))
    assert found.samples == 90
    assert found.drop == pytest.approx(0.01, rel=1e-4)
    with pytest.raises(CheckFailedError, match="infinite where it was not"):
        evaluator(masked(1.0, "1"), samples(), name="outputs").estimate_drop(masked(0.9, "0"))
