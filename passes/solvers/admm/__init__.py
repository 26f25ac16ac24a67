"""ADMM for the support of a sparse layer (ALPS, arXiv 2406.07831).

    W = (W₀H − V + ρD)(H + ρI)⁻¹,   D = top-k(W + V/ρ),   V += ρ(W − D)

with columns scaled to unit diagonal of H. As V + ρ(W − D) = ρ((W + V/ρ) − D), the next V is what D
leaves of W + V/ρ.

The choice D is over all rows of a layer. A wide one is worked in blocks of rows (`linalg.row_blocks`), which take the
steps of a *round* without each other: each block keeps as many weights as it had when the round began, and behind it
the choice is made over all rows. So blocks can be worked side by side, also on several machines, with the same bits.
"""

from netsurgeon.passes.solvers.admm.penalised import Eigenbasis, Factored, Inverted, Penalised, Scaled, scaled
from netsurgeon.passes.solvers.admm.rounds import PackedRound, Round, SupportChoice
from netsurgeon.passes.solvers.admm.row_blocks import RowBlock, near_weights, take_steps
from netsurgeon.passes.solvers.admm.schedule import HASTY, SHORT, SLOW, WIDE, Schedule
from netsurgeon.passes.solvers.admm.support import support

__all__ = [
    "HASTY",
    "SHORT",
    "SLOW",
    "WIDE",
    "Eigenbasis",
    "Factored",
    "Inverted",
    "PackedRound",
    "Penalised",
    "Round",
    "RowBlock",
    "Scaled",
    "Schedule",
    "SupportChoice",
    "near_weights",
    "scaled",
    "support",
    "take_steps",
]
