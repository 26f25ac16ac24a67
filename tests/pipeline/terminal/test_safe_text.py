"""What a file names cannot steer the terminal: in tables, errors, logs and JSON it is shown escaped."""

import io
import json
import logging
from pathlib import Path

import onnx
import pytest
from hostile_models import DENSE, model
from onnx import helper
from rich.table import Table

from netsurgeon.cli import run
from netsurgeon.pipeline.messages import printable
from netsurgeon.pipeline.terminal.safe_text import Console, Formatter, Text

CONTROL = "\x1b[2J\x00\x07\x9b\u202e"
SHOWN = r"\x1b[2J\x00\x07\x9b\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: ÷ 2.5, \N{MINUS SIGN}3 […] 层", "plain: ÷ 2.5, \N{MINUS SIGN}3 […] 层"),
        (CONTROL, SHOWN),
        ("one\ntwo\r\x7f", r"one\ntwo\r\x7f"),
        ("no\u00a0break, thin\u2009space", "no\u00a0break, thin\u2009space"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("\udcff path", r"\udcff path"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_kept_characters_stay() -> None:
    assert printable("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"


@pytest.mark.parametrize("cell", [CONTROL, Text(CONTROL)])
def test_a_console_sends_no_control_characters_of_its_content(cell: str | Text) -> None:
    target = io.StringIO()
    table = Table()
    table.add_column("name")
    table.add_row(cell)
    console = Console(file=target, width=80, force_terminal=False)
    console.print(table)
    console.print(f"note {CONTROL}", markup=False)
    text = target.getvalue()
    assert [sign for sign in text if not sign.isprintable() and sign != "\n"] == []
    assert (SHOWN if isinstance(cell, Text) else r"\x1b") in text


def test_a_column_is_as_wide_as_what_it_shows() -> None:
    target = io.StringIO()
    table = Table()
    table.add_column("name")
    table.add_row(Text(f"{CONTROL * 3}end"))
    Console(file=target, width=120).print(table)
    assert f"{SHOWN * 3}end" in target.getvalue()


def test_a_console_still_has_its_own_styles() -> None:
    target = io.StringIO()
    Console(file=target, force_terminal=True, color_system="standard").print(Text("warning", style="yellow"))
    assert target.getvalue() == "\x1b[33mwarning\x1b[0m\n"


def test_a_log_line_is_escaped() -> None:
    record = logging.LogRecord("netsurgeon", logging.INFO, "", 1, "layer %s\nnext", (CONTROL,), None)
    assert Formatter("%(message)s").format(record) == f"layer {SHOWN}\nnext"


def test_names_of_a_model_are_escaped_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], [f"y{CONTROL}"], f"layer{CONTROL}"),
        helper.make_node("Relu", [f"y{CONTROL}"], ["z"], "relu"),
    ]
    onnx.save(model(nodes, DENSE), tmp_path / "model.onnx")
    for options in ([], ["--units"], ["--json", "-"]):
        assert run(["inspect", str(tmp_path / "model.onnx"), *options]) == 0
        shown = capsys.readouterr().out
        assert [sign for sign in set(shown) if not sign.isprintable() and sign != "\n"] == []
        if options == ["--json", "-"]:
            assert json.loads(shown)["layers"][0]["name"] == f"layer{CONTROL}"
        else:
            assert "\\x1b[2J" in shown or options


def test_names_in_an_error_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "no\x1b[2Jmodel\u202e.onnx"
    assert run(["inspect", str(tmp_path / name)]) == 2
    assert r"no\x1b[2Jmodel\u202e.onnx is not a file" in capsys.readouterr().err


def long_row(console: Console) -> None:
    table = Table()
    table.add_column("layer", overflow="fold")
    table.add_row("layer" * 60)
    console.print(table)
    console.print("a sentence that goes on " * 20)


def test_off_a_terminal_nothing_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    target = io.StringIO()
    long_row(Console(file=target))
    lines = target.getvalue().splitlines()
    assert any("layer" * 60 in line for line in lines)
    assert lines[-1].startswith("a sentence that goes on " * 19)
    assert max(map(len, lines)) < 600


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_or_the_user_says_how_wide_it_is(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    target = io.StringIO()
    if not is_terminal:
        monkeypatch.setenv("COLUMNS", "70")
    long_row(Console(file=target, force_terminal=is_terminal, color_system=None))
    assert max(map(len, target.getvalue().splitlines())) <= (200 if is_terminal else 70)
