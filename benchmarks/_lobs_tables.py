"""The rows of `lobs.py`, kept as JSON and shown as Markdown."""

from __future__ import annotations

import base64
import json
import math
import statistics
import zlib
from pathlib import Path

from _cases import (
    CHANCE_TIMES,
    DEFAULT,
    GOALS,
    METHODS,
    PATTERN_GOALS,
    PATTERNS,
    SCALE_BYTES,
    SCALE_SECONDS,
    TOLERANCE,
    Goal,
    PatternGoal,
)
from _process import Row
from _tables import mib, number, plain, table, write

KEPT_TOLERANCE = 0.05
"""Percent of the weights by which what was kept may exceed what was asked for."""
PLAN_TOLERANCE = 0.02
"""Difference of a layer's sparsity up to which two runs prune it as far: methods leave other units dead."""
OWN_SHARES, OTHER_SHARES = "its own", "those of auto"
"""How a pattern's weights are shared out among the layers."""
NINETY_PERCENT = 1.2816
"""Standard errors of the one-sided 90 % bound."""

Pairs = list[tuple[Row, Row]]
"""Runs of a method and of the default on the same draws."""
Difference = tuple[float, float]
"""Mean and standard error, in points."""


def read_rows(folder: Path) -> list[Row]:
    """The rows kept so far."""
    path = folder / "lobs.json"
    rows: list[Row] = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return rows


def keep_row(folder: Path, row: Row) -> None:
    """Put a row in the place of an older one of the same run, and show all rows anew."""
    rows = {_key(kept_row): kept_row for kept_row in read_rows(folder)}
    rows[_key(row)] = row
    text = json.dumps({"rows": [rows[key] for key in sorted(rows)]}, indent=1, ensure_ascii=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "lobs.json", text)
    render(folder)


def render(folder: Path) -> None:
    """Write lobs.md from the rows kept."""
    rows = read_rows(folder)
    parts = [_accuracy(rows), _methods(rows), _patterns(rows), _scale(rows), _zoo(rows)]
    purpose = (
        "This page shows what pruning without retraining costs on real models, beside other methods and published "
        "figures."
    )
    write(folder / "lobs.md", "\n\n".join(["# L-OBS on real models", purpose, *filter(None, parts)]) + "\n")


def misses(rows: list[Row], goal: Goal) -> list[str]:
    """What a row of the table falls short of, as far as it was measured."""
    figure, shortfalls = _figure(rows, goal, DEFAULT), []
    runs = _runs(rows, goal, DEFAULT)
    broken = [row for method in METHODS for row in _of(rows, goal, method) if row["status"] != "ok"]
    shortfalls += [f"{row['method']} with seed {row['seed']} failed: {row['error']}" for row in broken]
    if figure is not None and not goal.reached(figure):
        shortfalls.append(f"{goal.measure} {figure:.2f}, must reach {goal.must}")
    if any(row["kept_measured"] > goal.kept + KEPT_TOLERANCE for row in runs):
        shortfalls.append(f"keeps {max(row['kept_measured'] for row in runs):.2f} % of the weights")
    if goal.ratio and runs and min(row["ratio"] for row in runs) < goal.ratio:
        shortfalls.append(f"{min(row['ratio'] for row in runs):.1f} times smaller, must be {goal.ratio:g}")
    if best := _better_method(rows, goal):
        shortfalls.append(f"{best} is better than {DEFAULT}")
    return shortfalls


def pattern_misses(rows: list[Row], goal: PatternGoal) -> list[str]:
    """What a row of the table of patterns falls short of, as far as it was measured."""
    runs = _pattern_runs(rows, goal)
    shortfalls = [f"seed {row['seed']} failed: {row['error']}" for row in runs if row["status"] != "ok"]
    pairs = _pattern_pairs(rows, goal)
    if pairs and goal.most is not None and -_difference(pairs)[0] > goal.most + 1e-9:
        shortfalls.append(f"{-_difference(pairs)[0]:.2f} points below {DEFAULT}, at most {goal.most:g}")
    if any(row["kept_measured"] > goal.goal.kept + KEPT_TOLERANCE for row in runs if row["status"] == "ok"):
        shortfalls.append("keeps more of the weights")
    return shortfalls


