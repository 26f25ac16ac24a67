"""The first hour of a newcomer, in a fresh environment: ``python benchmarks/first_hour.py --folder /tmp/hour``.

Clones the repository, runs the commands and the Python of README.md as they stand there, executes the notebooks, runs a
job without a terminal, and takes pictures of the pages and notebooks. Prints each command with what it said, its
seconds and its exit code; what was made lies in the folder, to be looked at. ``--write`` keeps a summary in
results/first_hour.md. Exit code 1 if any step fails.

Needs Python and git only, and a network or index for pip.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "benchmarks" / "results" / "first_hour.md"
LINES = 30
"""Of what a command says, so many of the last lines are shown."""
WINDOW = "1100,1600"
DIGITS = ROOT / "models" / "digits"
COMMANDS = re.compile(r"^Your own model, from the command line:\n\n((?: {4}.*\n)+)", re.MULTILINE)
"""What README.md says to type: an installation, then a compression."""
PYTHON = re.compile(r"^From Python:\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)
INSTALL_FOR_EXAMPLES = re.compile(r"^ {4}(pip install .*)$", re.MULTILINE)
"""In examples/README.md, of what the notebooks and a DataLoader need."""
LOADER = """
import numpy as np, torch

arrays = np.load("calibration.npz")
(name,) = (key for key in arrays.files if key != "labels")
parts = [torch.from_numpy(arrays[key]) for key in (name, "labels") if key in arrays]
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*parts), batch_size=64, shuffle=True)
"""
SAVED = """
print(repr(result))
result.report.save("python.html")
"""
A_JOB = """
set -e
netsurgeon compress model.onnx --data calibration.npz -o job.onnx --report job.json --sparsity 0.8 --quantize none
netsurgeon compare model.onnx job.onnx --data test.npz --json - > compare.json
python -c 'import json; json.load(open("compare.json"))'
netsurgeon view job.json -o view.html --no-browser
"""


@dataclasses.dataclass(frozen=True)
class Step:
    """What was done, how it ended, and the last line that it said."""

    what: str
    code: int
    seconds: float
    last: str


class Hour:
    """What was done so far.

    Attributes:
        folder: of all that is made.
        clone: the repository, as a newcomer has it.
        environment: with the installed netsurgeon.
        own: the newcomer's model and data, and what becomes of them.
        steps: what was done.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.clone, self.environment, self.own = folder / "netsurgeon", folder / "environment", folder / "own"
        self.steps: list[Step] = []

    def step(self, what: str, *command: str | Path, cwd: Path | None = None) -> None:
        """Run a command among the programs of the fresh environment, and print what it says."""
        print(f"\n== {what}\n$ {' '.join(map(str, command))[:200]}", flush=True)
        path = f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | {"PATH": path}
        started = time.perf_counter()
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd or self.clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        seconds, lines = time.perf_counter() - started, done.stdout.splitlines()
        print("\n".join(lines[-LINES:]))
        print(f"-- exit code {done.returncode}, {seconds:.1f} s", flush=True)
        said = [line.strip() for line in lines if line.strip()]
        self.steps.append(Step(what, done.returncode, seconds, said[-1] if said else ""))

    def shell(self, what: str, script: str, cwd: Path | None = None) -> None:
        """Run what stands in a page as a shell would."""
        self.step(what, "bash", "-c", script, cwd=cwd)

    @property
    def has_failed(self) -> bool:
        """Whether any step has."""
        return any(step.code for step in self.steps)


