"""Which weights stay, chosen over all rows of a layer from round to round."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers.admm.penalised import Scaled
from netsurgeon.passes.solvers.admm.schedule import BLOCK_STEPS, Schedule
from netsurgeon.passes.solvers.linalg import Array, Floats, Mask, row_blocks
from netsurgeon.passes.solvers.masks import Pattern, choose


@dataclasses.dataclass(frozen=True)
class Round:
    """Steps that the rows of a layer take without each other, all with one penalty.

    Attributes:
        taken: steps before it.
        steps: of it; 0 where none is left to take.
        rho: ρ.
        settled_with: ρ of the step before; None in the first round.
        mask: support that it begins with, (groups, rows, columns).
    """

    taken: int
    steps: int
    rho: float
    settled_with: float | None
    mask: Mask = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class PackedRound:
    """A round that is kept or sent: its support takes a bit a weight.

    Attributes:
        of_round: the round, with a support of no rows.
        packed: its support, (groups, rows, columns / 8).
    """

    of_round: Round
    packed: npt.NDArray[np.uint8] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, of_round: Round) -> PackedRound:
        """Pack a round."""
        mask = of_round.mask
        return cls(dataclasses.replace(of_round, mask=mask[:, :0].copy()), np.packbits(mask, axis=-1))

    def unpacked(self, rows: slice = slice(None)) -> Round:
        """The round with the support of some rows; that of the others is empty."""
        columns = self.of_round.mask.shape[-1]
        mask = np.zeros((*self.packed.shape[:2], columns), bool)
        mask[:, rows] = np.unpackbits(self.packed[:, rows], axis=-1, count=columns)
        return dataclasses.replace(self.of_round, mask=mask)


@dataclasses.dataclass(frozen=True)
class SupportChoice:
    """The choice of a layer's support, from round to round.

    Attributes:
        problem: the scaled Hessian.
        shifted: scaled W₀, (groups, rows, columns).
        target: scaled W₀H.
        keep: weights that stay.
        pattern: that they respect.
        schedule: of the penalty.
        together: most steps of a round.
    """

    problem: Scaled
    shifted: Floats = dataclasses.field(repr=False)
    target: Floats = dataclasses.field(repr=False)
    keep: int
    pattern: Pattern | None
    schedule: Schedule
    together: int

    @classmethod
    def of(
        cls, weight: Array, problem: Scaled, keep: int, pattern: Pattern | None, schedule: Schedule
    ) -> SupportChoice:
        """That of the weights W₀ (groups, rows, columns)."""
        shifted = (weight * problem.scale).astype(problem.hessian.dtype)
        together = schedule.hold if row_blocks(*weight.shape) is None else BLOCK_STEPS
        return cls(
            problem=problem, shifted=shifted, target=shifted @ problem.hessian, keep=keep, pattern=pattern,
            schedule=schedule, together=together,
        )  # fmt: skip

    def first_round(self) -> Round:
        """The one that begins with the largest weights."""
        return self._round(0, self.schedule.start, None, choose(np.abs(self.shifted), self.keep, self.pattern))

    def round_after(self, before: Round, score: Floats, begun: Round) -> Round:
        """The round behind another.

        Args:
            before: the other.
            score: sizes of W + V/ρ, as it has left them.
            begun: the round that the penalty has begun with; the next one grows by how much the support has changed.
        """
        mask, taken, rho = choose(score, self.keep, self.pattern), before.taken + before.steps, before.rho
        if self.schedule.begins(taken):
            changed = np.count_nonzero(mask != begun.mask) / (2.0 * max(int(mask.sum()), 1))
            if changed == 0.0:
                taken = self.schedule.steps
            else:
                rho *= next(factor for share, factor in self.schedule.growth if changed > share)
        return self._round(taken, rho, before.rho, mask)

    def _round(self, taken: int, rho: float, settled_with: float | None, mask: Mask) -> Round:
        steps = self.schedule.steps_of_round(taken, self.together)
        return Round(taken, steps, rho, settled_with, mask)
