"""What becomes of a result: tables and JSON, and no file that is read is written over."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.terminal import Console
from netsurgeon.pipeline.terminal.results import check_files, show_result


@dataclasses.dataclass(frozen=True)
class Result:
    count: int


def printer(result: Any, console: Console) -> None:
    console.print(f"counted: {result.count}")


@pytest.mark.parametrize("quiet", [True, False])
def test_tables_are_printed_and_json_is_written(
    quiet: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_result(Result(3), printer, tmp_path / "result.json", quiet)
    assert capsys.readouterr().out == ("" if quiet else "counted: 3\n")
    assert json.loads((tmp_path / "result.json").read_text("utf-8"))["count"] == 3


def test_json_on_standard_output_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(Result(3), printer, Path("-"), quiet=False)
    assert json.loads(capsys.readouterr().out)["count"] == 3


@pytest.mark.parametrize("option", ["data", "test", "recipe", "metric", "classes", "pictures", "timings"])
def test_an_output_that_an_option_reads_is_refused(option: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.touch()
    check_files({option: path}, [None], tmp_path / "output", Path("-"))
    with pytest.raises(InputError):
        check_files({option: path}, [None], path)
