"""Solve a wide layer in tasks: what its rows share is made once, and blocks of them are solved side by side.

The tasks do what `solve_layer` does, on the same rows at once and in the same order, so that its bits come out. First
the layer is set up. Then, in each round of ADMM, every task lets its rows take their steps, and one chooses over all
rows which weights stay. H + ρI is made once for each ρ, the matrix of the refit once. At last the refitted rows are
joined where the layer was set up.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from netsurgeon.passes import solvers
from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import Solution
from netsurgeon.passes.pruning.layer_problem import LayerEquations, LayerProblem, named, set_up_layer
from netsurgeon.passes.solvers import Array, Floats, PackedRound, Penalised, RefitSystem, RowBlock, SupportChoice

Result = TypeVar("Result")
MOST_TASKS = 16
"""Tasks that the rows of a layer are solved in, at most: each gets a copy of what they share."""


@dataclasses.dataclass(frozen=True)
class WideLayer:
    """A layer that has been set up.

    Attributes:
        set_up: its equations.
        choice: that of its support.
    """

    set_up: LayerEquations
    choice: SupportChoice


@dataclasses.dataclass(frozen=True)
class TaskRows:
    """Rows of a layer that one task after the other works on: what of them stays the same.

    Attributes:
        blocks: that are worked side by side, as they start.
        target: of the refit, (groups, rows, columns).
        rows: which they are.
        scale: of the columns, see `Scaled`.
        steps: of the refit.
        name: of the layer.
        damping: of its Hessian.
    """

    blocks: list[RowBlock]
    target: Array = dataclasses.field(repr=False)
    rows: slice
    scale: Floats = dataclasses.field(repr=False)
    steps: int
    name: str
    damping: float


def rows_of_tasks(problem: LayerProblem, cores: int) -> list[list[slice]]:
    """Blocks of rows for each task that a layer is solved in; none where its rows cannot be solved in tasks.

    Shape and plan say what the blocks are, and so what the bits are, whichever of them a task has.

    Args:
        problem: of the layer.
        cores: of the worker that has the fewest, each of which works on a block at a time.
    """
    plan, values = problem.plan, problem.layer.values
    is_chosen = plan.method in ("auto", "admm") and not plan.keep_zeros and plan.keep < plan.live(values.size)
    return blocks_of_tasks(values.shape, cores) if is_chosen else []


def blocks_of_tasks(shape: tuple[int, ...], cores: int) -> list[list[slice]]:
    """The same for a layer of this shape, of which a part goes."""
    blocks = solvers.row_blocks(*shape) or []
    size = max(cores, -(-len(blocks) // MOST_TASKS))
    return [blocks[start : start + size] for start in range(0, len(blocks), size)]


def rounds_of(problem: LayerProblem) -> Iterator[bool]:
    """The rounds of such a layer at most: whether a penalty begins with each."""
    return solvers.schedule_of(problem.layer.values.shape, problem.plan.effort).rounds()


def set_up_wide_layer(problem: LayerProblem, moments: LayerMoments, seed: int) -> WideLayer | Solution:
    """What the rows of a layer share; its solution where it is left alone, see `set_up_layer`."""
    set_up = set_up_layer(problem, moments, seed)
    if isinstance(set_up, Solution):
        return set_up
    started = time.perf_counter()
    choice = solvers.choice_of_support(set_up.equations, set_up.kept, problem.pattern, problem.plan.effort)
    return WideLayer(dataclasses.replace(set_up, seconds=set_up.seconds + time.perf_counter() - started), choice)


def _unless_left_alone(function: Callable[..., Result]) -> Callable[..., Result | None]:
    """Nothing is made of a layer that is left alone, or of its rows; they are the first argument."""

    @functools.wraps(function)
    def made(layer: WideLayer | TaskRows | Solution | None, *arguments: Any) -> Result | None:
        return None if layer is None or isinstance(layer, Solution) else function(layer, *arguments)

    return made


@_unless_left_alone
def rows_of_layer(layer: WideLayer, parts: Sequence[slice]) -> TaskRows:
    """The rows of a task, in blocks that follow one another."""
    choice, rows = layer.choice, slice(parts[0].start, parts[-1].stop)
    return TaskRows(
        blocks=[RowBlock.of(choice, part, choice.shifted) for part in parts],
        target=layer.set_up.equations.target[:, rows],
        rows=rows,
        scale=choice.problem.scale,
        steps=solvers.REFIT_STEPS[layer.set_up.layer.plan.effort],
        name=layer.set_up.layer.layer.name,
        damping=layer.set_up.equations.damping,
    )


@_unless_left_alone
def first_round(layer: WideLayer) -> PackedRound:
    """The round that a layer begins with."""
    return PackedRound.of(layer.choice.first_round())


@_unless_left_alone
def penalised_hessian(layer: WideLayer, packed: PackedRound) -> Penalised | None:
    """H + ρI of a round; None where no step is left.

    Raises:
        FactorizationError: it is not positive definite; the message names layer and damping.
    """
    of_round = packed.of_round
    with layer.set_up.named():
        return layer.choice.problem.penalised(of_round.rho) if of_round.steps else None


@_unless_left_alone
def steps_of_rows(rows: TaskRows, before: Floats | None, packed: PackedRound, penalised: Penalised) -> Floats:
    """W + V/ρ of rows behind a round, from what the round before has left; None = it is the first."""
    shifted = np.concatenate([block.shifted for block in rows.blocks], axis=1) if before is None else before.copy()
    first = rows.rows.start
    blocks = [
        dataclasses.replace(block, shifted=shifted[:, block.rows.start - first : block.rows.stop - first])
        for block in rows.blocks
    ]
    if packed.of_round.steps:
        solvers.take_steps(blocks, packed.unpacked(rows.rows), penalised, np.empty_like(shifted))
    return shifted


@_unless_left_alone
def next_round(layer: WideLayer, before: PackedRound, begun: PackedRound, *shifted: Floats) -> PackedRound:
    """The round behind another, from what all rows have come to; see `SupportChoice.round_after`."""
    if not before.of_round.steps:
        return before
    score = np.concatenate(shifted, axis=1)
    return PackedRound.of(layer.choice.round_after(before.of_round, np.abs(score, out=score), begun.unpacked()))


@_unless_left_alone
def refit_system(layer: WideLayer) -> RefitSystem:
    """What all rows are refitted with."""
    return RefitSystem.of(layer.set_up.equations)


@_unless_left_alone
def refitted_rows(rows: TaskRows, shifted: Floats, last: PackedRound, system: RefitSystem) -> Array:
    """The best weights of rows on the support that the last round has left.

    Raises:
        FactorizationError: the steps do not converge; the message names layer and damping.
    """
    mask = last.unpacked(rows.rows).mask[:, rows.rows]
    with named(rows.name, rows.damping):
        return system.refit(rows.target, solvers.near_weights(shifted.copy(), mask, rows.scale), mask, rows.steps)


def joined_rows(layer: WideLayer | Solution, rounds: int, *results: Any) -> Solution:
    """The layer's solution; its seconds are those of what the rows share.

    Args:
        layer: that was set up.
        rounds: how many there were.
        *results: the rounds, which so last until then, and the refitted rows.
    """
    started = time.perf_counter()
    if isinstance(layer, Solution):
        return layer
    return layer.set_up.finish(np.concatenate(results[rounds:], axis=1), started)
