"""Integer weights of matrix products and LSTMs, of 4 or 8 bits; activations are floats, or integers as they come."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import Layer, find_cells, find_layers, layers_by_name
from netsurgeon.passes.quantization import (
    OPSET,
    OPSET_OF_BLOCKS,
    OPSET_OF_RANGES,
    IntegerOutcome,
    MeasureWhileRunning,
    MultiplyIntegers,
    Placement,
    QuantizeLayers,
    RecurOnIntegers,
    RoundCells,
    SeparateInputs,
    StoreBlocks,
    place_matrices,
    span_of,
)
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import StructureTimer
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.quantization.choose import Form, IntegerChoice
from netsurgeon.pipeline.quantization.facts import ONLY_DYNAMIC, integer_facts, unfused_note
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan
from netsurgeon.pipeline.quantization.kernels import LEAST_DIFFERENCE, kernel_errors
from netsurgeon.pipeline.quantization.quantize import ROWS_SHARE, Quantized, choose_for, excluded, stays, with_types
from netsurgeon.pipeline.quantization.targets import TARGETS

MATRIX_MODES = ("dynamic", "w8", "w4")
SPANS = {4: (32, 16), 8: (128, 64, 32, 16)}
"""Columns that may share a scale, by bits of a weight."""
UNFIT = "the blocks of columns that it is corrected in do not end with a scale's"
ROUNDED_INPUTS = 0.05
"""Error, as a share of the outputs' size, that weights may have on kernels which round what enters them, or the
state of a recurrent cell, to 8 bits."""


@dataclasses.dataclass(frozen=True)
class Matrices:
    """What a mode makes of matrix products.

    Attributes:
        mode: one of MATRIX_MODES.
        target: one of the options' targets.
    """

    mode: str
    target: str

    @property
    def is_dynamic(self) -> bool:
        """Whether activations become integers while the model runs."""
        return self.mode == "dynamic"

    @property
    def is_standard(self) -> bool:
        """Whether no operators but those of the ONNX standard are used."""
        return self.is_dynamic or TARGETS[self.target].is_standard

    @property
    def bits(self) -> int:
        """Of a weight in the file."""
        return 4 if self.mode == "w4" else 8

    @property
    def most(self) -> int:
        """The largest integer of a weight."""
        return TARGETS[self.target].most if self.is_dynamic else 2 ** (self.bits - 1) - 1

    @property
    def opset(self) -> int:
        """The operator set that is needed, at least."""
        if self.is_dynamic:
            return OPSET_OF_RANGES
        if self.is_standard:
            return OPSET_OF_BLOCKS if self.bits == 4 else OPSET
        return 1

    @property
    def form(self) -> Form:
        """For a choice by time."""
        return Form(self.place, self.skeleton)

    def place(self, graph: ir.Graph, layers: Sequence[Layer], stay: Mapping[str, str]) -> Placement:
        """Which layers take part, and why the others do not."""
        unfit = {layer.name: UNFIT for layer in layers if self._span(layer) is None and not self._has_row_scales}
        cells = find_cells(graph)
        floats = {} if self._no_cells is None else dict.fromkeys((cell.name for cell in cells), self._no_cells)
        return place_matrices(graph, layers, {**unfit, **floats, **stay}, cells)

    @property
    def _no_cells(self) -> str | None:
        """Why no recurrent cell has integers, if so."""
        if not self.is_dynamic:
            return ONLY_DYNAMIC
        return None if TARGETS[self.target].has_cells else f"the target {self.target} has no integer kernel for it"

    @property
    def _has_row_scales(self) -> bool:
        """Whether all columns of a row share a scale: weights of 8 bits lose little by it, and older opsets have it."""
        return self.is_dynamic or (self.is_standard and self.bits == 8)

    def _span(self, layer: Layer) -> int | None:
        return span_of(layer, self.bits, SPANS[self.bits])

    def spans(self, layers: Sequence[Layer]) -> dict[str, int]:
        """Columns that share a scale, by layer name; of layers that are not named all do."""
        spans = {} if self._has_row_scales else {layer.name: self._span(layer) for layer in layers}
        return {name: span for name, span in spans.items() if span is not None}

    def separated(self, model: ir.Model, placement: Placement) -> tuple[ir.Model, ir.Model]:
        """Two clones: the float model, and the one whose layers take what they will; their nodes are alike."""
        floats = model.clone()
        if self.is_dynamic:
            SeparateInputs(placement)(floats)
        current = floats.clone()
        if self.is_dynamic:
            MeasureWhileRunning(placement.entering)(current)
        return floats, current

    def round_cells(self, model: ir.Model, placement: Placement) -> dict[str, IntegerOutcome]:
        """Put the weights of recurrent cells on integers, in place; they stay floats."""
        cells = RoundCells({c.name: self.most for c in find_cells(model.graph) if c.name in placement.layers})
        cells(model)
        return cells.outcomes

    def store(self, model: ir.Model, layers: Sequence[Layer], scales: Mapping[str, solvers.Array]) -> None:
        """Put integers in the place of weights that lie on them."""
        if self.is_dynamic:
            in_layers = {layer.name: scales[layer.name] for layer in layers if layer.name in scales}
            MultiplyIntegers(in_layers)(model)
            RecurOnIntegers({name: rows for name, rows in scales.items() if name not in in_layers})(model)
            return
        columns = {layer.name: layer.columns for layer in layers if layer.name in scales}
        spanned = {name: numbers.reshape(len(numbers), -1) for name, numbers in scales.items()}
        StoreBlocks(spanned, {**columns, **self.spans(layers)}, self.bits, self.is_standard)(model)

    def skeleton(self, model: ir.Model, placement: Placement) -> ir.Model:
        """A model that takes as long as one on integers, whatever its numbers are: no statistics are needed."""
        _, current = self.separated(model, placement)
        layers = [layer for layer in find_layers(current.graph)[0] if layer.name in placement.layers]
        spans, scales = self.spans(layers), {}
        for layer in layers:
            span = spans.get(layer.name)
            integers = solvers.nearest_integers(layer.matrix(), self.most, layer.blocks, span=span)
            layer.write(integers.weight)
            scales[layer.name] = layer.of_rows(integers.scales) if span is None else np.concatenate(integers.scales, -1)
        scales |= {name: outcome.scales for name, outcome in self.round_cells(current, placement).items()}
        self.store(current, layers, scales)
        return current


def quantize(
    model: ir.Model, options: Options, calibration: Calibration, choice: IntegerChoice, progress: Progress
) -> Quantized:
    """Make integers of the weights of matrix products, and check what ONNX Runtime computes with them.

    Args:
        model: float model in normal form; not changed.
        options: which mode and target.
        calibration: inputs that corrections come from.
        choice: which layers stay floats.
        progress: called with stage, steps done and steps in all.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    feed, runtime = next(iter(calibration.samples.batches())), calibration.runtime
    matrices = _matrices(options)
    original, ready = model, with_types(model, matrices.opset, feed, runtime)
    if isinstance(ready, Message):
        return Quantized(model=original, facts=None, notes=(ready,))
    model, notes = ready
    layers = find_layers(model.graph)[0]
    placement = matrices.place(model.graph, layers, choice.stay)
    if not placement.layers:
        return Quantized(model=original, facts=None, notes=(stays(choice.reason_for_floats(placement.floats)),))
    fewer = calibration.subsample(ROWS_SHARE)
    integers, emulated = make_matrix_model(model, matrices, placement, fewer, progress)
    in_floats, on_kernels, dense = (runtime.session(one).run(feed) for one in (emulated, integers.model, model))
    rounds_inside = not matrices.is_dynamic or any(cell.name in placement.layers for cell in find_cells(model.graph))
    least = ROUNDED_INPUTS if rounds_inside else LEAST_DIFFERENCE
    kernels = kernel_errors(in_floats, on_kernels, dense, least)
    if not kernels.are_right:
        return Quantized(model=original, facts=None, notes=(stays(kernels.reason),))
    plan = IntegerPlan(most=dict.fromkeys(placement.layers, matrices.most), stay=choice.stay)
    facts = integer_facts(model, plan, choice, integers, difference=kernels.difference, runtime=runtime)
    facts = dataclasses.replace(facts, values=len(placement.entering) if matrices.is_dynamic else 0)
    return Quantized(model=integers.model, facts=facts, notes=(*notes, *unfused_note(facts)))


