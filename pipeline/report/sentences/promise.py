"""What the measurement promises of other inputs, in sentences."""

from __future__ import annotations

import math

from netsurgeon.pipeline.verification import Promise

HELD_OUT_INPUTS = "inputs that calibration never saw"
COMPARED_INPUTS = "inputs, with which neither model may have been made"


def promise_summary(promise: Promise, source: str = HELD_OUT_INPUTS) -> tuple[str, ...]:
    """What holds for most other inputs, a sentence each; the last one says what they rest on.

    Args:
        promise: what the samples promise.
        source: what kind of inputs the samples are, in words.
    """
    sentences = [
        f"At least {limit.change.share:.0%} of inputs like these change output {limit.output!r} by at most "
        f"{at_most(limit.change.limit)} of its usual size (root mean square)"
        for limit in promise.outputs
        if math.isfinite(limit.change.limit)
    ]
    sentences += [_about_classes(promise)] if promise.agreement is not None else []
    basis = promise.agreement or next((limit.change for limit in promise.outputs), None)
    if sentences and basis is not None:
        subject = "Each of these holds" if len(sentences) > 1 else "This holds"
        sentences.append(f"{subject} with {basis.confidence:.0%} confidence and rests on {basis.samples:,} {source}")
    if promise.withheld is not None:
        sentences.append(f"No limit for other inputs: {promise.withheld}")
    return tuple(sentences)


def _about_classes(promise: Promise) -> str:
    """What becomes of the top class; a margin is named only where the class keeps one."""
    agreement, loss = promise.agreement, promise.margin_loss
    assert agreement is not None
    sentence = f"At least {_rounded_down(agreement.at_least, 1)} of inputs like these keep their top class"
    if loss is not None and loss.limit < 1.0:
        kept = _rounded_down(1.0 - loss.limit, 0)
        sentence += f"; at least {loss.share:.0%} keep {kept} or more of its margin over the runner-up"
    return sentence


def at_most(value: float) -> str:
    """A limit with three digits, of which the last is rounded up: what is said must hold."""
    shown = f"{value:.3g}"
    if not math.isfinite(value) or float(shown) >= value:
        return shown
    half = 0.5 * 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{value + half:.3g}"


def _rounded_down(share: float, digits: int) -> str:
    steps = 10.0 ** (digits + 2)
    return f"{math.floor(share * steps) / steps:.{digits}%}"
