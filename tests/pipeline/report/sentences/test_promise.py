"""What is promised of other inputs, in sentences that hold: limits are rounded up, shares down."""

import dataclasses
import math
from typing import Any

import pytest

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.report.sentences.promise import COMPARED_INPUTS, at_most, promise_summary
from netsurgeon.pipeline.verification.promise import OutputLimit, Promise
from netsurgeon.pipeline.verification.tolerance import ProvenShare, ToleranceLimit


def limit(value: float) -> ToleranceLimit:
    return ToleranceLimit(share=0.95, confidence=0.9, samples=1450, rank=1389, limit=value)


PROMISE = Promise(
    outputs=(OutputLimit(output="y", scale=2.0, change=limit(0.12345)),),
    margin_loss=limit(0.5821),
    agreement=ProvenShare(count=1440, samples=1450, confidence=0.9, at_least=0.98999),
    withheld=None,
)


def sentences(*source: str, **changes: Any) -> tuple[str, ...]:
    return promise_summary(dataclasses.replace(PROMISE, **changes), *source)


def test_all_that_holds_is_said_and_what_it_rests_on() -> None:
    change, classes, basis = sentences()
    assert change == (
        "At least 95% of inputs like these change output 'y' by at most 0.124 of its usual size (root mean square)"
    )
    assert classes == (
        "At least 98.9% of inputs like these keep their top class; at least 95% keep 41% or more of its margin over "
        "the runner-up"
    )
    assert basis == "Each of these holds with 90% confidence and rests on 1,450 inputs that calibration never saw"


def test_a_comparison_says_that_its_inputs_must_be_new_to_both_models() -> None:
    assert sentences(COMPARED_INPUTS)[-1].endswith("rests on 1,450 inputs, with which neither model may have been made")


@pytest.mark.parametrize("loss", [None, limit(1.0), limit(3.0), limit(math.inf)])
def test_a_margin_that_may_be_lost_is_not_named(loss: ToleranceLimit | None) -> None:
    assert sentences(margin_loss=loss)[1] == "At least 98.9% of inputs like these keep their top class"


def test_an_output_alone_is_one_statement_and_one_without_a_limit_is_none() -> None:
    (_, basis) = sentences(margin_loss=None, agreement=None)
    assert basis == "This holds with 90% confidence and rests on 1,450 inputs that calibration never saw"
    boundless = OutputLimit(output="z", scale=0.0, change=limit(math.inf))
    assert len(sentences(outputs=(*PROMISE.outputs, boundless))) == len(sentences())
    assert sentences(outputs=(boundless,), margin_loss=None, agreement=None) == ()


def test_what_is_withheld_says_why() -> None:
    reason = Message("44 inputs are too few: 45 would allow it", "promise-few-inputs")
    nothing: dict[str, Any] = {"outputs": (), "margin_loss": None, "withheld": reason}
    assert sentences(agreement=None, **nothing) == (f"No limit for other inputs: {reason}",)
    share, basis, last = sentences(**nothing)
    assert share.startswith("At least 98.9% of inputs")
    assert basis.startswith("This holds with 90%")
    assert last == f"No limit for other inputs: {reason}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (0.12301, "0.124"),
        (0.1239, "0.124"),
        (9.9951, "10"),
        (99910.0, "1e+05"),
        (1234.0, "1.24e+03"),
        (3.001e-7, "3.01e-07"),
        (math.inf, "inf"),
    ],
)
def test_a_limit_is_rounded_up(value: float, shown: str) -> None:
    assert at_most(value) == shown
    assert float(shown) >= value
