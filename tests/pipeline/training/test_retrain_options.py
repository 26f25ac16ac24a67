"""What follows round by round from what is asked for, and what is refused."""

from typing import Any

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.training.retrain_options import RetrainOptions


def test_the_share_kept_falls_by_the_same_factor_in_each_round() -> None:
    plan = RetrainOptions(sparsity=0.875, rounds=3).plan
    assert [sparsity for sparsity, _ in plan] == pytest.approx([0.5, 0.75, 0.875])
    assert {integers for _, integers in plan} == {None}


def test_integers_come_in_a_round_of_their_own_behind_all_pruning() -> None:
    plan = RetrainOptions(sparsity=0.75, rounds=2, quantize="w4a8").plan
    assert plan == [(pytest.approx(0.5), None), (pytest.approx(0.75), None), (None, "w4a8")]
    assert RetrainOptions(quantize="int8").plan == [(None, "int8")]
    assert RetrainOptions().plan == [(None, None)]


@pytest.mark.parametrize(("options", "is_augmented"), [({}, False), ({"shift": 1}, True), ({"flip": True}, True)])
def test_moved_and_mirrored_pictures_are_other_inputs(options: dict[str, Any], is_augmented: bool) -> None:
    assert RetrainOptions(**options).augmented is is_augmented


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "sparsity is 1.0, expected a share above 0 and below 1"),
        ({"sparsity": 0.0}, "sparsity is 0.0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"rounds": 2}, "rounds is 2: it is 1 or more with a sparsity, and 1 without"),
        ({"quantize": "int4"}, "quantize is 'int4', expected one of int8, w4a8"),
        ({"target": "phone"}, "target is 'phone', expected one of cpu, "),
        ({"shift": -1}, "shift is -1, expected 0 pixels or more"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RetrainOptions(**options)
