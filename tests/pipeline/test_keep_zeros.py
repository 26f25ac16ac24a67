"""`compress --keep-zeros`: the pattern that training has left stays, dead units go, the rest is packed."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from netsurgeon import cli
from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.session import Runtime

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
CALIBRATION, TEST = DIGITS / "calibration.npz", DIGITS / "test.npz"
DEAD = 24
"""Hidden neurons with neither weights nor bias."""


@pytest.fixture(scope="module")
def sparse() -> onnx.ModelProto:
    """The digits network with 60 % zeros in its fully connected layers, and hidden neurons that never fire."""
    model = onnx.load(DIGITS / "digits.onnx")
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.ndim == 2:
            array[np.abs(array) < np.quantile(np.abs(array), 0.6)] = 0.0
        if tensor.name.startswith("hidden."):
            array[:DEAD] = 0.0
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def fully_connected(model: Any) -> dict[str, Any]:
    plain = model.clone()
    UnpackWeights()(plain)
    held = {name: value.const_value for name, value in plain.graph.initializers.items()}
    return {name: value.numpy() for name, value in held.items() if value is not None and len(value.shape) == 2}


def logits(model: Any) -> Any:
    with np.load(TEST) as archive:
        return Runtime().session(model).run({"image": archive["image"]})["logits"]


def squeezed(model: onnx.ModelProto, **options: Any) -> Compression:
    with np.load(CALIBRATION) as archive:
        return compress(model, {"image": archive["image"]}, keep_zeros=True, damping=0.01, **options)


def test_zeros_stay_dead_units_go_and_the_function_stays(sparse: onnx.ModelProto) -> None:
    result = squeezed(sparse, values="float32", round_to=8)
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in sparse.graph.initializer}
    found = fully_connected(result.model)
    hidden, before = found["hidden.weight"], given["hidden.weight"]
    assert len(hidden) <= 128 - DEAD  # neurons that never fire on the calibration inputs are dead, too
    rows = [int(np.abs(before - row).sum(axis=1).argmin()) for row in hidden]
    assert min(rows) >= DEAD
    assert sorted(set(rows)) == rows
    assert not hidden[before[rows] == 0].any()
    assert not found["classifier.weight"][given["classifier.weight"][:, rows] == 0].any()
    assert hidden[before[rows] != 0].all()
    assert result.report.trim is not None
    assert result.report.trim.unread >= DEAD
    wanted = logits(sparse)
    gap = np.abs(logits(result.model) - wanted).max(axis=1) / np.abs(wanted).max()
    assert np.median(gap) < 1e-5
    assert gap.max() < 0.02  # some test pictures wake a neuron that no calibration picture does


def test_rounding_is_corrected_inside_the_pattern_and_packed(sparse: onnx.ModelProto) -> None:
    result = squeezed(sparse)
    assert np.mean(logits(result.model).argmax(1) == logits(sparse).argmax(1)) > 0.99
    before = sum(int(np.count_nonzero(numpy_helper.to_array(t))) for t in sparse.graph.initializer if len(t.dims) == 2)
    after = sum(int(np.count_nonzero(array)) for array in fully_connected(result.model).values())
    assert 0.8 * before < after <= before  # weights of dead neurons are no more
    assert result.report.ratio > 2.5


def test_the_option_of_the_command_line(sparse: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(sparse, tmp_path / "sparse.onnx")
    arguments = ["compress", tmp_path / "sparse.onnx", "--data", CALIBRATION, "--keep-zeros", "-o", tmp_path / "s.onnx"]
    assert cli.run([*map(str, arguments), "--damping", "0.01"]) == 0
    assert (tmp_path / "s.onnx").is_file()


@pytest.mark.parametrize("options", [{"sparsity": 0.9}, {"pattern": "2:4"}, {"method": "lobs"}, {"layers": {"x": 0.5}}])
def test_options_that_choose_other_zeros_are_refused(sparse: onnx.ModelProto, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="with keep-zeros the zeros are those of the model"):
        squeezed(sparse, **options)
