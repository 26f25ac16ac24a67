"""Inputs are opened as the options say, whichever command asks, and divided between corrections, search and report."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import DIGITS, UNIFORM, built, inputs, perceptron, random
from PIL import Image

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification import inputs as verification_inputs
from netsurgeon.pipeline.verification.inputs import MOST_CORRECTED, Few, Inputs, open_by_options, open_inputs
from netsurgeon.pipeline.verification.measures.confidence import FEWEST_INPUTS_TO_PROVE, least_inputs

DIGITS_MODEL = DIGITS / "digits.onnx"
WAVE = "(float[L] x) => (float[L] y) {} {{ s = Reshape(x, signal) c = Conv<pads = [2, 2]>(s, k) y = Reshape(c, flat) }}"


def opened(limit: int | None = None, batch: int | str = "N", **options: Any) -> Samples:
    return open_by_options(open_model(perceptron(batch=batch), Runtime()), inputs(50), Options(**options), limit)


def rows(samples: Samples) -> np.ndarray:
    return np.concatenate([feed["x"] for feed in samples.batches()])


@pytest.mark.parametrize(("size", "feeds"), [(1, [1] * 50), (32, [32, 18]), (1000, [50])])
def test_the_batch_size_is_that_of_the_options(size: int, feeds: list[int]) -> None:
    samples = opened(batch_size=size)
    assert [len(feed["x"]) for feed in samples.batches()] == feeds
    np.testing.assert_array_equal(rows(samples), inputs(50))


def test_a_fixed_batch_wins_over_the_options() -> None:
    samples = opened(batch=4, batch_size=32)
    assert {len(feed["x"]) for feed in samples.batches()} == {4}
    assert samples.count == 48


def test_the_limit_is_the_callers_and_drawn_by_the_seed() -> None:
    """The options' own limit is for calibration inputs; test inputs are opened without it."""
    assert opened(limit=None, sparsity=0.5).count == 50
    drawn = rows(opened(limit=10, seed=0))
    assert drawn.shape == (10, 32)
    assert {row.tobytes() for row in drawn} <= {row.tobytes() for row in inputs(50)}
    np.testing.assert_array_equal(rows(opened(limit=10, seed=0)), drawn)
    assert not np.array_equal(rows(opened(limit=10, seed=1)), drawn)


def test_pictures_and_classes_are_read_as_the_options_say(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 100 * (number + 1), np.uint8)).save(tmp_path / name / "one.png")
    (tmp_path / "classes.txt").write_text("dog\ncat\n", "utf-8")
    source = open_model(DIGITS_MODEL, Runtime())
    options = Options(pictures=PictureOptions(channels="grey", scale=0.01), classes=tmp_path / "classes.txt")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("cat", "dog"):
        (tmp_path / name).rename(folder / name)
    samples = open_by_options(source, folder, options)
    (feed,) = samples.batches()
    np.testing.assert_allclose(feed["image"][:, 0, 0, 0], [1.0, 2.0], rtol=1e-6)
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0]


def test_data_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(InputError):
        open_by_options(open_model(perceptron(), Runtime()), np.zeros((4, 31), np.float32), Options())


