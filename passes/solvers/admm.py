"""ADMM for the support of a sparse layer (ALPS, arXiv 2406.07831).

    W = (W₀H − V + ρD)(H + ρI)⁻¹,   D = top-k(W + V/ρ),   V += ρ(W − D)

with columns scaled to unit diagonal of H. As V + ρ(W − D) = ρ((W + V/ρ) − D), the next V is what D
leaves of W + V/ρ.

The choice D is over all rows of a layer. A wide one is worked in blocks of rows (`linalg.row_blocks`), which take the
steps of a *round* without each other: each block keeps as many weights as it had when the round began, and behind it
the choice is made over all rows. So blocks can be worked side by side, also on several machines, with the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg

from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Floats, Mask, inverse, row_blocks
from netsurgeon.passes.solvers.masks import Pattern, choose
from netsurgeon.passes.solvers.parallel import for_each_part


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the penalty grows.

    Attributes:
        start: first penalty, as a multiple of the mean eigenvalue (which is 1 after scaling).
        growth: every `hold` steps the penalty grows by the second number where more than the first share of the support
            changed.
        steps: most steps.
        hold: steps with the same penalty.
        relaxation: W is taken so many times as far from D as it lies: over 1 fewer steps do.
    """

    start: float
    growth: tuple[tuple[float, float], ...]
    steps: int
    hold: int = 3
    relaxation: float = 1.0

    def begins(self, taken: int) -> bool:
        """Whether a penalty begins behind so many steps."""
        return taken % self.hold == 0

    def steps_of_round(self, taken: int, together: int) -> int:
        """Steps of a round that begins behind so many: `together`, but all with one penalty."""
        return min(together, self.hold - taken % self.hold, self.steps - taken)

    def rounds(self) -> Iterator[bool]:
        """Of a layer that is worked in blocks: whether a penalty begins with each."""
        taken = 0
        while taken < self.steps:
            yield self.begins(taken)
            taken += self.steps_of_round(taken, BLOCK_STEPS)


PAPER = Schedule(0.1, ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1)), 300)
WIDE = Schedule(0.1, ((0.1, 2.0), (0.005, 1.6), (0.0, 1.29)), 32, 8)
"""The paper's pace with fewer penalties, for each takes a factorisation; no more error in as many steps."""
SHORT = Schedule(0.03, ((0.1, 2.5), (0.005, 2.0), (0.0, 1.5)), 24, 6)
"""A small penalty first and a steeper rise, settled by the 24th step. On a layer of MiniLM and on random problems of up
to 256 columns, a quarter to a half of the weights kept, 0.2 to 9 % less error than 20 steps of WIDE."""
HASTY = Schedule(0.05, ((0.1, 2.5), (0.005, 2.0), (0.0, 1.5)), 8, 2, relaxation=1.6)
"""For a first look, in two fifths of the time of wide layers. On a layer of MiniLM and a made-up one of 1536 columns, a
quarter and half of the weights kept, 2 to 18 % more error than SHORT or WIDE; without the relaxation it is more. On
made-up ones of 128 and 256 columns 7 to 32 % more than WIDE."""
SLOW = Schedule(0.03, ((0.1, 1.1), (0.005, 1.07), (0.0, 1.05)), 300)
"""Three times the steps of the paper's schedule for 3 to 20 % less error on trained layers."""
FLOAT32_COLUMNS = 448
FACTORED_STEPS = 60
"""Up to so many steps a Cholesky factor for every penalty is cheaper than one eigendecomposition, worth 40 of them."""
ROWS_AT_ONCE, SPLIT_SIZE = 256, 1 << 20
"""Rows that a step takes at once, in weights of more numbers than the second: what is between two products stays in the
cache, and all cores have work."""
BLOCK_STEPS = 2
"""Of a round of blocks. On made-up layers of 1200 and 1536 columns the error is within 0.2 % of that with one step a
round, also where rows lie in the order of their size; with 3 steps it is up to 0.5 %, with 6 up to 15 % above it. To
keep what is above the threshold of the last choice, in place of as many weights, is up to 34 % above it."""
INVERTED_COLUMNS = 1024
"""Above this width, and with as many rows, an inverse for every penalty is cheaper still."""
STACKED_COLUMNS = 64
"""Up to this width the eigenvectors of all groups come from one call; factors would take one for each group."""


