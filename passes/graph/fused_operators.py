"""What ONNX Runtime's optimiser has fused around weights: which attribute or input keeps it from being taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from netsurgeon.passes.graph.nodes import is_constant, label, optional_input
from netsurgeon.passes.graph.operator_traits import MICROSOFT

ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh"), ()),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}
"""Activations that are fused, and their numbers."""
_ONLY_FUSED = ("do_rotary", "past_present_share_buffer")
"""Attributes of Attention that MultiHeadAttention has not."""
_TABLES = {
    "GroupQueryAttention": {7: "cos_cache", 8: "sin_cache", 10: "attention_bias"},
    "MultiHeadAttention": {5: "attention_bias"},
    "RotaryEmbedding": {2: "cos_cache", 3: "sin_cache"},
    "SkipLayerNormalization": {0: "input", 1: "skip"},
    "SkipSimplifiedLayerNormalization": {0: "input", 1: "skip"},
}
"""Inputs of operators of com.microsoft, by their places, that may be constants and are no weights."""


def why_fused(node: ir.Node) -> str | None:
    """Which attribute or input keeps a node of com.microsoft from being taken apart; None where nothing does."""
    problem = _PROBLEMS.get(node.op_type) if node.domain == MICROSOFT else None
    return None if problem is None else problem(node)


def constants_read(node: ir.Node) -> tuple[str, ...]:
    """Names that an operator of com.microsoft has for those of its inputs that are constants, and no weights."""
    tables = _TABLES.get(node.op_type, {}) if node.domain == MICROSOFT else {}
    return tuple(name for index, name in tables.items() if is_constant(optional_input(node, index)))


def _attention(node: ir.Node) -> str | None:
    weight, bias, mask = (optional_input(node, index) for index in (1, 2, 3))
    if not is_constant(weight):
        return "its input 'weights' is computed while the model runs"
    if bias is not None and not is_constant(bias):
        return "its input 'bias' is computed while the model runs"
    for name in _ONLY_FUSED:
        if node.attributes.get_int(name, 0):
            return f"its attribute {name} is set, which Attention has only with its weights inside"
    if mask is not None and mask.shape is not None and len(mask.shape) == 4:
        return "its input 'mask_index' has four axes"
    other = next((user for user, index in weight.uses() if not _takes_weights(user, index)), None) if weight else None
    return None if other is None else f"its weight is what {label(other)!r} ({other.op_type}) takes as a whole"


def _takes_weights(node: ir.Node, index: int) -> bool:
    return node.op_type == "Attention" and node.domain == MICROSOFT and index == 1


def _fused_matmul(node: ir.Node) -> str | None:
    for name in ("transBatchA", "transBatchB"):
        if node.attributes.get_int(name, 0):
            return f"its attribute {name} is set"
    for index, name in enumerate(("transA", "transB")):
        value = optional_input(node, index)
        if node.attributes.get_int(name, 0) and value is not None and not is_constant(value) and value.shape is None:
            return f"how many axes its input {value.name!r} has, which {name} turns, is not known"
    return None


def _activation(node: ir.Node) -> str | None:
    kind = node.attributes.get_string("activation", "")
    if kind not in ACTIVATIONS:
        return f"its attribute activation is {kind!r}, expected {', '.join(ACTIVATIONS)}"
    numbers = node.attributes.get_floats("activation_params", ())
    if node.op_type == "FusedConv" and len(numbers) not in (0, len(ACTIVATIONS[kind])):
        return f"its attribute activation_params has {len(numbers)} numbers, expected {len(ACTIVATIONS[kind])}"
    return None


def _embeddings(node: ir.Node) -> str | None:
    if optional_input(node, 0) is None:
        return "its input 'input_ids' is missing"
    output = node.outputs[1] if len(node.outputs) > 1 else None
    if output is None or not (output.uses() or output.is_graph_output()):
        return None
    if node.attributes.get_int("mask_index_type", 0):
        return "its attribute mask_index_type is set, and its output 'mask_index' is read"
    return None if optional_input(node, 7) is not None else "its input 'mask' is missing, and 'mask_index' is read"


_PROBLEMS: Mapping[str, Callable[[ir.Node], str | None]] = {
    "Attention": _attention,
    "EmbedLayerNormalization": _embeddings,
    "FusedConv": _activation,
    "FusedGemm": _activation,
    "FusedMatMul": _fused_matmul,
}