def _pattern_runs(rows: list[Row], goal: PatternGoal) -> list[Row]:
    key = ("patterns", goal.goal.model, goal.goal.kept, goal.pattern)
    return [row for row in rows if (row["part"], row["model"], row.get("kept"), row.get("method")) == key]


def _pattern_pairs(rows: list[Row], goal: PatternGoal) -> Pairs:
    """Its runs beside those of the default on the same draws."""
    own = {row["seed"]: row for row in _runs(rows, goal.goal, DEFAULT)}
    runs = [row for row in _pattern_runs(rows, goal) if row["status"] == "ok"]
    return [(row, own[row["seed"]]) for row in runs if row["seed"] in own]


def scale_misses(row: Row) -> list[str]:
    """What the run at scale falls short of."""
    if row["status"] != "ok":
        return [row["error"]]
    shortfalls = [] if row["complete"] else [f"{row['layers']} layers, {row['calibration_samples']} pictures"]
    shortfalls += [f"{row['seconds']} s, at most {SCALE_SECONDS:g}"] if row["seconds"] > SCALE_SECONDS else []
    return shortfalls + ([f"{mib(row['peak_bytes'])} MiB"] if row["peak_bytes"] > SCALE_BYTES else [])


def own_figure(row: Row, goal: Goal) -> float:
    """Error or top-1 of one run, in percent."""
    top1 = float(row["top1"])
    return round(100 - top1, 4) if goal.measure == "error" else top1


def _key(row: Row) -> tuple[str, str, float, int, int]:
    order = (*METHODS, *PATTERNS).index(row["method"]) if row.get("method") in (*METHODS, *PATTERNS) else 0
    return row["part"], row["model"], -row.get("kept", 0.0), order, row.get("seed", 0)


def default_sparsities(rows: list[Row], row: Row) -> dict[str, float]:
    """Layers' sparsities in the default method's run of the same row; none where it has not been run."""
    same = ("part", "model", "kept", "seed")
    runs = [run for run in rows if run["method"] == DEFAULT and all(run.get(key) == row[key] for key in same)]
    sparsities: dict[str, float] = runs[0].get("sparsities", {}) if runs else {}
    return sparsities


def _of(rows: list[Row], goal: Goal, method: str) -> list[Row]:
    key = ("accuracy", goal.model, goal.kept, method)
    return [row for row in rows if (row["part"], row["model"], row.get("kept"), row.get("method")) == key]


def _runs(rows: list[Row], goal: Goal, method: str) -> list[Row]:
    return [row for row in _of(rows, goal, method) if row["status"] == "ok"]


def _figure(rows: list[Row], goal: Goal, method: str) -> float | None:
    """The median over the draws that count."""
    figures = [own_figure(row, goal) for row in _runs(rows, goal, method) if row["seed"] in goal.seeds]
    return round(statistics.median(figures), 4) if figures else None


def _better_method(rows: list[Row], goal: Goal) -> str | None:
    """The method, well above chance, that beats the default on the draws both have run, by more than chance explains.

    That is more than the tolerance, and more than the one-sided 90 % bound of the difference.
    """
    for method in METHODS[1:]:
        pairs = _pairs(rows, goal, method)
        mean, error = _difference(pairs) if pairs else (0.0, 0.0)
        well = any(float(row["top1"]) >= CHANCE_TIMES * goal.chance for row, _ in pairs)
        if well and mean > max(TOLERANCE[goal.measure] + 1e-9, NINETY_PERCENT * error):
            return f"{method} ({mean:+.2f} points)"
    return None


