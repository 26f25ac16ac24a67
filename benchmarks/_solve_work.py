"""What the tasks do that solve the rows of a wide layer, in multiply-adds."""

from __future__ import annotations

import dataclasses

from netsurgeon.passes.solvers import REFIT_STEPS, admm

FLOAT = 4
SOLVING = (
    *("solve_layer", "set_up_wide_layer", "rows_of_layer", "first_round", "penalised_hessian", "steps_of_rows"),
    *("next_round", "refit_system", "refitted_rows", "joined_rows"),
)
"""Tasks that solve layers, those of a wide one's rows included."""
CHOICE = 100
"""Multiply-adds that take as long as the choice of whether a weight stays: measured on layers of 256 x 2304."""


@dataclasses.dataclass(frozen=True)
class SolveWork:
    """Multiply-adds of what is done to solve a wide layer, of which the measured seconds of a solve are the sum.

    Attributes:
        rows: of the layer.
        columns: of it.
    """

    rows: int
    columns: int

    @property
    def rounds(self) -> list[bool]:
        """Whether a penalty begins with each."""
        return list(admm.SHORT.rounds())

    @property
    def step(self) -> int:
        """Of a product of all rows with a matrix."""
        return self.rows * self.columns**2

    @property
    def set_up(self) -> float:
        """The target, W₀ and the scaled target; a Cholesky factor."""
        return 4.0 * self.step + self.columns**3 / 3

    @property
    def penalty(self) -> float:
        """H + ρI: its inverse, or a Cholesky factor where there are fewer rows than columns."""
        return self.columns**3 if self.rows >= self.columns else self.columns**3 / 3

    @property
    def choice(self) -> float:
        """Which weights of all rows stay."""
        return float(CHOICE * self.rows * self.columns)

    @property
    def round(self) -> float:
        """The steps of all rows in a round; the choices inside are as much work as those over all rows."""
        return self.step * admm.SHORT.steps / len(self.rounds) + self.choice

    @property
    def refit(self) -> float:
        """Conjugate gradients behind a first residual."""
        return (REFIT_STEPS["full"] + 1.0) * self.step

    @property
    def all(self) -> float:
        """All of it."""
        rounds = len(self.rounds)
        return (
            self.set_up
            + sum(self.rounds) * self.penalty
            + rounds * self.round
            + (rounds + 1) * self.choice
            + self.refit
        )

    @property
    def layer_bytes(self) -> int:
        """What is kept where the layer was set up: H in both types; weights and targets in both types, the weight."""
        return 3 * FLOAT * self.columns**2 + 7 * FLOAT * self.rows * self.columns
