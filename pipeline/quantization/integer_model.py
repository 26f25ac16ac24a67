"""From a float model to one that runs on integers: ranges, scales, and the weights segment by segment."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from netsurgeon.passes.codebooks import round_weights
from netsurgeon.passes.layers import Layer, find_layers, layers_by_name, own_biases
from netsurgeon.passes.quantization import (
    DropClips,
    EqualiseChannels,
    FloatWeights,
    InsertQuantizers,
    IntegerOutcome,
    Placement,
    QuantizeLayers,
    RangeMethod,
    RangeStatistics,
    Scale,
    ScaleNorms,
    SeparateInputs,
    StoreIntegers,
    find_channel_pairs,
    find_scaled_norms,
    place,
    separated,
)
from netsurgeon.passes.solvers import FactorizationError, Problem
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.quantization.ranges import measure_ranges, measure_reach


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerPlan:
    """What is to run on integers, and how finely.

    Attributes:
        most: largest integer of a weight, by layer name; layers that are not named stay floats.
        ranges: how the ends of an activation's range are chosen.
        symmetric: whether activations are signed, and 0 stands for 0.
        stay: names of nodes that stay floats, and why.
        is_quick: whether there is little time, see `QuantizeLayers`.
    """

    most: Mapping[str, int]
    ranges: RangeMethod = "error"
    symmetric: bool = False
    stay: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_quick: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerModel:
    """A model that runs on integers.

    Attributes:
        model: its weights stored as integers.
        placement: what was meant to run on them.
        scales: of activations, by name of value.
        outcomes: of the weights, by layer name.
        floats: the model that they were rounded from, its channels balanced.
    """

    model: ir.Model = dataclasses.field(repr=False)
    floats: ir.Model = dataclasses.field(repr=False)
    placement: Placement
    scales: Mapping[str, Scale] = dataclasses.field(repr=False)
    outcomes: Mapping[str, IntegerOutcome] = dataclasses.field(repr=False)


def make_integer_model(
    reference: ir.Model, plan: IntegerPlan, calibration: Calibration, progress: Progress
) -> IntegerModel:
    """Put a model on integers, see `make_integer_models`.

    Args:
        reference: float model that it is to imitate; not changed.
        plan: which layers, on which integers.
        calibration: inputs that ranges and corrections come from.
        progress: called with stage, steps done and steps in all.
    """
    (integers,) = make_integer_models(reference, plan, [plan.most], calibration, progress)
    return integers


def make_integer_models(
    reference: ir.Model,
    plan: IntegerPlan,
    sizes: Sequence[Mapping[str, int]],
    calibration: Calibration,
    progress: Progress,
) -> tuple[IntegerModel, ...]:
    """Put a model on integers; its target is what `reference` computes.

    Each layer's weight is rounded on what the layers before it leave, whose weights and activations are integers
    already, so that later layers make up for what rounding did to earlier ones.

    Args:
        reference: float model in normal form, of operator set 13 or later; not changed.
        plan: what runs on integers.
        sizes: largest integers of the weights that `plan` has some for: a model for each, from one set of ranges and
            beside one run of the reference.
        calibration: inputs that ranges and corrections come from.
        progress: called with stage, steps done and steps in all.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    placement = place(reference.graph, find_layers(reference.graph)[0], _staying(reference, plan))
    floats = reference.clone()
    SeparateInputs(placement)(floats)
    calibration = calibration.counting_in(floats)
    _balance_channels(floats, placement, calibration, progress)
    names = {name: separated(name) if name in placement.entering else name for name in placement.values}
    ticks = functools.partial(progress, "measuring ranges")
    statistics = measure_ranges(floats, list(names.values()), calibration, ticks)
    scales = _scales(placement, names, statistics, plan)
    models = [floats.clone() for _ in sizes]
    for model in models:
        InsertQuantizers(scales, placement.integer, {separated(name) for name in placement.entering})(model)
    as_floats = dataclasses.replace(
        calibration, runtime=dataclasses.replace(calibration.runtime, integer_kernels=False)
    )
    layers = [layers_by_name(model.graph) for model in models]
    outcomes: list[dict[str, IntegerOutcome]] = [{} for _ in models]
    ticks = functools.partial(progress, "quantizing layers")
    for _, _, moments in as_floats.paired(floats, models, dict.fromkeys(placement.layers, True), ticks=ticks):
        for at, by_layer in enumerate(moments):
            own = [layers[at][name] for name in by_layer]
            QuantizeLayers(sizes[at], by_layer, outcomes[at], layers=own, is_quick=plan.is_quick)(models[at])
    for model, by_name, outcome in zip(models, layers, outcomes, strict=True):
        _store(model, by_name, scales, outcome)
    return tuple(
        IntegerModel(model=model, floats=floats, placement=placement, scales=scales, outcomes=outcome)
        for model, outcome in zip(models, outcomes, strict=True)
    )


