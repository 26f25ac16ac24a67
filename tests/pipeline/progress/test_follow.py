"""What `progress=` may be."""

import threading

import pytest

from netsurgeon.pipeline.progress import RunProgress, Status, following
from netsurgeon.pipeline.progress.follow import shown_on


class Recording:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.shown: list[Status] = []
        self.has_beaten = threading.Event()
        self.ends: list[bool] = []

    def show(self, status: Status) -> None:
        self.shown.append(status)

    def beat(self, status: Status) -> None:
        del status
        self.has_beaten.set()

    def close(self, status: Status, *, is_done: bool) -> None:
        del status
        self.ends.append(is_done)


def test_a_callable_is_called_with_stage_and_steps() -> None:
    told: list[tuple[str, int, int]] = []
    with following(lambda *event: told.append(event)) as run:
        run("pruning layers", 2, 7)
    assert told == [("pruning layers", 2, 7)]


@pytest.mark.parametrize("nothing", [None, False])
def test_nothing_is_written_where_nobody_follows(nothing: bool | None, capfd: pytest.CaptureFixture[str]) -> None:
    with following(nothing) as run:
        run("pruning layers", 2, 7)
    assert capfd.readouterr() == ("", "")


def test_true_writes_lines_to_standard_error_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with following(True) as run:
        run("opening", 0, 1)
        run("pruning layers", 2, 7)
        run("pruning layers", 3, 7)
        run("writing", 0, 1)
    output, errors = capsys.readouterr()
    assert output == ""
    assert [line.partition("] ")[2] for line in errors.splitlines()] == [
        "pruning layers; a few seconds left",
        "writing",
    ]


def test_progress_of_a_run_goes_on_in_what_it_calls() -> None:
    run = RunProgress(lambda status: None)
    with following(run) as same:
        assert same is run


def test_a_display_is_told_that_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.pipeline.progress.follow.REDRAWN_EVERY", 0.001)
    display = Recording()
    with shown_on(display) as run:
        run("pruning layers", 0, 1)
        assert display.has_beaten.wait(30.0)
    assert display.ends == [True]


def test_progress_ends_with_the_error_that_ends_the_work() -> None:
    display = Recording()
    with pytest.raises(KeyError), shown_on(display) as run:
        run("pruning layers", {"steps": 1}["step"], 2)
    assert display.ends == [False]
