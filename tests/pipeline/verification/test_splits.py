"""How the data is divided between corrections, the search and the report."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from perceptron_models import UNIFORM, built, inputs, perceptron, random
from PIL import Image

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.confidence import FEWEST_INPUTS_TO_PROVE, least_inputs
from netsurgeon.pipeline.verification.splits import MOST_CORRECTED, Inputs, open_inputs

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits" / "digits.onnx"


def divided(count: int, *, test: bool = True, **options: Any) -> Inputs:
    """Images of which all numbers are the image's own; the test images are the same, backwards."""
    images = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, 1, 8, 8))
    given = Options(**options)
    return open_inputs(
        open_model(DIGITS, Runtime()), {"image": images}, {"image": images[::-1]} if test else None, given
    )


def numbers(samples: Samples) -> set[int]:
    return {int(each) for feed in samples.batches() for each in feed["image"][:, 0, 0, 0]}


def test_few_inputs_take_turns() -> None:
    found = divided(100)
    first, second = found.folds
    assert numbers(first.corrected) == numbers(second.guide)
    assert numbers(second.corrected) == numbers(first.guide)
    assert numbers(first.corrected).isdisjoint(numbers(first.guide))
    assert found.guide is not None
    assert numbers(found.calibration) == numbers(found.guide) == set(range(100))


@pytest.mark.parametrize(("shift", "held_out"), [(0.0, False), (1.0, True)])
def test_test_inputs_that_are_the_calibration_inputs_under_another_name_are_not_held_out(
    tmp_path: Path, shift: float, held_out: bool
) -> None:
    images = np.random.default_rng(0).standard_normal((80, 1, 8, 8)).astype(np.float32)
    for name, numbers_of_file in (("data", images), ("test", images + np.float32(shift))):
        np.savez(tmp_path / f"{name}.npz", image=numbers_of_file)
    data, test = tmp_path / "data.npz", tmp_path / "test.npz"
    for options in (Options(sparsity=0.5), Options(max_drop=0.1)):
        inputs_of_options = open_inputs(open_model(DIGITS, Runtime()), data, test, options)
        assert inputs_of_options.held_out == held_out
        assert inputs_of_options.held.count == 80


def test_a_measurement_on_the_calibration_inputs_is_warned_of() -> None:
    report = compress(perceptron(), inputs(), test=inputs(), sparsity=0.8, **UNIFORM).report
    assert not report.validation.held_out
    assert "not-held-out" in [warning.code for warning in report.warnings]


def test_what_is_held_out_guides_nothing() -> None:
    found = divided(100, test=False)
    held = numbers(found.held)
    assert len(held) == 12
    assert all(held.isdisjoint(numbers(each.corrected) | numbers(each.guide)) for each in found.folds)
    assert held.isdisjoint(numbers(found.calibration))


@pytest.mark.parametrize(
    "goals",
    [
        {"max_size": 9000},
        {"max_drop": 0.01, "speedup": 2},
        {"max_drop": 0.01, "trim": 0.1},
        {"max_drop": 0.01, "metric": "module:function"},
    ],
)
def test_halves_take_no_turns_where_units_go_or_a_metric_decides_or_no_drop_is_asked_for(goals: Any) -> None:
    found = divided(100, **goals)
    (fold,) = found.folds
    assert found.guide is fold.guide
    assert numbers(found.calibration) == numbers(fold.corrected)
    assert numbers(fold.corrected).isdisjoint(numbers(fold.guide))


@pytest.mark.parametrize(("more", "folds"), [(-4, 2), (0, 1)])
def test_halves_take_turns_while_half_of_one_cannot_tell(more: int, folds: int) -> None:
    enough = 4 * FEWEST_INPUTS_TO_PROVE * least_inputs(0.05)
    assert len(divided(enough + more, max_drop=0.05).folds) == folds


@pytest.mark.parametrize(("more", "folds"), [(0, 2), (1, 1)])
def test_no_more_is_corrected_on_than_helps(more: int, folds: int) -> None:
    found = divided(2 * MOST_CORRECTED + more, max_drop=0.0005)
    assert [each.corrected.count for each in found.folds] == [MOST_CORRECTED] * folds


def test_halves_of_whole_feeds_where_the_batch_is_fixed() -> None:
    model = onnx.load(DIGITS)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    images = {"image": np.zeros((103, 1, 8, 8), np.float32)}
    found = open_inputs(open_model(model, Runtime()), images, images, Options())
    assert sorted(each.guide.count for each in found.folds) == [48, 52]
    assert found.guide is not None
    assert found.guide.count == found.calibration.count == 100


def test_mirror_images_are_corrected_on_but_guide_nothing(tmp_path: Path) -> None:
    for number in range(80):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    pictures = PictureOptions(channels="grey", mirror=True)
    found = open_inputs(open_model(DIGITS, Runtime()), tmp_path, tmp_path, Options(pictures=pictures))
    assert [(each.corrected.fed, each.guide.fed) for each in found.folds] == [(80, 40), (80, 40)]
    assert found.calibration.fed == 160
    assert found.guide is not None
    assert found.guide.fed == 80


def test_halves_are_corrected_on_mirror_images_and_measured_without(tmp_path: Path) -> None:
    for number in range(20):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    options = Options(pictures=PictureOptions(channels="grey", mirror=True), sparsity=0.5)
    divided_inputs = open_inputs(open_model(DIGITS, Runtime()), tmp_path, None, options)
    assert [(fold.corrected.fed, fold.guide.fed) for fold in divided_inputs.halves] == [(20, 10), (20, 10)]
    assert divided_inputs.calibration.fed == 40


def test_fixed_batch_of_one() -> None:
    report = compress(perceptron(batch=1), inputs(), sparsity=0.8, keep_unread=True, **UNIFORM).report
    assert report.validation.samples == 10
    assert report.sparsity == pytest.approx(0.8, abs=1e-3)


def test_fixed_batch_too_large_to_hold_any_out() -> None:
    report = compress(perceptron(batch=40), inputs(), sparsity=0.8, **UNIFORM).report
    assert (report.validation.samples, report.validation.held_out, report.validation.folds) == (80, True, 2)


def test_no_batch_axis() -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="first")]
    model = built(nodes, {"w": random(32, 10)}, entry=(32,), end=(10,))
    report = compress(model, [{"x": row} for row in inputs()], sparsity=0.5, **UNIFORM).report
    assert report.sparsity == 0.5
    assert report.validation.agreement is None
