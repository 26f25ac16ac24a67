"""The normal form that surgery works on; onnx_ir and onnxscript do nearly all of it.

Functions inlined, fused operators with weights taken apart, constants and constant-foldable weights as initializers,
branches that are decided beforehand in line, BatchNormalization folded into the Conv or Gemm before it, every node
named. Nodes that survive keep their names.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules.common import (
    fuse_batchnorm_into_conv_rule,
    fuse_batchnorm_into_conv_transpose_rule,
    fuse_batchnorm_into_gemm_rule,
)

from netsurgeon.passes.graph import FEWEST_SHARED, FLOATS, is_generated, label, set_initializer, tensor
from netsurgeon.passes.rewriting.branches import InlineDecidedBranches, LiftBodyWeights
from netsurgeon.passes.rewriting.unfuse import UnfuseWeights

FOLDED_BYTES = 2**31 - 1
_WEIGHT_INPUTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "Add": (0, 1),
    "BatchNormalization": (1, 2, 3, 4),
    "DequantizeLinear": (0, 1, 2),
    "Pad": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "If": (0,),
}
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WITH_PARAMETERS = (*_LAYERS, "Add", "BatchNormalization")
_RULES = (fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_conv_transpose_rule, fuse_batchnorm_into_gemm_rule)
_FOLDED_FROM = "pkg.onnxscript.optimizer.folded_from"
"""Where onnxscript notes on a folded value the names of all that went into it."""
_TRACES = ("pkg.torch.onnx.", "pkg.onnxscript.")
_KEPT_QUANTISED = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")


def normal_form(stored: Sequence[str] = ()) -> ir.passes.PassBase:
    """The whole sequence, as one pass that works in place.

    Args:
        stored: globs of layers whose weights are stored even where a ConstantOfShape makes them, which costs bytes.
    """
    passes: tuple[ir.passes.PassBase, ...] = (
        common.InlinePass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        UnfuseWeights(),
        ShareTransposes(),
        FoldWeights(stored),
        InlineDecidedBranches(),
        FoldWeights(stored),  # of the branches that are in line now
        LiftBodyWeights(),
        OwnParameters(),
        FoldBatchNormalization(),
        common.RemoveUnusedNodesPass(),
        NameNodes(),
        DropTraces(),
    )
    return ir.passes.Sequential(*passes)


class ShareTransposes(ir.passes.InPlacePass):
    """Let one Transpose do what several do with the same initializer, so that folded they are one weight again."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge in place; the first one stays."""
        first: dict[tuple[ir.Value, tuple[int, ...] | None], ir.Node] = {}
        merged = []
        for node in model.graph:
            matrix = node.inputs[0] if node.op_type == "Transpose" and not node.domain else None
            if matrix is None or not matrix.is_initializer() or node.outputs[0].is_graph_output():
                continue
            order = node.attributes.get("perm")
            key = matrix, None if order is None else tuple(order.as_ints())
            if first.setdefault(key, node) is not node:
                node.outputs[0].replace_all_uses_with(first[key].outputs[0])
                merged.append(node)
        model.graph.remove(merged, safe=True)
        return ir.passes.PassResult(model, bool(merged))


@dataclasses.dataclass(frozen=True)
class FoldWeights(ir.passes.InPlacePass):
    """Evaluate the constant sub-graphs that weights hang on, and only those.

    A weight that a ConstantOfShape makes stays as it is: it costs nothing in the file, stored it would. A matrix that
    other nodes take as it is stays one tensor: what turns it for a layer, such as the Transpose in front of a head that
    is tied to its table, is left in the graph, where ONNX Runtime folds it.

    Attributes:
        stored: globs of layers for which that does not hold.
    """

    stored: Sequence[str] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in place."""
        ancestors = _weight_ancestors(model.graph, self.stored)
        if not ancestors:
            return ir.passes.PassResult(model, False)
        choices = [node for node in model.graph.all_nodes() if node.op_type == "If" and not node.domain]
        for node in choices:
            node.domain = "kept"  # put in line by it, branches would bring names along that others have
        result = fold_constants(
            model,
            input_size_limit=FOLDED_BYTES,
            output_size_limit=FOLDED_BYTES,
            should_fold=lambda node: _without_history(node) in ancestors,
        )
        for node in choices:
            node.domain = ""
        return ir.passes.PassResult(model, bool(result.modified))


def _without_history(node: ir.Node) -> ir.Node:
    """The node, whose inputs no longer know all they were folded from: along a chain that grows with its square."""
    for value in node.inputs:
        if value is not None:
            value.meta.pop(_FOLDED_FROM, None)
    return node


def _weight_ancestors(graph: ir.Graph, stored: Sequence[str]) -> set[ir.Node]:
    """Nodes with constant inputs only, from which a layer's weight is computed."""
    constant: set[ir.Node] = set()
    for node in graph.all_nodes():
        if node.op_type in _KEPT_QUANTISED or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
            continue
        if node.op_type.startswith("Random") or node.op_type in ("Multinomial", "Bernoulli"):
            continue
        constants = (v is None or v.const_value is not None or v.producer() in constant for v in node.inputs)
        if _is_fixed_shape(node) or all(constants):
            constant.add(node)
    constant -= {node for node in constant if _copies_what_stays(node, constant)}
    # Only what a weight hangs on is folded: folding all constants would blow small files up, a ConstantOfShape say.
    ancestors: set[ir.Node] = set()
    for node in graph.all_nodes():
        for index in _WEIGHT_INPUTS.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            is_wanted = value is not None and node not in constant and _pays(node, value, stored)
            stack = [value.producer()] if value is not None and is_wanted else []
            while stack:
                producer = stack.pop()
                if producer is not None and producer in constant and producer not in ancestors:
                    ancestors.add(producer)
                    stack.extend(v.producer() for v in producer.inputs if v is not None)
    return ancestors


