"""Run a model on integers: choose layers by time, put them there, and check what ONNX Runtime makes of it."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, cast

import onnx_ir as ir

from netsurgeon.passes.graph import infer_shapes, label
from netsurgeon.passes.layers import find_layers, sharing_layers
from netsurgeon.passes.pruning import TILE_PATTERNS
from netsurgeon.passes.quantization import OPSET, SHARED_WEIGHT, RangeMethod, find_integer_weights, place
from netsurgeon.passes.rewriting import DissolveShuffles, MatMulToGemm, SumToAdd, WidenFloats
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.messages import Message, cause_of
from netsurgeon.pipeline.model_files import raised_opset
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import StructureTimer
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.quantization.choose import STATIC, Form, IntegerChoice, choose_integer_layers, skeleton
from netsurgeon.pipeline.quantization.facts import IntegerFacts, integer_facts, unfused_note
from netsurgeon.pipeline.quantization.integer_model import (
    IntegerModel,
    IntegerPlan,
    make_integer_model,
    rounding_errors,
)
from netsurgeon.pipeline.quantization.kernels import errors_of_integers
from netsurgeon.pipeline.quantization.targets import TARGETS
from netsurgeon.pipeline.runtime import Feed, Runtime, observe, verify_same
from netsurgeon.pipeline.verification import TOLERANCE_HALF

ROWS_SHARE = 0.25
"""Share of the rows of statistics that integers need beside pruning: the corrections are small."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """What became of a model that was to run on integers.

    Attributes:
        model: on integers, or as it was where nothing gains by it.
        facts: for the report.
        notes: what was done to the graph, or not.
        integers: what the facts were measured on; None where activations are floats.
    """

    model: ir.Model = dataclasses.field(repr=False)
    facts: IntegerFacts | None
    notes: tuple[Message, ...] = ()
    integers: IntegerModel | None = dataclasses.field(default=None, repr=False)


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
    feed, runtime = next(iter(calibration.samples.batches())), calibration.runtime
    original, ready = model, integer_form(model.clone(), feed, runtime)
    if isinstance(ready, Message):
        return Quantized(model=original, facts=None, notes=(ready,))
    model, notes = ready
    target, most = TARGETS[options.target], most or {}
    plan = IntegerPlan(
        most={layer.name: most.get(layer.name, target.most) for layer in find_layers(model.graph)[0]},
        ranges=cast(RangeMethod, options.ranges),
        symmetric=target.symmetric,
        stay=choice.stay,
        is_quick=options.is_hasty,
    )
    if all(name in choice.stay for name in plan.most):
        reason = choice.reason_for_floats({name: choice.stay[name] for name in plan.most})
        return Quantized(model=original, facts=None, notes=(stays(reason),))
    integers = make_integer_model(model, plan, calibration.subsample(ROWS_SHARE), progress)
    kernels = errors_of_integers(model, integers.model, feed, runtime)
    if not kernels.are_right and target.is_measured:
        return Quantized(model=original, facts=None, notes=(stays(kernels.reason),))
    facts = integer_facts(model, plan, choice, integers, difference=kernels.difference, runtime=runtime)
    unfused = unfused_note(facts) if target.is_measured else ()
    return Quantized(model=integers.model, facts=facts, notes=(*notes, *unfused), integers=integers)


def measured_again(
    facts: IntegerFacts, integers: IntegerModel, model: ir.Model, calibration: Calibration
) -> IntegerFacts:
    """The facts of a model whose integers are others by now than they were measured on.

    A layer whose error cannot be measured again keeps the one that it had.

    Args:
        facts: as they were measured.
        integers: what they were measured on.
        model: of the same graph, not changed.
        calibration: inputs that ranges and corrections come from.
    """
    feed = next(iter(calibration.samples.batches()))
    errors = rounding_errors(integers, model, calibration.subsample(ROWS_SHARE))
    return dataclasses.replace(
        facts,
        layers=tuple(dataclasses.replace(layer, error=errors.get(layer.name, layer.error)) for layer in facts.layers),
        kernel_difference=errors_of_integers(integers.floats, model, feed, calibration.runtime).difference,
    )


def unless_slower(result: Quantized, model: ir.Model, timer: StructureTimer, progress: Progress) -> Quantized:
    """What became of a model, or the float model itself where that is faster, beyond noise.

    Which layers gain was chosen on a model whose numbers say nothing, before units were removed: this one is the one
    that would be delivered. One structure is timed once, whatever its weights are; where kernels leave zeros out, once
    for each share of zeros.

    Args:
        result: of quantizing `model`.
        model: the float model that would be delivered otherwise.
        timer: of models, whose table has what was timed before.
        progress: called with stage, steps done and steps in all.
    """
    if result.facts is None:
        return result
    zeros = f" keeping {_kept_of_integers(result.model):.4f}" if timer.has_package else ""
    key = f"{structure_name(result.model)} on integers{zeros} beside {structure_name(model)}"
    timed = timer.against(model).time(key, lambda: result.model, functools.partial(progress, "timing integers"))
    is_slower = timed.high < 1.0  # which NaN does not show
    if not is_slower:
        return result
    return Quantized(model=model, facts=None, notes=(stays(f"on integers it is only {timed.faster}"),))


def _kept_of_integers(model: ir.Model) -> float:
    """Share of the weights on integers that are not 0."""
    weights = find_integer_weights(model.graph).values()
    return sum(weight.nonzero for weight in weights) / max(sum(weight.codes.size for weight in weights), 1)


def time_integers(
    model: ir.Model, options: Options, calibration: Calibration, timer: StructureTimer, progress: Progress
) -> IntegerChoice:
    """Which layers of a model gain by integers, and how fast it is with them; nothing is corrected, nothing changed.

    The times are against the model as it is, not in the form that integers need.
    """
    ready = integer_form(model.clone(), next(iter(calibration.samples.batches())), calibration.runtime)
    if isinstance(ready, Message):
        return IntegerChoice(stay={layer.name: str(ready) for layer in find_layers(model.graph)[0]})
    against = timer.against(model)
    return choose_for(ready[0], options, against, calibration.runtime, progress=progress, form=STATIC)


def stand_in(
    model: ir.Model, options: Options, stay: Mapping[str, str], calibration: Calibration, kept: float = 1.0
) -> ir.Model:
    """A model that takes as long as `model` does on integers; `model` itself where it cannot be put on them.

    Of each layer this share of the weights is `kept`, in tiles of netsurgeon-sparse.
    """
    ready = integer_form(model, next(iter(calibration.samples.batches())), calibration.runtime)
    if isinstance(ready, Message):
        return model
    return skeleton(ready[0], place(ready[0].graph, find_layers(ready[0].graph)[0], stay), kept, _tiles(options))


def integer_form(model: ir.Model, feed: Feed, runtime: Runtime) -> tuple[ir.Model, list[Message]] | Message:
    """The model in the form that integers need, changed in place, and what was done; or why it cannot be had.

    Args:
        model: float model in normal form.
        feed: an input of it, on which other types and another operator set are verified.
        runtime: how sessions are made.
    """
    ready = with_types(model, OPSET, feed, runtime)
    if isinstance(ready, Message):
        return ready
    model, notes = ready
    SumToAdd()(model)
    shapes = observe(model, feed, runtime).shapes
    MatMulToGemm({name for name, shape in shapes.items() if len(shape) == 2}, _fixed(model, shapes))(model)
    model, note = _without_shuffles(model, shapes, feed, runtime)
    return model, [*notes, *note]


def _fixed(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Extents of the values of which all are known whatever the inputs are, and are those that a run has shown."""
    if all(node.op_type != "MatMul" for node in model.graph):
        return {}
    inferred = infer_shapes(model.clone())
    values = (*inferred.graph.inputs, *(value for node in inferred.graph for value in node.outputs))
    inferred_shapes = {value.name or "": tuple(value.shape) for value in values if value.shape is not None}
    return {name: shapes[name] for name, shape in inferred_shapes.items() if shapes.get(name) == shape}


