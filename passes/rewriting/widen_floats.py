"""Turn float16 numbers into float32: integers are made of these alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import graph_of, unused_name

_HALF, _FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
"""Attributes that say of which type an operator's output is."""


class WidenFloats(ir.passes.InPlacePass):
    """Every float16 value and constant becomes float32; inputs and outputs of the model keep their types, by a Cast.

    float32 holds all numbers of float16, so constants stay what they are, and what is computed is rounded less.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Widen in place, in bodies of If and Loop, too."""
        graph = model.graph
        inputs = [value for value in graph.inputs if _is_half(value)]
        outputs = [at for at, value in enumerate(graph.outputs) if _is_half(value) and not value.is_graph_input()]
        widened = [value for value in _values(graph) if _widen(value)]
        attributes = [node for node in graph.all_nodes() if _widen_attributes(node)]
        for value in inputs:
            _narrow_input(graph, value)
        for at in outputs:
            _narrow_output(graph, at)
        _drop_casts(graph)
        return ir.passes.PassResult(model, bool(widened or attributes))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for part in (graph, *graph.subgraphs()):
        yield from part.inputs
        yield from part.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs


def _is_half(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType) and value.dtype == _HALF


def _widen(value: ir.Value) -> bool:
    constant = value.const_value
    is_half = _is_half(value) or (constant is not None and constant.dtype == _HALF)
    if is_half:
        value.type = ir.TensorType(_FLOAT)
        value.const_value = None if constant is None else _wide(constant)
    return is_half


def _wide(constant: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(constant.numpy().astype(np.float32), name=constant.name)


def _widen_attributes(node: ir.Node) -> bool:
    """Make float32 of constants in attributes, and of the types that they name."""
    changed: list[ir.Attr] = []
    for name, attribute in node.attributes.items():
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == _HALF:
            changed.append(ir.AttrTensor(name, _wide(attribute.as_tensor())))
        elif name in _TYPE_ATTRIBUTES and attribute.type == ir.AttributeType.INT and attribute.as_int() == _HALF:
            changed.append(ir.AttrInt64(name, _FLOAT.value))
    for attribute in changed:
        node.attributes[attribute.name] = attribute
    return bool(changed)


def _narrow_input(graph: ir.Graph, value: ir.Value) -> None:
    """Let an input of the model be float16 again, and all that reads it take float32."""
    value.type = ir.TensorType(_HALF)
    uses = list(value.uses())
    cast = _cast(graph, value, _FLOAT, unused_name(graph, f"{value.name}_float32"))
    for reader, at in uses:
        reader.replace_input_with(at, cast.outputs[0])
    graph.insert_before(graph[0], cast)


def _narrow_output(graph: ir.Graph, at: int) -> None:
    """Let an output of the model be float16 again."""
    value, name = graph.outputs[at], graph.outputs[at].name or ""
    value.name = unused_name(graph, f"{name}_float32")
    cast = _cast(graph, value, _HALF, name)
    graph.append(cast)
    graph.outputs[at] = cast.outputs[0]


def _cast(graph: ir.Graph, value: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    """A node that makes a value of this name and type; it is in no graph yet."""
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(kind))
    return ir.node("Cast", [value], {"to": kind.value}, outputs=[output], name=unused_name(graph, f"{name}_cast"))


def _drop_casts(graph: ir.Graph) -> None:
    """Remove Casts of what is float32 already: between a layer and its Relu they would keep integers apart."""
    for node in list(graph.all_nodes()):
        is_cast = node.op_type == "Cast" and not node.domain and node.attributes.get_int("to", 0) == _FLOAT
        source = node.inputs[0] if is_cast else None
        if source is None or source.dtype != _FLOAT or node.outputs[0].is_graph_output():
            continue
        node.outputs[0].replace_all_uses_with(source)
        graph_of(node).remove(node, safe=True)