def rounding_errors(integers: IntegerModel, model: ir.Model, calibration: Calibration) -> dict[str, float]:
    """What the output of each layer loses by its weight's integers, relative to its energy, by layer name.

    A layer that numbers enter which are not finite has none, nor one whose damped Hessian has no Cholesky factor.

    Args:
        integers: as they were rounded.
        model: the same one with other integers, not changed.
        calibration: inputs that the errors are of.
    """
    model = model.clone()
    FloatWeights()(model)
    as_floats = dataclasses.replace(
        calibration.counting_in(integers.floats),
        runtime=dataclasses.replace(calibration.runtime, integer_kernels=False),
    )
    floats, layers = (layers_by_name(one.graph) for one in (integers.floats, model))
    names = dict.fromkeys((name for name in integers.outcomes if name in layers), True)
    errors = {}
    for _, _, (moments,) in as_floats.paired(integers.floats, [model], names):
        for name, of_layer in moments.items():
            centred = of_layer.varies and layers[name].has_bias  # which makes up for what the mean of the inputs loses
            statistics = of_layer.statistics(centred=centred)
            if not statistics.is_finite:
                continue
            try:
                problem = Problem.of(floats[name].matrix(), statistics, integers.outcomes[name].damping)
            except FactorizationError:
                continue
            errors[name] = problem.relative(problem.excess(layers[name].matrix()))
    return errors


def _staying(reference: ir.Model, plan: IntegerPlan) -> dict[str, str]:
    """Layers that stay floats, and why."""
    chosen = {
        layer.name: "it was chosen to stay float"
        for layer in find_layers(reference.graph)[0]
        if layer.name not in plan.most and layer.name not in plan.stay
    }
    return {**plan.stay, **chosen}


def _store(
    model: ir.Model, layers: Mapping[str, Layer], scales: Mapping[str, Scale], outcomes: Mapping[str, IntegerOutcome]
) -> None:
    """Store as integers what lies on them, in place."""
    round_weights(model, own_biases([layer for layer in layers.values() if layer.operator == "Conv"]), "float16")
    inputs = {name: scales[layers[name].input.name or ""] for name in outcomes}
    DropClips()(model)
    StoreIntegers({name: outcome.scales for name, outcome in outcomes.items()}, inputs)(model)


def _balance_channels(model: ir.Model, placement: Placement, calibration: Calibration, progress: Progress) -> None:
    """Move scale between layers, and from norms into layers, in place; what the model computes stays the same."""
    pairs = [pair.value for pair in find_channel_pairs(model.graph) if pair.second.name in placement.layers]
    norms = [
        norm.value
        for norm in find_scaled_norms(model.graph)
        if any(reader.name in placement.layers for reader in norm.readers)
    ]
    ticks = functools.partial(progress, "balancing channels")
    if norms:
        ScaleNorms(measure_reach(model, norms, calibration, axis=-1, ticks=ticks))(model)
    if pairs:
        EqualiseChannels(measure_reach(model, pairs, calibration, ticks=ticks))(model)


def _scales(
    placement: Placement, names: Mapping[str, str], statistics: Mapping[str, RangeStatistics], plan: IntegerPlan
) -> dict[str, Scale]:
    """A scale for each value, by its name in the separated model; one for all values of a group."""
    scales = {}
    for group in placement.groups:
        merged = RangeStatistics()
        for name in group:
            merged = merged.merged(statistics[names[name]])
        bounds = (
            min(placement.bounds[name][0] for name in group),
            max(placement.bounds[name][1] for name in group),
        )
        scale = merged.scale(plan.ranges, bounds, symmetric=plan.symmetric)
        scales.update({names[name]: scale for name in group})
    return scales
