"""The benchmark of the first hour: it runs what the pages say, and keeps what each step came to."""

import sys
from pathlib import Path

import first_hour

ROOT = Path(__file__).parent.parent


def test_what_is_run_stands_in_the_pages() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    install, compress, program = first_hour.commands_of(readme)
    assert install.startswith("pip install '.[cpu]'")
    assert compress.startswith("netsurgeon compress model.onnx --data calibration.npz --test test.npz")
    assert compress.rstrip().endswith("--report report.html")
    assert "netsurgeon.compress(" in program
    assert program in readme
    (examples,) = first_hour.INSTALL_FOR_EXAMPLES.findall((ROOT / "examples" / "README.md").read_text("utf-8"))
    assert "jupyterlab" in examples


def test_a_step_that_fails_is_kept_as_such(tmp_path: Path) -> None:
    hour = first_hour.Hour(tmp_path)
    hour.step("a good one", sys.executable, "-c", "print('first'); print('well | done')", cwd=tmp_path)
    assert not hour.has_failed
    hour.shell("a bad one", "echo no; exit 3", cwd=tmp_path)
    assert hour.has_failed
    page = first_hour.summary(hour.steps, "model.onnx")
    lines = page.splitlines()
    assert lines[2].startswith("This page shows")
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| a good one", "| a bad one"]
    assert [line.split(" | ")[1] for line in lines[-2:]] == ["0", "3"]
    assert lines[-2].endswith("| well / done |")
