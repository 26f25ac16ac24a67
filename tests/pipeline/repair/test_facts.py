"""What is said of a repair: both errors, and nothing that sounds like a gain where there was none."""

import dataclasses

from netsurgeon.pipeline.repair import RepairFacts

FACTS = RepairFacts(
    error_before=0.235,
    error_after=0.1535,
    inputs=896,
    held_out=128,
    inner=("a", "b"),
    learning_rate=0.005,
    tries=1,
    steps=1120,
    augmentation="none",
    seconds=131.7,
)


def test_a_gain_is_said_with_both_errors() -> None:
    assert FACTS.has_helped
    assert str(FACTS) == (
        "repaired with 896 inputs: the outputs' relative error on 128 inputs held out was 0.235, now 0.153 "
        "(1,120 steps, 132 s)"
    )


def test_no_gain_is_said_to_be_none() -> None:
    facts = dataclasses.replace(FACTS, error_after=0.235)
    assert not facts.has_helped
    assert str(facts) == (
        "repair changed nothing: the outputs' relative error on 128 inputs held out stays 0.235 (1,120 steps, 132 s)"
    )
