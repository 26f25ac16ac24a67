"""A trained network as ONNX: the same function with the same zeros, or nothing is written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from netsurgeon import cli
from netsurgeon.models import training
from netsurgeon.models.runs import load_network
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.model_files.loading import read_model
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.training.exporting import check_zeros, export
from netsurgeon.pipeline.training.training_run import Training

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_trained_network_is_exported_and_compressed(
    fit: Callable[..., Training], mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = fit(tmp_path / "run", network="lenet5")
    assert cli.run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "model.onnx")]) == 0
    assert "parameters not zero" in capsys.readouterr().out
    model = onnx.load(tmp_path / "model.onnx")
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = {layer.name: layer.kept for layer in result.layers}
    for name, count in kept.items():
        assert np.count_nonzero(arrays[f"{name}.weight"]) + np.count_nonzero(arrays[f"{name}.bias"]) == count
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in shape] == ["batch", 1, 28, 28]
    assert not model.metadata_props
    inner = {name for node in model.graph.node for name in node.output}
    assert not inner & {value.name for value in model.graph.value_info}
    assert b".py" not in (tmp_path / "model.onnx").read_bytes()

    with np.load(mnist / "test.npz") as archive:
        inputs, labels = archive["x"][:, None] / np.float32(256), archive["y"].astype(np.int64)
    logits = Runtime().session(tmp_path / "model.onnx").run({"image": inputs})["logits"]
    assert result.test_error == pytest.approx(np.mean(logits.argmax(1) != labels), abs=1e-9)
    np.savez(tmp_path / "data.npz", image=inputs[:200])
    arguments = ["compress", "model.onnx", "--data", "data.npz", "-o", "small.onnx", "--sparsity", "0.98", "--uniform"]
    paths = [str(tmp_path / each) if each.endswith((".onnx", ".npz")) else each for each in arguments]
    assert cli.run([*paths, "--method", "obs", "--damping", "0.01"]) == 0
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "model.onnx").stat().st_size / 10


def test_an_export_that_is_not_the_network_is_not_delivered(
    fit: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "right.onnx")
    _, network = load_network(tmp_path / "run")
    zeros = [int((parameter == 0).sum()) for parameter in network.parameters() if parameter.ndim > 1]
    check_zeros(read_model(tmp_path / "right.onnx")[0], zeros)
    with pytest.raises(CheckFailedError, match="zeros"):
        check_zeros(read_model(tmp_path / "right.onnx")[0], [*zeros, 1])
    right = training.outputs_of
    monkeypatch.setattr(training, "outputs_of", lambda *given: right(*given) * 1.001)
    with pytest.raises(CheckFailedError, match="ONNX Runtime and PyTorch differ by"):
        export(tmp_path / "run", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