def _pairs(rows: list[Row], goal: Goal, method: str) -> Pairs:
    """What a method is compared by: the draws that both it and the default have run; none where plans differ."""
    if not _is_compared(rows, goal, method):
        return []
    own = {row["seed"]: row for row in _runs(rows, goal, DEFAULT)}
    return [(row, own[row["seed"]]) for row in _runs(rows, goal, method) if row["seed"] in own]


def _difference(pairs: Pairs) -> Difference:
    """How many more points of top-1 a method has than the default.

    The test inputs are the same in every draw: they, not the answers, are the independent samples of the error.
    """
    gained = [[int(a) - int(b) for a, b in zip(*map(_right, pair), strict=True)] for pair in pairs]
    mean = [statistics.fmean(gains) for gains in zip(*gained, strict=True)]
    return 100 * statistics.fmean(mean), 100 * statistics.stdev(mean) / math.sqrt(len(mean))


def _right(row: Row) -> str:
    """Which answers of a run are right: a character, 0 or 1, for each test input."""
    answers = zlib.decompress(base64.b85decode(row["right"]))
    return "".join(f"{byte:08b}" for byte in answers)[: row["test_samples"]]


def _is_compared(rows: list[Row], goal: Goal, method: str) -> bool:
    """Whether a method's runs prune each layer as far as the default's do, but for the rounding of counts."""
    own = {row["seed"]: row.get("sparsities", {}) for row in _runs(rows, goal, DEFAULT)}
    pairs = [(row.get("sparsities", {}), own[row["seed"]]) for row in _runs(rows, goal, method) if row["seed"] in own]
    return all(
        one and one.keys() == other.keys() and all(abs(one[name] - other[name]) <= PLAN_TOLERANCE for name in one)
        for one, other in pairs
    )


def _accuracy(rows: list[Row]) -> str:
    titles: tuple[str, ...] = ("model", "kept", "must reach", *METHODS, "rival onnxsim SparseGPT", "reached")
    titles += ("seconds auto", "peak MiB auto", "bytes", "bytes ÷")
    lines = [_accuracy_line(rows, goal) for goal in GOALS if any(_of(rows, goal, method) for method in METHODS)]
    if not lines:
        return ""
    legend = (
        "LeNets: error in percent, the median of the calibration seeds measured (the number of seeds where it is not "
        f"3), ± {TOLERANCE['error']}; the others: top-1 in percent, of the first draw of calibration pictures. Dense "
        "figure behind the name. The networks are calibrated on training pictures without labels (and, but for MNIST, "
        "on their mirror images), not retrained, and measured on the test split at the end of each run. The other "
        "methods prune each layer as far as auto does (°: not as far as auto's last run, so the two are not compared); "
        "one is called better than auto beyond the tolerance and the bound of the next table. The first constants of "
        "the budget were settled with these accuracies in view; the choice of damping, the correction of residual "
        "sums, the sensitivities and their scaling on training pictures outside the calibration set, or on calibration "
        "pictures held out where there are no others. Each run is a process of its own on at most 2 cores; seconds and "
        "bytes are medians over the seeds, peak memory (resident, data included) is the largest. Published for L-OBS "
        "at 7 % kept: +1.34 points for lenet300100, +1.94 for lenet5."
    )
    return f"## Accuracy\n\n{legend}\n\n{table(titles, lines)}"


def _accuracy_line(rows: list[Row], goal: Goal) -> list[str]:
    runs = _runs(rows, goal, DEFAULT)
    every = [row for method in METHODS for row in _runs(rows, goal, method)]
    dense = f" ({own_figure({'top1': every[0]['top1_dense']}, goal):.2f})" if every else ""
    must = "report" if goal.must is None else f"{goal.must:g}"
    must += f", {goal.ratio:g} times smaller" if goal.ratio else ""
    line = [goal.model + dense, f"{goal.kept:g} %", must]
    line += [_cell(rows, goal, method) for method in METHODS]
    line += ["-" if goal.rival is None else f"{goal.rival:g}", _verdict(rows, goal)]
    if not runs:
        return [*line, "", "", "", ""]
    small = statistics.median(row["bytes"] for row in runs)
    return [
        *line,
        f"{statistics.median(row['seconds'] for row in runs):.0f}",
        mib(max(row["peak_bytes"] for row in runs)),
        f"{runs[0]['bytes_dense']:,} → {small:,.0f}",
        f"{statistics.median(row['ratio'] for row in runs):.1f}",
    ]


