"""Solve one layer: from its weight, its plan and its moments to what is written into it, wherever that is computed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import numpy as np

from netsurgeon.passes import solvers
from netsurgeon.passes.codebooks import quantize
from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import Layer, LayerMatrix
from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, Outcome, Solution
from netsurgeon.passes.pruning.patterns import SharePattern
from netsurgeon.passes.solvers import Array, FactorizationError, Means, Pattern, Tiles

SPARSE = 0.5
"""Share of nonzero weights below which a weight from which nothing is to be removed keeps its zeros."""


@dataclasses.dataclass(frozen=True)
class LayerProblem:
    """What a layer is solved from, beside its moments; it needs no graph, so that it can be sent elsewhere.

    Attributes:
        layer: its weight.
        plan: what is to happen to it.
        pattern: that of the plan, on its columns; None = weights stay anywhere.
        may_shift_bias: whether its bias can make up for what the weights lose.
        has_scaled_rows: see the function of that name.
    """

    layer: LayerMatrix
    plan: LayerPlan
    pattern: Pattern | None
    may_shift_bias: bool
    has_scaled_rows: bool

    @classmethod
    def of(cls, layer: Layer, plan: LayerPlan) -> LayerProblem:
        """That of a layer of a model."""
        return cls(
            layer=LayerMatrix.of(layer),
            plan=plan,
            pattern=plan.pattern.on(layer) if plan.pattern else None,
            may_shift_bias=not plan.keeps_bias and layer.may_add_bias(_lost(plan, layer.matrix())),
            has_scaled_rows=has_scaled_rows(layer, plan.values),
        )


@dataclasses.dataclass(frozen=True)
class LayerEquations:
    """What a layer's moments have come to.

    Attributes:
        layer: what it is solved from.
        equations: its least-squares problem.
        nonzero: weights of the dense model that are not zero, lost rows aside.
        means: of its inputs; None where its bias stays.
        samples: rows its statistics were taken from.
        varied: whether they differed.
        seconds: that setting it up took.
    """

    layer: LayerProblem
    equations: solvers.Problem
    nonzero: int
    means: Means | None
    samples: int
    varied: bool
    seconds: float

    @property
    def weight(self) -> Array:
        """The dense weight, lost rows zero, (groups x blocks, rows, columns / blocks)."""
        plan, dense = self.layer.plan, self.layer.layer.matrix()
        return plan.removed_slices.without_rows(dense) if plan.removed_slices else dense

    @property
    def kept(self) -> int:
        """How many weights may stay: all, or no more than there are, lest a refit fills zeros that were there."""
        plan, size = self.layer.plan, self.layer.layer.values.size
        return size if plan.keep >= plan.live(size) else min(plan.keep, self.nonzero)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Name layer and damping where a Hessian has no Cholesky factor."""
        with named(self.layer.layer.name, self.equations.damping):
            yield

    def finish(self, pruned: Array, started: float) -> Solution:
        """What is written into the layer, from its pruned weight.

        Args:
            pruned: (groups x blocks, rows, columns / blocks), values free.
            started: when the clock of `time.perf_counter` began to count.
        """
        layer, plan = self.layer.layer, self.layer.plan
        with self.named():
            pruned = _as_stored(self.layer, self.equations, pruned)
        dense = layer.matrix()
        written = plan.removed_slices.restored(pruned, dense) if plan.removed_slices else pruned
        shift = None
        if self.means is not None:
            shift = bias_shift(dense, layer.read_back(written), self.means, layer.blocks)
        pattern = self.layer.pattern
        return Solution(
            layer.rounded(written),
            shift,
            Outcome(
                damping=self.equations.damping,
                samples=self.samples,
                varied=self.varied,
                seconds=self.seconds + time.perf_counter() - started,
                slots=pattern.slots(pruned != 0) if isinstance(pattern, Tiles) else None,
            ),
        )


def solve_layer(problem: LayerProblem, moments: LayerMoments, seed: int) -> Solution:
    """Prune a layer and correct what is left of it.

    Args:
        problem: of the layer.
        moments: of its input.
        seed: of the rows sampled to choose the damping.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor; the message names layer and damping.
    """
    set_up = set_up_layer(problem, moments, seed)
    if isinstance(set_up, Solution):
        return set_up
    started = time.perf_counter()
    with set_up.named():
        pruned = _pruned(set_up)
    return set_up.finish(pruned, started)


