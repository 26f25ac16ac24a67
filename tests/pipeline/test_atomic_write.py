"""A file that takes its place when it is whole: until then, and after any failure, what was there stays."""

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from netsurgeon.pipeline.atomic_write import part_name, replace_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [None, b"the old content, which is longer"])
def test_the_file_takes_its_place_when_it_is_whole(tmp_path: Path, before: bytes | None) -> None:
    goal = tmp_path / "report.json"
    if before is not None:
        goal.write_bytes(before)
    with replace_atomically(goal) as handle:
        handle.write(b"the new ")
        handle.flush()
        assert names(tmp_path) == sorted([part_name("report.json"), *(["report.json"] if before else [])])
        assert before is None or goal.read_bytes() == before
        handle.write(b"content")
    assert goal.read_bytes() == b"the new content"
    assert names(tmp_path) == ["report.json"]


def write_half(handle: IO[bytes], failure: BaseException) -> None:
    handle.write(b"half of the new con")
    raise failure


@pytest.mark.parametrize("failure", [ValueError("no"), OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, b"the old content"])
def test_whatever_stops_it_leaves_what_was_there(tmp_path: Path, before: bytes | None, failure: BaseException) -> None:
    goal = tmp_path / "report.json"
    if before is not None:
        goal.write_bytes(before)
    with pytest.raises(type(failure)) as error, replace_atomically(goal) as handle:
        write_half(handle, failure)
    assert error.value is failure
    assert names(tmp_path) == ([] if before is None else ["report.json"])
    assert before is None or goal.read_bytes() == before


def test_content_that_does_not_reach_the_disk_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="Input/output"), replace_atomically(tmp_path / "report.json") as handle:
        handle.write(b"content")
    assert names(tmp_path) == []


def test_what_a_killed_process_has_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / part_name("a")).write_bytes(b"half of what a killed process wanted to write")
    with replace_atomically(tmp_path / "a") as handle:
        handle.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_is_missing_or_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replace_atomically(tmp_path / "nowhere" / "a"):
        pass
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), replace_atomically(tmp_path / "a") as handle:
        handle.write(b"content")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").is_dir()


def test_the_part_is_hidden_beside_its_goal() -> None:
    assert part_name("plan.json") == ".plan.json.part"
    assert part_name("plan.json") != part_name("plan.js")
