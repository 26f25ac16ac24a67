"""Which layers are pruned, and which are left alone and why."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence, Set
from typing import cast

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import (
    Declined,
    Layer,
    can_be_solved_together,
    find_cells,
    find_layers,
    find_tables,
    sharing_layers,
)
from netsurgeon.passes.pruning import LayerPattern, RemovedSlices
from netsurgeon.passes.quantization import summary
from netsurgeon.passes.solvers import Effort
from netsurgeon.pipeline.calibration.segments import cut
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import IntegerWeights
from netsurgeon.pipeline.options import Options

FULL_EFFORT_WORK = 2e10
"""With more products in one step of ADMM over all layers a network takes too long for the best that can be done: layers
have ADMM with fewer steps, without the exact sweep beside it, and statistics of fewer rows, for a sixth less time."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which layers are pruned.

    Attributes:
        layers: those that take part, in graph order.
        declined: every other node that holds weights, and why.
        sparsities: of layers whose sparsity the user has given.
        removed_slices: what layers lose to trimming.
        integers: what the model came with of weights that are integers.
        asked_effort: what the user wants; None = what there is time for.
        pattern: that the weights which stay keep to.
    """

    layers: tuple[Layer, ...]
    declined: tuple[Declined, ...]
    sparsities: Mapping[str, float]
    removed_slices: Mapping[str, RemovedSlices] = dataclasses.field(default_factory=dict, repr=False)
    integers: IntegerWeights = dataclasses.field(default_factory=IntegerWeights, repr=False)
    asked_effort: Effort | None = None
    pattern: LayerPattern | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Weights by layer, after trimming."""
        live = {name: removed_slices.live for name, removed_slices in self.removed_slices.items()}
        return {layer.name: live.get(layer.name, layer.size) for layer in self.layers}

    @property
    def effort(self) -> Effort:
        """Whether there is time for the best that solvers and statistics can do."""
        if self.asked_effort is not None:
            return self.asked_effort
        work = sum(layer.size * layer.columns // layer.blocks for layer in self.layers)
        return "full" if work <= FULL_EFFORT_WORK else "fast"

    @property
    def solver_effort(self) -> Effort:
        """The same of solvers alone, which take least for a first look."""
        return "hasty" if self.asked_effort == "fast" else self.effort

    @property
    def fixed(self) -> dict[str, int]:
        """Weights to keep in layers whose sparsity the user has given."""
        return {
            name: size - round(size * self.sparsities[name])
            for name, size in self.sizes.items()
            if name in self.sparsities
        }


def select(
    model: ir.Model,
    options: Options,
    unobserved: Mapping[str, str] | None = None,
    integers: IntegerWeights | None = None,
) -> Selection:
    """Choose the layers that take part.

    Args:
        model: in normal form.
        options: what the user says of layers.
        unobserved: layers in bodies of which calibration shows nothing, and why.
        integers: what the model came with of weights that are integers.

    Raises:
        InputError: no layer can be pruned, or a name or glob of the user's matches none.
    """
    layers, declined = find_layers(model.graph)
    integers = integers or IntegerWeights()
    declined = [dataclasses.replace(left, reason=integers.reasons.get(left.node, left.reason)) for left in declined]
    if not layers and integers.layers:
        raise InputError(_only_integers(integers))
    if not layers:
        reasons = "; ".join(f"{d.operator} {d.node!r}: {d.reason}" for d in declined[:3])
        raise InputError(f"the model has no layer that can be pruned ({reasons or 'no Conv, Gemm or MatMul weights'})")
    _check_names(model.graph, layers, options)
    taken = []
    driven = {name for segment in cut(model.graph, [layer.node for layer in layers]) for name in segment.layers}
    for layer in layers:
        reason = (unobserved or {}).get(layer.name) or _reason_to_leave(layer, options, driven)
        if reason:
            declined.append(Declined(layer.name, layer.operator, reason, layer.size))
            continue
        if not has_finite_weight(layer):
            raise InputError(
                f"the weight of layer {layer.name!r} holds NaN or Inf: the model is broken, train or export it anew"
            )
        taken.append(layer)
    if not taken:
        why = "; ".join(sorted({declined_layer.reason for declined_layer in declined[-len(layers) :]}))
        what = "pruned" if options.integer_mode is None else "pruned or put on integers"
        raise InputError(f"no layer is left that can be {what} ({why}): leave at least one")
    left_alone = {declined_layer.node: declined_layer.reason for declined_layer in declined}
    taken, apart = _without_other_users(layers, taken, left_alone)
    declined += apart
    if not taken:
        raise InputError(f"no layer is left that can be pruned ({apart[0].reason}): leave at least one")
    sparsities = _given_sparsities([layer.name for layer in taken], options)
    asked_effort = cast(Effort | None, options.effort)
    return Selection(
        tuple(taken),
        tuple(declined),
        sparsities,
        integers=integers,
        asked_effort=asked_effort,
        pattern=options.layer_pattern,
    )


def _check_names(graph: ir.Graph, layers: Sequence[Layer], options: Options) -> None:
    """Check that names and globs of the user's match something: a layer, or for `exclude` a table or a cell as well.

    Raises:
        InputError: one does not.
    """
    names = [layer.name for layer in layers]
    lookups = [name for table in find_tables(graph) for name in table.names]
    others = [*lookups, *(cell.name for cell in find_cells(graph))]
    globs = [*((glob, [*names, *others]) for glob in options.exclude), *((glob, names) for glob in options.layers)]
    for glob, of_that_kind in globs:
        if not fnmatch.filter(of_that_kind, glob):
            raise InputError(f"{glob!r} matches no layer: `inspect` lists their names")


def _without_other_users(
    layers: Sequence[Layer], taken: Sequence[Layer], reasons: Mapping[str, str]
) -> tuple[list[Layer], list[Declined]]:
    """Layers but for those that share a weight with others that it cannot be solved for: it stays one tensor.

    Args:
        layers: all of the model.
        taken: those of them that nothing else speaks against.
        reasons: why the others are left alone, by name.
    """
    left: list[Declined] = []
    for group in sharing_layers(layers):
        alone = next((layer.name for layer in group if layer.name in reasons), None)
        if alone is None and can_be_solved_together(group):
            continue
        for layer in (layer for layer in group if layer in taken):
            if alone is None:
                other = next(sharing.name for sharing in group if sharing is not layer)
                reason = f"it shares its weight with {other!r}, and not all that take it read it alike"
            else:
                reason = f"it shares its weight with {alone!r}, which is left alone ({reasons[alone]})"
            left.append(Declined(layer.name, layer.operator, reason, layer.size))
    stay = {declined_layer.node for declined_layer in left}
    return [layer for layer in taken if layer.name not in stay], left


def _only_integers(integers: IntegerWeights) -> str:
    """What to say of a model with nothing to prune but integers that are left as they are."""
    reasons = dict.fromkeys(integers.reasons.get(layer.name, "") for layer in integers.layers)
    why = "; ".join(reason for reason in reasons if reason) or "integers of that form are left as they are"
    return (
        f"the model is quantized already ({summary(integers.layers)}), and it has no other layer that can be pruned "
        f"({why}): give the float model that it was made from, with --quantize int8 for integers; in QDQ form, with a "
        "scale a row or one in all, --sparsity prunes the integers"
    )


def _given_sparsities(names: Sequence[str], options: Options) -> dict[str, float]:
    """Sparsities by layer name; the last of several globs wins."""
    sparsities: dict[str, float] = {}
    for glob, sparsity in options.layers.items():
        matching = fnmatch.filter(names, glob)
        if not matching:
            raise InputError(f"{glob!r} is given a sparsity, but its layers are left alone: leave out one of the two")
        sparsities.update(dict.fromkeys(matching, float(sparsity)))
    return sparsities


def has_finite_weight(layer: Layer) -> bool:
    """Whether a layer's weight holds neither NaN nor Inf."""
    return bool(np.isfinite(tensor(layer.weight).numpy()).all())


def _reason_to_leave(layer: Layer, options: Options, driven: Set[str]) -> str | None:
    if layer.name not in driven:
        return "its input does not depend on the model's inputs"
    if any(fnmatch.fnmatchcase(layer.name, glob) for glob in options.exclude):
        return "excluded by the user"
    if options.layer_pattern is not None:
        try:
            options.layer_pattern.on(layer)
        except ValueError as error:
            return str(error)
    return None