def graph(text: str) -> Any:
    kernel = "<float[1, 1, 5] k = {1, 2, 3, 2, 1}, int64[3] signal = {1, 1, -1}, int64[1] flat = {-1}, "
    kernel += "int64[2] one = {1, 4}, int64[3] columns = {4, 1, -1}, int64[2] rows = {4, -1}>"
    return open_model(
        ir.to_proto(ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> g {text.format(kernel)}')), Runtime()
    )


def test_a_signal_is_fed_whole_though_its_length_is_free() -> None:
    """Cut into pieces of 32 entries it would lose what lies across the cuts, and every figure would flatter."""
    wave = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    samples = open_by_options(graph(WAVE), {"x": wave}, Options())
    (feed,) = samples.batches()
    np.testing.assert_array_equal(feed["x"], wave)
    assert samples.count == 1
    assert [warning.code for warning in samples.warnings] == ["no-batch-axis"]


def test_whether_axis_0_is_a_batch_shows_on_samples_of_one_length() -> None:
    """The first two samples differ in length: they cannot be run together."""
    text = "(float[N, S] x) => (float[N, S] y) {} {{ y = Relu(x) unused = Identity(k) }}"
    samples = open_by_options(graph(text), [np.full(length, 1.0, np.float32) for length in (7, 3, 5, 3)], Options())
    assert [feed["x"].shape for feed in samples.batches()] == [(1, 7), (2, 3), (1, 5)]
    assert samples.warnings == ()


def silence(before: int, sound: int) -> np.ndarray:
    return np.concatenate([np.zeros(before), np.random.default_rng(0).standard_normal(sound)]).astype(np.float32)


@pytest.mark.parametrize("wave", [silence(500, 500), silence(990, 10), silence(1000, 0)], ids=["half", "most", "all"])
def test_a_signal_that_begins_with_silence_is_fed_whole(wave: np.ndarray) -> None:
    """Where two entries are zero neither shows in the other, as if axis 0 were a batch."""
    samples = open_by_options(graph(WAVE), {"x": wave}, Options())
    assert samples.count == 1
    assert [warning.code for warning in samples.warnings] == ["no-batch-axis"]


def test_a_filter_that_skips_neighbours_is_seen() -> None:
    dilated = WAVE.replace("pads = [2, 2]", "pads = [8, 8], dilations = [4]")
    samples = open_by_options(graph(dilated), {"x": silence(0, 1000)}, Options())
    assert samples.count == 1


FRAMES = (
    "(float[T, 4] x) => (float[T, 4] y) {} "
    "{{ a = Transpose<perm = [1, 0]>(x) s = Reshape(a, columns) c = Conv<pads = [2, 2]>(s, k) "
    "f = Reshape(c, rows) y = Transpose<perm = [1, 0]>(f) }}"
)


def test_frames_that_begin_with_silence_are_fed_whole() -> None:
    frames = np.concatenate([np.zeros((300, 4)), np.random.default_rng(0).standard_normal((700, 4))])
    samples = open_by_options(graph(FRAMES), {"x": frames.astype(np.float32)}, Options())
    assert samples.count == 1


@pytest.mark.parametrize("rows", [inputs(100)[:, :4], np.ones((100, 4), np.float32)], ids=["different", "the same"])
def test_rows_of_a_table_stay_samples(rows: np.ndarray) -> None:
    text = "(float[N, 4] x) => (float[N, 4] y) {} {{ y = Softmax(x) }}"
    samples = open_by_options(graph(text), rows, Options())
    assert samples.count == 100
    assert samples.warnings == ()


def test_signals_of_several_lengths_are_a_sample_each(tmp_path: Path) -> None:
    lengths = (100, 250, 70)
    for number, length in enumerate(lengths):
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(number).standard_normal(length).astype(np.float32))
    samples = open_by_options(graph(WAVE), tmp_path, Options())
    assert [len(feed["x"]) for feed in samples.batches()] == list(lengths)
    assert samples.count == 3


def test_a_batch_that_the_graph_cannot_use_is_run_one_by_one() -> None:
    text = "(float[N, 4] x) => (float[N, 4] y) {} {{ r = Reshape(x, one) y = Relu(r) }}"
    samples = open_by_options(graph(text), inputs(20)[:, :4], Options())
    assert [len(feed["x"]) for feed in samples.batches()] == [1] * 20
    assert [warning.code for warning in samples.warnings] == ["batch-unusable"]


@pytest.mark.parametrize(
    "text",
    [
        "(float[N, 4] x) => (float[N, 4] y) {} {{ y = Relu(x) }}",
        "(float[N, 4] x) => (float[N, 4] y, float[1] z) {} {{ y = Relu(x) z = ReduceSum<keepdims = 0>(x, flat) }}",
        "(float[N, 4] x) => (float[N, 4] y) {} {{ r = RandomNormalLike(x) y = Add(x, r) }}",
        "(float[N, 4] x) => (int64[N] y) {} {{ y = ArgMax<axis = 1, keepdims = 0>(x) }}",
    ],
)
def test_where_one_output_has_a_row_for_each_sample_axis_0_is_the_batch(text: str) -> None:
    samples = open_by_options(graph(text), inputs(20)[:, :4], Options())
    assert [len(feed["x"]) for feed in samples.batches()] == [20]
    assert samples.warnings == ()


