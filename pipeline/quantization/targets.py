"""Where a model on integers is to run, and what that place wants of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What a place where models run wants.

    Attributes:
        most: largest integer of a weight of 8 bits.
        symmetric: activations are signed and 0 stands for 0.
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
