"""The error bound of Layer-wise OBS, and beside it the error that ONNX Runtime measures on the same samples.

With √δE^k = ‖ΔW_k X_k + Δb_k‖_F / √N, on the dense model's inputs X_k of layer k and N whole inputs (arXiv 1705.07565,
the theorem on the error of the whole network),

    ‖Ỹ − Y‖_F / √N  ≤  Σ_{k<L} ( Π_{l>k} ‖Ŵ_l‖ ) √δE^k  +  √δE^L

and on any graph, with an error e for each value, e(out) ≤ Σ_i K_i e(in_i) + √δE. ONNX Runtime itself measures δE:
probes beside the layers of the dense model apply the same operator with ΔW and Δb to the same input. The bound is one
of exact arithmetic: it says nothing about what floating point rounds.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from netsurgeon.passes.graph import infer_shapes
from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.error_bound.changes import Change, find_changes
from netsurgeon.pipeline.error_bound.probes import Probes
from netsurgeon.pipeline.error_bound.propagation import Error, Propagation, place
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.runtime import Runtime, Session, counted, is_large


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerError:
    """What one changed node adds to the error.

    Attributes:
        node: its name.
        operator: its operator type.
        error: √δE = ‖ΔW X + Δb‖_F / √N on the dense model's inputs, N whole inputs.
        norm: the operator norm of the compressed node, infinite where it has none.
    """

    node: str
    operator: str
    error: float
    norm: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputBound:
    """Bound and measured error of one graph output.

    Attributes:
        output: its name.
        bound: the bound on ‖Ỹ − Y‖_F / √N, None where it has none.
        measured: ‖Ỹ − Y‖_F / √N; NaN for a discrete output, or where the two models disagree on the shape.
        ends_at: the node where the bound ends, and why: bound-ends or output-discrete; None where there is a bound.
    """

    output: str
    bound: float | None
    measured: float
    ends_at: Message | None


@dataclasses.dataclass(frozen=True)
class Bound:
    """The bound of a compressed model on the samples it was measured on.

    Attributes:
        samples: N, the number of whole inputs.
        layers: the nodes whose weights or biases differ, in graph order.
        outputs: the graph's outputs, in order.
    """

    samples: int
    layers: tuple[LayerError, ...]
    outputs: tuple[OutputBound, ...]


def measure_bound(
    dense: ir.Model,
    pruned: ir.Model,
    batches: Iterable[Mapping[str, npt.NDArray[Any]]],
    count: int,
    runtime: Runtime,
    mask: PositionMask | None = None,
) -> Bound:
    """Bound the error of `pruned` against `dense`, and measure it, on the same samples.

    Positions that a mask excludes enter neither; the bound only where outputs were seen not to depend on them.

    Args:
        dense: the original model; not changed.
        pruned: the same graph (names of nodes and values), other constants; a bias may have been added.
        batches: feeds by input name; one is held at a time.
        count: N, how many whole inputs the batches hold together.
        runtime: makes the two sessions.
        mask: which positions of the feeds count; None = all.

    Raises:
        InputError: the graphs differ in more than constants, or there are no samples.
        CheckFailedError: ONNX Runtime cannot load or run one of the models.
    """
    if count < 1:
        raise InputError("the error bound needs at least one sample, found none")
    before, after = _closed(dense.clone()), _closed(pruned.clone())
    infer_shapes(before)
    changes = find_changes(before.graph, after.graph)
    propagation = Propagation(after.graph, before.graph)
    propagation.ask_for_extents(name for change in changes for name in change.landings)
    positions = mask.axes if mask is not None and mask.is_proven else {}
    probes = Probes(before.graph, is_large=is_large(before), positions=positions)
    shapes = {name: probes.shape(propagation.dense_values[name]) for name in propagation.extents.wanted}
    # ONNX Runtime runs what the last node needs first: from the first layer on it need not hold what all layers read
    energies = {change: probes.energies(change) for change in reversed(changes)}
    outputs = [value.name or "" for value in after.graph.outputs]
    if mask is not None:
        mask = dataclasses.replace(mask, axes={**mask.axes, **probes.by_position})
    first, second = (counted(runtime.session(model), mask) for model in (before, after))
    tally = _run(first, second, outputs, batches)
    propagation.extents.record({name: tally.shapes[probe] for name, probe in shapes.items() if probe in tally.shapes})
    roots = {
        name: math.sqrt(tally.energies[probe] / count) for probes in energies.values() for name, probe in probes.items()
    }
    errors = propagation.errors(roots | _unmeasured(changes, energies, roots))
    layers = [_layer_error(change, roots, propagation) for change in changes if energies[change]]
    return Bound(count, tuple(layers), tuple(_output_bound(name, errors, tally, count) for name in outputs))


def _closed(model: ir.Model) -> ir.Model:
    """No feed overrides an initializer here; before version 4 every one must be an input, those of probes as well."""
    RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(model.ir_version, 4)
    return model


@dataclasses.dataclass
class _Tally:
    """Sums over all batches, in float64, by output name."""

    energies: dict[str, float] = dataclasses.field(default_factory=lambda: collections.defaultdict(float))
    shapes: dict[str, list[tuple[int, ...]]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    differences: dict[str, float] = dataclasses.field(default_factory=lambda: collections.defaultdict(float))
    discrete: dict[str, str] = dataclasses.field(default_factory=dict)


def _run(
    probed: Session, pruned: Session, outputs: list[str], batches: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> _Tally:
    tally = _Tally()
    has_layer = False
    for feed in batches:
        has_layer = True
        first, second = probed.run(feed), pruned.run(feed)
        for name in outputs:
            _compare(tally, name, first[name], second[name])
        _count(tally, {name: value for name, value in first.items() if name not in outputs})
    if not has_layer:
        raise InputError("the error bound needs at least one sample, found none")
    return tally


def _count(tally: _Tally, probes: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, value in probes.items():
        if value.dtype == np.int64:
            tally.shapes[name].append(tuple(int(extent) for extent in value))
        else:
            tally.energies[name] += float(value.sum())


def _compare(tally: _Tally, name: str, first: Any, second: Any) -> None:
    if not isinstance(first, np.ndarray) or first.dtype.kind != "f":
        tally.discrete[name] = first.dtype.name if isinstance(first, np.ndarray) else type(first).__name__
    elif first.shape != second.shape:
        tally.differences[name] = math.nan
    else:
        # no error is measured where the dense model's own output is NaN or infinite
        usable = np.isfinite(first)
        gap = second.astype(np.float64)[usable] - first.astype(np.float64)[usable]
        tally.differences[name] += float(np.vdot(gap, gap))


def _unmeasured(
    changes: list[Change], energies: Mapping[Change, Mapping[str, str]], roots: Mapping[str, float]
) -> dict[str, Error]:
    """What ends a bound where a change lands, because its own error is not a number."""
    ended: dict[str, Error] = {}
    for change in changes:
        if not energies[change]:
            reason = "constants inside its bodies differ"
        elif not all(math.isfinite(roots[name]) for name in change.landings):
            reason = "constants that differ make NaN or infinite numbers"
        else:
            continue
        ended |= {name: place(change.before, reason) for name in change.landings}
    return ended


def _layer_error(change: Change, roots: Mapping[str, float], propagation: Propagation) -> LayerError:
    node = change.after
    error = math.hypot(*(roots[name] for name in change.landings))
    return LayerError(
        node=node.name or change.landings[0], operator=node.op_type, error=error, norm=propagation.norm(node)
    )


def _output_bound(name: str, errors: Mapping[str, Error], tally: _Tally, count: int) -> OutputBound:
    if name in tally.discrete:
        dtype = tally.discrete[name]
        ends_at = Message(f"output {name!r} is discrete ({dtype})", "output-discrete", output=name, dtype=dtype)
        return OutputBound(output=name, bound=None, measured=math.nan, ends_at=ends_at)
    measured = math.sqrt(tally.differences[name] / count)
    error = errors.get(name, 0.0)
    if isinstance(error, str):
        return OutputBound(output=name, bound=None, measured=measured, ends_at=error)
    return OutputBound(output=name, bound=error, measured=measured, ends_at=None)
