"""--custom-ops with a real library: onnxruntime-extensions, whose NegPos splits an array by sign."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from netsurgeon.cli import run
from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect import inspect_model
from netsurgeon.pipeline.unpack import unpack

extensions = pytest.importorskip("onnxruntime_extensions")

DOMAIN = "ai.onnx.contrib"
FAST: dict[str, Any] = {"method": "obs", "damping": 0.01, "sparsity": 0.5}


@pytest.fixture(scope="module")
def library() -> str:
    return str(extensions.get_library_path())


def initializer(name: str, *shape: int, seed: int) -> onnx.TensorProto:
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return onnx.numpy_helper.from_array(values.astype(np.float32), name)


def network(opset: int) -> onnx.ModelProto:
    """Convolutions and a Gemm with custom operators between them, whose outputs have no inferred shape or type."""
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w1"], ["conv1"], "conv1", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("NegPos", ["conv1"], ["negative", "positive"], "split", domain=DOMAIN),
        onnx.helper.make_node("Concat", ["negative", "positive"], ["both"], "both", axis=1),
        onnx.helper.make_node("Conv", ["both", "w2"], ["conv2"], "conv2", strides=[2, 2]),
        onnx.helper.make_node("Relu", ["conv2"], ["relu"], "relu"),
        onnx.helper.make_node("Flatten", ["relu"], ["flat"], "flat"),
        onnx.helper.make_node("Gemm", ["flat", "w3", "b3"], ["scores"], "dense"),
        onnx.helper.make_node("NegPos", ["scores"], ["below", "y"], "last", domain=DOMAIN),
    ]
    weights = [
        initializer("w1", 16, 3, 3, 3, seed=1),
        initializer("w2", 16, 32, 3, 3, seed=2),
        initializer("w3", 144, 10, seed=3),
        initializer("b3", 10, seed=4),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid(DOMAIN, 1)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def inputs() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((96, 3, 8, 8)).astype(np.float32)


def compressed(library: str, output: Path, opset: int = 17) -> Compression:
    return compress(network(opset), inputs(), output=output, custom_ops=(library,), **FAST)


@pytest.mark.parametrize("opset", [9, 17])
def test_layers_around_custom_operators_are_pruned(opset: int, library: str, tmp_path: Path) -> None:
    report = compressed(library, tmp_path / "small.onnx", opset).report
    assert [layer.name for layer in report.layers] == ["conv1", "conv2", "dense"]
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    assert report.validation.outputs[0].relative_error < 0.5
    (bound,) = report.bound.outputs
    assert bound.bound is None
    assert "NegPos" in str(bound.ends_at)
    assert {node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node} >= {"NegPos", "Conv", "Gemm"}
    assert len(inspect_model(tmp_path / "small.onnx", (library,)).layers) == 3


def test_the_unpacked_model_is_equal(library: str, tmp_path: Path) -> None:
    small, plain = tmp_path / "small.onnx", tmp_path / "plain.onnx"
    compressed(library, small)
    assert sorted(unpack(small, plain, (library,))) == ["w1", "w2", "w3"]
    (output,) = compare(small, plain, inputs(), custom_ops=(library,)).validation.outputs
    assert output.relative_error == 0.0


def test_a_library_is_found_in_the_current_folder(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(library, tmp_path / "mine.so")
    monkeypatch.chdir(tmp_path)
    assert len(inspect_model(network(17), ("mine.so",)).layers) == 3


def test_without_the_library_every_command_says_what_is_missing(
    library: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, small, data, goal = (str(tmp_path / name) for name in ("m.onnx", "small.onnx", "data.npz", "out.onnx"))
    onnx.save(network(17), model)
    compressed(library, Path(small))
    np.savez(data, x=inputs())
    for command in (
        ["inspect", model],
        ["compress", model, "--data", data, "-o", goal],
        ["compare", model, small, "--data", data],
        ["unpack", small, "-o", goal],
    ):
        assert run(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "NegPos" in line
        assert "--custom-ops" in line
        assert not Path(goal).exists()


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(InputError, match=r"custom operator library .* cannot be loaded"):
        inspect_model(network(17), (str(tmp_path / "text.so"),))