def _without_shuffles(
    model: ir.Model, shapes: Mapping[str, tuple[int, ...]], feed: Feed, runtime: Runtime
) -> tuple[ir.Model, list[Message]]:
    """The model whose convolutions take channels as they lie, and a note where it is another one."""
    without = model.clone()
    if not DissolveShuffles(shapes)(without).modified:
        return model, []
    problem = verify_same(model, without, feed, runtime)
    if problem is not None:
        return model, [problem.with_text(f"shuffles of channels stay: without them, {problem}")]
    text = "shuffles of channels are in the order of the weights' columns now, outputs verified: faster on integers"
    return without, [Message(text, "shuffles-dissolved")]


def with_types(model: ir.Model, least: int, feed: Feed, runtime: Runtime) -> tuple[ir.Model, list[Message]] | Message:
    """The model in float32, at an operator set that is late enough, and what was done for it; or why it cannot be had.

    Args:
        model: not changed.
        least: number of the operator set.
        feed: an input of the model, on which each change is verified.
        runtime: how sessions are made.
    """
    notes = []
    widened = model.clone()
    if WidenFloats()(widened).modified:
        problem = verify_same(model, widened, feed, runtime, TOLERANCE_HALF)
        if problem is not None:
            return stays(f"it is in float16, and in float32 {problem}: export it in float32", cause_of(problem))
        model, text = widened, "computes in float32, which integers need, in place of float16; outputs verified"
        notes.append(Message(text, "float16-widened"))
    opset = model.graph.opset_imports.get("", 0)
    if opset >= least:
        return model, notes
    raised = raised_opset(model, least, feed, runtime)
    if not isinstance(raised, ir.Model):
        return stays(f"opset {opset} cannot be raised to {least}: {raised}", cause_of(raised))
    text = f"opset raised from {opset} to {least}, which integers need; outputs verified"
    return raised, [*notes, Message(text, "opset-raised", before=opset, after=least)]


