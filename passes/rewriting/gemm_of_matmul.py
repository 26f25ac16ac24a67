"""Turn MatMuls of matrices into Gemms: ONNX Runtime runs a Gemm with its bias on integers, a MatMul and an Add not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, present, tensor


@dataclasses.dataclass(frozen=True)
class MatMulToGemm(ir.passes.InPlacePass):
    """``X W + b``, as a MatMul and an Add, becomes ``Gemm(X, W, b)`` of the same name.

    Attributes:
        matrices: names of the values that are known to have two axes.
    """

    matrices: Collection[str]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite what matches in place."""
        graph, modified = model.graph, False
        for node in list(graph):
            if node.op_type != "MatMul" or node.domain or present(node.inputs[0]).name not in self.matrices:
                continue
            weight = node.inputs[1]
            if not is_constant(weight) or len(tensor(present(weight)).shape) != 2:
                continue
            self._rewrite(graph, node)
            modified = True
        return ir.passes.PassResult(model, modified)

    @staticmethod
    def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
        last, inputs = node, list(node.inputs)
        added = _added_bias(node)
        if added is not None:
            last, bias = added
            inputs.append(bias)
        old = last.outputs[0]
        gemm = ir.node("Gemm", inputs, name=label(node))
        gemm.outputs[0].type, gemm.outputs[0].shape = old.type, old.shape
        graph.insert_before(node, gemm)
        ir.convenience.replace_all_uses_with(old, gemm.outputs[0], replace_graph_outputs=True)
        name = old.name
        for gone in dict.fromkeys((last, node)):
            graph.remove(gone, safe=True)
        gemm.outputs[0].name = name


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