def _methods(rows: list[Row]) -> str:
    lines = [_methods_line(rows, goal) for goal in GOALS if _runs(rows, goal, DEFAULT)]
    if not lines:
        return ""
    legend = (
        "Points of top-1 that the other methods have more than auto, over all draws of calibration pictures that both "
        f"have run (their number where it is not 1), ± {NINETY_PERCENT:.2f} standard errors of the answers to the same "
        "test inputs: more than by this one is ahead by chance in one comparison of ten, and is called better than "
        "auto. °: other sparsities than auto."
    )
    return f"## Methods against the default\n\n{legend}\n\n{table(('model', 'kept', *METHODS[1:]), lines)}"


def _methods_line(rows: list[Row], goal: Goal) -> list[str]:
    return [goal.model, f"{goal.kept:g} %", *(_advantage(rows, goal, method) for method in METHODS[1:])]


def _advantage(rows: list[Row], goal: Goal, method: str) -> str:
    pairs = _pairs(rows, goal, method)
    if not pairs:
        return "°" if _runs(rows, goal, method) else ""
    mean, error = _difference(pairs)
    return f"{mean:+.2f} ± {NINETY_PERCENT * error:.2f}" + (f" ({len(pairs)})" if len(pairs) > 1 else "")


def _cell(rows: list[Row], goal: Goal, method: str) -> str:
    figure, count = _figure(rows, goal, method), len({row["seed"] for row in _runs(rows, goal, method)} & {*goal.seeds})
    failed = any(row["status"] != "ok" for row in _of(rows, goal, method))
    if figure is None:
        return "failed" if failed else ""
    note = f" ({count} of {len(goal.seeds)} seeds)" if count != len(goal.seeds) else ""
    return f"{figure:.2f}{note}{'' if _is_compared(rows, goal, method) else ' °'}"


def _verdict(rows: list[Row], goal: Goal) -> str:
    figure = _figure(rows, goal, DEFAULT)
    if figure is None:
        return "no: failed" if _of(rows, goal, DEFAULT) else ""
    shortfalls = misses(rows, goal)
    if shortfalls:
        return "no: " + "; ".join(plain(miss) for miss in shortfalls)
    if goal.must is None:
        return "reported"
    return f"within {TOLERANCE[goal.measure]}" if goal.is_close(figure) else "yes"


def _patterns(rows: list[Row]) -> str:
    lines = [_pattern_line(rows, goal) for goal in PATTERN_GOALS if _pattern_runs(rows, goal)]
    if not lines:
        return ""
    legend = (
        "Weights in tiles of a sparse kernel (`--pattern`) beside as many that may lie in any place (auto): top-1 in "
        f"percent, means of the draws that both have run, ± {NINETY_PERCENT:.2f} standard errors as above. Shares of "
        f"the layers: {OWN_SHARES}, as `--pattern` has it by itself, or {OTHER_SHARES}. Slots: share of all weights "
        "that the kernel has steps for, padding included."
    )
    lost = ("auto", "top-1", "difference", "may lose")
    titles = ("model", "kept", "pattern", "shares", *lost, "slots", "seconds", "reached")
    return f"## Patterns\n\n{legend}\n\n{table(titles, lines)}"


