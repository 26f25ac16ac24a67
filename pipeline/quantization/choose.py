"""Which layers run on integers: those that make the model faster on this machine, by measurement."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import Cell, Layer, find_cells, find_layers
from netsurgeon.passes.pruning import TILE_PATTERNS
from netsurgeon.passes.quantization import (
    Bounds,
    DropClips,
    InsertQuantizers,
    Placement,
    Scale,
    SeparateInputs,
    StoreIntegers,
    place,
    separated,
)
from netsurgeon.pipeline.profiling import StructureTimer, Timed, times_of_layers
from netsurgeon.pipeline.progress import Progress, Ticks, part_of
from netsurgeon.pipeline.quantization.kernels import unfused
from netsurgeon.pipeline.runtime import Runtime

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

MOST_TRIED = 8
"""Layers that may be slower on integers of which it is tried whether the model is faster with them on floats."""
WORTH = 1.01
"""A change that makes a model less than so many times faster is noise."""
WORTH_INTEGERS = 1.03
"""A model that is not so many times as fast stays on floats: its answers would change for nothing. Timings of the same
pair differ by 2 % (standard deviation) on a quiet machine, and by 1 to 5 % with three programs more on its core."""
SPARSE_KEPT = (0.05, 0.15, 0.3, 0.6, 1.0)
"""Shares of the weights kept at which sparse kernels are timed: what they take grows by the steps of their tiles."""
USUAL_KEPT = 0.3
"""The share that a search is expected to keep: what it will find is not known when layers are chosen."""
LEAST_GAIN = 0.95
"""Share of the dense kernel's time above which netsurgeon-sparse leaves a layer to it."""
FASTER_ON_FLOATS = "it is faster on floats"
"""Why a layer stays on floats, before its times."""
ANY_MOST = 63
"""Largest integer of weights whose values do not matter: how long a kernel takes does not depend on them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """Milliseconds of a layer's kernel, with what is fused into it; None where ONNX Runtime shows none by its name.

    Attributes:
        floats: in the float model.
        integers: in the model with as much on integers as can be.
        sparse: of the kernel that leaves zeros out, by the share of the weights kept; empty where none was timed.
        kept: share of the weights that the layer will keep, about.
    """

    floats: float | None
    integers: float | None
    sparse: Mapping[float, float] = dataclasses.field(default_factory=dict)
    kept: float = 1.0

    @property
    def lost(self) -> float:
        """Milliseconds that integers cost; below 0 where they are faster."""
        if self.floats is None or self.integers is None:
            return 0.0
        return self._at_kept - self.floats

    @property
    def reason(self) -> str:
        """Why it stays on floats, where integers cost time."""
        sparse = f", {self._at_kept:.3g} ms with {1.0 - self.kept:.0%} of its weights 0" if self.sparse else ""
        return f"{FASTER_ON_FLOATS}: {self.floats:.3g} ms on floats, {self.integers:.3g} ms on integers{sparse}"

    def at(self, kept: Array) -> Array:
        """Milliseconds on integers, of the kernel that is faster, by the share of the weights kept, (points,).

        Between the shares that were timed a sparse kernel's time lies on a line. A kernel that gains less than the
        provider asks for is not used.
        """
        if self.integers is None or not self.sparse:
            return np.full(len(kept), self.integers or 0.0)
        shares = sorted(self.sparse)
        sparse = np.interp(kept, shares, [self.sparse[share] for share in shares])
        return np.where(sparse < LEAST_GAIN * self.integers, sparse, self.integers)

    @property
    def _at_kept(self) -> float:
        return float(self.at(np.array([self.kept]))[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerChoice:
    """Which layers stay floats.

    Attributes:
        stay: reasons by layer name.
        timed: the model with the others on integers, and the float model, in turn; None where nothing was timed.
        times: of the layers that could run on integers.
        reason: why none is put on integers, though some could; None where it is for reasons of the layers alone.
    """

    stay: Mapping[str, str]
    reason: str | None = None
    timed: Timed | None = None
    times: Mapping[str, LayerTimes] = dataclasses.field(default_factory=dict, repr=False)

    def reason_for_floats(self, floats: Mapping[str, str]) -> str:
        """Why the whole model stays on floats: the reason of the choice, else all reasons of its layers, and whose.

        Args:
            floats: reasons of all layers, by their names.
        """
        if self.reason is not None or not floats:
            return self.reason or "it has no layer that can"
        if len(set(floats.values())) == 1:
            return next(iter(floats.values()))
        layers: dict[str, list[str]] = {}
        for name, reason in floats.items():
            layers.setdefault(without_times(reason), []).append(name)
        return "; ".join(f"{reason} ({_listed(names)})" for reason, names in layers.items())

    @property
    def gains(self) -> bool:
        """Whether any layer is put on integers."""
        is_any = any(name not in self.stay for name in self.times)
        return is_any and self.timed is not None and is_worth_it(self.timed)

    @property
    def zeros_save(self) -> bool:
        """Whether any layer on integers becomes faster with the fewest weights that sparse kernels were timed with."""
        ends = np.array([SPARSE_KEPT[0], 1.0])
        on_integers = (times.at(ends) for name, times in self.times.items() if name not in self.stay)
        sparsest_ms, dense_ms = sum(on_integers, np.zeros(2))
        return bool(sparsest_ms < dense_ms)


def without_times(reason: str) -> str:
    """Why a layer stays on floats, without the times that are its own: layers of one reason are told together."""
    return FASTER_ON_FLOATS if reason.startswith(f"{FASTER_ON_FLOATS}: ") else reason


def _listed(names: Sequence[str]) -> str:
    """The first of some layers, and how many there are if there are others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


