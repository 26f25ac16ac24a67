"""A file that takes its place when it is whole: until then, and after any failure, what was there stays."""

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from netsurgeon.pipeline import atomic_write
from netsurgeon.pipeline.atomic_write import is_part, part_name, replace_atomically


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
        (part,) = (name for name in names(tmp_path) if name != "report.json")
        assert is_part(part, "report.json")
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


@pytest.mark.parametrize("name", ["r.html", "n" * 250, "\udcff.json", "a\nb"])
def test_a_part_has_a_name_that_nobody_can_foresee(name: str) -> None:
    parts = {part_name(name) for _ in range(100)}
    assert len(parts) == 100
    assert all(is_part(part, name) and is_part(part) and len(os.fsencode(part)) < 255 for part in parts)
    assert not any(is_part(part, "other.html") for part in parts)
    assert not any(map(is_part, (name, f".{name}.part", ".part", ".b.0123456789abcdeg.part")))


def test_a_link_in_the_place_of_the_part_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    part = part_name("a")
    (tmp_path / part).symlink_to(tmp_path / "precious")
    monkeypatch.setattr(atomic_write, "part_name", lambda _: part)
    with pytest.raises(FileExistsError), replace_atomically(tmp_path / "a"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert names(tmp_path) == sorted([part, "precious"])


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "before")
    with pytest.raises(OSError, match="a device or a pipe"), replace_atomically(tmp_path / "before"):
        pass
    with pytest.raises(OSError, match="a device or a pipe"), replace_atomically(tmp_path / "meanwhile"):
        os.mkfifo(tmp_path / "meanwhile")
    assert names(tmp_path) == ["before", "meanwhile"]
    assert all(path.is_fifo() for path in tmp_path.iterdir())


def test_the_file_can_be_read_by_whom_the_mask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replace_atomically(tmp_path / "a") as handle:
            handle.write(b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_missing_or_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replace_atomically(tmp_path / "nowhere" / "a"):
        pass
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), replace_atomically(tmp_path / "a") as handle:
        handle.write(b"content")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").is_dir()