def divided(count: int, *, test: bool = True, **options: Any) -> Inputs:
    """Images of which all numbers are the image's own; the test images are the same, backwards."""
    images = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, 1, 8, 8))
    source, test_images = open_model(DIGITS_MODEL, Runtime()), {"image": images[::-1]} if test else None
    return open_inputs(source, {"image": images}, test_images, Options(**options))


def numbers(samples: Samples) -> set[int]:
    return {int(number) for feed in samples.batches() for number in feed["image"][:, 0, 0, 0]}


def test_few_inputs_take_turns() -> None:
    split = divided(100)
    first, second = split.folds
    assert numbers(first.corrected) == numbers(second.guide)
    assert numbers(second.corrected) == numbers(first.guide)
    assert numbers(first.corrected).isdisjoint(numbers(first.guide))
    assert split.guide is not None
    assert numbers(split.calibration) == numbers(split.guide) == set(range(100))


@pytest.mark.parametrize(("differing", "held_out"), [(0, False), (80, True), (1, True)])
def test_test_inputs_that_are_the_calibration_inputs_under_another_name_are_not_held_out(
    tmp_path: Path, differing: int, held_out: bool
) -> None:
    """They may differ in the last alone."""
    images = np.random.default_rng(0).standard_normal((80, 1, 8, 8)).astype(np.float32)
    shift = np.float32(np.arange(80) >= 80 - differing).reshape(-1, 1, 1, 1)
    for name, numbers_of_file in (("data", images), ("test", images + shift)):
        np.savez(tmp_path / f"{name}.npz", image=numbers_of_file)
    data, test = tmp_path / "data.npz", tmp_path / "test.npz"
    for options in (Options(sparsity=0.5), Options(max_drop=0.1)):
        inputs_of_options = open_inputs(open_model(DIGITS_MODEL, Runtime()), data, test, options)
        assert inputs_of_options.held_out == held_out
        assert inputs_of_options.held.count == 80


def test_a_measurement_on_the_calibration_inputs_is_warned_of() -> None:
    report = compress(perceptron(), inputs(), test=inputs(), sparsity=0.8, **UNIFORM).report
    assert not report.validation.held_out
    assert "not-held-out" in [warning.code for warning in report.warnings]


def test_what_is_held_out_guides_nothing() -> None:
    split = divided(100, test=False)
    held = numbers(split.held)
    assert len(held) == 12
    assert all(held.isdisjoint(numbers(fold.corrected) | numbers(fold.guide)) for fold in split.folds)
    assert held.isdisjoint(numbers(split.calibration))


@pytest.mark.parametrize(
    "goals",
    [
        {"max_size": "9000B"},
        {"max_drop": 0.01, "speedup": 2},
        {"max_drop": 0.01, "trim": 0.1},
        {"max_drop": 0.01, "metric": "module:function"},
    ],
)
def test_halves_take_no_turns_where_units_go_or_a_metric_decides_or_no_drop_is_asked_for(goals: Any) -> None:
    split = divided(100, **goals)
    (fold,) = split.folds
    assert split.guide is fold.guide
    assert numbers(split.calibration) == numbers(fold.corrected)
    assert numbers(fold.corrected).isdisjoint(numbers(fold.guide))


@pytest.mark.parametrize(("more", "folds"), [(-4, 2), (0, 1)])
def test_halves_take_turns_while_half_of_one_cannot_tell(more: int, folds: int) -> None:
    enough = 4 * FEWEST_INPUTS_TO_PROVE * least_inputs(0.05)
    assert len(divided(enough + more, max_drop=0.05).folds) == folds


@pytest.mark.parametrize(("more", "folds"), [(0, 2), (1, 1)])
def test_no_more_is_corrected_on_than_helps(more: int, folds: int) -> None:
    split = divided(2 * MOST_CORRECTED + more, max_drop=0.0005)
    assert [fold.corrected.count for fold in split.folds] == [MOST_CORRECTED] * folds