def set_up_layer(problem: LayerProblem, moments: LayerMoments, seed: int) -> LayerEquations | Solution:
    """A layer's equations; its solution where nothing can be measured, so that it is left alone.

    Args:
        problem: of the layer.
        moments: of its input.
        seed: of the rows sampled to choose the damping.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor; the message names layer and damping.
    """
    started = time.perf_counter()
    plan, dense = problem.plan, problem.layer.matrix()
    if plan.method in solvers.UNCORRECTED:
        moments = dataclasses.replace(moments, ridge=None)
    centred = plan.method not in solvers.UNCORRECTED and problem.may_shift_bias and moments.varies
    weight = plan.removed_slices.without_rows(dense) if plan.removed_slices else dense
    if moments.fit.count == 0:  # a layer in a body that none of these inputs passes through
        return _left_alone(dense, plan, 0)
    statistics = moments.statistics(plan.removed_slices, centred=centred)
    if not statistics.is_finite:
        return _left_alone(dense, plan, statistics.count)
    damping = plan.damping
    if damping is None:
        damping = _choose_damping(weight, plan, moments, seed, centred=centred)
    with named(problem.layer.name, damping):
        equations = solvers.Problem.of(weight, statistics, damping)
    return LayerEquations(
        layer=problem,
        equations=equations,
        nonzero=int(np.count_nonzero(weight)),
        means=statistics.means if centred else None,
        samples=statistics.count,
        varied=moments.varies,
        seconds=time.perf_counter() - started,
    )


@contextlib.contextmanager
def named(layer: str, damping: float) -> Iterator[None]:
    """Name a layer and its damping where a Hessian has no Cholesky factor."""
    try:
        yield
    except FactorizationError as error:
        raise FactorizationError(f"layer {layer!r}, damping {damping:g}: {error}") from error


def _pruned(set_up: LayerEquations) -> Array:
    """The weight without what is to go."""
    plan = set_up.layer.plan
    if plan.keep_zeros or _is_left_sparse(plan, set_up.layer.layer.values.size, set_up.nonzero):
        return solvers.correct(set_up.equations, set_up.weight != 0)
    return solvers.prune(set_up.equations, set_up.kept, plan.method, set_up.layer.pattern, effort=plan.effort)


def _as_stored(problem: LayerProblem, equations: solvers.Problem, pruned: Array) -> Array:
    """A pruned weight as the plan wants it stored."""
    plan = problem.plan
    if plan.grid is not None and plan.method not in solvers.UNCORRECTED:
        return solvers.round_to_grid(equations, pruned, plan.grid)
    if plan.grid is None and plan.values == "codebook":
        return quantize(pruned, equations, plan.price, scaled=problem.has_scaled_rows)
    return pruned


def _choose_damping(weight: Array, plan: LayerPlan, moments: LayerMoments, seed: int, *, centred: bool) -> float:
    if plan.method == "magnitude" and plan.removed_slices is None:  # nothing is solved
        return solvers.DAMPINGS[0]
    return moments.choose_damping(weight, plan.removed_slices, plan.keep, np.random.default_rng(seed), centred=centred)


def _is_left_sparse(plan: LayerPlan, size: int, nonzero: int) -> bool:
    """Whether nothing is to go from a weight of which most is zero: a correction that filled it would cost bytes."""
    live = plan.live(size)
    return plan.keep >= live and nonzero < SPARSE * live


def _left_alone(dense: Array, plan: LayerPlan, samples: int) -> Solution:
    """A layer of whose inputs nothing is known keeps every weight but those of inputs that are gone."""
    removed = plan.removed_slices
    weight = dense if removed is None else np.where(removed.columns[:, None, :], 0.0, dense)
    return Solution(weight, None, Outcome(damping=0.0, samples=samples, varied=True, seconds=0.0, measured=False))


def _lost(plan: LayerPlan, dense: Array) -> int:
    """How many weights that are not zero will be, at least."""
    nonzero = int(np.count_nonzero(dense))
    if plan.keep_zeros:
        return nonzero - int(np.count_nonzero(plan.removed_slices.without_rows(dense))) if plan.removed_slices else 0
    kept = dense.size * plan.pattern.kept // plan.pattern.size if isinstance(plan.pattern, SharePattern) else plan.keep
    return max(nonzero - kept, 0)


def bias_shift(dense: Array, current: Array, means: Means, blocks: int) -> Array:
    """``W x̄ − Ŵ x̂̄`` over all groups and blocks, (groups x rows,): keeps each output's mean.

    What a branch that is added behind the layer has lost on average is made up for, too.

    Args:
        dense: W, (groups x blocks, rows, columns).
        current: Ŵ, of the same shape.
        means: of both models' inputs, (groups x blocks, columns), and of the branch, if there is one.
        blocks: of columns, which add up to one output.
    """
    moved = dense @ means.dense[..., None] - current @ means.current[..., None]
    if means.residual is not None:
        moved = moved + means.residual[..., None]
    return np.asarray(moved[..., 0].reshape(-1, blocks, dense.shape[1]).sum(axis=1).ravel())


def has_scaled_rows(layer: Layer, values: str) -> bool:
    """Whether the rows of a layer share a codebook up to powers of two, as `PackWeights` can store them."""
    return values == "codebook" and layer.blocks == 1 and tensor(layer.weight).numpy().itemsize > 2
