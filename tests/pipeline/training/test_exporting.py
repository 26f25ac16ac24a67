"""A trained network as ONNX: the same function with the same zeros, or nothing is written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import pytest
from perceptron_models import perceptron

from netsurgeon import cli
from netsurgeon.models import training
from netsurgeon.models.runs import load_network
from netsurgeon.pipeline.errors import CheckFailedError, InputError
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
    fit: Callable[..., Training],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    fit(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "right.onnx")
    assert cli.run(["export", str(tmp_path / "run"), "-o", "-"]) == 0
    assert capfdbinary.readouterr().out == (tmp_path / "right.onnx").read_bytes()
    assert cli.run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "quiet.onnx"), "--quiet"]) == 0
    assert capfdbinary.readouterr() == (b"", b"")
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


@pytest.mark.parametrize(
    ("zeros", "fits"), [([0, 0], True), ([5, 5], True), ([6, 5], False), ([11], False), ([], True)]
)
def test_no_zero_of_a_weight_may_be_lost(zeros: list[int], fits: bool) -> None:
    """Zeros of biases do not stand in for those of weights; more zeros than there were do no harm."""
    model = ir.from_proto(perceptron())
    for name, count in (("w1", 5), ("w2", 5), ("b1", 64)):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        array.flat[:count] = 0.0
        value.const_value = ir.tensor(array, name=name)
    if fits:
        check_zeros(model, zeros)
    else:
        with pytest.raises(CheckFailedError, match=f"hold 10 zeros, the network's {sum(zeros)}: please report"):
            check_zeros(model, zeros)


def test_a_folder_without_a_trained_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the folder of a run, which `train --out` makes"):
        export(tmp_path, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_output_is_no_file_of_the_run(fit: Callable[..., Training], tmp_path: Path) -> None:
    fit(tmp_path / "run", surgery=False, steps=1)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match="is an input"):
        export(tmp_path / "run", tmp_path / "run" / "run.json")
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before
    exported = export(tmp_path / "run", tmp_path / "model.onnx")
    assert exported.parameters == 266_610
    assert exported.nonzero == pytest.approx(266_610, rel=1e-3)
    assert exported.bytes == (tmp_path / "model.onnx").stat().st_size
    assert exported.difference <= 1e-4
    assert exported.inputs > 1
