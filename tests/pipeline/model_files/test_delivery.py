"""From the file that comes in to the file that goes out: what stands, and that nothing bad is delivered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import FAST, UNIFORM, built, inputs, perceptron, proto_bytes, random, run_model, weights_of

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError, RunError
from netsurgeon.pipeline.model_files import loading
from netsurgeon.pipeline.run import final_validation
from netsurgeon.pipeline.runtime.session import Session


def test_interface_stands(tmp_path: Path) -> None:
    dense = perceptron()
    compress(dense, inputs(), output=tmp_path / "small.onnx", sparsity=0.9, **UNIFORM)
    small = onnx.load(tmp_path / "small.onnx")
    assert list(small.graph.input) == list(dense.graph.input)
    assert list(small.graph.output) == list(dense.graph.output)
    properties = {entry.key: entry.value for entry in small.metadata_props}
    assert properties["author"] == "somebody"
    assert json.loads(properties["netsurgeon"]) == {
        "version": netsurgeon.__version__,
        "method": "obs",
        "sparsity": 0.9,
    }
    assert [node.name for node in small.graph.node if node.name in ("first", "relu", "second")] == [
        "first",
        "relu",
        "second",
    ]
    assert small.opset_import[0].version == 17


def test_weights_as_external_data(tmp_path: Path) -> None:
    onnx.save(perceptron(), tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    output = tmp_path / "elsewhere" / "small.onnx"
    result = compress(tmp_path / "model.onnx", inputs(), output=output, sparsity=0.8, exclude=("second",), **UNIFORM)
    assert [path.name for path in output.parent.iterdir()] == ["small.onnx"]
    assert result.report.dense.bytes == sum((tmp_path / name).stat().st_size for name in ("model.onnx", "w.bin"))
    np.testing.assert_array_equal(weights_of(output)["w2"], random(64, 10, seed=1))
    assert proto_bytes(result) == proto_bytes(
        compress(perceptron(), inputs(), sparsity=0.8, exclude=("second",), **UNIFORM)
    )


def test_nodes_without_names() -> None:
    model = perceptron()
    for node in model.graph.node:
        node.ClearField("name")
    report = compress(model, inputs(), sparsity=0.8, **FAST).report
    assert [layer.name for layer in report.layers] == ["h", "y"]


def test_batch_normalization_is_folded() -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"], name="norm"),
    ]
    parts = {"s": random(16), "b": random(16), "m": random(16), "v": np.abs(random(16)) + 0.1}
    model = built(nodes, {"w": random(16, 4, 3, 3), **parts}, entry=("N", 4, 8, 8), end=("N", 16, 8, 8))
    data = random(64, 4, 8, 8)
    result = compress(model, data, sparsity=0.0, values="float32", **UNIFORM)
    assert [node.op_type for node in result.model.graph if node.name == "conv"] == ["Conv"]
    assert "BatchNormalization" not in {node.op_type for node in result.model.graph}
    np.testing.assert_allclose(run_model(result.model, data), run_model(model, data), rtol=0, atol=1e-4)


@pytest.mark.parametrize("failure", ["raises", "changes an output", "does not load"])
def test_a_normal_form_that_fails_is_undone(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damages(ir.passes.InPlacePass):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            if failure == "raises":
                raise ValueError("not foreseen")
            bias = model.graph.initializers["b1"]
            bias.const_value = ir.tensor(np.ones(64 if failure == "changes an output" else 63, np.float32), name="b1")
            return ir.passes.PassResult(model, True)

    monkeypatch.setattr(loading, "normal_form", lambda stored: ir.passes.Sequential(Damages()))
    model = perceptron()
    model.graph.node[0].ClearField("name")
    result = compress(model, inputs(), sparsity=0.0, values="float32", **UNIFORM)
    note = result.report.notes[0]
    assert note.code == ("no-normal-form" if failure == "raises" else "normal-form-undone")
    causes = {"raises": None, "changes an output": "outputs-differ", "does not load": "model-fails"}
    assert note.data.get("cause") == causes[failure]
    np.testing.assert_allclose(run_model(result.model, inputs()), run_model(model, inputs()), rtol=0, atol=1e-2)


def test_a_changed_model_that_cannot_run_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise RunError("the model cannot run on this input")

    monkeypatch.setattr(final_validation, "validate_folds", fails)
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def test_failed_validation_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise CheckFailedError("output 'y' of the compressed model is NaN")

    onnx.save(perceptron(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=inputs())
    monkeypatch.setattr(final_validation, "validate_folds", fails)
    output, report = f"{tmp_path}/small.onnx", f"{tmp_path}/report.json"
    command = ["compress", f"{tmp_path}/model.onnx", "--data", f"{tmp_path}/data.npz", "-o", output, "--report", report]
    code = run([*command, "--sparsity", "0.5"])
    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: output 'y' of the compressed model is NaN"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "model.onnx"]


def test_a_written_file_that_does_not_run_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = ir.save

    def corrupt(model: ir.Model, path: Path, **options: Any) -> None:
        save(model, path, **options)
        Path(path).write_bytes(Path(path).read_bytes()[:-50])

    monkeypatch.setattr(ir, "save", corrupt)
    with pytest.raises(CheckFailedError, match="cannot load"):
        compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def test_a_written_file_that_loads_but_fails_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Session.run

    def fails(session: Session, *arguments: Any, **options: Any) -> dict[str, Any]:
        if list(tmp_path.iterdir()):
            raise CheckFailedError("the model cannot run on this input")
        return calls(session, *arguments, **options)

    monkeypatch.setattr(Session, "run", fails)
    with pytest.raises(CheckFailedError, match="cannot run"):
        compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def test_temporary_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compress(perceptron(), inputs(), sparsity=0.5, **FAST)
    assert not list(tmp_path.iterdir())
