"""Rewrite a graph into an equivalent one: normal form, shortcuts as convolutions, other operators."""

from netsurgeon.passes.rewriting.add_of_sum import SumToAdd
from netsurgeon.passes.rewriting.convolve_shortcuts import ConvolveShortcuts, hands_channels_on
from netsurgeon.passes.rewriting.dissolve_shuffles import DissolveShuffles
from netsurgeon.passes.rewriting.gemm_of_matmul import MatMulToGemm
from netsurgeon.passes.rewriting.normalise import NameNodes, normal_form
from netsurgeon.passes.rewriting.unfuse import FUSED_OPERATORS
from netsurgeon.passes.rewriting.widen_floats import WidenFloats

__all__ = [
    "FUSED_OPERATORS",
    "ConvolveShortcuts",
    "DissolveShuffles",
    "MatMulToGemm",
    "NameNodes",
    "SumToAdd",
    "WidenFloats",
    "hands_channels_on",
    "normal_form",
]
