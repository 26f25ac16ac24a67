"""Seeded He weights for the `light_*` graphs of the onnx package, which come with constants in their place.

As they come every weight is 0.02, made by a ConstantOfShape node, and the output does not depend on the input. Here
every weight of two or more axes becomes an initializer drawn from N(0, 2 / fan_in), fan_in counted per group;
scales lie around 1 and shifts around 0. A BatchNormalization gets the mean and variance that its input has on one
random picture: without it the activations of a deep graph grow with every block until all pictures give one answer.
The graph is the same otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from netsurgeon.pipeline.runtime import onnxruntime

JITTER = 0.05
IR_VERSION = 8
"""From 4 on an initializer need not be an input of the graph, too."""
ONES = {("BatchNormalization", 1), ("Mul", 0), ("Mul", 1)}
"""Operator and input whose values lie around 1 instead of 0."""

Array = npt.NDArray[np.float32]
Use = tuple[onnx.NodeProto, int]


def light_resnet50() -> Path:
    """Where the installed onnx package has the shape of ResNet-50."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_resnet50.onnx"


def he_model(path: Path, seed: int, *, free_batch: bool = False) -> onnx.ModelProto:
    """A `light_*` graph with weights drawn with `seed`; with `free_batch` its batch of 1 becomes dynamic.

    Raises:
        ValueError: the output does not depend on the input, or is not finite.
    """
    model = onnx.load(path)
    rng = np.random.default_rng(seed)
    uses = _uses(model.graph)
    drawn = {name: _draw(shape, uses[name], rng) for name, shape in _constants(model.graph) if name in uses}
    _replace(model, drawn)
    _settle(model, rng)
    if free_batch:
        _free_batch(model.graph)
    _check_depends_on_input(model, rng)
    return model


def quiet_session(model: bytes | str) -> Any:
    """ONNX Runtime on the CPU, without its warnings about values nobody uses."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _uses(graph: onnx.GraphProto) -> dict[str, Use]:
    """The first node that works with each value, seen through Reshape and Unsqueeze."""
    uses: dict[str, Use] = {}
    for node in reversed(graph.node):
        for index, name in enumerate(node.input):
            passed_on = index == 0 and node.op_type in ("Reshape", "Unsqueeze")
            uses[name] = uses.get(node.output[0], (node, index)) if passed_on else (node, index)
    return uses


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each float constant."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            yield tensor.name, tuple(tensor.dims)
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            yield node.output[0], tuple(int(side) for side in numpy_helper.to_array(values[node.input[0]]))


def _draw(shape: tuple[int, ...], use: Use, rng: np.random.Generator) -> Array:
    node, index = use
    normal = rng.standard_normal(shape)
    if len(shape) < 2:
        return np.asarray(JITTER * normal + ((node.op_type, index) in ONES), np.float32)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    fan_in = shape[0] if node.op_type == "Gemm" and not transposed else int(np.prod(shape[1:]))
    return np.asarray(normal * np.sqrt(2.0 / fan_in), np.float32)


def _replace(model: onnx.ModelProto, drawn: dict[str, Array]) -> None:
    """Put initializers in the place of constants and of the nodes that made some; inputs are data only."""
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name not in drawn and tensor.name in used]
    fed = [value for value in graph.input if value.name not in {tensor.name for tensor in graph.initializer}]
    drawn_tensors = [numpy_helper.from_array(array, name) for name, array in drawn.items()]
    for field, values in ((graph.node, nodes), (graph.initializer, [*kept, *drawn_tensors]), (graph.input, fed)):
        _set(field, values)
    model.ir_version = max(model.ir_version, IR_VERSION)


def _set(field: Any, values: list[Any]) -> None:
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)


def _settle(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Give each BatchNormalization the statistics of its input, which one picture shows to all of them at once.

    For one picture an InstanceNormalization is a BatchNormalization with the right statistics.
    """
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    outputs: dict[str, str] = {}
    _set(probe.graph.node, [replacement for node in model.graph.node for replacement in _probe(node, outputs)])
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in outputs)
    session = quiet_session(probe.SerializeToString())
    statistics = session.run(list(outputs), _feed(model.graph, rng)) if outputs else []
    values = {outputs[name]: array for name, array in zip(outputs, statistics, strict=True)}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))


def _probe(node: onnx.NodeProto, outputs: dict[str, str]) -> list[onnx.NodeProto]:
    """What stands in for a node; `outputs` gets the name of each statistic and of the initializer it is for."""
    if node.op_type != "BatchNormalization":
        return [node]
    data, scale, shift, mean, variance = node.input
    names = [f"{node.output[0]}__{step}" for step in ("mean", "centre", "spread", "square", "variance")]
    outputs |= {names[0]: mean, names[4]: variance}
    make = onnx.helper.make_node
    return [
        make("ReduceMean", [data], [names[0]], axes=[0, 2, 3], keepdims=0),
        make("ReduceMean", [data], [names[1]], axes=[0, 2, 3], keepdims=1),
        make("Sub", [data, names[1]], [names[2]]),
        make("Mul", [names[2], names[2]], [names[3]]),
        make("ReduceMean", [names[3]], [names[4]], axes=[0, 2, 3], keepdims=0),
        make("InstanceNormalization", [data, scale, shift], [node.output[0]]),
    ]


def _feed(graph: onnx.GraphProto, rng: np.random.Generator) -> dict[str, Array]:
    """One random picture."""
    (value,) = graph.input
    shape = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
    return {value.name: rng.standard_normal(shape, dtype=np.float32)}


def _free_batch(graph: onnx.GraphProto) -> None:
    """Make axis 0 of inputs, outputs and of the targets of Reshape dynamic; they are fixed to 1 in the file."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in targets:
            target = numpy_helper.to_array(tensor).copy()
            target[0] = -1
            tensor.CopyFrom(numpy_helper.from_array(target, tensor.name))


def _check_depends_on_input(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    session = quiet_session(model.SerializeToString())
    one, other = (session.run(None, _feed(model.graph, rng))[0].astype(np.float64) for _ in range(2))
    if not np.isfinite(one).all() or not np.linalg.norm(one - other) > 1e-3 * np.linalg.norm(one):
        raise ValueError("the output is not finite, or does not depend on the input")
