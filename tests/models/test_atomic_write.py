"""A file is replaced whole or not at all, and nothing else stays beside it."""

from pathlib import Path

import pytest

from netsurgeon.models.atomic_write import replaced


def test_the_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with replaced(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path  # on the same disk, so that renaming is one operation
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