class Penalised(Protocol):
    """H + ρI of a scaled Hessian, to be solved with."""

    def solve(self, target: Floats) -> Floats:
        """``target @ (H + ρI)⁻¹``, (groups, rows, columns)."""


class Scaled:
    """A damped Hessian scaled to unit diagonal; float32 above FLOAT32_COLUMNS columns.

    Attributes:
        scale: square root of the Hessian's diagonal, (groups, 1, columns).
        hessian: scaled H, (groups, columns, columns).
    """

    def __init__(self, hessian: Array):
        dtype = np.float32 if hessian.shape[-1] > FLOAT32_COLUMNS else np.float64
        scale = np.sqrt(np.einsum("gii->gi", hessian))[:, None, :]
        self.hessian: Floats = (hessian / scale / scale.transpose(0, 2, 1)).astype(dtype)
        self.scale: Floats = scale.astype(dtype)

    def penalised(self, rho: float) -> Penalised:
        """H + ρI.

        Raises:
            FactorizationError: it is not positive definite.
        """
        raise NotImplementedError


class Eigenbasis(Scaled):
    """A new ρ costs nothing: two matrix products a step."""

    def __init__(self, hessian: Array):
        super().__init__(hessian)
        values, self._vectors = np.linalg.eigh(self.hessian)
        floor = np.finfo(values.dtype).eps * values[:, -1:]
        self._values = np.maximum(values, floor)[:, None, :]

    def penalised(self, rho: float) -> Penalised:
        """H + ρI."""
        return _ByEigenvectors(self._vectors, self._values + rho)


class Factored(Scaled):
    """A new ρ costs a Cholesky factor: less than an eigendecomposition where steps are few."""

    def penalised(self, rho: float) -> Penalised:
        """H + ρI."""
        shift = rho * np.eye(self.hessian.shape[-1], dtype=self.hessian.dtype)
        return _ByFactors([_factor(hessian + shift) for hessian in self.hessian])


class Inverted(Scaled):
    """A new ρ costs an inverse: a step is one product, in four fifths of the time of two triangular solutions."""

    def penalised(self, rho: float) -> Penalised:
        """H + ρI."""
        shift = rho * np.eye(self.hessian.shape[-1], dtype=self.hessian.dtype)
        return _ByInverse(inverse(self.hessian + shift))


@dataclasses.dataclass(frozen=True)
class _ByEigenvectors:
    vectors: Floats
    values: Floats

    def solve(self, target: Floats) -> Floats:
        return np.asarray(((target @ self.vectors) / self.values) @ self.vectors.transpose(0, 2, 1))


@dataclasses.dataclass(frozen=True)
class _ByFactors:
    factors: list[Floats]

    def solve(self, target: Floats) -> Floats:
        solved = [
            scipy.linalg.cho_solve((factor, True), rows.T, check_finite=False).T
            for factor, rows in zip(self.factors, target, strict=True)
        ]
        return np.stack(solved)


@dataclasses.dataclass(frozen=True)
class _ByInverse:
    inverse: Floats

    def solve(self, target: Floats) -> Floats:
        return np.asarray(target @ self.inverse)


def _factor(matrix: Floats) -> Floats:
    try:
        return np.asarray(scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False))
    except scipy.linalg.LinAlgError as error:
        raise FactorizationError("the damped and penalised Hessian is not positive definite") from error


def scaled(hessian: Array, schedule: Schedule, rows: int) -> Scaled:
    """The cheapest for a schedule and so many rows; `hessian` is damped, (groups, columns, columns)."""
    columns = hessian.shape[-1]
    if schedule.steps > FACTORED_STEPS or columns <= STACKED_COLUMNS:
        return Eigenbasis(hessian)
    return Inverted(hessian) if INVERTED_COLUMNS < columns <= rows else Factored(hessian)


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
class Choice:
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
    def of(cls, weight: Array, problem: Scaled, keep: int, pattern: Pattern | None, schedule: Schedule) -> Choice:
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
    def of(cls, choice: Choice, rows: slice, shifted: Floats, keep: int | None = None) -> RowBlock:
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


def support(choice: Choice) -> tuple[Mask, Floats]:
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
