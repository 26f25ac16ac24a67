"""Seconds left: by prediction first, then by what was measured."""

import pytest

from netsurgeon.pipeline.progress import Step, Work
from netsurgeon.pipeline.progress.forecast import CANDIDATES, Forecast

USUAL = 4.0
PLAIN = (
    Step("measuring", (Work(stage="measuring", seconds=10.0),)),
    Step("pruning", (Work(stage="pruning", seconds=30.0, visits=2.0),)),
)
SEARCH = (
    Step("opening", (Work(stage="opening", seconds=5.0),)),
    Step(
        "candidates",
        (
            Work(stage=CANDIDATES, seconds=0.0, visits=USUAL),
            Work(stage="pruning", seconds=30.0, visits=1.0, of_a_candidate=1.0),
            Work(stage="quantizing", seconds=20.0, visits=0.0, of_a_candidate=1.0),
        ),
    ),
)


def test_at_first_the_predictions_count() -> None:
    forecast = Forecast(PLAIN)
    assert forecast.seconds_left("measuring", 0.0, None) == pytest.approx(10.0 + 2 * 30.0)
    assert forecast.seconds_left("measuring", 4.0, None) == pytest.approx(6.0 + 2 * 30.0)


def test_a_stage_that_takes_longer_than_predicted_is_not_over() -> None:
    assert Forecast(PLAIN).seconds_left("measuring", 99.0, None) > 60.0


def test_what_is_over_says_how_far_predictions_are_off() -> None:
    forecast = Forecast(PLAIN)
    forecast.end_visit("measuring", 20.0)
    left = forecast.seconds_left("pruning", 0.0, None)
    assert 1.5 * 60.0 < left < 2.0 * 60.0


def test_stages_that_nobody_predicts_say_nothing_of_the_others() -> None:
    forecast = Forecast((Step("opening", (Work(stage="opening", seconds=0.0),)), *PLAIN))
    forecast.end_visit("opening", 100.0)
    assert forecast.seconds_left("measuring", 0.0, None) == pytest.approx(10.0 + 2 * 30.0)


def test_a_second_visit_takes_about_as_long_as_the_first() -> None:
    forecast = Forecast(PLAIN)
    forecast.end_visit("measuring", 10.0)
    forecast.end_visit("pruning", 90.0)
    assert 65.0 < forecast.seconds_left("pruning", 0.0, None) < 90.0


def test_ticks_say_what_the_visit_takes_that_goes_on() -> None:
    forecast = Forecast(PLAIN[1:])
    half_way = forecast.seconds_left("pruning", 60.0, 0.5)
    assert half_way > forecast.seconds_left("pruning", 15.0, 0.5) == pytest.approx(15.0 + 30.0)


def test_a_search_expects_the_usual_number_of_candidates() -> None:
    forecast = Forecast(SEARCH)
    expected = 5.0 + 30.0 + USUAL * 50.0
    assert forecast.seconds_left("opening", 0.0, None) == pytest.approx(expected)


def test_the_last_candidate_in_a_row_leaves_no_other() -> None:
    forecast = Forecast(SEARCH)
    forecast.skip(["opening"])
    for done in range(5):
        forecast.begin_candidate(done, 5)
        for stage, seconds in (("pruning", 30.0), ("quantizing", 20.0)):
            forecast.end_visit(stage, seconds)
    assert forecast.seconds_left("", 0.0, None) == pytest.approx(30.0)


def test_what_is_made_before_the_first_candidate_leaves_all_of_them_to_come() -> None:
    forecast = Forecast(SEARCH)
    forecast.skip(["opening"])
    for _ in range(5):
        assert forecast.seconds_left("quantizing", 2.0, None) > 30.0 + USUAL * 50.0
        forecast.end_visit("quantizing", 2.0)
        assert forecast.seconds_left("pruning", 1.0, 0.5) > 30.0 + USUAL * 50.0
        forecast.end_visit("pruning", 2.0)
    assert forecast.seconds_left("", 0.0, None) == pytest.approx(30.0 + USUAL * 50.0)
    forecast.begin_candidate(0, 5)
    assert forecast.seconds_left("", 0.0, None) == pytest.approx(30.0 + USUAL * 50.0)


def test_candidates_in_another_form_come_on_top() -> None:
    forecast = Forecast(SEARCH)
    for done in range(5):
        forecast.begin_candidate(done, 5)
        forecast.end_visit("pruning", 30.0)
        forecast.end_visit("quantizing", 20.0)
    forecast.begin_candidate(0, 5)
    assert forecast.seconds_left("pruning", 0.0, None) > USUAL * 45.0


def test_what_the_first_candidate_did_without_is_not_expected_of_others() -> None:
    forecast = Forecast(SEARCH)
    forecast.skip(["opening"])
    forecast.begin_candidate(0, 5)
    forecast.end_visit("pruning", 30.0)
    forecast.begin_candidate(1, 5)
    assert forecast.seconds_left("pruning", 0.0, None) == pytest.approx(USUAL * 30.0)


def test_after_the_search_only_what_is_delivered_is_made() -> None:
    forecast = Forecast(SEARCH)
    forecast.skip(["opening"])
    forecast.begin_candidate(0, 5)
    forecast.end_visit("pruning", 30.0)
    forecast.end_visit("quantizing", 20.0)
    forecast.end_search()
    assert forecast.seconds_left("", 0.0, None) == pytest.approx(30.0)


def test_the_delivered_model_takes_longer_than_candidates_where_it_is_corrected_on_more() -> None:
    pruning = Work(stage="pruning", seconds=10.0, visits=1.0, of_a_candidate=1.0, last=5.0)
    forecast = Forecast([Step("candidates", (Work(stage=CANDIDATES, seconds=0.0, visits=2.0), pruning))])
    assert forecast.seconds_left("", 0.0, None) == pytest.approx(2 * 10.0 + 50.0)
    forecast.begin_candidate(0, 2)
    for _ in range(2):
        forecast.end_visit("pruning", 20.0)
    forecast.end_search()
    assert 80.0 < forecast.seconds_left("pruning", 0.0, 0.0) < 110.0
    assert 40.0 < forecast.seconds_left("pruning", 50.0, 0.5) < 55.0
    forecast.end_visit("pruning", 100.0)
    assert forecast.seconds_left("", 0.0, None) == 0.0


def test_an_unknown_stage_changes_nothing() -> None:
    forecast = Forecast(PLAIN)
    forecast.end_visit("polishing", 500.0)
    assert forecast.seconds_left("polishing", 3.0, 0.5) == pytest.approx(70.0)