@dataclasses.dataclass(frozen=True)
class Form:
    """What it means to put layers on integers.

    Attributes:
        place: which of the layers can, all but those that stay floats, for which there are reasons.
        skeleton: a model that takes as long as one on integers, whatever its numbers are.
    """

    place: Callable[[ir.Graph, Sequence[Layer], Mapping[str, str]], Placement]
    skeleton: Callable[[ir.Model, Placement], ir.Model]


def choose_integer_layers(
    model: ir.Model,
    stay: Mapping[str, str],
    timer: StructureTimer,
    name: str,
    form: Form,
    *,
    runtime: Runtime,
    progress: Progress,
    at_once: bool = False,
    kept: float = 1.0,
    tiles: str = "k:64",
) -> IntegerChoice:
    """Find the layers with which on floats the model is fastest, the others on integers.

    All are put on integers first. Then those that ONNX Runtime's profiler shows to lose most go back, one after the
    other, while the whole model becomes faster by it: what a border between both costs shows only there.

    Args:
        model: float model in normal form.
        stay: layers that stay floats in any case, and why.
        timer: of models, against the one that would be delivered on floats.
        name: of the model and the form, in the table of times.
        form: what it means to run on integers.
        runtime: how sessions are made.
        progress: called with stage, steps done and steps in all.
        at_once: whether all that lose go back together, if they do: one trial in place of as many as there are.
        kept: share of the weights that will be kept where kernels leave zeros out, which are then timed, too.
        tiles: name of the pattern, of `TILE_PATTERNS`, that these weights lie in.
    """
    layers = find_layers(model.graph)[0]
    placement, never = that_fuse(model, layers, stay, form, runtime)
    never = {**never, **placement.floats}
    if not placement.layers:
        return IntegerChoice(stay=never)

    progress("timing integers", 0, 1)
    times = _layer_times(timer, name, model, layers=layers, placement=placement, form=form)
    if kept < 1.0:
        sparse = functools.partial(skeleton, model, placement, tiles=tiles)
        times = _with_sparse(times, timer, f"{name} int8 {tiles}", sparse=sparse, kept=kept, progress=progress)
    plain = timer.without_package()
    contest = _Contest(model=model, layers=layers, stay=stay, timer=plain, name=name, form=form, progress=progress)
    best = contest.against_floats({}, 0)
    floats = contest.back_on_floats(times, best.model, at_once=at_once)
    if floats:
        best = contest.against_floats(floats, MOST_TRIED + 1)
    placement_left, floats = that_fuse(model, layers, {**stay, **floats}, form, runtime)
    if kept < 1.0 and not is_worth_it(best):
        key = f"{name} int8 {tiles} at {kept:.4g}"
        zeros = functools.partial(skeleton, model, placement_left, kept, tiles)
        best = timer.time(key, zeros, part_of(functools.partial(progress, "timing integers"), 0, 1))
    if not is_worth_it(best):
        reason = f"integers make the model {best.faster} on {timer.place}, which is not worth it"
        stay = {**never, **dict.fromkeys(placement.layers, reason)}
        return IntegerChoice(stay=stay, reason=reason, timed=best, times=times)
    return IntegerChoice(stay={**never, **floats}, timed=best, times=times)


