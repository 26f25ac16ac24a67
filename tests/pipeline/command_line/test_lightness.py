"""Help, version and completion load none of the libraries that the work needs."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from netsurgeon import __version__
from netsurgeon.pipeline.command_line import COMMANDS

HEAVY = (
    "numpy",
    "scipy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "matplotlib",
    "PIL",
    "torch",
    "rich",
    "jinja2",
)
MOST_TIMES = 4.0
"""What only tells about netsurgeon takes as many times the processor time of `import click`, at most.

Measured were less than 2, and 47 for what does work.
"""
LEAST = "import click"
MAIN = "from netsurgeon.cli import main; main()"
RUN_AND_LIST_MODULES = """
import atexit, sys
atexit.register(lambda: print("LOADED", *sys.modules))
from netsurgeon.cli import main
main()
"""


def run_command(folder: Path, *arguments: str, **variables: str) -> tuple[str, set[str]]:
    """What a command prints, and the packages it has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST_MODULES, *arguments],
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    printed, _, modules = done.stdout.rpartition("LOADED")
    return printed, {module.partition(".")[0] for module in modules.split()}


def processor_seconds(folder: Path, code: str, *arguments: str) -> float:
    """Seconds of a processor that a process takes, of its own and of the system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return float(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def times_of_click(folder: Path, *arguments: str) -> float:
    """How many times as long a command takes as `import click`, by the least of three, which alternate.

    A machine that is busy takes longer, never shorter.
    """
    least, command = zip(
        *((processor_seconds(folder, LEAST), processor_seconds(folder, MAIN, *arguments)) for _ in range(3)),
        strict=True,
    )
    return float(min(command) / min(least))


@pytest.mark.parametrize("arguments", [("--help",), *((command.name or "", "--help") for command in COMMANDS)])
def test_help_is_light(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    printed, loaded = run_command(tmp_path, *arguments)
    assert printed.startswith("Usage: netsurgeon")
    assert loaded.isdisjoint(HEAVY)


def test_version_is_light(tmp_path: Path) -> None:
    printed, loaded = run_command(tmp_path, "--version")
    assert __version__ in printed
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("netsurgeon comp", ["plain,compress", "plain,compress-many", "plain,compare"]),
        ("netsurgeon compress --max-", ["plain,--max-drop", "plain,--max-size", "plain,--max-macs"]),
        ("netsurgeon compress --data x.npz -v --recipe r.toml --sparsity 90% --layer a=1 --method ob", ["plain,obs"]),
        ("netsurgeon compress m.onnx --data cal", ["file,cal"]),
        ("netsurgeon compress mo", ["file,mo"]),
    ],
)
def test_completion_is_light(tmp_path: Path, line: str, completed: list[str]) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    printed, loaded = run_command(tmp_path, _NETSURGEON_COMPLETE="bash_complete", **words)
    assert sorted(printed.split()) == sorted(completed)
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(tmp_path: Path, shell: str) -> None:
    printed, loaded = run_command(tmp_path, _NETSURGEON_COMPLETE=f"{shell}_source")
    assert "_NETSURGEON_COMPLETE" in printed
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("compress", "--help")])
def test_what_a_user_waits_for_takes_little_processor_time(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert times_of_click(tmp_path, *arguments) < MOST_TIMES


def test_the_bound_of_processor_time_can_be_missed(tmp_path: Path) -> None:
    assert times_of_click(tmp_path, "compress", "none.onnx", "--data", "random", "-o", "small.onnx") > MOST_TIMES


def test_the_check_can_fail(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    code = RUN_AND_LIST_MODULES.replace("main()", "from netsurgeon.pipeline import terminal; main()")
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert {"numpy", "onnx", "rich"} <= set(done.stdout.rpartition("LOADED")[2].split())
