"""What the search for a goal costs: ``python benchmarks/search.py --shared ../shared --against REVISION``.

The default goal on real models, with the code of an older revision and with this code in turn, and then the first look
(`--effort fast`) with this code. Every run is a process of its own, on one thread. Results are kept row by row in
results/search.json and shown in results/search.md. Exit code 1 if a row that was asked for misses what it must reach.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from _process import HERE, Row, run_task, take_two_cores
from _quantize_cases import CASES, Case
from _rows import keep_rows, matching, read_rows, report_misses, row_parser
from _tables import table, write

GOAL = "--max-drop 1%"
GOALS = {case.model: case for case in CASES if case.run == "goal"}
RUNS = {"before": {}, "now": {}, "fast": {"effort": "fast"}}
"""What is run of each model, in turn, and options beside the goal; the first with the older code."""
SHARE = 1 / 3
"""Of the processor seconds of the older code, at most."""
SMALLER = 0.95
"""The file must be at least this share as many times smaller as it was."""
SECONDS_FAST = 60.0
"""Processor seconds of a first look, at most."""
ROOT = HERE.parent


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    rows = read_rows(arguments.results, "search")
    if not arguments.render:
        with _older_code(arguments.against) as older:
            for model, name in arguments.only:
                python = (*(older if name == "before" else ()), sys.executable)
                revision = _revision(arguments.against if name == "before" else "HEAD")
                row = {**_run(arguments.shared, GOALS[model], name, python), "revision": revision}
                rows[f"{model} {name}"] = row
                keep_rows(arguments.results, "search", rows)
                print(model, name, json.dumps(row)[:300], flush=True)
    _render(arguments.results, rows)
    models = dict.fromkeys(model for model, _ in arguments.only)
    missed = [f"{model}: {miss}" for model in models for miss in _misses(rows, model)]
    return report_misses(arguments.results / "search.md", missed)


def _arguments() -> argparse.Namespace:
    parser = row_parser(__doc__, "search", shared="models and data", only="names of rows, or parts of them")
    parser.add_argument("--against", metavar="REVISION", help="of git, whose code is run as well; without it only this")
    arguments = parser.parse_args()
    rows = {
        f"{model} {name}": (model, name) for model in GOALS for name in RUNS if arguments.against or name != "before"
    }
    arguments.only = [rows[name] for name in matching(parser, arguments.only, list(rows))]
    return arguments


def _run(shared: Path, case: Case, name: str, python: tuple[str, ...]) -> Row:
    """One search; the test split is read once, at its end."""
    task = {"kind": "goals", "shared": str(shared), "data": case.data, "model": case.model, "limit": case.limit}
    return run_task({**task, "seed": 0, "threads": 1, "goals": {**case.options, **RUNS[name]}}, python=python)


@contextlib.contextmanager
def _older_code(revision: str | None) -> Iterator[tuple[str, ...]]:
    """What a command begins with so that it runs a revision's package; nothing without one."""
    if revision is None:
        yield ()
        return
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "netsurgeon"
        _git("worktree", "add", "--detach", str(package), revision)
        try:
            yield "env", f"PYTHONPATH={os.pathsep.join([folder, os.environ.get('PYTHONPATH', '')])}"
        finally:
            _git("worktree", "remove", "--force", str(package))


def _revision(name: str) -> str:
    """A revision, shortened."""
    return _git("rev-parse", "--short", name).strip()


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout


def _misses(rows: dict[str, Row], model: str, names: Iterable[str] = RUNS) -> list[str]:
    """What the runs of a model fall short of, as far as they were measured."""
    measured = {name: rows[f"{model} {name}"] for name in names if f"{model} {name}" in rows}
    if failed := [str(row["error"]) for row in measured.values() if row["status"] != "ok"]:
        return failed
    before, now, fast = (measured.get(name) for name in RUNS)
    shortfalls = []
    for name, row in (("", now), ("first look: ", fast)):
        if row is not None and row["test"]["low"] > row["goals"]["max_drop"]:
            drop = f"drop {row['test']['drop']:.2%} on the test split, at least {row['test']['low']:.2%}"
            shortfalls.append(name + drop)
    if fast is not None and fast["cpu_seconds"] > SECONDS_FAST:
        shortfalls.append(f"first look of {fast['cpu_seconds']:.0f} s, at most {SECONDS_FAST:g}")
    if before is not None and now is not None:
        if now["cpu_seconds"] > SHARE * before["cpu_seconds"]:
            shortfalls.append(f"{now['cpu_seconds'] / before['cpu_seconds']:.2f} of the seconds, at most {SHARE:.2f}")
        if now["ratio"] < SMALLER * before["ratio"]:
            shortfalls.append(f"file ÷ {now['ratio']:.2f}, was {before['ratio']:.2f}")
    return shortfalls


def _render(folder: Path, rows: dict[str, Row]) -> None:
    titles = (
        "model", "run", "code", "processor seconds", "share", "minutes", "candidates", "guide: drop (at most)",
        "test: points lost (80 % interval)", "inputs", "file ÷", "reached",
    )  # fmt: skip
    lines = [_line(rows, model, name) for model in GOALS for name in RUNS if f"{model} {name}" in rows]
    legend = (
        f"The default goal, `{GOAL}`, on one thread: with the code of an older revision (before), with this code "
        "(now), and the first look with it (`--effort fast`). Runs of a model followed each other on the "
        "same core. Processor seconds are those of the whole command; share: of those before. Points of top-1; "
        "`at most` is the one-sided 90 % paired bound on the inputs that guided the search, the interval joins the two "
        "one-sided 90 % bounds on the test split, which is read once, at the end. Inputs: corrected on / guiding / "
        f"test. Reached: at most {SHARE:.2f} of the seconds for a file at least {SMALLER:g} times as small and a drop "
        f"that may be within the goal; {SECONDS_FAST:g} s for a first look."
    )
    write(folder / "search.md", "\n\n".join(["# What a search costs", legend, table(titles, lines)]) + "\n")


def _line(rows: dict[str, Row], model: str, name: str) -> list[str]:
    row, before = rows[f"{model} {name}"], rows.get(f"{model} before", {})
    missed = _misses(rows, model, ("fast",) if name == "fast" else ("before", "now"))
    reached = "no: " + "; ".join(missed).replace("|", "\\|") if missed else "yes"
    if name == "before":
        reached = ""
    elif name == "now" and not before:
        reached = "not compared"
    if row["status"] != "ok":
        return [model, name, row["revision"], *[""] * 8, row["error"]]
    guide, test = row["guide"], row["test"]
    share = row["cpu_seconds"] / before["cpu_seconds"] if before.get("status") == "ok" else None
    return [
        model,
        name,
        row["revision"],
        f"{row['cpu_seconds']:.0f}",
        "" if share is None or name == "before" else f"{share:.2f}",
        f"{row['seconds'] / 60:.1f}",
        str(row["tried"]),
        f"{100 * guide['drop']:.2f} ({100 * guide['high']:.2f})",
        f"{100 * test['drop']:.2f} ({100 * test['low']:.2f} to {100 * test['high']:.2f})",
        f"{row['corrected']:,} / {guide['samples']:,} / {test['samples']:,}",
        f"{row['ratio']:.2f}",
        reached,
    ]


if __name__ == "__main__":
    sys.exit(main())