def _copies_what_stays(node: ir.Node, constant: Collection[ir.Node]) -> bool:
    """Whether the node turns a matrix that a node which is not constant takes, too: folded it would be there twice."""
    matrix = node.inputs[0] if node.op_type == "Transpose" and not node.domain else None
    if matrix is None or matrix.const_value is None or matrix.const_value.dtype not in FLOATS:
        return False
    return matrix.const_value.size >= FEWEST_SHARED and any(use.node not in constant for use in matrix.uses())


def _pays(node: ir.Node, value: ir.Value, stored: Sequence[str]) -> bool:
    """Whether a constant is worth its bytes: not one made by ConstantOfShape, unless it belongs to a stored weight."""
    if node.op_type not in _WITH_PARAMETERS or not is_generated(value):
        return True
    if node.op_type in ("Add", "BatchNormalization"):
        makers = (other.producer() for other in node.inputs if other is not None)
        layers = [maker for maker in makers if maker is not None and maker.op_type in _LAYERS]
    else:
        layers = [node]
    return any(_has_stored_weight(layer, stored) for layer in layers)


def _has_stored_weight(layer: ir.Node, stored: Sequence[str]) -> bool:
    operands = layer.inputs[:2] if layer.op_type in ("Gemm", "MatMul") else layer.inputs[1:2]
    is_named = any(fnmatch.fnmatchcase(label(layer), glob) for glob in stored)
    return is_named or not any(is_generated(operand) for operand in operands)


def _is_fixed_shape(node: ir.Node) -> bool:
    """Whether it reads the shape of a model's input that has no free axis; shapes noted further in may be wrong."""
    value = node.inputs[0] if node.op_type == "Shape" and not node.domain else None
    return value is not None and value.is_graph_input() and value.shape is not None and value.shape.is_static()


class OwnParameters(ir.passes.InPlacePass):
    """Give every Conv and Gemm that feeds a BatchNormalization parameters of its own, so that it can be folded.

    A large weight that several nodes share stays one, and their BatchNormalizations stay.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Clone shared initializers and drop an empty bias in place."""
        modified = False
        for node in model.graph:
            if node.op_type not in ("Conv", "Gemm"):
                continue
            users = [use.node for use in node.outputs[0].uses()]
            if [user.op_type for user in users] != ["BatchNormalization"] or _shares_weight(node):
                continue
            if node.inputs[-1] is None:
                node.resize_inputs(len(node.inputs) - 1)
                modified = True
            for index in range(1, len(node.inputs)):
                value = node.inputs[index]
                if value is not None and value.is_initializer() and len(value.uses()) > 1:
                    set_initializer(node, index, tensor(value).numpy(), value.name or "weight")
                    modified = True
        return ir.passes.PassResult(model, modified)


def _shares_weight(node: ir.Node) -> bool:
    """Whether a layer's weight is large, and another node takes it as well."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.const_value is None:
        return False
    return len(weight.uses()) > 1 and weight.const_value.size >= FEWEST_SHARED


class FoldBatchNormalization(ir.passes.InPlacePass):
    """``γ (W x + b − μ) / √(σ² + ε) + β`` as one Conv or Gemm (onnxscript's rules), where the result is finite.

    Not of a large weight that another node takes as well, of which there would be two then.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold in place; the folded node keeps the name of the Conv or Gemm."""
        names: dict[str | None, str | None] = {}
        staying = []
        for node in model.graph:
            source = node.inputs[0] if node.op_type == "BatchNormalization" else None
            producer = source.producer() if source is not None else None
            if source is not None and producer is not None:
                names[node.outputs[0].name] = names.get(source.name, producer.name)
                staying += [] if _is_finite(node) and not _shares_weight(producer) else [node]
        for node in staying:
            node.domain = "kept"  # which no rule matches
        result = RewritePass(_RULES)(model)
        for node in staying:
            node.domain = ""
        for node in model.graph:
            if node.op_type in ("Conv", "ConvTranspose", "Gemm") and node.outputs[0].name in names:
                node.name = names[node.outputs[0].name]
        return ir.passes.PassResult(model, bool(result.modified))


def _is_finite(norm: ir.Node) -> bool:
    """Whether scale and shift of a BatchNormalization are finite numbers of its own type."""
    constants = [value.const_value for value in norm.inputs[1:] if value is not None and value.const_value is not None]
    if len(constants) < 4:
        return True
    scale, shift, mean, variance = (constant.numpy() for constant in constants)
    epsilon = norm.attributes["epsilon"].as_float() if "epsilon" in norm.attributes else 1e-5
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        return bool(np.isfinite(factor).all() and np.isfinite(shift - mean * factor).all())


class NameNodes(ir.passes.InPlacePass):
    """Name nodes that have no name, or one that another node has, after their first output."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Name in place."""
        nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
        taken = {node.name for node in nodes if node.name}
        names: set[str] = set()
        modified = False
        for node in nodes:
            if not node.name or node.name in names:
                base = (node.outputs[0].name if node.outputs else None) or node.op_type
                name, count = f"{base}", 1
                while name in taken:
                    count += 1
                    name = f"{base}_{count}"
                node.name, modified = name, True
                taken.add(name)
            names.add(node.name)
        return ir.passes.PassResult(model, modified)


class DropTraces(ir.passes.InPlacePass):
    """Drop what tools note on nodes for debugging.

    The PyTorch exporter notes stack traces with paths of the author's machine, onnxscript the rule that made a node.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Drop in place."""
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            for key in [key for key in node.metadata_props if key.startswith(_TRACES)]:
                del node.metadata_props[key]
                modified = True
        return ir.passes.PassResult(model, modified)
