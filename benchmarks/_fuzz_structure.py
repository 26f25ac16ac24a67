"""What fuzz.py does to valid graphs: what a wrong exporter, or an attacker, could."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from _fuzz_mutations import FLOATS, INTEGERS, NAMES, mutate_list
from google.protobuf.message import DecodeError
from onnx import numpy_helper

OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Relu", "Add", "Mul", "Concat", "Split", "Reshape", "Transpose", "Slice", "Pad"),
    *(
        "Gather",
        "Expand",
        "Tile",
        "ConstantOfShape",
        "Range",
        "Loop",
        "If",
        "LSTM",
        "Softmax",
        "ReduceMean",
        "Identity",
    ),
    *("BatchNormalization", "ConvTranspose", "Resize", "DequantizeLinear", "Einsum", "Where", "Cast", "Unknown"),
)
Graph = onnx.GraphProto


def _node(graph: Graph, rng: random.Random) -> onnx.NodeProto:
    if not graph.node:
        graph.node.add(op_type="Relu", input=["x"], output=["extra"])
    node: onnx.NodeProto = rng.choice(graph.node)
    return node


def _tensor(graph: Graph, rng: random.Random) -> onnx.TensorProto:
    if not graph.initializer:
        graph.initializer.add(name="extra_tensor", data_type=1, dims=[1], raw_data=bytes(4))
    tensor: onnx.TensorProto = rng.choice(graph.initializer)
    return tensor


def _values_of(graph: Graph) -> list[str]:
    names = [value.name for value in (*graph.input, *graph.initializer)]
    return [*names, *(output for node in graph.node for output in node.output), ""]


def _order(graph: Graph, rng: random.Random) -> None:
    nodes = [node.SerializeToString() for node in graph.node]
    rng.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(onnx.NodeProto.FromString(node) for node in nodes)


def _rewire(graph: Graph, rng: random.Random) -> None:
    node = _node(graph, rng)
    names = node.output if rng.random() < 0.3 else node.input
    if names:
        names[rng.randrange(len(names))] = rng.choice(_values_of(graph))


def _drop_or_repeat(graph: Graph, rng: random.Random) -> None:
    node = onnx.NodeProto()
    node.CopyFrom(_node(graph, rng))
    if rng.random() < 0.5:
        graph.node.remove(node)
        return
    for at in range(rng.choice((1, 20))):
        if rng.random() < 0.8:
            node.output[:] = [f"{name}_{at}" for name in node.output]
        graph.node.append(node)


def _operator(graph: Graph, rng: random.Random) -> None:
    node = _node(graph, rng)
    node.op_type = rng.choice(OPERATORS)
    if rng.random() < 0.1:
        node.domain = rng.choice(("com.microsoft", "ai.onnx.ml", "own", "ai.onnx"))


def _attribute(graph: Graph, rng: random.Random) -> None:
    node = _node(graph, rng)
    if not node.attribute or rng.random() < 0.3:
        name = rng.choice(("group", "axis", "perm", "kernel_shape", "pads", "strides", "dilations", "transB", "alpha"))
        plain: Any = rng.choice((*INTEGERS, *FLOATS[:4]))
        is_list = name in ("perm", "kernel_shape", "pads", "strides", "dilations")
        numbers = [rng.choice(INTEGERS) for _ in range(rng.randint(1, 4))]
        node.attribute.append(onnx.helper.make_attribute(name, numbers if is_list else plain))
        return
    attribute = rng.choice(node.attribute)
    if attribute.ints:
        mutate_list(attribute.ints, attribute.DESCRIPTOR.fields_by_name["ints"], rng)
    else:
        attribute.i, attribute.f = rng.choice(INTEGERS), rng.choice(FLOATS)


def _declared_shape(graph: Graph, rng: random.Random) -> None:
    value = rng.choice([*graph.input, *graph.output] or [graph.input.add(name="more")])
    dims = value.type.tensor_type.shape.dim
    match rng.randrange(4) if dims else 0:
        case 0:
            dims.add(dim_value=rng.choice(INTEGERS))
        case 1:
            dims[rng.randrange(len(dims))].dim_value = rng.choice(INTEGERS)
        case 2:
            dims[rng.randrange(len(dims))].dim_param = rng.choice((*NAMES, "n"))
        case _:
            value.type.tensor_type.ClearField("shape")


def _array_of(tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError("its values lie in another file")
    return np.array(numpy_helper.to_array(tensor))


def _weight_values(graph: Graph, rng: random.Random) -> None:
    tensor = _tensor(graph, rng)
    values = _array_of(tensor)
    if values.dtype != np.float32 or not values.size:
        return
    match rng.randrange(5):
        case 0:
            values[...] = rng.choice(FLOATS)
        case 1:
            values.flat[rng.randrange(values.size)] = rng.choice(FLOATS)
        case 2:
            values *= np.float32(rng.choice((1e-38, 1e-20, 1e15, 1e30)))
        case 3:
            values[:] = values[:1]
        case _:
            values[rng.randrange(len(values)) :] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _weight_form(graph: Graph, rng: random.Random) -> None:
    """Other types and dimensions, with data that fits: empty, scalar, transposed, with more axes."""
    tensor = _tensor(graph, rng)
    values = _array_of(tensor)
    match rng.randrange(5):
        case 0:
            values = values[:0]
        case 1:
            values = values.astype(rng.choice((np.float16, np.float64, np.int8, np.int64, np.bool_, np.uint8)))
        case 2:
            values = values.T.copy()
        case 3:
            values = values.reshape(rng.choice(((1, -1), (-1, 1), (-1,), (1, *values.shape), (*values.shape, 1))))
        case _:
            values = np.repeat(values, 2, axis=0) if values.ndim else values
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _dims(graph: Graph, rng: random.Random) -> None:
    dims = _tensor(graph, rng).dims
    mutate_list(dims, onnx.TensorProto.DESCRIPTOR.fields_by_name["dims"], rng)


def _rename(graph: Graph, rng: random.Random) -> None:
    """Give a value a name that is odd, everywhere it stands."""
    old, new = rng.choice(_values_of(graph)), rng.choice(NAMES)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    _node(graph, rng).name = rng.choice(NAMES)


def _external(graph: Graph, rng: random.Random) -> None:
    tensor = _tensor(graph, rng)
    data = bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    places = ("weights.bin", "model.onnx", "../weights.bin", "/etc/passwd", "/dev/zero", ".", "", "missing.bin", "a\0b")
    for key, values in (
        ("location", places if rng.random() < 0.5 else places[:1]),
        ("offset", ("0", "1", "-1", "4096", "9" * 30, "x", "")),
        ("length", (str(len(data)), "0", "-4", "3", "9" * 19, "")),
    ):
        if rng.random() < 0.8:
            tensor.external_data.add(key=key, value=rng.choice(values))


def _interface(graph: Graph, rng: random.Random) -> None:
    """Weights among the inputs and outputs, outputs that no one makes, inputs twice, another element type."""
    name = rng.choice(_values_of(graph))
    kind = rng.choice((1, 1, 1, 2, 7, 8, 9, 10, 16))
    places = rng.choice((graph.input, graph.output, graph.value_info))
    if places and rng.random() < 0.4:
        rng.choice(places).type.tensor_type.elem_type = kind
    else:
        places.append(
            onnx.helper.make_tensor_value_info(name, kind, [rng.choice(INTEGERS)] if rng.random() < 0.5 else None)
        )


def _wrap(graph: Graph, rng: random.Random) -> None:
    """Move a node into the bodies of an If, which may lie in further ones."""
    at = rng.randrange(len(graph.node)) if graph.node else None
    if at is None:
        return
    inner = onnx.NodeProto()
    inner.CopyFrom(graph.node[at])
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in inner.output]
    for depth in range(rng.choice((1, 1, 2, 5, 20, 25))):
        body = onnx.helper.make_graph([inner], f"body{depth}", [], outputs)
        constant = onnx.helper.make_node("Constant", [], [f"yes{depth}"], value=numpy_helper.from_array(np.array(True)))
        branch = onnx.helper.make_node("If", [f"yes{depth}"], list(inner.output), then_branch=body, else_branch=body)
        graph.node.insert(0, constant)
        if depth > 6:  # both branches would double it each time
            del branch.attribute[1:]
        inner = branch
    at = next(place for place, node in enumerate(graph.node) if list(node.output) == list(inner.output))
    graph.node[at].CopyFrom(inner)


GRAPH_CHANGES: tuple[Callable[[Graph, random.Random], None], ...] = (
    *(_order, _rewire, _drop_or_repeat, _operator, _attribute, _attribute, _declared_shape, _weight_values),
    *(_weight_form, _weight_form, _dims, _rename, _external, _interface, _wrap),
)


def _imports(model: onnx.ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice((model.ir_version, 3, 4, 8, 13, 0, -1, 2**40))
    if rng.random() < 0.5:
        model.opset_import.add(domain=rng.choice(("", "ai.onnx", "own", "com.microsoft", "a\0b")), version=17)
    rng.choice(model.opset_import or [model.opset_import.add()]).version = rng.choice(
        (1, 7, 8, 9, 11, 13, 18, 21, 99, 0, -1)
    )


def _functions(model: onnx.ModelProto, rng: random.Random) -> None:
    """Make a node a call of a function, which calls a further one, and so on, perhaps itself."""
    node = _node(model.graph, rng)
    count = rng.choice((1, 2, 5, 90, 120))
    inputs, outputs = [f"i{at}" for at in range(len(node.input))], [f"o{at}" for at in range(len(node.output))]
    if "own" not in {entry.domain for entry in model.opset_import}:
        model.opset_import.add(domain="own", version=1)
    for at in range(count):
        inner = onnx.NodeProto()
        inner.CopyFrom(node)
        inner.input[:], inner.output[:] = inputs, outputs
        if at < count - 1 or rng.random() < 0.1:
            del inner.attribute[:]
            inner.op_type, inner.domain = f"f{(at + 1) % count}", "own"
        imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)]
        nodes = [inner] * rng.choice((1, 1, 1, 2))
        model.functions.append(onnx.helper.make_function("own", f"f{at}", inputs, outputs, nodes, imports))
    del node.attribute[:]
    node.op_type, node.domain = "f0", "own"


def mutate_structure(model: onnx.ModelProto, rng: random.Random) -> None:
    """One to three changes that a wrong exporter, or an attacker, could make to a valid model.

    A change that does not fit what the ones before have left changes nothing, or a part.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        with contextlib.suppress(ValueError, TypeError, IndexError, StopIteration, DecodeError):
            _change(model, rng)


def _change(model: onnx.ModelProto, rng: random.Random) -> None:
    choice = rng.random()
    if choice < 0.07:
        _imports(model, rng)
    elif choice < 0.14:
        _functions(model, rng)
    else:
        bodies = [attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")]
        graph = rng.choice(bodies) if bodies and rng.random() < 0.4 else model.graph
        rng.choice(GRAPH_CHANGES)(graph, rng)
