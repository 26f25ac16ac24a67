"""Run a model on integers: choose layers by time, put them there, and check what ONNX Runtime makes of it."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import logging

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import OPSET, place
from netsurgeon.passes.rewriting import MatMulToGemm
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.messages import Message, cause_of
from netsurgeon.pipeline.model_files import raised_opset
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.profiling import StructureTimer
from netsurgeon.pipeline.quantization.choose import IntegerChoice, choose_integer_layers, skeleton
from netsurgeon.pipeline.quantization.facts import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan, make_integer_model
from netsurgeon.pipeline.quantization.kernels import integer_kernels, unfused
from netsurgeon.pipeline.runtime import Feed, Runtime, observe

logger = logging.getLogger(__name__)

ROWS_SHARE = 0.25
"""Share of the rows of statistics that integers need beside pruning: the corrections are small."""
MOST = {"int8": {"cpu": 63, "cpu-vnni": 127}, "w4a8": {"cpu": 7, "cpu-vnni": 7}}
"""Largest integer of a weight, by mode and target. On x86 processors without VNNI sums of two products of 8 bits end at
32,767: with 7 bits they never get there."""
LEAST_DIFFERENCE = 1e-3
"""Difference, relative to the outputs' size, that integer kernels may make by rounding in any case."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """What became of a model that was to run on integers.

    Attributes:
        model: on integers, or as it was where nothing gains by it.
        facts: for the report.
        notes: what was done to the graph, or not.
    """

    model: ir.Model = dataclasses.field(repr=False)
    facts: IntegerFacts | None
    notes: tuple[Message, ...] = ()


def quantize(
    model: ir.Model, options: Options, calibration: Calibration, timer: StructureTimer, progress: Progress
) -> Quantized:
    """Put what gains by it on integers.

    Args:
        model: float model in normal form; not changed.
        options: which mode and target.
        calibration: inputs that ranges and corrections come from.
        timer: whose table the times go to.
        progress: called with stage, steps done and steps in all.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    feed, runtime, notes = next(iter(calibration.samples.batches())), calibration.runtime, []
    original, opset = model, model.graph.opset_imports.get("", 0)
    if opset < OPSET:
        raised = raised_opset(model, OPSET, feed, runtime)
        if not isinstance(raised, ir.Model):
            reason = f"opset {opset} cannot be raised to {OPSET}: {raised}"
            return _stays(original, reason, cause_of(raised))
        text = f"opset raised from {opset} to {OPSET}, which integers need; outputs verified"
        model, notes = raised, [Message(text, "opset-raised", before=opset, after=OPSET)]
    else:
        model = model.clone()
    shapes = observe(model, feed, runtime).shapes
    MatMulToGemm({name for name, shape in shapes.items() if len(shape) == 2})(model)
    choice = _chosen(model, options, timer, runtime, progress)
    plan = IntegerPlan(
        most={layer.name: MOST[options.quantize or ""][options.target] for layer in find_layers(model.graph)[0]},
        ranges=options.ranges,
        stay=choice.stay,
    )
    if all(name in choice.stay for name in plan.most):
        reason = next(iter(choice.stay.values()), "it has no layer that can")
        return _stays(original, reason)
    integers = make_integer_model(model, plan, calibration.subsample(ROWS_SHARE), progress)
    difference, allowed = _kernel_difference(model, integers.model, feed, runtime)
    if difference > allowed:
        reason = f"integer kernels of this machine change the outputs by {difference:.2g}, allowed {allowed:.2g}"
        return _stays(original, reason)
    facts = _facts(model, plan, choice, integers, difference, timer, runtime)
    return Quantized(model=integers.model, facts=facts, notes=tuple(notes))


def _stays(model: ir.Model, reason: str, cause: str | None = None) -> Quantized:
    note = Message(f"the model stays on floats: {reason}", "not-quantized", cause, reason=reason)
    return Quantized(model=model, facts=None, notes=(note,))


def _chosen(
    model: ir.Model, options: Options, timer: StructureTimer, runtime: Runtime, progress: Progress
) -> IntegerChoice:
    """The layers that gain, of those that ONNX Runtime runs on integers as they are meant to."""
    layers = find_layers(model.graph)[0]
    stay = {
        layer.name: "excluded by the user"
        for layer in layers
        if any(fnmatch.fnmatchcase(layer.name, glob) for glob in options.exclude)
    }
    placement = place(model.graph, layers, stay)
    if placement.layers:
        stay |= unfused(skeleton(model, placement), placement.layers, runtime)
    return choose_integer_layers(model, stay, timer.against(model), structure_name(model), progress)


def structure_name(model: ir.Model) -> str:
    """A name for a model's structure, whatever the values of its weights."""
    digest = hashlib.sha256()
    for node in model.graph:
        digest.update(f"{node.op_type} {node.name}".encode())
        for value in node.inputs:
            if value is not None and value.const_value is not None:
                digest.update(str(tuple(value.const_value.shape)).encode())
    return digest.hexdigest()[:12]


def _kernel_difference(floats: ir.Model, integers: ir.Model, feed: Feed, runtime: Runtime) -> tuple[float, float]:
    """How far integer kernels are from what the model says in float arithmetic, and how far they may be.

    They round sums where float arithmetic does not, so that a number now and then becomes the integer next to it. That
    must not cost more than the integers themselves do; it would where sums saturate.
    """
    as_said = dataclasses.replace(runtime, integer_kernels=False).session(integers).run(feed)
    on_kernels, dense = runtime.session(integers).run(feed), runtime.session(floats).run(feed)
    pairs = [(name, np.asarray(value)) for name, value in as_said.items() if np.asarray(value).dtype.kind == "f"]
    kernel = max((_distance(on_kernels[name], value, value) for name, value in pairs), default=0.0)
    meant = max((_distance(value, dense[name], value) for name, value in pairs), default=0.0)
    return kernel, max(meant, LEAST_DIFFERENCE)


def _distance(one: np.ndarray, other: np.ndarray, scale: np.ndarray) -> float:
    size = float(np.sqrt(np.mean(np.square(scale, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(one - other, dtype=np.float64)))) / max(size, np.finfo(np.float32).tiny)


def _facts(
    model: ir.Model,
    plan: IntegerPlan,
    choice: IntegerChoice,
    integers: IntegerModel,
    difference: float,
    timer: StructureTimer,
    runtime: Runtime,
) -> IntegerFacts:
    kernels, placement = integer_kernels(integers.model, runtime), integers.placement
    layers = []
    for layer in find_layers(model.graph)[0]:
        outcome, times = integers.outcomes.get(layer.name), choice.times.get(layer.name)
        layers.append(
            IntegerLayerFacts(
                name=layer.name,
                operator=layer.operator,
                bits=int(np.log2(plan.most[layer.name] + 1)) + 1 if outcome else None,
                kernel=kernels.get(layer.name) if outcome else None,
                error=outcome.error if outcome else None,
                floats_ms=times.floats if times else None,
                integers_ms=times.integers if times else None,
                reason=None if outcome else placement.floats.get(layer.name, choice.stay.get(layer.name)),
            )
        )
    return IntegerFacts(
        layers=tuple(layers),
        nodes=len(placement.nodes),
        values=len(placement.values),
        timed=choice.timed,
        kernel_difference=difference,
        timings=timer.table,
    )
