"""Bodies of If and Loop in normal form: branches that are decided beforehand in line, weights where all passes look."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import onnx_ir as ir

from netsurgeon.passes.graph import FLOATS, bodies, is_constant, tensor

_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add")
Names = collections.Counter[str | None]


class InlineDecidedBranches(ir.passes.InPlacePass):
    """Put the branch that is taken in the place of every If whose condition is a constant of the model."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Inline in place; a branch may hold a decided If itself."""
        modified = False
        while (node := next(_decided(model.graph), None)) is not None:
            _inline(node, _names(model.graph))
            modified = True
        return ir.passes.PassResult(model, modified)


def _decided(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in ir.traversal.RecursiveGraphIterator(graph):
        condition = node.inputs[0] if node.op_type == "If" and not node.domain else None
        if condition is not None and is_constant(condition) and tensor(condition).size == 1:
            yield node


def _inline(choice: ir.Node, names: Names) -> None:
    """Move nodes and initializers of the branch that is taken in front of the If, and drop the If."""
    graph, condition = choice.graph, choice.inputs[0]
    assert isinstance(graph, ir.Graph)
    assert condition is not None
    branch = choice.attributes["then_branch" if tensor(condition).numpy().item() else "else_branch"].as_graph()
    results = list(branch.outputs)
    branch.outputs.clear()
    _move_initializers(branch, list(branch.initializers), graph, names)
    inner = list(branch)
    branch.remove(inner)
    for value in (value for node in inner for value in node.outputs):
        _rename_apart(value, names)
    graph.insert_before(choice, inner)
    values_inside = {value for node in inner for value in node.outputs}
    for output, result in zip(choice.outputs, results, strict=True):
        own = result
        if result not in values_inside:  # a constant, or a result that stands twice: every output is a value of its own
            copy = ir.node("Identity", [result])
            graph.insert_before(choice, copy)
            own = copy.outputs[0]
        values_inside.discard(result)
        _take_place(output, own)
    graph.remove(choice, safe=True)


def _take_place(output: ir.Value, result: ir.Value) -> None:
    """Let `result` stand for `output`, under its name; declared types and shapes of a model's outputs stay."""
    name, output.name = output.name, None
    result.name = name
    if output.is_graph_output() or result.type is None:
        result.type, result.shape = output.type, output.shape
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)


class LiftBodyWeights(ir.passes.InPlacePass):
    """Move float constants of layers from bodies to the model's graph: there they are pruned, rounded and packed."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lift in place; what is an output of its body stays there."""
        names: Names | None = None
        for body in model.graph.subgraphs():
            lifted = [name for name, value in body.initializers.items() if _is_weight(value)]
            if lifted:
                names = _names(model.graph) if names is None else names
                _move_initializers(body, lifted, model.graph, names)
        return ir.passes.PassResult(model, names is not None)


def _is_weight(value: ir.Value) -> bool:
    if value.is_graph_input() or value.is_graph_output() or value.const_value is None:
        return False
    users = {use.node.op_type for use in value.uses() if not use.node.domain}
    return value.const_value.dtype in FLOATS and not users.isdisjoint(_WITH_WEIGHTS)


def _move_initializers(source: ir.Graph, moved: list[str], target: ir.Graph, names: Names) -> None:
    for name in moved:
        value = source.initializers.pop(name)
        _rename_apart(value, names)
        target.register_initializer(value)


def _rename_apart(value: ir.Value, names: Names) -> None:
    """Lengthen a value's name where another one has it: bodies side by side may use the same names."""
    if not value.name:
        return
    names[value.name] -= 1
    name = value.name
    while names[name] > 0:
        name += "_own"
    names[name] += 1
    if name == value.name:
        return
    constant, value.const_value = value.const_value, None
    value.name = name
    if constant is not None:  # its name is renamed with the value, and the model that this one is a clone of shares it
        value.const_value = ir.tensor(constant.numpy(), name=name)


def _names(graph: ir.Graph) -> Names:
    """How often each name stands in a graph and the bodies inside it."""
    names: Names = collections.Counter(value.name for value in graph.inputs)
    names.update(graph.initializers.keys() - set(names))
    for node in graph:
        names.update(value.name for value in node.outputs)
        for body in bodies(node):
            names.update(_names(body))
    return names
