"""What an operator is, whatever a pass wants with it: one table, keyed by domain, operator and version."""

from __future__ import annotations

import dataclasses
from typing import Literal

import onnx_ir as ir

KNOWN_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")
"""Domains whose operators have no traits but those in the table; what others do is unknown."""

MICROSOFT = "com.microsoft"


ScoreRole = Literal["ranks", "projects", "pools", "scales", "entry"]
IntegerRole = Literal["weighs", "computes", "carries", "joins", "clips"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorTraits:
    """What holds for every node of an operator; the defaults hold for an operator that is not in the table.

    Attributes:
        is_discrete: its results jump, so models are compared at what enters it.
        is_view: it gives the entries of its first input as they are, in another shape or order of axes.
        keeps_order: it gives the entries of its first input in the same order, in another shape at most.
        averages: each number it gives is a mean of numbers of its first input.
        reads_shape_only: the values of its inputs make no difference, only their shapes.
        moves_entries: applied to a vector of extents, it only moves entries.
        is_recurrent: it carries a state from step to step.
        is_linear: it multiplies its inputs 0 and 1, either of which may be the weight, and adds at most a bias.
        sized_by: inputs whose values, not only their shapes, decide how much it has to do.
        integer_role: what it is where activations are 8-bit integers with a scale: it "weighs" them by a constant,
            "computes" a result with a scale of its own, "carries" the integers and their scale on, "joins" several
            under one scale, or "clips" at the end of a range, which quantization does in its place; None where it
            runs on floats.
        score_role: what it is on the way to class scores: it "ranks" classes (normalises their scores, or chooses the
            largest), "projects" features to scores, "pools" a map to one vector, "scales" by the other operand, or is a
            function of each "entry"; None where what it gives are no scores.
    """

    is_discrete: bool = False
    is_view: bool = False
    keeps_order: bool = False
    averages: bool = False
    reads_shape_only: bool = False
    moves_entries: bool = False
    is_recurrent: bool = False
    is_linear: bool = False
    sized_by: tuple[int, ...] = ()
    integer_role: IntegerRole | None = None
    score_role: ScoreRole | None = None


Table = dict[tuple[str, str, int], OperatorTraits]
NO_TRAITS = OperatorTraits()


def canonical_domain(domain: str) -> str:
    """The domain of the standard operators is called "": "ai.onnx" is another name for it."""
    return "" if domain == "ai.onnx" else domain


def operator_key(domain: str, operator: str) -> str:
    """The key of an operator in registries: its name, behind its domain unless it is a standard one."""
    domain = canonical_domain(domain)
    return f"{domain}.{operator}" if domain else operator


def register_traits(
    table: Table, traits: OperatorTraits, *operators: str, domain: str = "", since_version: int = 1
) -> None:
    """Enter operators with these traits into a table.

    Raises:
        ValueError: an operator has traits from that version on already.
    """
    for operator in operators:
        key = (canonical_domain(domain), operator, since_version)
        if key in table:
            raise ValueError(f"{operator_key(domain, operator)} has traits since version {since_version} already")
        table[key] = traits


def find_traits(domain: str, operator: str, version: int | None = None, table: Table | None = None) -> OperatorTraits:
    """The traits of an operator.

    Args:
        domain: its domain; "" and "ai.onnx" are the same.
        operator: its type.
        version: of the domain's operator set that a model imports; None = the newest.
        table: looked up in; None = the table of this module.

    Returns:
        The entry with the largest `since_version` up to that version; `NO_TRAITS` where there is none.
    """
    entries = {
        since_version: traits
        for (entry_domain, name, since_version), traits in (TRAITS if table is None else table).items()
        if (entry_domain, name) == (canonical_domain(domain), operator)
        and (version is None or since_version <= version)
    }
    return entries[max(entries)] if entries else NO_TRAITS


def traits_of(node: ir.Node) -> OperatorTraits:
    """The traits of a node's operator, in the version that its graph imports."""
    version = node.version
    if version is None and node.graph is not None:
        imports = {canonical_domain(domain): number for domain, number in node.graph.opset_imports.items()}
        version = imports.get(canonical_domain(node.domain))
    return find_traits(node.domain, node.op_type, version)


TRAITS: Table = {}
"""(domain, operator, since_version) → traits."""

_MOVES_ENTRIES = OperatorTraits(moves_entries=True)
_SIZED_BY_FIRST = OperatorTraits(sized_by=(0,))
_SIZED_BY_SECOND = OperatorTraits(sized_by=(1,))
_SIZED_BY_RANGE = OperatorTraits(sized_by=(0, 1, 2))

register_traits(TRAITS, OperatorTraits(is_view=True, integer_role="carries"), "Transpose")
_VIEW_OF_EXTENTS = OperatorTraits(is_view=True, keeps_order=True, moves_entries=True, integer_role="carries")
register_traits(TRAITS, dataclasses.replace(_VIEW_OF_EXTENTS, integer_role=None), "Identity")
register_traits(TRAITS, _VIEW_OF_EXTENTS, "Flatten", "Squeeze", "Unsqueeze")
register_traits(TRAITS, dataclasses.replace(_VIEW_OF_EXTENTS, sized_by=(1,)), "Reshape")
register_traits(TRAITS, OperatorTraits(reads_shape_only=True), "Shape", "Size")
register_traits(TRAITS, OperatorTraits(moves_entries=True, integer_role="joins"), "Concat")
register_traits(TRAITS, _MOVES_ENTRIES, "Gather")
register_traits(TRAITS, OperatorTraits(moves_entries=True, score_role="entry"), "Cast")
register_traits(TRAITS, OperatorTraits(moves_entries=True, sized_by=(1, 2, 3, 4), integer_role="carries"), "Slice")

register_traits(TRAITS, OperatorTraits(is_discrete=True), "ArgMin")
register_traits(TRAITS, OperatorTraits(is_discrete=True, score_role="ranks"), "ArgMax")
register_traits(TRAITS, OperatorTraits(is_discrete=True, sized_by=(1,), score_role="ranks"), "TopK")
register_traits(
    TRAITS, OperatorTraits(is_discrete=True, sized_by=(0, 1, 2, 3, 4)), "NonMaxSuppression", since_version=10
)

register_traits(TRAITS, OperatorTraits(is_linear=True, integer_role="weighs"), "Conv")
register_traits(TRAITS, OperatorTraits(is_linear=True, integer_role="weighs", score_role="projects"), "Gemm", "MatMul")
register_traits(TRAITS, OperatorTraits(is_linear=True), "ConvTranspose")
register_traits(TRAITS, OperatorTraits(is_recurrent=True, sized_by=(4,)), "GRU", "LSTM", "RNN")
# Not linear: ONNX Runtime puts transposes and factors into it.
register_traits(TRAITS, OperatorTraits(score_role="projects"), "FusedMatMul", domain=MICROSOFT)

register_traits(TRAITS, _SIZED_BY_FIRST, "If")
register_traits(TRAITS, _SIZED_BY_FIRST, "ConstantOfShape", "NonZero", since_version=9)
register_traits(TRAITS, _SIZED_BY_FIRST, "Unique", since_version=11)
register_traits(TRAITS, _SIZED_BY_FIRST, "StringSplit", since_version=20)
register_traits(TRAITS, _SIZED_BY_FIRST, "Unique", domain=MICROSOFT)
register_traits(TRAITS, _SIZED_BY_SECOND, "Pad", "Tile", "Upsample")
register_traits(TRAITS, OperatorTraits(sized_by=(1,), integer_role="carries"), "Split")
register_traits(TRAITS, _SIZED_BY_SECOND, "Expand", since_version=8)
register_traits(TRAITS, _SIZED_BY_SECOND, "Compress", "OneHot", since_version=9)
register_traits(TRAITS, _SIZED_BY_SECOND, "CenterCropPad", since_version=18)
register_traits(TRAITS, _SIZED_BY_SECOND, "Pad", domain=MICROSOFT)
register_traits(TRAITS, OperatorTraits(sized_by=(0, 1)), "Loop")
register_traits(TRAITS, OperatorTraits(sized_by=(2,)), "MaxUnpool", since_version=9)
register_traits(TRAITS, OperatorTraits(sized_by=(1, 2, 3), integer_role="carries"), "Resize", since_version=10)
register_traits(TRAITS, OperatorTraits(sized_by=(1, 2)), "Col2Im", since_version=18)
register_traits(TRAITS, _SIZED_BY_RANGE, "Range", since_version=11)
register_traits(TRAITS, _SIZED_BY_RANGE, "Range", domain=MICROSOFT)

_RANKS = OperatorTraits(score_role="ranks")
_PROJECTS = OperatorTraits(score_role="projects")
register_traits(TRAITS, _RANKS, "Softmax", "LogSoftmax", "Hardmax")
for _classifier in ("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier", "ZipMap"):
    register_traits(TRAITS, _RANKS, _classifier, domain="ai.onnx.ml")
register_traits(TRAITS, _PROJECTS, "MatMulInteger", "QLinearMatMul", since_version=10)
register_traits(TRAITS, _PROJECTS, "QGemm", domain=MICROSOFT)
_AVERAGES = OperatorTraits(averages=True, score_role="pools", integer_role="computes")
register_traits(TRAITS, _AVERAGES, "GlobalAveragePool", "AveragePool")
register_traits(TRAITS, dataclasses.replace(_AVERAGES, integer_role=None), "ReduceMean")
register_traits(TRAITS, OperatorTraits(integer_role="carries"), "MaxPool")
register_traits(TRAITS, OperatorTraits(score_role="pools"), "GlobalMaxPool", "ReduceMax")
register_traits(TRAITS, OperatorTraits(score_role="scales", integer_role="computes"), "Add", "Mul")
register_traits(TRAITS, OperatorTraits(score_role="scales"), "Sub", "Div")
register_traits(TRAITS, OperatorTraits(keeps_order=True, score_role="entry"), "Dropout")
register_traits(TRAITS, OperatorTraits(score_role="entry", integer_role="computes"), "Sigmoid")
register_traits(TRAITS, OperatorTraits(integer_role="computes"), "LeakyRelu")
register_traits(TRAITS, OperatorTraits(score_role="entry", integer_role="clips"), "Clip")
register_traits(TRAITS, OperatorTraits(integer_role="clips"), "Relu")
register_traits(TRAITS, OperatorTraits(score_role="entry"), "QuantizeLinear", "DequantizeLinear", since_version=10)
