"""What became of the units is said as it is: which went, which were asked for, what that saves, what stays and why."""

import dataclasses
import json
from typing import Any

import pytest
from trimmable_models import FAST, idle_network, normal, pictures, residual_network

from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.report.user_warnings import scarce
from netsurgeon.pipeline.trimming.facts import GroupFacts, TrimFacts


@pytest.fixture(scope="module")
def result() -> Compression:
    return compress(residual_network(), {"x": pictures()}, trim=0.3, round_to=1, **FAST)


@pytest.fixture(scope="module")
def facts(result: Compression) -> TrimFacts:
    assert result.report.trim is not None
    return result.report.trim


def widths(result: Compression) -> dict[str, int]:
    constants = {name: value.const_value for name, value in result.model.graph.initializers.items()}
    shapes = {name: constant.shape for name, constant in constants.items() if constant is not None}
    rows = {name: shapes[name] for name in ("stem", "a1", "a2")}
    return {name: int(shape.numpy()[0]) for name, shape in rows.items()}


def test_the_groups_are_those_whose_tensors_became_narrower(result: Compression, facts: TrimFacts) -> None:
    left = {"stem": 12, "a1": 16, "a2": 16} | {group.node: group.units - group.removed for group in facts.groups}
    assert left == widths(result)
    assert all(0 < group.removed < group.units for group in facts.groups), "what lost nothing is not listed"
    assert {"Conv"} <= {operator for group in facts.groups for operator in group.operators}


def test_multiply_adds_are_those_of_the_model_before_and_after(result: Compression, facts: TrimFacts) -> None:
    def by_hand(stem: int, a1: int, a2: int) -> int:
        return 36 * (27 * stem + 18 * stem * (a1 + a2)) + 5 * stem

    assert facts.macs_dense == by_hand(12, 16, 16)
    assert facts.macs == pytest.approx(by_hand(**widths(result)))


def test_what_was_asked_for_stands_beside_what_was_saved(facts: TrimFacts) -> None:
    assert facts.asked == 0.3 <= facts.saved < 0.4
    assert (facts.unread, facts.failed) == (0, ())
    assert facts.proof is not None


def test_what_no_unit_owns_is_listed_with_its_reason(facts: TrimFacts) -> None:
    assert {(frozen.value, frozen.reason) for frozen in facts.frozen} == {("head", "it is an output of the model")}
    json.dumps([dataclasses.asdict(frozen) for frozen in facts.frozen])


def test_units_that_were_left_unread_are_counted_apart() -> None:
    options = {"sparsity": 0.4, "method": "magnitude", "uniform": True, "round_to": 1, **FAST}
    facts = compress(idle_network(), {"x": normal(80, 16)}, **options).report.trim
    assert facts is not None
    assert facts.asked is None
    assert facts.unread == 12
    assert [(group.node, group.units, group.removed) for group in facts.groups] == [("first", 32, 12)]
    assert facts.macs / facts.macs_dense == pytest.approx(20 / 32)
    assert facts.saved_by_choice == 0.0
    assert facts.summary("parameters") == (
        f"pruning left units that nothing reads, which went as well: they saved {facts.saved:.1%} of the parameters"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "units saved 30.0% of the multiply-adds, 30.0% were asked for"),
        ({"is_ceiling": True}, "units saved 30.0% of the multiply-adds, up to 30.0% were asked for"),
        (
            {"saved": 0.5, "unread": 7},
            "units saved 30.0% of the multiply-adds, 30.0% were asked for; another 20.0% went because nothing reads it "
            "any more (7 units)",
        ),
    ],
)
def test_what_was_chosen_and_what_nothing_reads_stand_apart(
    facts: TrimFacts, changes: dict[str, Any], sentence: str
) -> None:
    plain = {"asked": 0.3, "is_ceiling": False, "saved": 0.3, "saved_by_choice": 0.3, "unread": 0}
    assert dataclasses.replace(facts, **{**plain, **changes}).summary("macs") == sentence


def test_groups_of_which_hardly_anything_is_left_are_named(facts: TrimFacts) -> None:
    groups = (
        GroupFacts(node="wide", operators=(), units=1536, removed=1520),
        GroupFacts(node="half", operators=(), units=40, removed=36),
    )
    emptied = dataclasses.replace(facts, groups=groups)
    assert emptied.scarce == groups[:1]
    (warning,) = scarce(emptied)
    assert (warning.code, warning.data) == ("units-scarce", {"groups": {"wide": [1520, 1536]}})
    assert "1,520 of 1,536 of wide went" in warning
    assert list(scarce(facts)) == list(scarce(None)) == []