def main() -> int:
    """Do it all."""
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    hour = Hour(arguments.folder.resolve())
    hour.own.mkdir()
    for source, name in (
        (arguments.model, "model.onnx"),
        (arguments.data, "calibration.npz"),
        (arguments.test, "test.npz"),
    ):
        shutil.copy(source, hour.own / name)
    hour.step("the repository", "git", "clone", "--quiet", ROOT, hour.clone, cwd=hour.folder)
    hour.step("make demo", "make", "demo", "RUNTIME=cpu")
    install, compress, program = commands_of((ROOT / "README.md").read_text("utf-8"))
    hour.step("an environment", sys.executable, "-m", "venv", hour.environment)
    hour.shell("what README.md says to install", install)
    hour.step("the version", "netsurgeon", "--version")
    hour.step("help", "netsurgeon", "compress", "--help")
    hour.shell("the command of README.md", compress, cwd=hour.own)
    hour.shell("a job without a terminal", A_JOB, cwd=hour.own)
    (examples,) = INSTALL_FOR_EXAMPLES.findall((ROOT / "examples" / "README.md").read_text("utf-8"))
    hour.shell("what examples/README.md says to install", examples)
    python = hour.environment / "bin" / "python"
    hour.step("the Python of README.md", python, "-c", f"{LOADER}{program}{SAVED}", cwd=hour.own)
    notebooks = sorted((hour.clone / "examples").glob("*.ipynb"))
    for notebook in notebooks:
        hour.step(f"the notebook {notebook.name}", "jupyter", "execute", "--inplace", notebook, cwd=notebook.parent)
        to_html = ("jupyter", "nbconvert", "--to", "html", f"--output-dir={hour.folder}", notebook)
        hour.step(f"{notebook.name} as a page", *to_html, cwd=notebook.parent)
    pages = [hour.clone / "build" / "demo" / "report.html", hour.own / "report.html", hour.own / "python.html"]
    _take_pictures(hour, [*pages, hour.own / "view.html", *(hour.folder / f"{path.stem}.html" for path in notebooks)])
    if arguments.write:
        PAGE.write_text(summary(hour.steps, arguments.model.name), "utf-8")
    print("\n" + ("a step has failed" if hour.has_failed else f"all steps worked; look at {hour.folder}"))
    return int(hour.has_failed)


def commands_of(readme: str) -> tuple[str, str, str]:
    """The installation, the compression and the Python that README.md shows, as they stand there."""
    (block,), (program,) = COMMANDS.findall(readme), PYTHON.findall(readme)
    install, _, compress = "".join(line.removeprefix("    ") for line in block.splitlines(keepends=True)).partition(
        "\n"
    )
    return install, compress, program


def summary(steps: list[Step], model: str) -> str:
    """The page that is kept: every step, how it ended, and the last line that it said."""
    rows = [
        f"| {step.what} | {step.code} | {step.seconds:.0f} | {step.last[:100].replace('|', '/')} |" for step in steps
    ]
    where = f"{platform.system()}, Python {platform.python_version()}, the model {model}"
    return "\n".join(
        [
            "# The first hour",
            "",
            "This page shows whether all works that a newcomer does first, in a fresh clone and environment.",
            "",
            f"{where}. `python benchmarks/first_hour.py --folder DIR --write` makes it. Seconds are those of a machine "
            "that other programs used, too.",
            "",
            "| step | exit code | s | its last line |",
            "|---|---:|---:|---|",
            *rows,
            "",
        ]
    )


def _take_pictures(hour: Hour, pages: list[Path]) -> None:
    """What a browser makes of pages, where there is one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        print("\nthere is no Chromium here: no pictures of the pages are made")
        return
    for number, page in enumerate(pages, start=1):
        picture = hour.folder / f"{number}-{page.stem}.png"
        headless = ("--headless", "--no-sandbox", f"--window-size={WINDOW}", f"--screenshot={picture}")
        hour.step(f"a picture of {page.parent.name}/{page.name}", browser, *headless, page.as_uri(), cwd=hour.folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for all that is made")
    parser.add_argument("--model", type=Path, default=DIGITS / "digits.onnx", help="of one input")
    parser.add_argument("--data", type=Path, default=DIGITS / "calibration.npz", help="an .npz, perhaps with labels")
    parser.add_argument("--test", type=Path, default=DIGITS / "test.npz", help="an .npz, perhaps with labels")
    parser.add_argument("--write", action="store_true", help="keep the summary in results/first_hour.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
