"""What a measurement on inputs that calibration never saw promises of other inputs like them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.verification.measures.confidence import Array
from netsurgeon.pipeline.verification.tolerance import (
    SHARE,
    ProvenShare,
    ToleranceLimit,
    least_samples,
    proven_share,
    tolerance_limit,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputLimit:
    """How much one float output changes for most inputs.

    Attributes:
        output: its name.
        scale: root mean square over the samples of ‖dense‖, the norm of the dense model's output for one input.
        change: limit of ‖compressed − dense‖ / scale for one input; the root mean square of these values over the
            samples is the output's relative error.
    """

    output: str
    scale: float
    change: ToleranceLimit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise:
    """What holds for most other inputs, if they come from where the samples come from; each statement by itself.

    Attributes:
        outputs: one entry a float output whose error can be told for each input.
        margin_loss: limit of the share of its margin over the runner-up that the dense model's top class loses: 0 = it
            keeps all, below 1 = it stays on top; None where no output looks like class scores.
        agreement: share of the inputs that keep their top class; None where no output looks like class scores.
        withheld: why there are no limits: not-held-out, promise-halves, promise-few-inputs or answers-alike; None where
            the samples allow them.
    """

    outputs: tuple[OutputLimit, ...]
    margin_loss: ToleranceLimit | None
    agreement: ProvenShare | None
    withheld: Message | None

    @classmethod
    def none(cls, withheld: Message | None) -> Promise:
        """No limits, for a reason."""
        return cls(outputs=(), margin_loss=None, agreement=None, withheld=withheld)


def make_promise(
    samples: int,
    *,
    held_out: bool,
    folds: int,
    changes: Mapping[str, tuple[float, Array]],
    margin_losses: Array | None,
    agreeing: int | None,
) -> Promise:
    """Say what follows from the samples, where they are what the delivered model has never met.

    Args:
        samples: inputs that were measured.
        held_out: whether neither corrections nor a search have seen them.
        folds: compressed models that they were given to, each a part.
        changes: of each output the sum of ‖dense‖² over the samples, and ‖compressed − dense‖², (samples,).
        margin_losses: see `margin_losses`, (samples,).
        agreeing: samples with the same top class.
    """
    withheld = _withheld(samples, held_out, folds)
    if not held_out or folds > 1:
        return Promise.none(withheld)
    limits = (_output_limit(name, np.sqrt(energy / samples), squares) for name, (energy, squares) in changes.items())
    return Promise(
        outputs=tuple(limit for limit in limits if limit is not None),
        margin_loss=None if margin_losses is None else tolerance_limit(margin_losses),
        agreement=None if agreeing is None else proven_share(agreeing, samples),
        withheld=withheld,
    )


def _withheld(samples: int, held_out: bool, folds: int) -> Message | None:
    if folds > 1:
        # what is delivered is corrected on both halves: a third model, of which these errors are no sample
        text = "each half of the inputs was given to a model corrected on the other half, not to the one delivered"
        return Message(text, "promise-halves", samples=samples)
    if not held_out:
        text = "the inputs measured are those that the weights were corrected on"
        return Message(text, "not-held-out", samples=samples)
    needed = least_samples()
    if samples < needed:
        text = f"{samples} inputs are too few for a limit that {SHARE:.0%} of others keep to: {needed} would allow it"
        return Message(text, "promise-few-inputs", samples=samples, needed=needed)
    return None


def _output_limit(name: str, scale: float, squares: Array) -> OutputLimit | None:
    errors = np.sqrt(squares)
    # an output that was zero throughout has no size that a change could be a share of
    relative = errors / scale if scale else np.where(errors, np.inf, 0.0)
    change = tolerance_limit(relative)
    return None if change is None else OutputLimit(output=name, scale=float(scale), change=change)


def margin_losses(dense: npt.NDArray[Any], compressed: npt.NDArray[Any]) -> Array:
    """Share of its margin over the runner-up that the dense model's top class loses, for each input, (samples,).

    With the top class a of the dense scores s, M = s_a − max_{c≠a} s_c and M̂ likewise with the compressed model's
    scores and the same a, it is (M − M̂) / M: negative where the margin grows, and below 1 exactly where a stays on top.
    Of a tie (M = 0) the loss is 0 where a stays no lower than others, else infinite; it is infinite, too, where scores
    are not finite or shapes differ.

    Args:
        dense: scores (samples, classes), at least two classes.
        compressed: the other model's.
    """
    if dense.shape != compressed.shape:
        return np.full(len(dense), np.inf)
    top = dense.argmax(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        before, after = _margin(dense, top), _margin(compressed, top)
        losses = np.where(before > 0.0, (before - after) / before, np.where(after >= before, 0.0, np.inf))
    return np.where(np.isnan(losses), np.inf, losses)


def _margin(scores: npt.NDArray[Any], top: npt.NDArray[np.int64]) -> Array:
    """How far the score of one class is above the best of all others, (samples,)."""
    rows, others = np.arange(len(top)), scores.astype(np.float64)
    own = others[rows, top]
    others[rows, top] = -np.inf
    return np.asarray(own - others.max(axis=1))
