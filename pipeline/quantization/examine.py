"""What of a model can run on integers, and what ONNX Runtime makes of it; no choice by time, nothing delivered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

import onnx_ir as ir

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization import Placement, RangeMethod, separated
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.quantization.choose import STATIC, skeleton, that_fuse
from netsurgeon.pipeline.quantization.facts import IN_A_BODY
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan, make_integer_models
from netsurgeon.pipeline.quantization.kernels import integer_kernels
from netsurgeon.pipeline.quantization.quantize import ROWS_SHARE, excluded, integer_form
from netsurgeon.pipeline.quantization.targets import MOST_OF_4_BITS, TARGETS, bits_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examination:
    """What could run on integers.

    Attributes:
        model: float model in the form that integers need; as it was where that cannot be had.
        placement: with as much on integers as ONNX Runtime runs so.
        kernels: what it runs the integers of each of these layers as.
        notes: what was done to the graph, or why nothing can be put on integers.
    """

    model: ir.Model = dataclasses.field(repr=False)
    placement: Placement
    kernels: Mapping[str, str]
    notes: tuple[Message, ...] = ()

    def reason(self, layer: str) -> str | None:
        """Why a layer cannot run on integers; None where it can."""
        return None if layer in self.placement.layers else self.placement.floats.get(layer, IN_A_BODY)

    def value_of(self, layer: Layer) -> str:
        """The name of a layer's input where integers are made of it, by which `IntegerModel.scales` knows it."""
        name = layer.input.name or ""
        return separated(name) if name in self.placement.entering else name

    def on_integers(
        self, sizes: Sequence[int], options: Options, calibration: Calibration, progress: Progress
    ) -> tuple[IntegerModel, ...]:
        """The model with all of this on integers, once for each size of them.

        Args:
            sizes: largest integer of a weight, for each model.
            options: how ranges end, and what the target wants.
            calibration: inputs that ranges and corrections come from.
            progress: called with stage, steps done and steps in all.

        Raises:
            FactorizationError: a damped Hessian has no Cholesky factor.
        """
        by_layer = [dict.fromkeys(self.placement.layers, most) for most in sizes]
        plan = IntegerPlan(
            most=by_layer[0],
            ranges=cast(RangeMethod, options.ranges),
            symmetric=TARGETS[options.target].symmetric,
            stay=self.placement.floats,
        )
        return make_integer_models(self.model, plan, by_layer, calibration.subsample(ROWS_SHARE), progress)


def examine_integers(model: ir.Model, options: Options, calibration: Calibration) -> Examination:
    """Find what of a model can run on integers, and what ONNX Runtime makes of it.

    Args:
        model: float model in normal form; not changed.
        options: which layers are excluded.
        calibration: one batch of its inputs shows shapes.
    """
    clone, runtime = model.clone(), calibration.runtime
    ready = integer_form(clone, next(iter(calibration.samples.batches())), runtime)
    if isinstance(ready, Message):
        stay = {layer.name: str(ready) for layer in find_layers(model.graph)[0]}
        return Examination(model=model, placement=Placement.none(stay), kernels={}, notes=(ready,))
    clone, notes = ready
    placement, _ = that_fuse(clone, find_layers(clone.graph)[0], excluded(clone, options), STATIC, runtime)
    kernels = integer_kernels(skeleton(clone, placement), runtime) if placement.layers else {}
    return Examination(model=clone, placement=placement, kernels=kernels, notes=tuple(notes))


def integers_of_bits(options: Options) -> dict[int, int]:
    """Bits of weights, fine and coarse, and the largest integer of each."""
    return {bits_of(most): most for most in (TARGETS[options.target].most, MOST_OF_4_BITS)}
