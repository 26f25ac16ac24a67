"""Turn Sums into Adds: ONNX Runtime adds two values on integers, and has no such kernel for Sum."""

from __future__ import annotations

import onnx_ir as ir

from netsurgeon.passes.graph import label, unused_name


class SumToAdd(ir.passes.InPlacePass):
    """``Sum(a, b, c)`` becomes ``Add(Add(a, b), c)``, in ONNX Runtime's order; the last has its name."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite every Sum of two or more values in place."""
        modified = False
        for node in list(model.graph):
            if node.op_type != "Sum" or node.domain or len(node.inputs) < 2:
                continue
            total, *others = node.inputs
            for value in others[:-1]:
                name = unused_name(model.graph, f"{label(node)}_part")
                part = ir.Value(name=name, type=node.outputs[0].type)
                model.graph.insert_before(node, ir.node("Add", [total, value], outputs=[part], name=name))
                total = part
            last = ir.node("Add", [total, others[-1]], name=label(node))
            model.graph.insert_before(node, last)
            _take_place(model.graph, node, last)
            modified = True
        return ir.passes.PassResult(model, modified)


def _take_place(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """Let a node of one output stand where another stood; its output keeps name, type and shape."""
    (before,), (after,) = old.outputs, new.outputs
    after.type, after.shape = before.type, before.shape
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    name = before.name
    graph.remove(old, safe=True)
    after.name = name
