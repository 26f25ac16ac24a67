"""Validation: every number against one computed by hand, and every refusal."""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.runtime.session import Session
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.measures import OwnMetric, load_metric
from netsurgeon.pipeline.verification.validation import Scores, Validation, validate

Array = NDArray[Any]
SPECS = (InputSpec("x", np.dtype(np.float32), (None, 1)),)


class Answers(Session):
    """A session that gives fixed answers, row i for the sample whose value is i."""

    def __init__(self, **outputs: Array):
        self.answers = outputs

    def run(self, feed: Any, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        del outputs
        rows = np.asarray(feed["x"], np.intp).ravel()
        return {name: values[rows] for name, values in self.answers.items()}


def samples(count: int, labels: Sequence[int] | None = None, batch_size: int = 2) -> Samples:
    source = {"x": np.arange(count, dtype=np.float32)[:, None]}
    if labels is not None:
        source["labels"] = np.array(labels)
    return open_samples(source, SPECS, batch_size=batch_size)


def judged(outputs: Array, metric: Any = None, offset: int = 0) -> Judging:
    """By the metric, else by top classes where the outputs are vectors of floats."""
    if metric is not None:
        return Judging("metric", label_offset=offset, own=OwnMetric(load_metric(metric), offset))
    is_scores = outputs.dtype.kind == "f" and outputs[0].ndim and outputs[0].size == max(outputs.shape[1:]) > 1
    return Judging("agreement" if is_scores else "outputs", label_offset=offset)


def both(
    dense: Array,
    compressed: Array,
    labels: Sequence[int] | None = None,
    *,
    metric: Any = None,
    label_offset: int = 0,
) -> Validation:
    judging = judged(dense, metric, label_offset)
    given = samples(len(dense), labels)
    return validate(Answers(y=dense), Answers(y=compressed), given, held_out=True, judging=judging)


def scores(*best: int, classes: int = 10) -> Array:
    """Class scores with the given top class, the class after it second, and so on."""
    order = (np.arange(classes)[None, :] - np.array(best)[:, None]) % classes
    return np.asarray(classes - order, np.float32)


# Fidelity


def test_relative_error_and_snr() -> None:
    dense = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 5.0]], np.float32)
    compressed = dense + np.array([[0.0, 0.3], [0.0, 0.0], [0.4, 0.0]], np.float32)
    (output,) = both(dense, compressed).outputs
    assert output.output == "y"
    assert output.relative_error == pytest.approx(0.5 / math.sqrt(50.0), rel=1e-5)
    assert output.snr_db == pytest.approx(10.0 * math.log10(50.0 / 0.25), rel=1e-5)


def test_equal_outputs() -> None:
    dense = scores(1, 2, 3)
    result = both(dense, dense.copy())
    assert (result.outputs[0].relative_error, result.outputs[0].snr_db) == (0.0, math.inf)
    assert result.agreement == 1.0
    assert (result.samples, result.held_out) == (3, True)
    assert result.dense == result.compressed == Scores(None, None, None)


def test_output_that_was_zero() -> None:
    (output,) = both(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)).outputs
    assert (output.relative_error, output.snr_db) == (math.inf, -math.inf)


