"""What is shown on a terminal, in a notebook and elsewhere, of statuses that are made up."""

import dataclasses
import io
import re
import sys
import types
from typing import Any

import pytest
from rich.console import Console

from netsurgeon.pipeline.progress import CANDIDATES, Status
from netsurgeon.pipeline.progress.displays import (
    LONGEST_SILENCE,
    LineDisplay,
    NotebookDisplay,
    TerminalDisplay,
    fitting_display,
    sentence,
)

STATUS = Status(
    stage="pruning layers",
    done=3,
    count=20,
    step=4,
    steps=9,
    candidate=2,
    candidates=5,
    elapsed=120.0,
    left=360.0,
)
TRAINING = Status(stage="training", done=5, count=10, elapsed=75.0, left=75.0)
SENTENCE = "step 4 of 9, candidate 2 of at most 5: pruning layers 3/20; about 6 min left"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_sentence_says_where_a_run_stands_and_what_is_left() -> None:
    assert sentence(STATUS) == SENTENCE
    assert sentence(Status(stage="opening", done=0, count=1)) == "opening"


def test_a_terminal_shows_one_line_that_is_gone_afterwards() -> None:
    buffer = io.StringIO()
    display = TerminalDisplay(Console(file=buffer, force_terminal=True, width=140))
    display.show(STATUS)
    display.close(STATUS, is_done=True)
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", buffer.getvalue())
    assert "step 4 of 9, candidate 2 of at most 5: pruning layers 3/20" in shown
    assert "about 6 min left" in shown
    assert buffer.getvalue().endswith("\x1b[2K")


def test_a_narrow_terminal_still_shows_what_is_left() -> None:
    buffer = io.StringIO()
    display = TerminalDisplay(Console(file=buffer, force_terminal=True, width=60))
    display.show(STATUS)
    display.close(STATUS, is_done=True)
    assert "about 6 min left" in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", buffer.getvalue())


def test_a_terminal_shows_nothing_before_anything_is_done() -> None:
    buffer = io.StringIO()
    display = TerminalDisplay(Console(file=buffer, force_terminal=True))
    display.close(STATUS, is_done=True)
    assert buffer.getvalue() == ""


def test_elsewhere_there_is_a_line_for_each_step_and_each_stage_that_lasts() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LineDisplay(stream, clock)
    for at, step, name, candidate, stage in (
        (0.0, 1, "opening", 0, "opening"),
        (1.0, 4, "making candidates", 1, CANDIDATES),
        (1.2, 4, "making candidates", 1, "masking units"),  # soon over
        (1.4, 4, "making candidates", 1, "pruning layers"),
        (2.5, 4, "making candidates", 1, "pruning layers"),
        (9.0, 4, "making candidates", 1, "pruning layers"),
        (13.0, 4, "making candidates", 2, CANDIDATES),
        (13.2, 5, "validating", 0, "validating"),
    ):
        clock.now = at
        status = Status(stage=stage, done=0, count=5, step=step, steps=9, name=name, candidate=candidate, candidates=5)
        display.show(dataclasses.replace(status, elapsed=at))
    assert stream.getvalue().splitlines() == [
        "[0:00:01] step 4 of 9, candidate 1 of at most 5: making candidates",
        "[0:00:02] step 4 of 9, candidate 1 of at most 5: pruning layers",
        "[0:00:13] step 5 of 9: validating",
    ]


def test_elsewhere_a_stage_without_ticks_has_its_line_when_it_has_lasted() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LineDisplay(stream, clock)
    for stage in ("opening", "pruning layers", "packing"):
        display.show(Status(stage=stage, done=0, count=1, step=2, steps=3, name="pruning"))
    assert stream.getvalue() == ""
    clock.now = 1.0
    display.beat(Status(stage="packing", done=0, count=1, step=2, steps=3, name="pruning"))
    display.beat(Status(stage="packing", done=0, count=1, step=2, steps=3, name="pruning"))
    assert stream.getvalue() == "[0:00:00] step 2 of 3: packing\n"


def test_elsewhere_a_stage_of_a_run_without_steps_has_a_line() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream, Clock())
    for stage in ("opening", "training"):
        for done in range(3):
            display.show(Status(stage=stage, done=done, count=10))
    assert stream.getvalue() == "[0:00:00] training\n"


def test_elsewhere_no_minute_is_without_a_line() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LineDisplay(stream, clock)
    display.show(TRAINING)
    clock.now += LONGEST_SILENCE - 1.0
    display.beat(TRAINING)
    assert stream.getvalue() == ""
    clock.now += 1.0
    display.beat(TRAINING)
    display.beat(TRAINING)
    assert stream.getvalue().splitlines() == ["[0:01:15] training 5/10; about 1 min left"]


def test_a_reader_that_has_gone_away_does_not_end_the_run() -> None:
    refused: list[str] = []

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            refused.append(text)
            raise BrokenPipeError(text)

    display = LineDisplay(Closed(), Clock())
    for stage in ("opening", "training"):
        display.show(Status(stage=stage, done=0, count=1))
    assert refused, "it has written, and gone on"


class Notebook(types.ModuleType):
    """Stands in for `IPython.display`: keeps what is published, and what it is replaced by."""

    def __init__(self) -> None:
        super().__init__("IPython.display")
        self.cells: list[list[dict[str, str]]] = []

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        cell = [bundle]
        self.cells.append(cell)
        return types.SimpleNamespace(update=lambda bundle, raw: cell.append(bundle))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    module = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return module


def test_a_notebook_shows_one_output_that_is_redrawn(notebook: Notebook) -> None:
    clock = Clock()
    display = NotebookDisplay(clock)
    display.show(STATUS)
    display.show(TRAINING)  # just now something was drawn
    clock.now += 1.0
    display.show(TRAINING)
    display.close(TRAINING, is_done=True)
    (cell,) = notebook.cells
    assert [bundle["text/plain"] for bundle in cell] == [
        f"[0:02:00] {SENTENCE}",
        "[0:01:15] training 5/10; about 1 min left",
        "done in 0:01:15",
    ]
    assert cell[0]["text/html"].startswith('<progress max="1" value="0.250"></progress> [0:02:00] step 4 of 9')


def test_a_notebook_says_where_a_run_was_stopped(notebook: Notebook) -> None:
    display = NotebookDisplay(Clock())
    display.show(TRAINING)
    display.close(TRAINING, is_done=False)
    assert notebook.cells[0][-1]["text/plain"] == "stopped after 0:01:15: training"


def test_what_is_shown_fits_where_it_is_shown(notebook: Notebook) -> None:
    assert isinstance(fitting_display(Console(file=io.StringIO(), force_terminal=True)), TerminalDisplay)
    assert isinstance(fitting_display(Console(file=io.StringIO(), force_jupyter=True)), NotebookDisplay)
    assert isinstance(fitting_display(Console(file=io.StringIO())), LineDisplay)
