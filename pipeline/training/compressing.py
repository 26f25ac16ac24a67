"""What `retrain` does to a model before it is trained: prune it, or put it on integers, as `compress` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError

CALIBRATION = 4096
"""Training inputs on which a model is pruned or put on integers, at most."""


def pruned(model: ir.Model, name: str, rows: Any, sparsity: float, seed: int) -> ir.Model:
    """The model with a share of its weights removed, by `compress`; every tensor keeps its shape.

    Args:
        model: in normal form.
        name: of its input.
        rows: training inputs.
        sparsity: share of all prunable weights.
        seed: of everything random.
    """
    return compress(
        model,
        calibration(name, rows, seed),
        sparsity=sparsity,
        keep_unread=True,
        values="float32",
        pack=False,
        seed=seed,
    ).model


def on_integers(
    model: ir.Model, name: str, rows: Any, quantize: str, target: str, timings: Path | None, seed: int
) -> ir.Model:
    """The model with what gains by it on integers, by `compress`; no weight that is 0 becomes another number.

    Args:
        model: in normal form.
        name: of its input.
        rows: training inputs.
        quantize: "int8" or "w4a8".
        target: where the model will run.
        timings: a report whose times are replayed.
        seed: of everything random.

    Raises:
        InputError: the model stays on floats.
    """
    result = compress(
        model,
        calibration(name, rows, seed),
        quantize=quantize,
        target=target,
        timings=timings,
        keep_zeros=True,
        keep_unread=True,
        values="float32",
        pack=False,
        seed=seed,
    )
    if not find_integer_weights(result.model.graph):
        reason = next((note for note in map(str, result.report.notes) if "stays on floats" in note), "nothing can")
        raise InputError(f"{reason}: leave --quantize out")
    return result.model


def calibration(name: str, rows: Any, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Training inputs drawn at random, in their order."""
    places = np.random.default_rng(seed).permutation(rows.count)[:CALIBRATION]
    return {name: rows.inputs(np.sort(places))}


def require_floats(model: ir.Model, sparsity: float | None, quantize: str | None) -> None:
    """Check that a model can still be pruned or put on integers, where that is asked for.

    Raises:
        InputError: it runs on integers.
    """
    if find_integer_weights(model.graph) and (sparsity is not None or quantize is not None):
        name = "--quantize" if sparsity is None else "--sparsity"
        raise InputError(
            f"the model runs on integers already, and is retrained as such: leave {name} out, or give the float model"
        )
