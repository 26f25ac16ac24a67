"""Turn MatMuls into Gemms: ONNX Runtime runs a Gemm with its bias on integers, a MatMul and an Add not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, present, set_initializer, tensor, unused_name


@dataclasses.dataclass(frozen=True)
class MatMulToGemm(ir.passes.InPlacePass):
    """``X W + b``, as a MatMul and an Add, becomes ``Gemm(X, W, b)`` of the same name.

    Attributes:
        matrices: names of the values that are known to have two axes.
        fixed: extents of values with more axes, where none of them varies, by name. ONNX Runtime makes a Gemm of a
            MatMul and an Add itself there, before it looks for integers, and runs it on floats.
    """

    matrices: Collection[str]
    fixed: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict, repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite what matches in place."""
        graph, modified = model.graph, False
        rows: dict[ir.Value, ir.Value] = {}
        for node in list(graph):
            if node.op_type != "MatMul" or node.domain:
                continue
            value, weight = present(node.inputs[0]), node.inputs[1]
            if not is_constant(weight) or len(tensor(present(weight)).shape) != 2:
                continue
            if value.name in self.matrices:
                _rewrite(graph, node, _added_bias(node))
                modified = True
            elif (shape := self.fixed.get(value.name or "")) and (added := _added_bias(node)) is not None:
                if value not in rows:
                    rows[value] = _reshape(graph, node, value, (-1, shape[-1]))
                extents = (*shape[:-1], tensor(present(weight)).shape.numpy()[1])
                node.replace_input_with(0, rows[value])
                _shape_again(graph, _rewrite(graph, node, added), extents)
                modified = True
        return ir.passes.PassResult(model, modified)


def _rewrite(graph: ir.Graph, node: ir.Node, added: tuple[ir.Node, ir.Value] | None) -> ir.Node:
    """The Gemm that takes the place of a MatMul and of what is added to it, if anything is."""
    last, inputs = node, list(node.inputs)
    if added is not None:
        last, bias = added
        inputs.append(bias)
    old = last.outputs[0]
    gemm = ir.node("Gemm", inputs, name=label(node))
    gemm.outputs[0].type, gemm.outputs[0].shape = old.type, old.shape
    graph.insert_before(node, gemm)
    ir.convenience.replace_all_uses_with(old, gemm.outputs[0], replace_graph_outputs=True)
    name = old.name
    for fused_node in dict.fromkeys((last, node)):
        graph.remove(fused_node, safe=True)
    gemm.outputs[0].name = name
    return gemm


def _reshape(graph: ir.Graph, before: ir.Node, value: ir.Value, extents: tuple[int, ...]) -> ir.Value:
    """A value in another shape, made in front of a node."""
    name = unused_name(graph, f"{value.name}_rows")
    output = ir.Value(name=name, type=value.type)
    node = ir.node("Reshape", [value], outputs=[output], name=name)
    graph.insert_before(before, node)
    set_initializer(node, 1, np.array(extents, np.int64), f"{name}_shape")
    return output


def _shape_again(graph: ir.Graph, gemm: ir.Node, extents: tuple[int, ...]) -> None:
    """Give a Gemm's readers, and the caller, its output in the shape that the MatMul's had; it keeps its name."""
    rows, name = gemm.outputs[0], gemm.outputs[0].name or ""
    rows.name, rows.shape = unused_name(graph, f"{name}_rows"), None
    # a shape without a type cannot be written
    kind = rows.type or ir.TensorType(tensor(present(gemm.inputs[1])).dtype)
    shaped = ir.Value(name=name, type=kind, shape=ir.Shape(extents))
    ir.convenience.replace_all_uses_with(rows, shaped, replace_graph_outputs=True)
    node = ir.node("Reshape", [rows], outputs=[shaped], name=unused_name(graph, f"{label(gemm)}_shape"))
    graph.insert_after(gemm, node)
    set_initializer(node, 1, np.array(extents, np.int64), f"{node.name}_extents")


def _added_bias(node: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The Add behind a MatMul that alone reads it and adds one constant number an output, and that constant."""
    output = node.outputs[0]
    if len(output.uses()) != 1 or output.is_graph_output():
        return None
    (use,) = output.uses()
    add = use.node
    if add.op_type != "Add" or add.domain:
        return None
    bias = present(add.inputs[1 if add.inputs[0] is output else 0])
    columns = tensor(present(node.inputs[1])).shape.numpy()[1]
    fits = is_constant(bias) and tuple(tensor(bias).shape.numpy()) in ((columns,), (1, columns), (1,), ())
    return (add, bias) if fits else None
