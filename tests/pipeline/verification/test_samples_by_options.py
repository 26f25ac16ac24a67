"""Inputs are opened as the options say, whichever command asks."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import DIGITS, inputs, perceptron
from PIL import Image

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.samples_by_options import open_by_options


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
    source = open_model(DIGITS / "digits.onnx", Runtime())
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
    kernel += "int64[2] one = {1, 4}>"
    return open_model(
        ir.to_proto(ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> g {text.format(kernel)}')), Runtime()
    )


WAVE = "(float[L] x) => (float[L] y) {} {{ s = Reshape(x, signal) c = Conv<pads = [2, 2]>(s, k) y = Reshape(c, flat) }}"


def test_a_signal_is_fed_whole_though_its_length_is_free() -> None:
    """Cut into pieces of 32 entries it would lose what lies across the cuts, and every figure would flatter."""
    wave = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    samples = open_by_options(graph(WAVE), {"x": wave}, Options())
    (feed,) = samples.batches()
    np.testing.assert_array_equal(feed["x"], wave)
    assert samples.count == 1
    assert [warning.code for warning in samples.warnings] == ["no-batch-axis"]


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
