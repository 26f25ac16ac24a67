"""Files of a training run: whole or not there, and never written through a link that somebody else has put."""

from pathlib import Path

import pytest

from netsurgeon.models.atomic_write import replaced


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_fail(temporary: Path) -> None:
    temporary.write_bytes(b"half")
    raise KeyboardInterrupt


def test_the_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    goal = tmp_path / "run.json"
    goal.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), replaced(goal) as temporary:
        write_and_fail(temporary)
    assert goal.read_bytes() == b"before"
    with replaced(goal) as temporary:
        temporary.write_bytes(b"after")
        assert goal.read_bytes() == b"before"
    assert goal.read_bytes() == b"after"
    assert names(tmp_path) == ["run.json"]


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
