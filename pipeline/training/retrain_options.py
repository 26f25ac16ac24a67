"""What a user can choose about retraining, and what follows round by round."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import RETRAIN_MODES, TARGETS
from netsurgeon.pipeline.training.training_options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class RetrainOptions(TrainingOptions):
    """Options of `retrain`.

    Attributes:
        dense: the model whose outputs are to be given; needed where the data has no labels.
        sparsity: share of all prunable weights that is removed; None = none but what is 0 already.
        rounds: of pruning and retraining; the share of weights kept falls by the same factor in each.
        quantize: "int8" or "w4a8" puts the model on integers after the last of these rounds, and retrains it so; None =
            what is on floats stays there.
        target: where integers will run: "cpu", or "cpu-vnni" for weights of 8 bits in place of 7.
        timings: a JSON report whose times say which layers run on integers; None = they are measured.
        steps: updates of the weights in a round.
        batch_size: examples a step.
        learning_rate: of the first step of a round, for Adam; it falls to 0 as a cosine.
        shift: pixels that a picture is moved at most, in each direction.
        flip: mirror half of the pictures left to right.
    """

    dense: Path | None = None
    sparsity: float | None = None
    rounds: int = 1
    quantize: str | None = None
    target: str = "cpu"
    timings: Path | None = None
    steps: int = 500
    batch_size: int = 64
    learning_rate: float = 1e-3
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity is not None and not 0.0 < self.sparsity < 1.0:
            raise InputError(f"sparsity is {self.sparsity}, expected a share above 0 and below 1")
        if self.rounds < 1 or (self.rounds > 1 and self.sparsity is None):
            raise InputError(f"rounds is {self.rounds}: it is 1 or more with a sparsity, and 1 without")
        if self.quantize is not None and self.quantize not in RETRAIN_MODES:
            raise InputError(f"quantize is {self.quantize!r}, expected one of {', '.join(RETRAIN_MODES)}")
        if self.target not in TARGETS:
            raise InputError(f"target is {self.target!r}, expected one of {', '.join(TARGETS)}")
        if self.shift < 0:
            raise InputError(f"shift is {self.shift}, expected 0 pixels or more")

    @property
    def augmented(self) -> bool:
        """Whether the inputs of a step are other than those of the data."""
        return bool(self.shift) or self.flip

    @property
    def plan(self) -> list[tuple[float | None, str | None]]:
        """To which sparsity each round prunes, and on which integers it puts the model."""
        last: list[tuple[float | None, str | None]] = [(None, self.quantize)]
        if self.sparsity is None:
            return last
        kept = 1.0 - self.sparsity
        sparsities = [1.0 - kept ** (number / self.rounds) for number in range(1, self.rounds + 1)]
        return [(sparsity, None) for sparsity in sparsities] + (last if self.quantize else [])
