"""Let a wide layer be solved on workers: tasks for blocks of its rows, and what they share once a worker."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

from netsurgeon.passes.pruning import (
    LayerMoments,
    LayerProblem,
    Solution,
    first_round,
    joined_rows,
    next_round,
    penalised_hessian,
    refit_system,
    refitted_rows,
    rounds_of,
    rows_of_layer,
    rows_of_tasks,
    set_up_wide_layer,
    steps_of_rows,
)
from netsurgeon.passes.solvers import Floats
from netsurgeon.pipeline.execution import Executor, Pending


def rows_apart(executor: Executor, problem: LayerProblem) -> list[list[slice]]:
    """Blocks of rows for each task of a layer; none where it is solved as one, such as where all workers share cores.

    One task uses all cores of a worker, so that several of fewer blocks than those take longer.
    """
    cores = executor.cores if rows_of_tasks(problem, 1) else ()
    parts = rows_of_tasks(problem, min(cores)) if len(cores) > 1 else []
    return parts if len(parts) > 1 else []


def begin_solving_rows(
    executor: Executor,
    problem: LayerProblem,
    parts: Sequence[Sequence[slice]],
    moments: Pending[LayerMoments],
    seed: int,
) -> Pending[Solution]:
    """Let the rows of a layer be solved side by side, to the same bits as by `solve_layer`.

    The layer is set up where its moments are, and stays there. In every round the rows of a task go on from where they
    are; choices and solutions are made beside the layer. Rounds stay until the end: rows that are lost with a worker
    are solved again from the first one, and no others.

    Args:
        executor: where the tasks run.
        problem: of a wide layer.
        parts: blocks of rows for each task, see `rows_apart`.
        moments: of its input.
        seed: of the rows sampled to choose the damping.
    """
    about = problem.layer.name
    submit = functools.partial(executor.submit, about=about)
    layer = submit(set_up_wide_layer, problem, moments, seed)
    first = zlib.crc32(about.encode())  # several layers with few tasks each have different workers
    submit_all = functools.partial(executor.submit_all, about=about, places=range(first, first + len(parts)))
    rows = submit_all(rows_of_layer, [(layer, blocks) for blocks in parts])
    shifted: Sequence[Pending[Floats | None] | None] = [None for _ in parts]
    of_round = submit(first_round, layer)
    rounds = [of_round]
    for begins in rounds_of(problem):
        if begins:
            begun, penalised = of_round, submit(penalised_hessian, layer, of_round)
        steps = [(*of_task, of_round, penalised) for of_task in zip(rows, shifted, strict=True)]
        shifted = submit_all(steps_of_rows, steps)
        of_round = submit(next_round, layer, of_round, begun, *shifted)
        rounds.append(of_round)
    system = submit(refit_system, layer)
    refits = [(*of_task, of_round, system) for of_task in zip(rows, shifted, strict=True)]
    solved = submit_all(refitted_rows, refits)
    return submit(joined_rows, layer, len(rounds), *rounds, *solved)
