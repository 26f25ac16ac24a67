"""The report of a compression is true of the files and models it was made from."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from perceptron_models import (
    DIGITS,
    UNIFORM,
    inputs,
    perceptron,
    random,
    weights_of,
)
from PIL import Image

from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.data.images import PictureOptions


@pytest.mark.parametrize(
    ("dtype", "values"), [(np.float32, "float32"), (np.float32, "codebook"), (np.float16, "float16")]
)
def test_what_needs_no_rounding_is_not_noted(dtype: Any, values: str) -> None:
    report = compress(perceptron(dtype), inputs(dtype=dtype), values=values, sparsity=0.5, **UNIFORM).report
    assert not report.notes


def test_report_hashes_and_sizes_are_those_of_the_files(delivered: tuple[Path, Compression]) -> None:
    folder, result = delivered
    for facts, path in (
        (result.report.dense, DIGITS / "digits.onnx"),
        (result.report.compressed, folder / "small.onnx"),
    ):
        assert facts.name == path.name
        assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert facts.bytes == path.stat().st_size
        assert facts.gzip_bytes is not None
        assert facts.gzip_bytes < facts.bytes


def test_report_counts_logical_weights(delivered: tuple[Path, Compression]) -> None:
    folder, result = delivered
    plain = weights_of(folder / "small.onnx")
    floats = [array for array in plain.values() if array.dtype == np.float32]
    assert result.report.compressed.parameters == sum(array.size for array in floats)
    assert result.report.compressed.nonzero == sum(int(np.count_nonzero(array)) for array in floats)
    trim = result.report.trim
    assert trim is not None
    saved = 1 - result.report.compressed.parameters / result.report.dense.parameters
    assert saved == pytest.approx(trim.saved)


def test_warnings_name_files_without_their_folder(tmp_path: Path) -> None:
    for number, picture in enumerate(np.load(DIGITS / "calibration.npz")["image"][:8]):
        Image.fromarray((255 * picture[0]).astype(np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    options = {**UNIFORM, "pictures": PictureOptions(channels="grey")}
    report = compress(DIGITS / "digits.onnx", tmp_path, sparsity=0.5, **options).report
    (left_out,) = [warning for warning in report.warnings if warning.code == "files-left-out"]
    assert tmp_path.name in left_out
    assert not any(str(tmp_path) in warning for warning in report.warnings)
    assert report.options["pictures"]["channels"] == "grey"


def test_dropped_inputs_are_reported() -> None:
    report = compress(perceptron(batch=3), inputs(), sparsity=0.5, **UNIFORM).report
    dropped = [warning.data for warning in report.warnings if warning.code == "samples-dropped"]
    assert dropped == [{"dropped": 2, "samples": 80}]


def test_more_weights_than_were_asked_for_are_mentioned() -> None:
    model = perceptron()
    dead = random(32, 64)
    dead[:, :16] = 0.0
    shift = random(64)
    shift[:16] = -1.0
    for number, array in ((0, dead), (1, shift)):
        name = model.graph.initializer[number].name
        model.graph.initializer[number].CopyFrom(onnx.numpy_helper.from_array(array, name))
    report = compress(model, inputs(), sparsity=0.0, **UNIFORM).report
    assert "outputs-alike" not in [warning.code for warning in report.warnings]
    (more,) = [note.data for note in report.notes if note.code == "more-removed"]
    expected = {"removed": pytest.approx(0.25, abs=5e-4), "asked": pytest.approx(0.0, abs=5e-4), "units": 16}
    assert more == expected
    kept = compress(model, inputs(), sparsity=0.0, keep_unread=True, **UNIFORM).report.notes
    assert "more-removed" not in [note.code for note in kept]
    layers = {"first": 0.9, "second": 0.5}
    own = compress(perceptron(), inputs(), sparsity=0.2, layers=layers, **UNIFORM).report
    assert own.sparsity > 0.8
    assert "more-removed" not in [note.code for note in own.notes]


def test_measured_error_is_within_the_bound(delivered: tuple[Path, Compression]) -> None:
    (output,) = delivered[1].report.bound.outputs
    assert output.bound is not None
    assert 0.0 < output.measured <= output.bound
    assert {layer.node for layer in delivered[1].report.bound.layers} == {
        layer.name for layer in delivered[1].report.layers
    }
