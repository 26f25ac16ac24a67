"""Where a run stands, told by a clock that the test moves."""

import pytest

from netsurgeon.pipeline.progress import CANDIDATES, RunProgress, Status, Step, Work
from netsurgeon.pipeline.progress.run_progress import roughly


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def steps(*names: str, seconds: float = 10.0) -> list[Step]:
    return [Step(name, (Work(stage=name, seconds=seconds),)) for name in names]


def followed() -> tuple[RunProgress, list[Status], Clock]:
    clock, shown = Clock(), list[Status]()
    return RunProgress(shown.append, clock), shown, clock


def test_a_run_of_unknown_parts_tells_what_is_left_of_a_stage() -> None:
    run, shown, clock = followed()
    run("training", 0, 10)
    clock.now += 30.0
    run("training", 3, 10)
    assert (shown[0].left, shown[0].place) == (None, "")
    assert shown[1].left == pytest.approx(70.0)
    assert shown[1].elapsed == 30.0


def test_within_a_stage_it_is_shown_every_so_often_and_a_stage_that_begins_at_once() -> None:
    clock, shown = Clock(), list[Status]()
    run = RunProgress(shown.append, clock, every=1.0)
    for stage, done, seconds in (("a", 0, 0.0), ("a", 1, 0.5), ("a", 2, 1.0), ("a", 3, 0.1), ("b", 0, 0.1)):
        clock.now += seconds
        run(stage, done, 9)
    assert [(status.stage, status.done) for status in shown] == [("a", 0), ("a", 2), ("b", 0)]
    run("b", 4, 9)
    assert (run.status().stage, run.status().done) == ("b", 4), "what is not shown is known"


def test_steps_are_counted_and_never_backwards() -> None:
    run, shown, _ = followed()
    run("opening", 0, 1)
    run.expect(steps("opening", "measuring", "pruning", "writing"))
    for stage in ("measuring", "pruning", "measuring", "polishing", "writing"):
        run(stage, 0, 1)
    assert [status.step for status in shown[1:]] == [2, 3, 3, 3, 4]
    assert shown[-1].place == "step 4 of 4"
    assert shown[-1].name == "writing"


def test_the_whole_run_is_forecast_and_the_forecast_falls_with_time() -> None:
    run, shown, clock = followed()
    run.expect(steps("opening", "pruning", "writing"))
    run("opening", 0, 1)
    assert shown[0].left == pytest.approx(30.0)
    clock.now += 5.0
    assert run.status().left == pytest.approx(25.0)
    assert run.status().share == pytest.approx(5.0 / 30.0)


def test_steps_that_are_left_out_are_not_waited_for() -> None:
    run, _, clock = followed()
    run.expect(steps("opening", "measuring", "pruning"))
    run("opening", 0, 1)
    clock.now += 10.0
    run("pruning", 0, 1)
    assert run.status().left == pytest.approx(10.0)


def search_steps() -> list[Step]:
    candidate = Work(stage="pruning", seconds=10.0, visits=0.0, of_a_candidate=1.0)
    making = Step("making candidates", (Work(stage=CANDIDATES, seconds=0.0, visits=4.0), candidate))
    return [*steps("opening", "measuring"), making, *steps("packing", "writing")]


def test_candidates_are_numbered_while_they_are_made() -> None:
    run, shown, clock = followed()
    run.expect(search_steps())
    run("measuring", 0, 1)
    clock.now += 10.0
    for made in range(2):
        run(CANDIDATES, made, 5)
        run("pruning", 0, 1)
        clock.now += 10.0
    assert shown[-1].place == "step 3 of 5, candidate 2 of at most 5"
    run("packing", 0, 1)
    assert shown[-1].place == "step 4 of 5"
    assert shown[-1].left == pytest.approx(20.0)


def test_a_search_may_go_back_to_what_it_measures() -> None:
    run, _, _ = followed()
    run.expect(search_steps())
    run("pruning", 0, 1)
    one_before, candidates = 10.0, 4.0 * 10.0
    assert run.status().left == pytest.approx(10.0 + 10.0 + one_before + candidates + 20.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "a few seconds"),
        (42.0, "about 40 s"),
        (58.0, "about 1 min"),
        (359.0, "about 6 min"),
        (3600.0, "about 1 h"),
        (4700.0, "about 1 h 20 min"),
    ],
)
def test_times_are_told_as_roughly_as_they_are_known(seconds: float, words: str) -> None:
    assert roughly(seconds) == words
