"""What each mode of `quantize` does: one place that tells them apart."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import StructureTimer
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.quantization import matrices
from netsurgeon.pipeline.quantization import quantize as static
from netsurgeon.pipeline.quantization.choose import IntegerChoice
from netsurgeon.pipeline.quantization.quantize import Quantized


def quantize_model(
    model: ir.Model,
    options: Options,
    calibration: Calibration,
    choice: IntegerChoice,
    progress: Progress,
    most: Mapping[str, int] | None = None,
) -> Quantized:
    """Put what gains by it on integers.

    Args:
        model: float model in normal form; not changed.
        options: which mode and target.
        calibration: inputs that ranges and corrections come from.
        choice: which layers stay floats.
        progress: called with stage, steps done and steps in all.
        most: largest integer of a weight, by layer name; one that is not named has the finest of the target.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    if options.integer_mode in matrices.MATRIX_MODES:
        return matrices.quantize(model, options, calibration, choice, progress)
    return static.quantize_model(model, options, calibration, choice, progress=progress, most=most)


def time_integers(
    model: ir.Model, options: Options, calibration: Calibration, timer: StructureTimer, progress: Progress
) -> IntegerChoice:
    """Which layers of a model are put on integers, and how fast it is with them; nothing is corrected or changed."""
    if options.integer_mode in matrices.MATRIX_MODES:
        return matrices.choose(model, options, calibration, timer, progress)
    return static.time_integers(model, options, calibration, timer, progress)


def stand_in(
    model: ir.Model, options: Options, stay: Mapping[str, str], calibration: Calibration, kept: float = 1.0
) -> ir.Model:
    """A model that takes as long as `model` does on integers; `model` itself where it cannot be put on them.

    Of each layer this share of the weights is `kept`, in tiles of netsurgeon-sparse; all in modes of matrices alone.
    """
    if options.integer_mode in matrices.MATRIX_MODES:
        return matrices.stand_in(model, options, stay, calibration)
    return static.stand_in(model, options, stay, calibration, kept)
