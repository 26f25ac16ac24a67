"""Which outputs of a model are class scores: by what makes them, what reads them, and what they look like."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import bodies, is_constant, optional_input, traits_of
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.runtime import Session
from netsurgeon.pipeline.verification.measures import batches_of, class_scores
from netsurgeon.pipeline.verification.score_evidence import looks_like_embedding, why_no_scores

MOST_INPUTS = 256
"""Inputs whose outputs are looked at, at most: they tell scores from other numbers as well as all of them."""


@dataclasses.dataclass(frozen=True)
class ClassOutputs:
    """Which outputs are judged by their largest number.

    Attributes:
        names: of those outputs; None = all, because the samples are labelled with classes.
        notes: which others the graph would allow, and why they are judged by their error.
    """

    names: tuple[str, ...] | None
    notes: tuple[Message, ...] = ()


def find_class_outputs(model: ir.Model, dense: Session, samples: Samples, *, labelled: bool) -> ClassOutputs:
    """Which outputs are class scores, by the graph and by what they look like on the inputs.

    A vector of numbers for each sample need not be scores: a waveform, coordinates of boxes and embeddings have the
    same shape, and the largest entry of those means nothing. Scores are normalised by Softmax or read by ArgMax; or
    they come from a projection (Gemm, MatMul) or a global pooling, with nothing but a bias and a scale behind it, as
    landmarks and boxes do, too: those that only may be scores are run (see `why_no_scores`). Where an output is surely
    scores, others that only may be are not taken for them.

    Args:
        model: the dense model.
        dense: its session.
        samples: inputs of any kind that the model was made for.
        labelled: whether there are labels, which say that there are classes.
    """
    if labelled:
        return ClassOutputs(None)
    possible, are_sure = outputs_by_graph(model)
    if are_sure or not possible:
        return ClassOutputs(possible)
    values = _values(dense, samples.subset(MOST_INPUTS, np.random.default_rng(0)), possible)
    reasons = {name: why_no_scores(numbers, name) for name, numbers in values.items()}
    notes = tuple(_note(name, values[name].shape[1], reason) for name, reason in reasons.items() if reason)
    return ClassOutputs(tuple(name for name in possible if not reasons.get(name)), notes)


def find_embeddings(model: ir.Model, dense: Session, samples: Samples, *, is_sure: bool = False) -> tuple[str, ...]:
    """Names of the outputs that are embeddings: vectors whose directions are compared, by name or by their numbers.

    Of the model's other outputs that are a vector a sample, such as a waveform or points, the error counts. What is as
    long as an input is none.

    Args:
        model: the dense model.
        dense: its session.
        samples: inputs of any kind that the model was made for.
        is_sure: whether there must be one: then it is the first vector where none looks like one.
    """
    lengths = {size for value in model.graph.inputs for size in _free_sizes(value)}
    names = [output.name for output in model.graph.outputs if output.name and not lengths & _free_sizes(output)]
    values = _values(dense, samples.subset(MOST_INPUTS, np.random.default_rng(0)), names)
    embeddings = tuple(name for name, numbers in values.items() if looks_like_embedding(numbers, name))
    return embeddings or (tuple(values)[:1] if is_sure else ())


def _free_sizes(value: ir.Value) -> set[str]:
    """Names of the axes of a value that are free, but for the first."""
    return {size.value for size in (value.shape or ())[1:] if isinstance(size, ir.SymbolicDim) and size.value}


def outputs_by_graph(model: ir.Model) -> tuple[tuple[str, ...], bool]:
    """Names of the outputs that surely are class scores, and True; else of those that may be, and False."""
    outputs = [output for output in model.graph.outputs if output.name]
    surely = tuple(output.name or "" for output in outputs if _is_surely_scores(output))
    return surely or tuple(output.name or "" for output in outputs if _may_be_scores(output)), bool(surely)


def _values(dense: Session, samples: Samples, names: Sequence[str]) -> dict[str, npt.NDArray[np.floating]]:
    """Outputs that have one vector a sample, (samples, entries) each."""
    vectors: dict[str, list[npt.NDArray[np.floating]]] = {name: [] for name in names}
    for batch in batches_of(samples):
        if not vectors:  # all are something else, such as the logits of each token: large models are not run in vain
            break
        outputs = dense.run(batch.feed)
        scores = {name: class_scores(outputs, batch, [name]) for name in vectors}
        vectors = {name: [*vectors[name], values] for name, values in scores.items() if values is not None}
    return {
        name: np.concatenate(of_name)
        for name, of_name in vectors.items()
        if len({values.shape[1] for values in of_name}) == 1
    }


def _note(name: str, count: int, reason: str) -> Message:
    return Message(
        f"the largest of the {count} numbers of output {name!r} is not taken for an answer: {reason}. Their error "
        "counts; labels in the data or --metric overrule this",
        "no-class-scores",
        output=name,
        numbers=count,
    )


def _is_surely_scores(output: ir.Value) -> bool:
    """Whether a value on the way to the output is normalised over classes, or read by what chooses the largest."""
    for value in _way_back(output):
        producer = value.producer()
        if producer is not None and _ranks_into_scores(producer):
            return True
        if any(traits_of(use.node).score_role == "ranks" and use.idx == 0 for use in value.uses()):
            return True
    branches = _results_of_branches(value)
    return bool(branches) and all(map(_is_surely_scores, branches))


def _results_of_branches(value: ir.Value) -> list[ir.Value]:
    """What the branches of an If give for one of its outputs; none for what no If makes."""
    node, index = value.producer(), value.index()
    if node is None or index is None or node.op_type != "If" or node.domain:
        return []
    return [branch.outputs[index] for branch in bodies(node)]


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
    if branches := _results_of_branches(value):
        return all(map(_may_be_scores, branches))
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