def stays(reason: str, cause: Mapping[str, Any] | None = None) -> Message:
    """The note that says why a model is not on integers."""
    return Message(f"the model stays on floats: {reason}", "not-quantized", cause, reason=reason)


def choose_for(
    model: ir.Model, options: Options, timer: StructureTimer, runtime: Runtime, progress: Progress, form: Form
) -> IntegerChoice:
    """The layers that gain, of those that ONNX Runtime runs on integers as they are meant to.

    Sparse kernels count by the share of the weights that these options remove of all layers together.
    """
    stay = excluded(model, options)
    if not TARGETS[options.target].is_measured:
        return IntegerChoice(stay={**form.place(model.graph, find_layers(model.graph)[0], stay).floats, **stay})
    name = structure_name(model) if form is STATIC else f"{structure_name(model)} {options.integer_mode}"
    is_sparse = form is STATIC and timer.has_package and options.has_sparse_kernels
    return choose_integer_layers(
        model,
        stay,
        timer,
        name,
        form,
        runtime=runtime,
        progress=progress,
        at_once=options.is_hasty,
        kept=1.0 - options.pruned_share if is_sparse else 1.0,
        tiles=_tiles(options),
    )


def _tiles(options: Options) -> str:
    """Name of the pattern whose tiles sparse kernels are timed by: the user's, where it is one of theirs."""
    pattern = options.pattern or "k:64"
    return pattern if pattern in TILE_PATTERNS else "k:64"


def excluded(model: ir.Model, options: Options) -> dict[str, str]:
    """Layers and other nodes that stay on floats, for the user or because they share a weight, and the reason."""
    layers = find_layers(model.graph)[0]
    names = {*(layer.name for layer in layers), *(label(node) for node in model.graph)}
    sharing = (layer.name for group in sharing_layers(layers) for layer in group)
    shared = dict.fromkeys(sharing, SHARED_WEIGHT)
    return shared | {
        name: "excluded by the user"
        for name in sorted(names)
        if any(fnmatch.fnmatchcase(name, glob) for glob in options.exclude)
    }


def structure_name(model: ir.Model) -> str:
    """A name for a model's structure, whatever the values of its weights."""
    digest = hashlib.sha256()
    for node in model.graph:
        digest.update(f"{node.op_type} {node.name}".encode())
        for value in node.inputs:
            if value is not None and value.const_value is not None:
                digest.update(str(tuple(value.const_value.shape)).encode())
    return digest.hexdigest()[:12]
