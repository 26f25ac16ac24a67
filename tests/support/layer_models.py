"""Models of one layer, run in ONNX Runtime and compared with samples times matrix."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import settings
from onnx import helper, numpy_helper

from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers

Floats = npt.NDArray[np.float32]


Doubles = npt.NDArray[np.float64]


Numbers = npt.NDArray[Any]


TOLERANCE = 1e-4


few = settings(max_examples=60)


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def build(
    nodes: Sequence[onnx.NodeProto],
    x: Numbers | Sequence[int | None],
    constants: Mapping[str, Numbers],
    *,
    outputs: Sequence[str] = ("z",),
    overridable: Sequence[str] = (),
    domains: Sequence[str] = ("",),
) -> ir.Model:
    """A model whose input is x (an array, or a float32 shape) and whose initializers are `constants`."""
    shape, dtype = (x.shape, x.dtype) if isinstance(x, np.ndarray) else (x, np.dtype(np.float32))
    kinds = {"x": (dtype, shape), **{name: (constants[name].dtype, constants[name].shape) for name in overridable}}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(d), s) for n, (d, s) in kinds.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, 1 if domain else 20) for domain in domains]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def run(model: ir.Model | Path, x: Numbers, output: str = "z") -> Numbers:
    """The output of the model in ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = model if isinstance(model, Path) else ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    result: Numbers = session.run([output], {"x": x})[0]
    return result


def only_layer(model: ir.Model) -> Layer:
    layers, declined = find_layers(model.graph)
    assert declined == []
    (layer,) = layers
    return layer


def as_rows(layer: Layer, x: Numbers, z: Numbers) -> Numbers:
    """The operator's output z in the order of the samples: (samples, groups x rows)."""
    if layer.operator == "Conv":
        z = np.moveaxis(z, 1, -1)
    elif layer.data_index == 1 and x.ndim > 1:
        z = np.swapaxes(z, -1, -2)
    return z.reshape(-1, layer.groups * layer.rows)


def predicted(layer: Layer, x: Numbers) -> Doubles:
    """What samples and matrix say the output is, without the bias: (samples, groups x rows)."""
    parts, stack = layer.samples(x), layer.matrix()
    assert len(parts) == len(stack) == layer.groups * layer.blocks
    assert stack.shape == (len(parts), layer.rows, layer.columns // layer.blocks)
    assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in parts)
    products = np.stack([part @ matrix.T for part, matrix in zip(parts, stack, strict=True)])
    assert products.shape[1] == layer.positions(x)
    summed: Doubles = products.reshape(layer.groups, layer.blocks, -1, layer.rows).sum(axis=1)
    return np.moveaxis(summed, 0, 1).reshape(-1, layer.groups * layer.rows)


def assert_agrees(model: ir.Model, x: Numbers, bias: Numbers | float = 0.0) -> None:
    layer = only_layer(model)
    expected = as_rows(layer, x, run(model, x))
    np.testing.assert_allclose(predicted(layer, x) + bias, expected, rtol=TOLERANCE, atol=TOLERANCE)


def conv(
    weight: Numbers, x: Numbers | Sequence[int | None], bias: Numbers | None = None, **attributes: Any
) -> ir.Model:
    constants = {"w": weight} if bias is None else {"w": weight, "b": bias}
    return build([helper.make_node("Conv", ["x", *constants], ["z"], name="layer", **attributes)], x, constants)


def gemm(weight: Numbers, x: Numbers, c: Numbers | None = None, side: int = 1, **attributes: Any) -> ir.Model:
    operands = ["x", "w"] if side else ["w", "x"]
    constants = {"w": weight} if c is None else {"w": weight, "c": c}
    operands += ["c"] if c is not None else []
    return build([helper.make_node("Gemm", operands, ["z"], name="layer", **attributes)], x, constants)


def matmul(
    weight: Numbers,
    x: Numbers | Sequence[int | None],
    bias: Numbers | None = None,
    *,
    side: int = 1,
    bias_side: int = 1,
) -> ir.Model:
    product = helper.make_node("MatMul", ["x", "w"] if side else ["w", "x"], ["z" if bias is None else "y"], "layer")
    if bias is None:
        return build([product], x, {"w": weight})
    add = helper.make_node("Add", ["y", "b"] if bias_side else ["b", "y"], ["z"], "add")
    return build([product, add], x, {"w": weight, "b": bias})


@dataclasses.dataclass(frozen=True)
class Kind:
    """A layer of one kind, without weights: `make(weight, x, bias)` is its model."""

    operator: str
    weight: tuple[int, ...]
    x: tuple[int, ...]
    bias: tuple[int, ...] | None
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def make(self, dtype: npt.DTypeLike = np.float32) -> ir.Model:
        x, weight = normal(*self.x).astype(dtype), normal(*self.weight, seed=1).astype(dtype)
        bias = None if self.bias is None else np.asarray(normal(*self.bias, seed=2)).astype(dtype)
        if self.operator == "Conv":
            return conv(weight, x, bias, **self.attributes)
        make = gemm if self.operator == "Gemm" else matmul
        return make(weight, x, bias, **self.attributes)


KINDS = {
    "conv": Kind("Conv", (4, 3, 3, 3), (2, 3, 5, 5), None),
    "grouped conv with bias": Kind("Conv", (4, 3, 2), (2, 6, 5), (4,), {"group": 2, "pads": [1, 0]}),
    "depthwise conv": Kind("Conv", (6, 1, 2, 2), (2, 3, 4, 4), None, {"group": 3}),
    "gemm": Kind("Gemm", (5, 3), (4, 5), None),
    "gemm with alpha and beta": Kind("Gemm", (3, 5), (4, 5), (3,), {"alpha": 0.3, "beta": -2.5, "transB": 1}),
    "gemm with beta": Kind("Gemm", (5, 3), (4, 5), None, {"beta": 0.5}),
    "gemm with a scalar": Kind("Gemm", (5, 3), (5, 4), (), {"transA": 1}),
    "gemm with one number": Kind("Gemm", (5, 3), (4, 5), (1,)),
    "gemm with a row": Kind("Gemm", (5, 3), (4, 5), (1, 3)),
    "matmul": Kind("MatMul", (5, 3), (2, 4, 5), (3,)),
    "matmul of one row": Kind("MatMul", (1, 5, 3), (2, 4, 5), (1, 3)),
    "matmul from the left": Kind("MatMul", (3, 5), (2, 5, 4), (3, 1), {"side": 0}),
    "matmul from the left with a vector": Kind("MatMul", (3, 5), (5,), (3,), {"side": 0}),
}


kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
