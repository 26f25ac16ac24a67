"""A model of one layer: in memory, on disk, with its weights in a file of their own, and what it computes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.session import Runtime

Array = NDArray[Any]
RUNTIME = Runtime()
X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def weights() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {"w": rng.standard_normal((8, 4)).astype(np.float32), "b": rng.standard_normal(4).astype(np.float32)}


def proto(
    nodes: Sequence[onnx.NodeProto] | None = None, *, opset: int = 17, domain: str = "", ir_version: int = 8
) -> onnx.ModelProto:
    """``z = Relu(x w + b)``."""
    nodes = nodes or [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], "layer"),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
    ]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights().items()],
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def external(folder: Path, location: str = "weights.bin", **entries: str | int) -> Path:
    """The model with `w` in a file of its own; `entries` replace those of the tensor."""
    model = proto()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location, "offset": 0, "length": len(data)} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def expected() -> Array:
    return np.asarray(np.maximum(X @ weights()["w"] + weights()["b"], 0))


def run(model: Path | ir.Model) -> Array:
    """What ONNX Runtime makes of a file as it lies there, or of a model in memory."""
    if isinstance(model, ir.Model):
        return np.asarray(RUNTIME.session(model).run({"x": X})["z"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


def assert_runs(model: Path | ir.Model) -> None:
    np.testing.assert_allclose(run(model), expected(), rtol=1e-5, atol=1e-6)


def assert_a_sentence(error: pytest.ExceptionInfo[InputError]) -> None:
    """One line, no traceback, not too long to be read."""
    text = str(error.value)
    assert "\n" not in text
    assert 20 < len(text) < 700
    assert error.value.exit_code == 2


def model_in_memory() -> ir.Model:
    return ir.from_proto(proto())
