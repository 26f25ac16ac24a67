"""Where a model on integers is to run, what that place wants of it, and which integers its weights may have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from netsurgeon.pipeline.options import Options

MOST_OF_4_BITS = 7
COARSER = (31, 15, MOST_OF_4_BITS, 3, 1)
"""Largest integers of 6, 5, 4, 3 and 2 bits: which of them is worth its bytes is for each layer to say."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What a place where models run wants.

    Attributes:
        most: largest integer of a weight of 8 bits.
        symmetric: activations are signed and 0 stands for 0, each with one scale; biases stay floats.
        is_measured: ONNX Runtime's CPU provider on this machine tells what is faster there; otherwise all layers that
            can go on integers, and nothing is said of time.
        wants: a phrase for the docs.
        has_cells: whether ONNX Runtime's integer kernel for LSTM, which is none of the standard, runs there.
        is_standard: no operators but those of the ONNX standard run there, so that weights of `w4` and `w8` pass
            through DequantizeLinear; otherwise ONNX Runtime's MatMulNBits takes them.
    """

    most: int
    symmetric: bool
    is_measured: bool
    wants: str
    has_cells: bool = False
    is_standard: bool = False


TARGETS: Mapping[str, Target] = {
    "cpu": Target(
        most=63,
        symmetric=False,
        is_measured=True,
        wants="weights of 7 bits: sums of two products never saturate on x86 processors without VNNI",
        has_cells=True,
    ),
    "cpu-vnni": Target(most=127, symmetric=False, is_measured=True, wants="weights of 8 bits", has_cells=True),
    "cpu-sparse": Target(
        most=63,
        symmetric=False,
        is_measured=True,
        has_cells=True,
        wants="as cpu, and the weights that pruning leaves in tiles of netsurgeon-sparse's kernels",
    ),
    "onnx": Target(
        most=63,
        symmetric=False,
        is_measured=True,
        is_standard=True,
        wants="as cpu, in operators of the ONNX standard alone",
    ),
    "cuda": Target(most=127, symmetric=True, is_measured=False, wants="signed, symmetric activations"),
    "tensorrt": Target(
        most=127, symmetric=True, is_measured=False, is_standard=True, wants="signed, symmetric activations"
    ),
    "openvino": Target(most=127, symmetric=False, is_measured=False, is_standard=True, wants="weights of 8 bits"),
    "qnn": Target(most=127, symmetric=False, is_measured=False, is_standard=True, wants="as openvino"),
}
"""By the name that users give; `pipeline.notation.TARGETS` lists the same names."""


def integers_of_a_weight(options: Options) -> tuple[int, ...]:
    """Largest integers that a budget of bytes may give the weights of a layer, the finest first; none on floats."""
    if options.integer_mode not in ("int8", "w4a8"):
        return ()
    return (TARGETS[options.target].most, *(COARSER if options.integer_mode == "w4a8" else ()))


def integers_without_goal(options: Options) -> tuple[int, ...]:
    """Those of them that a layer may have where no goal asks for less: 4 bits or more, as the name of the mode says."""
    return tuple(most for most in integers_of_a_weight(options) if most >= MOST_OF_4_BITS)


def zeros_save_bytes(options: Options) -> bool:
    """Whether a weight that is 0 takes fewer bytes in a packed file.

    Packing takes floats and integers of 8 bits: neither the bytes that MatMulNBits reads nor integers of 4 bits.
    """
    if options.integer_mode == "w8":
        return TARGETS[options.target].is_standard
    return options.integer_mode != "w4"


def bits_of(most: int) -> int:
    """Bits of a weight whose largest integer this is."""
    return int(np.log2(most + 1)) + 1
