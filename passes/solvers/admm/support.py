"""The support of a layer: all rounds, one after the other."""

from __future__ import annotations

import numpy as np

from netsurgeon.passes.solvers.admm.rounds import SupportChoice
from netsurgeon.passes.solvers.admm.row_blocks import RowBlock, near_weights, take_steps
from netsurgeon.passes.solvers.linalg import Floats, Mask, row_blocks


def support(choice: SupportChoice) -> tuple[Mask, Floats]:
    """Mask (groups, rows, columns) of the weights that stay over the layer, as many as their pattern allows.

    Beside it the weights that the last step has left on it, close to the best ones, in place of `choice.shifted`.
    """
    shifted, parts = choice.shifted, row_blocks(*choice.shifted.shape)
    score = np.empty_like(shifted)
    whole = RowBlock.of(choice, np.s_[:], shifted, choice.keep)
    blocks = [RowBlock.of(choice, rows, shifted) for rows in parts or ()]
    of_round = begun = choice.first_round()
    while of_round.steps:
        if choice.schedule.begins(of_round.taken):
            begun, penalised = of_round, choice.problem.penalised(of_round.rho)
        if blocks:
            take_steps(blocks, of_round, penalised, score)
        else:
            whole.take_steps(of_round, penalised, score)
        of_round = choice.round_after(of_round, score, begun)
    return of_round.mask, near_weights(shifted, of_round.mask, choice.problem.scale)
