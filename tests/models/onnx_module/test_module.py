"""ONNX graphs as PyTorch modules: the same outputs as ONNX Runtime, gradients, masks that hold, clear refusals."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.models.onnx_module.module import OnnxModule
from netsurgeon.models.onnx_module.operators import OPERATORS, operator

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
CASES: dict[str, tuple[onnx.NodeProto, dict[str, Any], int]] = {
    "Conv": (node("Conv", "w", "b", pads=[1, 2, 1, 2], strides=[2, 1]), {"w": weight(6, 4, 3, 3), "b": weight(6)}, 17),
    "uneven Conv": (node("Conv", "w", pads=[0, 1, 2, 0], group=2), {"w": weight(6, 2, 3, 3)}, 17),
    "SAME_UPPER Conv": (node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]), {"w": weight(6, 4, 4, 4)}, 17),
    "SAME_LOWER Conv": (node("Conv", "w", auto_pad="SAME_LOWER", strides=[2, 2]), {"w": weight(6, 4, 2, 2)}, 17),
    "ConvTranspose": (
        node("ConvTranspose", "w", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        {"w": weight(4, 3, 3, 3)},
        17,
    ),
    "BatchNormalization": (
        node("BatchNormalization", "s", "b", "m", "v"),
        {"s": weight(4), "b": weight(4), "m": weight(4), "v": weight(4) ** 2 + 0.1},
        17,
    ),
    "InstanceNormalization": (node("InstanceNormalization", "s", "b"), {"s": weight(4), "b": weight(4)}, 17),
    "LayerNormalization": (node("LayerNormalization", "s", "b", axis=2), {"s": weight(9, 9), "b": weight(9, 9)}, 17),
    "LRN": (node("LRN", size=3, alpha=0.1, beta=0.7, bias=2.0), {}, 17),
    "MaxPool": (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), {}, 17),
    "uneven MaxPool": (node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]), {}, 17),
    "AveragePool": (node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {}, 17),
    "counting AveragePool": (
        node("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1),
        {},
        17,
    ),
    "GlobalAveragePool": (node("GlobalAveragePool"), {}, 17),
    "Clip by inputs": (node("Clip", "low", "high"), {"low": np.float32(-0.5), "high": np.float32(0.7)}, 17),
    "Clip by attributes": (node("Clip", min=-0.5, max=0.7), {}, 9),
    "PRelu": (node("PRelu", "s"), {"s": weight(4, 1, 1)}, 17),
    "LeakyRelu": (node("LeakyRelu", alpha=0.3), {}, 17),
    "HardSigmoid": (node("HardSigmoid", alpha=0.3, beta=0.4), {}, 17),
    "Gelu": (node("Gelu", approximate="tanh"), {}, 20),
    "Softmax of all axes": (node("Softmax", axis=1), {}, 11),
    "Softmax of one axis": (node("Softmax", axis=1), {}, 17),
    "ReduceMean by attribute": (node("ReduceMean", axes=[2, 3], keepdims=0), {}, 17),
    "ReduceMean by input": (node("ReduceMean", "axes"), {"axes": ints(1, -1)}, 18),
    "ReduceMax of all": (node("ReduceMax", keepdims=1), {}, 17),
    "Reshape": (node("Reshape", "to"), {"to": ints(0, -1, 3)}, 17),
    "Flatten": (node("Flatten", axis=2), {}, 17),
    "Transpose": (node("Transpose", perm=[0, 2, 3, 1]), {}, 17),
    "Slice": (
        node("Slice", "a", "b", "c", "d"),
        {"a": ints(-1, 1), "b": ints(-99, 2**62), "c": ints(2, 1), "d": ints(-2, 2)},
        17,
    ),
    "Gather": (node("Gather", "at", axis=1), {"at": ints(3, -1)}, 17),
    "Gather of one": (node("Gather", "at", axis=1), {"at": np.int64(2)}, 17),
    "Pad with zeros": (node("Pad", "p"), {"p": ints(0, 1, 2, 0, 0, 0, 1, 1)}, 17),
    "Pad by reflection": (node("Pad", "p", mode="reflect"), {"p": ints(0, 0, 2, 1, 0, 0, 1, 1)}, 17),
    "Expand": (node("Expand", "to"), {"to": ints(2, 1, 4, 9, 9)}, 17),
    "DepthToSpace": (node("DepthToSpace", blocksize=2), {}, 17),
    "DepthToSpace CRD": (node("DepthToSpace", blocksize=2, mode="CRD"), {}, 17),
    "Max": (node("Max", "a"), {"a": weight(4, 1, 1)}, 17),
    "Div": (node("Div", "a"), {"a": weight(9) ** 2 + 1}, 17),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str) -> None:
    first, arrays, opset = CASES[name]
    scale = helper.make_node("Conv", ["x", "trained"], ["x1"])
    first.input[0] = "x1"
    last = helper.make_node("Identity", ["h"], ["y"])
    assert difference([scale, first, last], {"trained": weight(4, 4, 1, 1), **arrays}, PICTURES, opset) < 1e-5


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_and_matmul_with_a_bias(transposed: int) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=transposed, alpha=0.5, beta=2.0),
        helper.make_node("MatMul", ["h", "v"], ["g"]),
        helper.make_node("Add", ["g", "c"], ["y"]),
    ]
    arrays = {"w": weight(5, 7).T if transposed else weight(5, 7), "b": weight(7), "v": weight(7, 3), "c": weight(3)}
    assert difference(nodes, arrays, (6, 5), 17) < 1e-5
    assert set(OnnxModule(made(nodes, arrays, (6, 5))).trained) == set(arrays)


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "Relu", lambda inputs, attributes: torch.relu(inputs[0] + 1e-3))
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    assert difference(nodes, {"w": weight(5, 7)}, (6, 5), 17) > 1e-5


def test_zeros_stay_and_the_rest_learns() -> None:
    sparse = weight(5, 7) * (RNG.random((5, 7)) < 0.4)
    module = OnnxModule(made([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": sparse, "b": weight(7)}, (6, 5)))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    for _ in range(3):
        loss: Any = module(torch.from_numpy(weight(6, 5))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = module.arrays()
    assert np.array_equal(found["w"] == 0, sparse == 0)
    assert not np.any(found["w"][sparse != 0] == sparse[sparse != 0])
    assert found["b"].all()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Det", ["h"], ["y"])], "operators Det cannot"),
        ([helper.make_node("Mine", ["x", "w"], ["y"], domain="my.own")], "operators my.own.Mine cannot be trained"),
        ([helper.make_node("Relu", ["x"], ["y"])], "no weight of the model can be trained"),
    ],
)
def test_what_cannot_be_trained_is_refused(nodes: list[onnx.NodeProto], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxModule(made(nodes, {"w": weight(5, 5)}, (5, 5)))


def test_a_form_that_is_not_known_is_refused_with_its_node() -> None:
    deconvolution = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", auto_pad="SAME_UPPER")
    module = OnnxModule(made([deconvolution], {"w": weight(4, 4, 3, 3)}, PICTURES))
    with pytest.raises(ValueError, match="ConvTranspose 'up' cannot be trained: ConvTranspose with auto_pad"):
        module(torch.zeros(PICTURES))


def test_an_operator_is_registered_once() -> None:
    with pytest.raises(KeyError, match="Relu is registered twice"):
        operator("Relu")(lambda inputs, attributes: inputs[0])