@pytest.mark.parametrize(("count", "corrected", "guide"), [(80, 40, 40), (150, 64, 86), (400, 100, 300)])
def test_a_first_look_judges_on_most_inputs_without_turns(count: int, corrected: int, guide: int) -> None:
    (fold,) = divided(count, max_drop=0.01, effort="fast").folds
    assert (fold.corrected.count, fold.guide.count) == (corrected, guide)
    assert numbers(fold.corrected).isdisjoint(numbers(fold.guide))


def test_a_first_look_takes_fewer_inputs_where_each_is_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for multiply_adds in (1, 10**8, 10**12):
        monkeypatch.setattr(verification_inputs, "multiply_adds_of", lambda _, work=multiply_adds: work)
        split = divided(8000, max_drop=0.01, effort="fast")
        (fold,) = split.folds
        assert split.calibration is fold.corrected
        assert split.guide is fold.guide
        counts.append((fold.corrected.count, fold.guide.count, split.held.count))
    assert counts == [(256, 2000, 4000), (150, 1250, 1250), (64, 700, 1000)]
    assert divided(8000, max_drop=0.01).held.count == 8000, "only of a first look"


def test_halves_of_whole_feeds_where_the_batch_is_fixed() -> None:
    model = onnx.load(DIGITS_MODEL)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    images = {"image": np.zeros((103, 1, 8, 8), np.float32)}
    split = open_inputs(open_model(model, Runtime()), images, images, Options())
    assert sorted(fold.guide.count for fold in split.folds) == [48, 52]
    assert split.guide is not None
    assert split.guide.count == split.calibration.count == 100


def test_mirror_images_are_corrected_on_but_guide_nothing(tmp_path: Path) -> None:
    for number in range(80):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    pictures = PictureOptions(channels="grey", mirror=True)
    split = open_inputs(open_model(DIGITS_MODEL, Runtime()), tmp_path, tmp_path, Options(pictures=pictures))
    assert [(fold.corrected.fed, fold.guide.fed) for fold in split.folds] == [(80, 40), (80, 40)]
    assert split.calibration.fed == 160
    assert split.guide is not None
    assert split.guide.fed == 80


def test_a_search_with_many_pictures_leaves_mirror_images_out_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(80):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(verification_inputs, "MOST_CORRECTED", 40)
    options = Options(pictures=PictureOptions(channels="grey", mirror=True))
    split = open_inputs(open_model(DIGITS_MODEL, Runtime()), tmp_path, tmp_path, options)
    assert [(fold.corrected.fed, fold.corrected.count) for fold in split.folds] == [(40, 40), (40, 40)]
    assert [note.code for note in split.notes] == ["not-mirrored"]


@pytest.mark.parametrize(("most", "fed", "notes"), [(256, 80, []), (64, 40, ["not-mirrored"])])
def test_a_first_look_takes_mirror_images_where_there_are_too_few_pictures(
    most: int, fed: int, notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(80):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(verification_inputs, "FEW_CORRECTED", Few(64, most, 1e12))
    options = Options(pictures=PictureOptions(channels="grey", mirror=True), effort="fast")
    split = open_inputs(open_model(DIGITS_MODEL, Runtime()), tmp_path, tmp_path, options)
    assert (split.calibration.fed, split.calibration.count) == (fed, 40)
    assert [fold.corrected.fed for fold in split.folds] == [fed]
    assert [note.code for note in split.notes] == notes


def test_a_first_look_that_decodes_two_folders_says_how_far_it_is_with_both(tmp_path: Path) -> None:
    for folder in ("data", "test"):
        (tmp_path / folder).mkdir()
        for number in range(80):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / folder / f"{number}.png")
    options, seen = Options(pictures=PictureOptions(channels="grey"), effort="fast"), list[float]()
    source = open_model(DIGITS_MODEL, Runtime())
    open_inputs(source, tmp_path / "data", tmp_path / "test", options, lambda done, count: seen.append(done / count))
    assert seen == sorted(seen)
    assert min(seen) == 0.0
    assert max(seen) > 0.5


def test_halves_are_corrected_on_mirror_images_and_measured_without(tmp_path: Path) -> None:
    for number in range(20):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    options = Options(pictures=PictureOptions(channels="grey", mirror=True), sparsity=0.5)
    divided_inputs = open_inputs(open_model(DIGITS_MODEL, Runtime()), tmp_path, None, options)
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
