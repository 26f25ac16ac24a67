"""Try the ways to spread a ratio over the layers, each for a few steps, and take the best on the validation split."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable

from torch import nn

from netsurgeon.models.surgery import ALLOCATIONS, Surgery, SurgeryPlan
from netsurgeon.models.training.datasets import Examples, seed_of_step
from netsurgeon.models.training.distributed import Process
from netsurgeon.models.training.loop import Job, Objective, error_of
from netsurgeon.models.training.recipes import Recipe

SHARE = 0.1
"""Length of a rehearsal, as a share of the steps of the run."""
Report = Callable[[str, int, int], None]


def choose_allocation(
    network: nn.Module,
    data: Examples,
    validation: Examples,
    objective: Objective,
    recipe: Recipe,
    plan: SurgeryPlan,
    seed: int,
    process: Process,
    report: Report,
) -> tuple[str, dict[str, float]]:
    """The allocation with the least validation error after a short surgery, and the error of each.

    Args:
        network: not changed.
        data: trained on.
        validation: labelled.
        objective: the loss.
        recipe: of the whole run; rehearsals take a tenth of its steps.
        plan: of the whole run, with a ratio.
        seed: of everything random.
        process: who we are.
        report: called with the stage, the steps done and the steps in all.
    """
    steps = max(round(SHARE * recipe.steps), 1)
    stop = max(round(SHARE * plan.stop), 1)
    errors = {}
    for allocation in ALLOCATIONS:
        trial_network = copy.deepcopy(network)
        short = dataclasses.replace(plan, allocation=allocation, stop=stop, interval=max(plan.interval // 4, 1))
        job = Job(
            trial_network,
            data,
            objective,
            dataclasses.replace(recipe, steps=steps, log_every=steps),
            seed=seed_of_step(seed, 0, 0),
            surgery=Surgery(trial_network, short, seed),
            process=process,
            report=functools.partial(report, f"rehearsing {allocation}"),
        )
        job.run()
        errors[allocation] = process.broadcast_from_main(
            functools.partial(error_of, trial_network, validation, process)
        )
    return min(errors, key=lambda name: errors[name]), errors