def _pattern_line(rows: list[Row], goal: PatternGoal) -> list[str]:
    pairs, missed = _pattern_pairs(rows, goal), pattern_misses(rows, goal)
    line = [goal.goal.model, f"{goal.goal.kept:g} %", goal.pattern]
    if not pairs:
        return [*line, *[""] * 7, "no: " + "; ".join(plain(miss) for miss in missed)]
    mean, error = _difference(pairs)
    own, other = (statistics.fmean(float(row["top1"]) for row in runs) for runs in zip(*pairs, strict=True))
    count = f" ({len(pairs)})" if len(pairs) > 1 else ""
    return [
        *line,
        pairs[0][0].get("shares", OTHER_SHARES),
        f"{other:.2f}",
        f"{own:.2f}{count}",
        f"{mean:+.2f} ± {NINETY_PERCENT * error:.2f}",
        "report" if goal.most is None else f"{goal.most:g}",
        f"{statistics.fmean(row['slots'] for row, _ in pairs):.1%}",
        f"{statistics.median(row['seconds'] for row, _ in pairs):.0f}",
        "no: " + "; ".join(map(plain, missed)) if missed else "reported" if goal.most is None else "yes",
    ]


def _scale(rows: list[Row]) -> str:
    scale_rows = [row for row in rows if row["part"] == "scale"]
    if not scale_rows:
        return ""
    row, head = scale_rows[0], "## Scale: the shape of ResNet-50, sparsity 0.8, 128 pictures of 224²"
    if row["status"] != "ok":
        return f"{head}\n\nFailed: {plain(row['error'])}"
    missed = scale_misses(row)
    words = (
        f"{row['layers']} layers, {row['seconds']:.0f} s (at most {SCALE_SECONDS:g}), peak {mib(row['peak_bytes'])} "
        f"MiB (at most {SCALE_BYTES >> 20}): {'missed: ' + '; '.join(missed) if missed else 'reached'}. "
        f"Solvers {row['solver_seconds']:.0f} s; file {row['ratio']:.1f} times smaller; relative error of the output "
        f"{number(row['relative_error'])} on 18 further pictures (untrained weights: no accuracy to keep). "
        "He weights, statistics of BatchNormalization from one random picture, the file's batch of 1 made dynamic."
    )
    stages = table(("stage", "seconds"), [[name, f"{value:.1f}"] for name, value in row["stages"].items()])
    layers = [[plain(name), op, " x ".join(map(str, shape)), f"{s:.1f}"] for name, op, shape, s in row["slowest"]]
    titles = ("slowest layers", "operator", "groups x rows x columns", "seconds in the solver")
    return f"{head}\n\n{words}\n\n{stages}\n\n{table(titles, layers)}"


def _zoo(rows: list[Row]) -> str:
    graphs = [row for row in rows if row["part"] == "zoo"]
    if not graphs:
        return ""
    titles = ("graph", "status", "layers", "pruned", "declined", "why", "bytes ÷", "relative error", "seconds")
    words = (
        "Sparsity 0.5, 16 random inputs (`random:16`, or feeds where the graph has free axes, integers or fixed "
        f"values). {sum(row['status'] != 'BROKEN' for row in graphs)} of {len(graphs)} not broken; `light_*` with He "
        "weights. Relative error: of the written file against the dense one, worst float output, 4 random feeds."
    )
    return f"## Zoo\n\n{words}\n\n{table(titles, [_zoo_line(row) for row in graphs])}"


def _zoo_line(row: Row) -> list[str]:
    declined = row.get("declined", [])
    why = "; ".join(f"{count} {operator}: {reason}" for count, operator, reason in declined)
    if row.get("error"):
        why = f"{row['error']}; {why}" if why else row["error"]
    return [
        row["model"],
        row["status"],
        str(row.get("layers", row.get("inspected", ""))),
        str(row.get("pruned", "")),
        str(sum(count for count, _, _ in declined)),
        plain(why, 240),
        f"{row['ratio']:.2f}" if "ratio" in row else "",
        number(row.get("relative_error")),
        f"{row['seconds']:.0f}" if "seconds" in row else "",
    ]
