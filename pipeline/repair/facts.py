"""What the report says of a repair."""

from __future__ import annotations

import dataclasses

from netsurgeon.pipeline.notation import counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class StretchFacts:
    """A part of the graph behind an operator that PyTorch does not know.

    Attributes:
        start: name of the value that enters it.
        ends: names of those that leave it.
        layers: in it.
        error_before: squared error of what leaves it as a share of the dense model's variance; None = not measured.
        error_after: the same as it is delivered; never above `error_before`.
        steps: updates of its weights, in all tries.
        seconds: that these took, in all runs of one that was stopped.
        reason: why it is as it was, where it could not be tuned or the model's outputs would not have gained.
    """

    start: str
    ends: tuple[str, ...]
    layers: tuple[str, ...]
    error_before: float | None = None
    error_after: float | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str | None = None

    @property
    def has_helped(self) -> bool:
        """Whether its weights are others than before."""
        return self.error_before is not None and self.error_after is not None and self.error_after < self.error_before


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
        beyond: operators that PyTorch does not know: what enters them was compared in place of the outputs.
        stretches: what lies behind these, from narrow value to narrow value: each tuned by itself, on what enters it.
        seconds: that the steps took, in all runs of one that was stopped.
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
    stretches: tuple[StretchFacts, ...] = ()

    def __str__(self) -> str:
        """In a sentence."""
        source = f"on {counted(self.held_out, 'input')} held out"
        effort = f"{counted(self.steps, 'step')}, {self.seconds:.0f} s"
        if not self.has_helped:
            return (
                f"repair changed nothing: the outputs' relative error {source} stays {self.error_before:.3g} ({effort})"
            )
        errors = f"{self.error_before:.3g}, now {self.error_after:.3g}"
        inputs = counted(self.inputs, "input")
        text = f"repaired with {inputs}: the outputs' relative error {source} was {errors} ({effort})"
        if not self.beyond:
            return text
        beyond = f"behind {', '.join(self.beyond)}, which PyTorch does not know,"
        count = sum(stretch.has_helped for stretch in self.stretches)
        stretches = counted(len(self.stretches), "stretch", "stretches")
        tuned = f"of {stretches} of layers {count} gained" if self.stretches else "all stays"
        return f"{text}; {beyond} {tuned}"

    @property
    def has_helped(self) -> bool:
        """Whether the weights are others than before."""
        return self.error_after < self.error_before
