"""What the report says of a repair."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepairFacts:
    """How the weights that pruning has left were tuned, by the errors on inputs that were not trained on.

    Attributes:
        error_before: squared error of the outputs as a share of the dense outputs' variance, as pruning left them.
        error_after: the same as it is delivered; never above `error_before`.
        inputs: that it was trained on.
        held_out: inputs that the errors are of.
        inner: values inside that were compared besides the outputs.
        learning_rate: of the try that was taken.
        tries: how many there were, each with a smaller learning rate.
        steps: updates of the weights, in all tries.
        augmentation: what was done to the inputs of a step, in words.
        beyond: operators that PyTorch does not know: what depends on them was not tuned, and what enters them was
            compared in place of the outputs.
        seconds: that it took.
    """

    error_before: float
    error_after: float
    inputs: int
    held_out: int
    inner: tuple[str, ...]
    learning_rate: float
    tries: int
    steps: int
    augmentation: str
    seconds: float
    beyond: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In a sentence."""
        source = f"on {self.held_out:,} inputs held out"
        effort = f"{self.steps:,} steps, {self.seconds:.0f} s"
        if not self.has_helped:
            return (
                f"repair changed nothing: the outputs' relative error {source} stays {self.error_before:.3g} ({effort})"
            )
        errors = f"{self.error_before:.3g}, now {self.error_after:.3g}"
        text = f"repaired with {self.inputs:,} inputs: the outputs' relative error {source} was {errors} ({effort})"
        return (
            f"{text}; what follows {', '.join(self.beyond)} stays, which PyTorch does not know" if self.beyond else text
        )

    @property
    def has_helped(self) -> bool:
        """Whether the weights are others than before."""
        return self.error_after < self.error_before