def make_matrix_model(
    reference: ir.Model,
    matrices: Matrices,
    placement: Placement,
    calibration: Calibration,
    progress: Progress,
) -> tuple[IntegerModel, ir.Model]:
    """The model with integer weights, and one of the same function whose weights are floats that lie on them.

    Each layer's weight is rounded on what the layers before it leave, whose weights are integers already.

    Args:
        reference: float model in normal form, of the operator set that is needed; not changed.
        matrices: what becomes of matrix products.
        placement: which of them take part.
        calibration: inputs that corrections come from.
        progress: called with stage, steps done and steps in all.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    floats, current = matrices.separated(reference, placement)
    layers = [layer for layer in find_layers(floats.graph)[0] if layer.name in placement.layers]
    most, spans = {layer.name: matrices.most for layer in layers}, matrices.spans(layers)
    outcomes = matrices.round_cells(current, placement)  # layers behind a cell are corrected for its integers
    by_name, lopsided = layers_by_name(current.graph), not matrices.is_standard
    ticks = functools.partial(progress, "quantizing layers")
    counting = calibration.counting_in(floats)
    for _, _, (moments,) in counting.paired(floats, [current], dict.fromkeys(most, True), ticks=ticks):
        segment = [by_name[name] for name in moments]
        QuantizeLayers(most, moments, outcomes, spans, lopsided=lopsided, layers=segment)(current)
    stored = current.clone()
    matrices.store(stored, layers, {name: outcome.scales for name, outcome in outcomes.items()})
    return IntegerModel(model=stored, floats=floats, placement=placement, scales={}, outcomes=outcomes), current


def choose(
    model: ir.Model, options: Options, calibration: Calibration, timer: StructureTimer, progress: Progress
) -> IntegerChoice:
    """Which layers stay floats: with integers while the model runs those that are faster so, else none for its time."""
    matrices, feed = _matrices(options), next(iter(calibration.samples.batches()))
    if not matrices.is_dynamic:
        return IntegerChoice(stay=excluded(model, options))
    ready = with_types(model.clone(), matrices.opset, feed, calibration.runtime)
    if isinstance(ready, Message):
        return IntegerChoice(stay={layer.name: str(ready) for layer in find_layers(model.graph)[0]})
    return choose_for(ready[0], options, timer, calibration.runtime, progress=progress, form=matrices.form)


def stand_in(model: ir.Model, options: Options, stay: Mapping[str, str], calibration: Calibration) -> ir.Model:
    """A model that takes as long as `model` does with integers; `model` itself where it cannot have them."""
    matrices, feed = _matrices(options), next(iter(calibration.samples.batches()))
    ready = with_types(model, matrices.opset, feed, calibration.runtime)
    if isinstance(ready, Message):
        return model
    return matrices.skeleton(ready[0], matrices.place(ready[0].graph, find_layers(ready[0].graph)[0], stay))


def _matrices(options: Options) -> Matrices:
    return Matrices(options.integer_mode or "", options.target)