def test_values_that_were_not_finite_are_left_out() -> None:
    dense = np.array([[1.0, np.nan], [np.inf, 2.0]], np.float32)
    compressed = np.array([[1.0, 7.0], [8.0, 1.0]], np.float32)
    (output,) = both(dense, compressed).outputs
    assert output.relative_error == pytest.approx(1.0 / math.sqrt(5.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_any_more_fail(value: float) -> None:
    with pytest.raises(CheckFailedError, match="'y' of the compressed model is NaN or infinite"):
        both(scores(1, 2), np.full((2, 10), value, np.float32))


def test_another_type_fails() -> None:
    with pytest.raises(CheckFailedError, match="float64 after compression, float32 before"):
        both(scores(1, 2), scores(1, 2).astype(np.float64))


def test_another_shape_has_no_error_but_is_listed() -> None:
    (output,) = both(scores(1, 2), scores(1, 2, classes=9)).outputs
    assert math.isnan(output.relative_error)
    assert math.isnan(output.snr_db)


@pytest.mark.parametrize(("answers", "alike"), [((1, 2, 3), 1), ((1, 2, 2), 2), ((3, 3, 3), 3)])
def test_inputs_with_one_and_the_same_output_are_counted(answers: tuple[int, ...], alike: int) -> None:
    result = both(scores(*answers), scores(1, 2, 3))
    (output,) = result.outputs
    assert output.alike == alike
    assert result.is_alike(output) is (alike > 1)


def test_integers_have_no_error_but_a_share_of_equal_ones() -> None:
    numbers = np.arange(6).reshape(3, 2)
    result = both(numbers, np.where(numbers == 4, 7, numbers))
    assert result.outputs == ()
    assert result.agreement is None
    (integers,) = result.agreements
    assert (integers.output, integers.kind, integers.entries, integers.equal) == ("y", "integers", 6, 5)


# Accuracy


def test_top1_top5_and_agreement() -> None:
    # second model: right, third class right, sixth class right, wrong as before
    labels = [0, 1, 2, 3]
    result = both(scores(0, 1, 2, 9), scores(0, 9, 7, 9), labels)
    assert result.dense == Scores(top1=0.75, top5=1.0, metric=None)
    assert result.compressed == Scores(top1=0.25, top5=0.75, metric=None)
    assert result.agreement == 0.5


def test_few_classes_have_no_top5() -> None:
    result = both(scores(0, 1, classes=5), scores(0, 2, classes=5), [0, 1])
    assert result.dense == Scores(1.0, None, None)
    assert result.compressed == Scores(0.5, None, None)
    assert both(scores(0, 1, classes=6), scores(0, 2, classes=6), [0, 1]).dense.top5 == 1.0


def test_scores_may_have_axes_of_one() -> None:
    dense = scores(0, 1, 2).reshape(3, 10, 1, 1)
    assert both(dense, dense, [0, 1, 0]).dense.top1 == pytest.approx(2 / 3)


def test_maps_are_no_class_scores() -> None:
    maps = np.ones((2, 10, 4, 4), np.float32)
    result = both(maps, maps, [0, 1])
    assert result.agreement is None
    assert result.dense == Scores(None, None, None)


def test_label_offset() -> None:
    dense = scores(1, 2, 3)
    assert both(dense, dense, [0, 1, 2], label_offset=1).dense.top1 == 1.0
    assert both(dense, dense, [0, 1, 2]).dense.top1 == 0.0


@pytest.mark.parametrize(
    ("labels", "offset", "message"),
    [([0, 10], 0, "label 10 "), ([0, -1], 0, "label -1 "), ([0, 9], 1, r"label 9 \(with label offset 1\)")],
)
def test_labels_out_of_range(labels: list[int], offset: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        both(scores(0, 1), scores(0, 1), labels, label_offset=offset)


# A metric of the user's


def test_metric_sees_all_outputs_and_labels() -> None:
    seen: list[tuple[dict[str, Array], Array]] = []

    def metric(outputs: dict[str, Array], labels: Array) -> float:
        seen.append((outputs, labels))
        return float(outputs["y"].sum())

    dense, compressed = scores(0, 1, 2), 2.0 * scores(0, 1, 2)
    result = both(dense, compressed, [4, 5, 6], metric=metric)
    assert (result.dense.metric, result.compressed.metric) == (165.0, 330.0)
    np.testing.assert_array_equal(seen[0][0]["y"], dense)
    np.testing.assert_array_equal(seen[1][0]["y"], compressed)
    np.testing.assert_array_equal(seen[0][1], [4, 5, 6])


def test_metric_without_labels() -> None:
    result = both(scores(0), scores(0), metric=lambda outputs, labels: 1.0 if labels is None else 0.0)
    assert result.dense.metric == 1.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("metrics_of_mine", None)


def test_metric_by_name(folder: Path) -> None:
    (folder / "metrics_of_mine.py").write_text("def worst(outputs, labels):\n    return outputs['y'].min()\n")
    assert both(scores(0), scores(0), metric="metrics_of_mine:worst").dense.metric == 1.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metrics_of_mine", "expected module:function"),
        (":worst", "expected module:function"),
        ("no_such_module:worst", "cannot be imported"),
        ("metrics_of_mine:best", "cannot be imported"),
        ("metrics_of_mine:LIMIT", "is of type .*: expected a function"),
    ],
)
def test_metric_that_is_not_there(folder: Path, name: str, message: str) -> None:
    (folder / "metrics_of_mine.py").write_text("LIMIT = 3\n")
    with pytest.raises(InputError, match=message):
        load_metric(name)


@pytest.mark.parametrize("metric", [lambda outputs, labels: outputs["z"], lambda outputs, labels: "much"])
def test_metric_that_fails(metric: Any) -> None:
    with pytest.raises(InputError, match=r"the metric <lambda> failed with \w+Error \(.*outputs by name: y$"):
        both(scores(0), scores(0), metric=metric)


def test_metric_that_ends_the_process() -> None:
    with pytest.raises(InputError, match="failed with SystemExit"):
        both(scores(0), scores(0), metric=lambda outputs, labels: sys.exit(3))


def test_metric_on_outputs_that_cannot_be_joined() -> None:
    class Grows(Answers):
        def run(self, feed: Any, outputs: Sequence[str] | None = None) -> dict[str, Any]:
            del outputs
            return {"y": np.ones((1, int(np.max(feed["x"])) + 1), np.float32)}

    with pytest.raises(InputError, match=r"cannot be joined for the metric .*: give a --batch-size"):
        validate(Grows(), Grows(), samples(4), held_out=True, judging=judged(np.ones(4), lambda outputs, labels: 1.0))
