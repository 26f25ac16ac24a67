"""Small networks to run on integers, and what ONNX Runtime makes of them."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization.placement import Placement, place
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan, make_integer_model
from netsurgeon.pipeline.runtime.session import Runtime

Array = NDArray[Any]
RUNTIME = Runtime()
AS_FLOATS = dataclasses.replace(RUNTIME, integer_kernels=False)
PADDED: dict[str, Any] = {"pads": [1, 1, 1, 1]}
node = helper.make_node


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return np.asarray(scale * np.random.default_rng([seed, *shape]).standard_normal(shape), np.float32)


def network_of(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Any],
    entry: Sequence[int | str] = ("N", 3, 8, 8),
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> ir.Model:
    """A model in normal form whose input is x."""
    graph = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(entry))],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    normal_form()(model)
    return model


def classifier(
    *between: onnx.NodeProto, last: str, channels: int = 16, outputs: Sequence[str] = ("y",), **weights: Any
) -> ir.Model:
    """Conv `first` (3 to 16 channels, its output is c), `between` to the value `last`, pooling, and Gemm `head`."""
    nodes = [
        node("Conv", ["x", "first_w", "first_b"], ["c"], "first", **PADDED),
        *between,
        node("GlobalAveragePool", [last], ["g"], "pool"),
        node("Flatten", ["g"], ["f"], "flatten"),
        node("Gemm", ["f", "head_w", "head_b"], ["y"], "head"),
    ]
    own = {
        "first_w": normal(16, 3, 3, 3, scale=0.3),
        "first_b": normal(16, seed=1),
        "head_w": normal(channels, 5),
        "head_b": normal(5),
    }
    return network_of(nodes, own | weights, outputs=outputs)


def conv_net(activation: str = "Relu", **weights: Any) -> ir.Model:
    """first → activation → second (16 to 16) → activation → pooling → head."""
    ends = ["zero", "six"] if activation == "Clip" else []
    nodes = [
        node(activation, ["c", *ends], ["r"], "act"),
        node("Conv", ["r", "second_w", "second_b"], ["d"], "second", **PADDED),
        node(activation, ["d", *ends], ["s"], "act2"),
    ]
    own: dict[str, Any] = {"second_w": normal(16, 16, 3, 3, scale=0.1), "second_b": normal(16, seed=2)}
    limits: dict[str, Any] = {"zero": np.float32(0.0), "six": np.float32(6.0)} if ends else {}
    return classifier(*nodes, last="s", **(own | limits | weights))


def in_float16(model: ir.Model) -> ir.Model:
    """A clone whose floats all have 16 bits, those of its inputs and outputs, too."""
    clone = model.clone()
    produced = (value for node in clone.graph for value in node.outputs)
    for value in (*clone.graph.inputs, *clone.graph.initializers.values(), *produced):
        if value.dtype == ir.DataType.FLOAT:
            value.type = ir.TensorType(ir.DataType.FLOAT16)
            if value.const_value is not None:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=value.name)
    return clone


def pictures(count: int = 40, seed: int = 7) -> Array:
    return normal(count, 3, 8, 8, seed=seed)


def calibration_of(model: ir.Model, x: Array, batch_size: int = 64) -> Calibration:
    name = model.graph.inputs[0].name or ""
    return Calibration(open_samples({name: x}, input_specs(model), batch_size=batch_size), RUNTIME)


def placed(model: ir.Model, stay: Collection[str] = ()) -> Placement:
    return place(model.graph, find_layers(model.graph)[0], dict.fromkeys(stay, "it is to stay"))


def on_integers(
    model: ir.Model, x: Array, only: Collection[str] | None = None, most: int = 63, **options: Any
) -> IntegerModel:
    names = [layer.name for layer in find_layers(model.graph)[0] if only is None or layer.name in only]
    plan = IntegerPlan(most=dict.fromkeys(names, most), **options)
    return make_integer_model(model, plan, calibration_of(model, x), lambda *_: None)


def run(model: ir.Model, x: Array, runtime: Runtime = RUNTIME) -> Array:
    """The first output."""
    outputs = runtime.session(model).run({model.graph.inputs[0].name or "": x})
    return np.asarray(next(iter(outputs.values())), np.float64)


def distance(one: Array, other: Array) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def kernels(model: ir.Model) -> list[str]:
    """Operators of the graph that ONNX Runtime makes of a model."""
    return [kernel.op_type for kernel in RUNTIME.optimised_graph(model).node]