def is_worth_it(timed: Timed) -> bool:
    """Whether integers make a model faster, and by enough: times that leave it undecided are no reason for them."""
    return timed.speedup >= WORTH_INTEGERS and timed.low > 1.0


@dataclasses.dataclass(frozen=True)
class _Contest:
    """Models that differ in which layers are back on floats, timed in turn.

    Attributes: those of `choose_integer_layers`.
    """

    model: ir.Model
    layers: Sequence[Layer]
    stay: Mapping[str, str]
    timer: StructureTimer
    name: str
    form: Form
    progress: Progress

    def against_floats(self, floats: Mapping[str, str], step: int) -> Timed:
        """Time the model that is on integers but for these layers."""
        return self.timer.time(self._key(floats), lambda: self._with_floats(floats), self._ticks(step))

    def back_on_floats(
        self, times: Mapping[str, LayerTimes], milliseconds: float, *, at_once: bool
    ) -> Mapping[str, str]:
        """Layers with which on floats the model is faster, and why they are.

        Each trial is timed in turn with the best so far, not by way of the float model: a few percent are at stake.

        Args:
            times: of the layers.
            milliseconds: of the model with all of them on integers.
            at_once: whether all go back together, or none.
        """
        losing = sorted((layer for layer in times if times[layer].lost > 0.0), key=lambda layer: -times[layer].lost)
        groups = [losing[:MOST_TRIED]] if at_once and losing else [[layer] for layer in losing[:MOST_TRIED]]
        floats: dict[str, str] = {}
        for step, group in enumerate(groups, start=1):
            if sum(times[layer].lost for layer in group) < (WORTH - 1.0) * milliseconds:
                break  # were the border between both free, it would still be noise
            trial = {**floats, **{layer: times[layer].reason for layer in group}}
            key = f"{self._key(trial)} beside {self._key(floats)}"
            best = self.timer.against(self._with_floats(floats))
            timed = best.time(key, functools.partial(self._with_floats, trial), self._ticks(step), least=WORTH)
            logger.debug("%s on floats: %.3f times as fast (%.3f to %.3f)", group, timed.speedup, timed.low, timed.high)
            if timed.speedup > WORTH and timed.low > 1.0:
                floats = trial
        return floats

    def _key(self, floats: Mapping[str, str]) -> str:
        return f"{self.name} int8 but {', '.join(sorted(floats)) or 'nothing'}"

    def _with_floats(self, floats: Mapping[str, str]) -> ir.Model:
        placement = self.form.place(self.model.graph, self.layers, {**self.stay, **floats})
        return self.form.skeleton(self.model, placement)

    def _ticks(self, step: int) -> Ticks:
        return part_of(functools.partial(self.progress, "timing integers"), step, MOST_TRIED + 2)


