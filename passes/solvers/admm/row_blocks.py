"""Rows of a layer, and the steps of a round that they take without the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers.admm.penalised import Penalised
from netsurgeon.passes.solvers.admm.rounds import Round, SupportChoice
from netsurgeon.passes.solvers.linalg import Floats, Mask
from netsurgeon.passes.solvers.masks import Pattern, choose
from netsurgeon.passes.solvers.parallel import for_each_part

ROWS_AT_ONCE, SPLIT_SIZE = 256, 1 << 20
"""Rows that a step takes at once, in weights of more numbers than the second: what is between two products stays in the
cache, and all cores have work."""


@dataclasses.dataclass(frozen=True)
class RowBlock:
    """Rows of a layer on their way through the rounds.

    Attributes:
        rows: which.
        shifted: their W + V/ρ, scaled, (groups, rows, columns), which each round changes in place.
        target: their W₀H, scaled.
        pattern: that their support respects.
        keep: weights of theirs that stay; None = as many as a round begins with.
        relaxation: see `Schedule`.
    """

    rows: slice
    shifted: Floats = dataclasses.field(repr=False)
    target: Floats = dataclasses.field(repr=False)
    pattern: Pattern | None
    keep: int | None
    relaxation: float

    @classmethod
    def of(cls, choice: SupportChoice, rows: slice, shifted: Floats, keep: int | None = None) -> RowBlock:
        """Some rows of a layer, of all of which `shifted` is."""
        return cls(
            rows=rows, shifted=shifted[:, rows], target=choice.target[:, rows], pattern=choice.pattern, keep=keep,
            relaxation=choice.schedule.relaxation,
        )  # fmt: skip

    def take_steps(self, of_round: Round, penalised: Penalised, score: Floats) -> None:
        """Take the steps of a round; `score` becomes the sizes of what they leave, of the shape of `shifted`."""
        shifted, target, rho, mask = self.shifted, self.target, of_round.rho, of_round.mask[:, self.rows]
        keep = int(np.count_nonzero(mask)) if self.keep is None else self.keep
        dual = np.zeros_like(shifted) if of_round.settled_with is None else np.empty_like(shifted)

        def work(part: npt.NDArray[np.int64]) -> None:
            rows = np.s_[:, part[0] : part[-1] + 1]
            sparse = shifted[rows] * mask[rows]
            dense = penalised.solve(target[rows] + rho * sparse - dual[rows])
            if self.relaxation != 1.0:
                dense = sparse + self.relaxation * (dense - sparse)
            shifted[rows] = dense + dual[rows] / rho
            np.abs(shifted[rows], out=score[rows])

        def settle(part: npt.NDArray[np.int64]) -> None:
            rows = np.s_[:, part[0] : part[-1] + 1]
            np.multiply(shifted[rows], ~mask[rows], out=dual[rows])
            dual[rows] *= settled_with or 0.0  # V is 0 before the first step

        settled_with = of_round.settled_with
        for step in range(of_round.steps):
            if step:
                mask, settled_with = choose(score, keep, self.pattern), rho
            if settled_with is not None:
                _each(settle, shifted)
            _each(work, shifted)


def take_steps(blocks: Sequence[RowBlock], of_round: Round, penalised: Penalised, score: Floats) -> None:
    """Let blocks that follow one another take the steps of a round side by side, each on one core.

    Args:
        blocks: of rows.
        of_round: the round.
        penalised: H + ρI of it.
        score: of all their rows, see `RowBlock.take_steps`.
    """
    first = blocks[0].rows.start

    def work(part: npt.NDArray[np.int64]) -> None:
        block = blocks[part[0]]
        block.take_steps(of_round, penalised, score[:, block.rows.start - first : block.rows.stop - first])

    for_each_part(work, len(blocks), 1)


def near_weights(shifted: Floats, mask: Mask, scale: Floats) -> Floats:
    """What the last step has left on the support, in place of `shifted`."""
    shifted *= mask
    shifted /= scale
    return shifted


def _each(work: Callable[[npt.NDArray[np.int64]], None], weight: Floats) -> None:
    """Call `work` with the rows of a weight, some of them at once where they are many."""
    if weight.size > SPLIT_SIZE:
        for_each_part(work, weight.shape[1], ROWS_AT_ONCE)
    else:
        work(np.arange(weight.shape[1]))
