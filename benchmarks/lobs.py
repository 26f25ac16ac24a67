"""Compress real models and show what it costs: ``python benchmarks/lobs.py --shared ../shared``.

Every run is a process of its own, so that its peak memory is its own and a crash costs one row; this one imports
nothing large, because a child's peak counts its parent's memory at the start. Results are kept row by row in
results/lobs.json and shown in results/lobs.md. Exit code 1 if a row that was asked for misses its goal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _cases import DEFAULT, GOALS, METHODS, MODELS, PATTERN_GOALS, PATTERNS, Goal, PatternGoal, zoo_names
from _lobs_tables import (
    OWN_SHARES,
    default_sparsities,
    keep_row,
    misses,
    own_figure,
    pattern_misses,
    read_rows,
    render,
    scale_misses,
)
from _process import Row, run_task, run_zoo, take_two_cores

HERE = Path(__file__).parent


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    missed = []
    if not arguments.render:
        missed += _accuracy(arguments)
        missed += _patterns(arguments)
        missed += _scale(arguments) if "scale" in arguments.only else []
        missed += _zoo(arguments)
    render(arguments.results)
    print(f"\n{arguments.results / 'lobs.md'}")
    for miss in missed:
        print(f"missed: {miss}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with models, data and zoo")
    parser.add_argument("--only", type=_words, help=f"any of {', '.join(MODELS)}, scale, zoo, zoo/<graph>")
    methods = (*METHODS, *PATTERNS)
    parser.add_argument("--methods", type=_words, default=list(methods), help=f"any of {', '.join(methods)}")
    parser.add_argument("--kept", type=_numbers, help="percent of the weights kept, such as 15,7,3.5")
    parser.add_argument("--seeds", type=_numbers, help="seeds of the draws of MNIST and CIFAR-10 (default 0,1,2)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of lobs.json and lobs.md")
    parser.add_argument("--render", action="store_true", help="only write lobs.md anew")
    arguments = parser.parse_args()
    arguments.shared = arguments.shared.resolve()
    names = [*MODELS, "scale", "zoo", *(f"zoo/{name}" for name in zoo_names(arguments.shared))]
    arguments.only = arguments.only or [*MODELS, "scale", "zoo"]
    for words, allowed in ((arguments.only, names), (arguments.methods, methods)):
        if unknown := [word for word in words if word not in allowed]:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(allowed)}")
    return arguments


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def _accuracy(arguments: argparse.Namespace) -> list[str]:
    """Run the rows of the table; what they miss."""
    goals = [goal for goal in GOALS if goal.model in arguments.only]
    goals = [goal for goal in goals if arguments.kept is None or goal.kept in arguments.kept]
    for goal in goals:
        for method in (method for method in METHODS if method in arguments.methods):
            for seed in goal.compared:
                if arguments.seeds is None or seed in arguments.seeds or len(goal.compared) == 1:
                    _keep(arguments, _accuracy_row(arguments, goal, method, seed))
    rows = read_rows(arguments.results)
    return [f"{goal.model} at {goal.kept:g} %: {miss}" for goal in goals for miss in misses(rows, goal)]


def _accuracy_row(arguments: argparse.Namespace, goal: Goal, method: str, seed: int) -> Row:
    row: Row = {"part": "accuracy", "model": goal.model, "kept": goal.kept, "method": method, "seed": seed}
    row |= {"must_reach": goal.must, "rival": goal.rival, "measure": goal.measure}
    task: dict[str, Any] = {"kind": "accuracy", "shared": str(arguments.shared), "data": goal.data}
    task["sparsities"] = {} if method == DEFAULT else default_sparsities(read_rows(arguments.results), row)
    row |= run_task(task | {name: row[name] for name in ("model", "kept", "method", "seed")})
    if row["status"] == "ok":
        row["figure"] = own_figure(row, goal)
        row["reached"] = goal.reached(row["figure"])
    return row


def _patterns(arguments: argparse.Namespace) -> list[str]:
    """Run the rows of the table of patterns; what they miss."""
    goals = [goal for goal in PATTERN_GOALS if goal.goal.model in arguments.only and goal.pattern in arguments.methods]
    goals = [goal for goal in goals if arguments.kept is None or goal.goal.kept in arguments.kept]
    for goal in goals:
        for seed in goal.goal.compared:
            if arguments.seeds is None or seed in arguments.seeds or len(goal.goal.compared) == 1:
                _keep(arguments, _pattern_row(arguments, goal, seed))
    rows = read_rows(arguments.results)
    return [
        f"{goal.goal.model} at {goal.goal.kept:g} % in {goal.pattern}: {miss}"
        for goal in goals
        for miss in pattern_misses(rows, goal)
    ]


def _pattern_row(arguments: argparse.Namespace, goal: PatternGoal, seed: int) -> Row:
    """As many weights as the default method keeps, in a pattern and shared out among the layers for that pattern."""
    row: Row = {"part": "patterns", "model": goal.goal.model, "kept": goal.goal.kept, "method": goal.pattern}
    row |= {"seed": seed, "most_lost": goal.most, "shares": OWN_SHARES}
    task = {"kind": "accuracy", "shared": str(arguments.shared), "data": goal.goal.data, "sparsities": {}}
    row |= run_task({**row, **task, "method": DEFAULT, "pattern": goal.pattern})
    return row if row["status"] != "ok" else {**row, "figure": own_figure(row, goal.goal)}


def _scale(arguments: argparse.Namespace) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/light_resnet50.onnx"
        weighted = run_task({"kind": "he", "source": "", "target": path, "free_batch": True})
        task = {"kind": "scale", "shared": str(arguments.shared), "path": path}
        facts = run_task(task) if weighted["status"] == "ok" else weighted
    row = {"part": "scale", "model": "light_resnet50", "kept": 20.0, "method": DEFAULT, "seed": 0, **facts}
    row["reached"] = not scale_misses(row)
    _keep(arguments, row)
    return [f"scale: {miss}" for miss in scale_misses(row)]


def _zoo(arguments: argparse.Namespace) -> list[str]:
    manifest = json.loads((arguments.shared / "zoo" / "manifest.json").read_text("utf-8"))
    missed = []
    for name in zoo_names(arguments.shared):
        if "zoo" not in arguments.only and f"zoo/{name}" not in arguments.only:
            continue
        facts = run_zoo("zoo", arguments.shared / "zoo" / f"{name}.onnx", manifest[name]["inputs"])
        _keep(arguments, {"part": "zoo", "model": name, "kept": 50.0, "method": DEFAULT, "seed": 0, **facts})
        missed += [f"zoo/{name}: {facts['error']}"] if facts["status"] == "BROKEN" else []
    return missed


def _keep(arguments: argparse.Namespace, row: Row) -> None:
    keep_row(arguments.results, row)
    name = "/".join(str(row[key]) for key in ("part", "model", "kept", "method", "seed"))
    facts = {"figure": "{:.2f}", "ratio": "÷{:.1f}", "relative_error": "error {:.3g}", "seconds": "{:.0f} s"}
    shown = [form.format(row[key]) for key, form in facts.items() if row.get(key) is not None]
    print(" ".join([name, row["status"], *shown, row.get("error", "")]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