def that_fuse(
    model: ir.Model, layers: Sequence[Layer], stay: Mapping[str, str], form: Form, runtime: Runtime
) -> tuple[Placement, dict[str, str]]:
    """A placement of which ONNX Runtime runs every layer on integers, and the layers that stay floats for that.

    Args:
        model: float model in the form that integers need.
        layers: of its graph.
        stay: layers that stay floats in any case, and why.
        form: what it means to run on integers.
        runtime: how sessions are made.
    """
    result = dict(stay)
    placement = form.place(model.graph, layers, result)
    while placement.layers and (reasons := unfused(form.skeleton(model, placement), placement.layers, runtime)):
        result |= reasons
        placement = form.place(model.graph, layers, result)
    return placement, result


def skeleton(model: ir.Model, placement: Placement, kept: float = 1.0, tiles: str = "k:64") -> ir.Model:
    """A model that takes as long as one on integers, whatever its numbers are: no statistics are needed.

    Args:
        model: float model in the form that integers need.
        placement: what of it is on integers.
        kept: share of the weights of each layer that are not 0, in tiles of netsurgeon-sparse.
        tiles: name of their pattern, of `TILE_PATTERNS`.
    """
    clone = model.clone()
    SeparateInputs(placement)(clone)
    names = {name: separated(name) if name in placement.entering else name for name in placement.values}
    scales = {names[name]: _any_scale(bounds) for name, bounds in placement.bounds.items()}
    InsertQuantizers(scales, placement.integer, {separated(name) for name in placement.entering})(clone)
    rows: dict[str, np.ndarray] = {}
    inputs: dict[str, Scale] = {}
    for layer in find_layers(clone.graph)[0]:
        if layer.name in placement.layers:
            weight = layer.matrix()
            if kept < 1.0:
                weight *= solvers.choose_mask(np.abs(weight), round(kept * weight.size), TILE_PATTERNS[tiles].on(layer))
            integers = solvers.nearest_integers(weight, ANY_MOST, layer.blocks)
            layer.write(integers.weight)
            rows[layer.name] = layer.of_rows(integers.scales)
            inputs[layer.name] = scales[layer.input.name or ""]
    DropClips()(clone)
    StoreIntegers(rows, inputs)(clone)
    return clone


def _any_scale(bounds: Bounds) -> Scale:
    low, high = (bound if np.isfinite(bound) else other for bound, other in zip(bounds, (-1.0, 1.0), strict=True))
    return Scale.of_range(low, high, bounds)


STATIC = Form(place, skeleton)
"""Activations on integers from layer to layer, of ranges that were measured."""


def _layer_times(
    timer: StructureTimer, name: str, model: ir.Model, layers: Sequence[Layer], placement: Placement, form: Form
) -> dict[str, LayerTimes]:
    both: list[Layer | Cell] = [*layers, *find_cells(model.graph)]
    placed = [layer for layer in both if layer.name in placement.layers]
    floats = times_of_layers(timer.nodes_of(f"{name} float32", lambda: model), placed)
    integers = times_of_layers(timer.nodes_of(f"{name} int8", lambda: form.skeleton(model, placement)), placed)
    return {
        layer.name: LayerTimes(floats=floats.get(layer.name), integers=integers.get(layer.name)) for layer in placed
    }


def _with_sparse(
    times: Mapping[str, LayerTimes],
    timer: StructureTimer,
    name: str,
    *,
    sparse: Callable[[float], ir.Model],
    kept: float,
    progress: Progress,
) -> dict[str, LayerTimes]:
    """The same with the times of sparse kernels, of every layer that they can run; each will keep about `kept`.

    They are those of the models that `sparse` makes, with shares of their weights, in the table under `name`.
    """
    by_share: dict[float, dict[str, float]] = {}
    for step, share in enumerate(SPARSE_KEPT):
        progress("timing sparse kernels", step, len(SPARSE_KEPT))
        by_share[share] = timer.layers_in_package(f"{name} at {share}", functools.partial(sparse, share))
    return {
        layer: dataclasses.replace(
            layer_times,
            sparse={share: milliseconds[layer] for share, milliseconds in by_share.items() if layer in milliseconds},
            kept=kept,
        )
        for layer, layer_times in times.items()
    }
