"""Which outputs of a model are class scores, by what makes them and what reads them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, traits_of


def class_outputs(model: ir.Model, *, labelled: bool) -> tuple[str, ...] | None:
    """Names of the outputs that may be class scores; None = all, because the samples are labelled with classes.

    A vector of numbers for each sample need not be scores: a waveform, coordinates of boxes and embeddings have the
    same shape, and the largest entry of those means nothing. Scores are normalised by Softmax or read by ArgMax; or
    they come from a projection (Gemm, MatMul) or a global pooling, with nothing but a bias and a scale behind it.
    Where an output is surely scores, others that only may be are not taken for them.
    """
    if labelled:
        return None
    outputs = [output for output in model.graph.outputs if output.name]
    surely = tuple(output.name or "" for output in outputs if _is_surely_scores(output))
    return surely or tuple(output.name or "" for output in outputs if _may_be_scores(output))


def _is_surely_scores(output: ir.Value) -> bool:
    """Whether a value on the way to the output is normalised over classes, or read by what chooses the largest."""
    for value in _way_back(output):
        producer = value.producer()
        if producer is not None and _ranks_into_scores(producer):
            return True
        if any(traits_of(use.node).score_role == "ranks" and use.idx == 0 for use in value.uses()):
            return True
    return False


def _ranks_into_scores(node: ir.Node) -> bool:
    """Whether a node gives scores that are normalised over classes, not places of the largest ones."""
    traits = traits_of(node)
    return traits.score_role == "ranks" and not traits.is_discrete


def _may_be_scores(output: ir.Value) -> bool:
    """Whether the first operator behind the output that is more than a bias, a scale or a view may give scores."""
    *_, value = _way_back(output)
    producer = value.producer()
    if producer is None:
        return False
    is_scores = traits_of(producer).score_role in ("projects", "pools")
    return is_scores or (producer.op_type == "Conv" and _is_pointwise(value))


def _way_back(output: ir.Value) -> Iterator[ir.Value]:
    """The output and the values it comes from through views, casts and arithmetic with constants."""
    value: ir.Value | None = output
    while value is not None:
        yield value
        node = value.producer()
        if node is None:
            return
        role = traits_of(node).score_role
        if role == "scales":
            variable = [operand for operand in node.inputs if operand is not None and not is_constant(operand)]
            value = variable[0] if len(variable) == 1 else None
        elif role == "entry" or traits_of(node).is_view:
            value = optional_input(node, 0)
        else:
            return


def _is_pointwise(value: ir.Value) -> bool:
    """Whether a convolution's output has one position: by its shape, or because a global pooling is in front."""
    if value.shape is not None and len(value.shape) > 2:
        extents = value.shape[2:]
        if all(isinstance(extent, int) for extent in extents):
            return all(extent == 1 for extent in extents)
    while (node := value.producer()) is not None and traits_of(node).score_role != "pools":
        variable = [operand for operand in node.inputs if operand is not None and not is_constant(operand)]
        if len(variable) != 1 or traits_of(node).sized_by or node.op_type == "ConvTranspose":  # may make positions
            return False
        value = variable[0]
    return node is not None
