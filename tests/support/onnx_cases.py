"""Models of a few nodes, and how far PyTorch is from ONNX Runtime on them."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.models.onnx_module.module import OnnxModule

Shape = tuple[int, ...]
RNG = np.random.default_rng(0)


def made(nodes: list[onnx.NodeProto], arrays: dict[str, Any], shape: Shape, opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weight(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def node(operator_type: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator_type, ["x", *inputs], ["h"], **attributes)


def difference(nodes: list[onnx.NodeProto], arrays: dict[str, Any], shape: Shape, opset: int) -> float:
    model = made(nodes, arrays, shape, opset)
    x = RNG.standard_normal(shape).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x})
    found = OnnxModule(model)(torch.from_numpy(x)).detach().numpy()
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


PICTURES = (2, 4, 9, 9)
Case = tuple[onnx.NodeProto, dict[str, Any], int]


def difference_between_layers(case: Case) -> float:
    """Of a model with the case's node behind a convolution, so that there is something to train."""
    first, arrays, opset = case
    scale = helper.make_node("Conv", ["x", "trained"], ["x1"])
    first.input[0] = "x1"
    last = helper.make_node("Identity", ["h"], ["y"])
    return difference([scale, first, last], {"trained": weight(4, 4, 1, 1), **arrays}, PICTURES, opset)
