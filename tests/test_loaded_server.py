"""Scripts that tests start have the environment of the test, and leave nothing behind."""

import os
import time
from pathlib import Path

import loaded_server
import pytest

SLEEP = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
time.sleep(600)
"""


def test_a_script_has_the_environment_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os; print(os.environ.get('A_WORD_OF_NOW'))")
    printed = []
    for word in ("one", "other"):
        monkeypatch.setenv("A_WORD_OF_NOW", word)
        printed.append(loaded_server.run_script(tmp_path, script).stdout)
    monkeypatch.delenv("A_WORD_OF_NOW")
    assert [*printed, loaded_server.run_script(tmp_path, script).stdout] == ["one\n", "other\n", "None\n"]


def test_a_script_that_takes_too_long_ends_with_what_it_has_started(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SLEEP)
    (tmp_path / "streams").mkdir()
    process = loaded_server.start_script([tmp_path / "script.py"], tmp_path / "streams", tmp_path)
    child = tmp_path / "child"
    while not child.exists() or not child.read_text():
        time.sleep(0.02)
    assert loaded_server.exit_codes([process], 0.0) == [None]
    state = Path(f"/proc/{child.read_text()}/stat")
    until = time.monotonic() + 10.0
    while state.exists() and state.read_text().split()[2] not in "ZX" and time.monotonic() < until:
        time.sleep(0.02)
    assert not state.exists() or state.read_text().split()[2] in "ZX"
    assert process.exitcode is not None
    assert os.getpgid(0) != process.pid
