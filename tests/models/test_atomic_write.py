"""A file is replaced whole or not at all, and nothing else stays beside it."""

from pathlib import Path

import pytest

from netsurgeon.models.atomic_write import replaced


def test_the_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with replaced(path) as temporary:
        temporary.write_text("new")
        assert tmp_path in temporary.parents  # on the same disk, so that renaming is one operation
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path, failure: type[BaseException]) -> None:
    with replaced(path) as temporary:
        temporary.write_text("half of")
        raise failure


@pytest.mark.parametrize("before", ["old", None])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_changes_nothing(tmp_path: Path, before: str | None, failure: type[BaseException]) -> None:
    path = tmp_path / "run.json"
    if before is not None:
        path.write_text(before)
    with pytest.raises(failure):
        write_half(path, failure)
    assert (path.read_text() if path.exists() else None) == before
    assert len(list(tmp_path.iterdir())) == (before is not None)


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replaced(path):
        pass
    assert path.read_text() == "old"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_fail(temporary: Path) -> None:
    temporary.write_bytes(b"half")
    raise KeyboardInterrupt


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for link in (".run.json.part", "run.json"):
        (tmp_path / link).symlink_to(precious)
    with replaced(tmp_path / "run.json") as temporary:
        temporary.write_bytes(b"after")
    assert precious.read_bytes() == b"precious"
    assert (tmp_path / "run.json").read_bytes() == b"after"


def test_what_killed_processes_have_left_is_cleared_away(tmp_path: Path) -> None:
    abandoned = replaced(tmp_path / "run.json")
    abandoned.__enter__().write_bytes(b"half")
    (tmp_path / ".run.json.mine").mkdir()
    (tmp_path / ".run.json.abcdefgh.part").symlink_to(tmp_path / ".run.json.mine")
    with replaced(tmp_path / "run.json") as temporary:
        temporary.write_bytes(b"whole")
    assert names(tmp_path) == [".run.json.abcdefgh.part", ".run.json.mine", "run.json"]
