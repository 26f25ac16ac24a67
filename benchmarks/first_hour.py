"""The first hour of a newcomer, in a fresh environment: ``python benchmarks/first_hour.py --folder /tmp/hour``.

Clones the repository, follows README.md, compresses a model from Python with a DataLoader, executes the notebooks, runs
a job without a terminal, and takes pictures of the pages. Prints each command with what it said, its seconds and its
exit code; what was made lies in the folder, to be looked at. Exit code 1 if any step fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES = 30
"""Of what a command says, so many of the last lines are shown."""
WINDOW = "1100,1600"
DIGITS = ROOT / "models" / "digits"
FROM_PYTHON = """
import sys
import numpy as np, torch
import netsurgeon

model, data, output = sys.argv[1:]
arrays = np.load(data)
(name,) = (key for key in arrays.files if key != "labels")
inputs, labels = torch.from_numpy(arrays[name]), torch.from_numpy(arrays["labels"])
pairs = torch.utils.data.TensorDataset(inputs, labels)
loader = torch.utils.data.DataLoader(pairs, batch_size=64, shuffle=True)
result = netsurgeon.compress(model, loader, output=output, max_drop="2%", effort="fast")
print(repr(result))
print(result.summary())
"""
A_JOB = """
set -e
netsurgeon compress "$1" --data "$2" -o "$3/job.onnx" --report "$3/job.json" --sparsity 0.8 --quantize none </dev/null
netsurgeon compare "$1" "$3/job.onnx" --data "$2" --json - > "$3/compare.json"
python -c 'import json, sys; json.load(open(sys.argv[1]))' "$3/compare.json"
netsurgeon view "$3/job.json" -o "$3/view.html" --no-browser
"""


class Hour:
    """What was done so far, and whether all of it worked."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.clone, self.environment = folder / "netsurgeon", folder / "environment"
        self.has_failed = False

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
        print("\n".join(done.stdout.splitlines()[-LINES:]))
        print(f"-- exit code {done.returncode}, {time.perf_counter() - started:.1f} s", flush=True)
        self.has_failed |= done.returncode != 0


def main() -> int:
    """Do it all."""
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    hour = Hour(arguments.folder.resolve())
    model, data = arguments.model.resolve(), arguments.data.resolve()
    python = hour.environment / "bin" / "python"
    hour.step("the repository", "git", "clone", "--quiet", ROOT, hour.clone, cwd=hour.folder)
    hour.step("make demo", "make", "demo", "RUNTIME=cpu")
    hour.step("an environment", sys.executable, "-m", "venv", hour.environment)
    packages = ("-c", "constraints.txt", ".[cpu,torch]", "nbclient", "ipykernel")
    hour.step("what README.md says to install", python, "-m", "pip", "install", "--quiet", *packages)
    hour.step("the version", "netsurgeon", "--version")
    hour.step("help", "netsurgeon", "compress", "--help")
    hour.step("from Python", python, "-c", FROM_PYTHON, model, data, hour.folder / "python.onnx", cwd=hour.folder)
    for notebook in sorted((hour.clone / "examples").glob("*.ipynb")):
        execute = ("jupyter", "execute", notebook, f"--output={hour.folder / notebook.name}")
        hour.step(f"the notebook {notebook.name}", *execute, cwd=notebook.parent)
    hour.step("a job without a terminal", "bash", "-c", A_JOB, "job", model, data, hour.folder, cwd=hour.folder)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    pages = (hour.clone / "build" / "demo" / "report.html", hour.folder / "view.html")
    if not browser:
        print("\nthere is no Chromium here: no pictures of the pages are made")
    for page in pages if browser else ():
        picture = hour.folder / f"{page.stem}.png"
        headless = (browser or "", "--headless", "--no-sandbox", f"--window-size={WINDOW}", f"--screenshot={picture}")
        hour.step(f"a picture of {page.name}", *headless, page.as_uri(), cwd=hour.folder)
    print("\n" + ("a step has failed" if hour.has_failed else f"all steps worked; look at {hour.folder}"))
    return int(hour.has_failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for all that is made")
    parser.add_argument("--model", type=Path, default=DIGITS / "digits.onnx")
    parser.add_argument(
        "--data", type=Path, default=DIGITS / "calibration.npz", help="an .npz with one input and labels"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
