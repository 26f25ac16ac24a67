"""Labels: joined indices vanish together, frozen ones stay, and a split gives one factor its units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netsurgeon.passes.axes.labels import UNREPORTED, Classes, Labels


def components(size: int, edges: list[tuple[int, int]]) -> list[int]:
    """The smallest member of each index's component, by repeated relabelling."""
    smallest = list(range(size))
    for _ in range(size):
        for one, other in edges:
            smallest[one] = smallest[other] = min(smallest[one], smallest[other])
    return smallest


@settings(max_examples=50)
@given(st.data(), st.integers(1, 12))
def test_classes_are_the_connected_components_of_the_joins(data: st.DataObject, size: int) -> None:
    index = st.integers(0, size - 1)
    edges = data.draw(st.lists(st.tuples(index, index), max_size=12))
    labels = Labels()
    axis = labels.fresh(size)
    for one, other in edges:
        labels.join(axis[[one]], axis[[other]])
    classes = labels.classes()
    expected = components(size, edges)
    found = classes.of[axis]
    assert all((found[i] == found[j]) == (expected[i] == expected[j]) for i in range(size) for j in range(size))
    assert classes.free(axis).all()


def test_one_frozen_index_freezes_what_it_is_joined_with_and_nothing_else() -> None:
    labels = Labels()
    one, other = labels.fresh(4), labels.fresh(4)
    labels.join(one, other)
    labels.freeze(one[[2]], 7)
    classes = labels.classes()
    assert classes.free(other).tolist() == [True, True, False, True]
    assert classes.reason[classes.of[other[2]]] == 7


def test_of_several_reasons_the_first_is_told_and_a_silent_one_gives_way() -> None:
    labels = Labels()
    axis = labels.fresh(2)
    for reason in (UNREPORTED, 5, 3):
        labels.freeze(axis[[0]], reason)
    labels.freeze(axis[[1]], UNREPORTED)
    classes = labels.classes()
    assert classes.reason[classes.of[axis]].tolist() == [3, UNREPORTED]


def test_a_fixed_axis_costs_one_label() -> None:
    labels = Labels()
    axis = labels.fixed(1000, 4)
    free = labels.fresh(1000)
    assert labels.count == 1001
    assert not labels.classes().free(axis).any()
    assert labels.classes().free(free).all()


def test_joining_two_fixed_axes_needs_one_pair_and_keeps_both() -> None:
    labels = Labels()
    one, other = labels.fixed(6, 2), labels.fixed(6)
    labels.join(one, other)
    classes = labels.classes()
    assert (classes.reason[classes.of[np.concatenate([one, other])]] == 2).all()


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_split_follows_the_factor_that_can_vanish(frozen: int) -> None:
    labels = Labels()
    factors = labels.fresh(2), labels.fresh(3)
    flat = labels.fresh(6)
    labels.freeze(factors[frozen], 1)
    labels.split(flat, factors, reason=9)
    classes = labels.classes()
    digits = np.unravel_index(np.arange(6), (2, 3))
    assert classes.of[flat].tolist() == classes.of[factors[1 - frozen][digits[1 - frozen]]].tolist()
    assert classes.free(flat).all()
    assert not classes.free(factors[frozen]).any()


def test_of_two_free_factors_only_one_has_units() -> None:
    labels = Labels()
    heads, features = labels.fresh(2), labels.fresh(8)
    flat = labels.fresh(16)
    labels.split(flat, (heads, features), reason=9)
    classes = labels.classes()
    assert classes.free(features).all()
    assert (classes.reason[classes.of[heads]] == 9).all()
    assert len(np.unique(classes.of[flat])) == 8


def test_a_winner_that_is_blocked_leaves_its_units_to_the_other_factor() -> None:
    labels = Labels()
    heads, features, flat = labels.fresh(2), labels.fresh(8), labels.fresh(16)
    labels.split(flat, (heads, features), reason=9)
    (contest,) = labels.classes().contests
    assert contest.labels.tolist() == features.tolist()
    classes = labels.classes(contest.winners)
    assert classes.free(heads).all()
    assert not classes.free(features).any()
    (other,) = classes.contests
    assert other.number == contest.number
    assert other.labels.tolist() == heads.tolist()


def test_where_only_one_factor_can_vanish_there_is_no_contest() -> None:
    labels = Labels()
    heads, features, flat = labels.fixed(2), labels.fresh(8), labels.fresh(16)
    labels.split(flat, (heads, features), reason=9)
    assert labels.classes().contests == ()


def test_an_axis_that_is_split_twice_in_the_same_way_has_one_kind_of_units() -> None:
    """A rotation and the attention behind it both set the heads apart."""
    labels = Labels()
    flat, other = labels.fresh(16), labels.fresh(16)
    first, second = ((labels.fresh(4), labels.fresh(4)) for _ in range(2))
    labels.split(flat, first, reason=9)
    labels.split(flat, second, reason=9)
    labels.split(other, second, reason=9)
    labels.freeze(first[0], 4)
    classes = labels.classes()
    assert classes.free(flat).all()
    assert classes.of[first[1]].tolist() == classes.of[second[1]].tolist() == classes.of[other[:4]].tolist()
    assert not classes.free(second[0]).any()


def test_a_split_with_nothing_free_keeps_all_with_its_reason() -> None:
    labels = Labels()
    factors = labels.fixed(2, 1), labels.fixed(3, 1)
    flat = labels.fresh(6)
    labels.split(flat, factors, reason=9)
    classes = labels.classes()
    assert (classes.reason[classes.of[flat]] == 9).all()


def test_a_factor_of_extent_one_is_no_factor() -> None:
    labels = Labels()
    one, wide, flat = labels.fixed(1), labels.fresh(4), labels.fresh(4)
    labels.split(flat, (one, wide), reason=9)
    classes = labels.classes()
    assert classes.of[flat].tolist() == classes.of[wide].tolist()
    assert classes.free(flat).all()


def test_groups_lose_equally_many_indices() -> None:
    labels = Labels()
    flat, group, inner = labels.fresh(6), labels.fixed(2), labels.fresh(3)
    labels.group(flat, group, inner, reason=9)
    classes = labels.classes()
    assert classes.free(flat).all()
    first, second = classes.of[flat[:3]], classes.of[flat[3:]]
    assert sorted(first.tolist()) == sorted(second.tolist())
    assert len(np.unique(first)) == 3


def test_where_a_group_can_lose_less_its_partner_has_to_stay() -> None:
    labels = Labels()
    flat, group, inner = labels.fresh(6), labels.fixed(2), labels.fresh(3)
    labels.freeze(flat[[0]], 4)
    labels.group(flat, group, inner, reason=9)
    classes = labels.classes()
    assert classes.free(flat[:3]).tolist() == [False, True, True]
    assert classes.free(flat[3:]).sum() == 2
    reasons = classes.reason[classes.of[flat]]
    assert sorted(reasons[reasons != Classes.FREE].tolist()) == [4, 9]


def test_no_labels() -> None:
    assert len(Labels().classes().of) == 0
