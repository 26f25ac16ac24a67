"""Prune one wide layer by half: seconds, and how much more error than with an exact refit of the same weights.

    python benchmarks/wide_layer.py                                # 4096 x 4096 on two threads, as in the row
    python benchmarks/wide_layer.py --columns 512 --exact 256      # while developing

The layer has random weights; its inputs are made up, of a few strong directions and many weak ones, as those of trained
layers are. What is measured is what `compress` does to a layer of a model that is as wide: moments from four rows a
column, then ADMM and the refit by conjugate gradients. The exact refit solves each row by itself, for
rows x columns³ products, so that it runs at `--exact` columns alone. Seconds say something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
from _process import Row, take_two_cores
from _rows import RESULTS, keep_rows, read_rows, report_misses
from _tables import table, write

from netsurgeon.passes.solvers import Array, Mask, Moments, Problem, allowed_cores, prune

ROWS_PER_COLUMN = 4
BATCH = 2048
DAMPING = 1e-2
SPARSITY = 0.5
MOST_SECONDS, MOST_COLUMNS = 30.0, 4096
"""Of the wall, for a layer of so many columns."""
MOST_MORE = 0.01
"""Error beyond that of the exact refit, as a share of it."""
TITLES = ("layer", "what", "seconds (of a core)", "must", "layer error", "more than the exact refit", "must", "reached")
LEGEND = (
    "One layer with random weights at 50 % zeros, on {threads} threads; layer error: δE over the energy of the layer's "
    "output. Moments are those of four rows a column."
)


@dataclasses.dataclass
class Clock:
    """Seconds of the wall and of all cores since it was made."""

    wall: float = dataclasses.field(default_factory=time.perf_counter)
    cores: float = dataclasses.field(default_factory=time.process_time)

    def read(self) -> Row:
        """What has passed."""
        passed = {"seconds": time.perf_counter() - self.wall, "cpu_seconds": time.process_time() - self.cores}
        return {name: round(seconds, 2) for name, seconds in passed.items()}


def moments_of(columns: int, seed: int = 0) -> Moments:
    """Moments of made-up inputs: of as many hidden directions the i-th has the energy 1 / (1 + i / 16)."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((columns, columns), np.float32) / np.float32(np.sqrt(columns))
    mixing *= (1.0 + np.arange(columns, dtype=np.float32)[:, None] / 16.0) ** -0.5
    moments = Moments(1, columns, paired=False)
    for _ in range(0, ROWS_PER_COLUMN * columns, BATCH):
        moments.update((rng.standard_normal((BATCH, columns), np.float32) @ mixing)[None])
    return moments


def problem_of(columns: int, moments: Moments, seed: int = 1) -> Problem:
    """A square layer with random weights on those inputs."""
    weight = np.random.default_rng(seed).standard_normal((1, columns, columns)) / np.sqrt(columns)
    return Problem.of(weight, moments.statistics(centred=False), DAMPING)


def measure(columns: int, *, is_exact: bool) -> dict[str, Row]:
    """Rows of a layer: its moments, its pruning, and if asked for the exact refit of the weights that this left."""
    rows: dict[str, Row] = {}
    clock = Clock()
    moments = moments_of(columns)
    rows["moments"] = clock.read()
    clock = Clock()
    problem = problem_of(columns, moments)
    pruned = prune(problem, round((1.0 - SPARSITY) * columns**2), "auto", effort="fast")
    rows["pruning"] = {**clock.read(), "error": problem.relative(problem.excess(pruned))}
    if is_exact:
        clock = Clock()
        exact = exact_refit(problem, pruned != 0.0)
        rows["exact refit"] = {**clock.read(), "error": problem.relative(problem.excess(exact))}
        rows["pruning"]["more"] = problem.error(pruned) / problem.error(exact) - 1.0
    return {f"{columns} x {columns} {what}": {**row, "threads": allowed_cores()} for what, row in rows.items()}


def exact_refit(problem: Problem, mask: Mask) -> Array:
    """The best weights on a support: of each row by itself, w_S = t_S H_SS⁻¹, in float64."""
    refitted = np.zeros_like(problem.weight)
    for row, target, kept in zip(refitted[0], problem.target[0], mask[0], strict=True):
        row[kept] = np.linalg.solve(problem.hessian[0][np.ix_(kept, kept)], target[kept])
    return refitted


def main() -> int:
    """Measure, write the table; 1 if a row misses what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=MOST_COLUMNS)
    parser.add_argument("--exact", type=int, default=1536, help="columns of the layer that is refitted exactly as well")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of wide_layer.json and wide_layer.md")
    parser.add_argument("--render", action="store_true", help="only write wide_layer.md anew")
    arguments = parser.parse_args()
    take_two_cores()
    if not arguments.render:
        measured = {**measure(arguments.exact, is_exact=True), **measure(arguments.columns, is_exact=False)}
        keep_rows(arguments.results, "wide_layer", {**read_rows(arguments.results, "wide_layer"), **measured})
    rows = read_rows(arguments.results, "wide_layer")
    render(arguments.results, rows)
    missed = [f"{name}: {miss}" for name, row in rows.items() for miss in misses(name, row)]
    return report_misses(arguments.results / "wide_layer.md", missed)


def misses(name: str, row: Row) -> list[str]:
    """What a row falls short of."""
    shortfalls = []
    if name == f"{MOST_COLUMNS} x {MOST_COLUMNS} pruning" and row["seconds"] > MOST_SECONDS:
        shortfalls.append(f"{row['seconds']:.0f} s, at most {MOST_SECONDS:g}")
    if row.get("more", 0.0) > MOST_MORE:
        shortfalls.append(f"{row['more']:.1%} more error, at most {MOST_MORE:.0%}")
    return shortfalls


def render(folder: Path, rows: dict[str, Row]) -> None:
    """Write wide_layer.md."""
    lines = []
    for name in sorted(rows, key=lambda name: int(name.split()[0])):
        row, layer, what = rows[name], " ".join(name.split()[:3]), " ".join(name.split()[3:])
        is_timed = name == f"{MOST_COLUMNS} x {MOST_COLUMNS} pruning"
        verdict = "; ".join(misses(name, row)) or ("yes" if is_timed or "more" in row else "")
        lines.append([
            layer, what, f"{row['seconds']:.1f} ({row['cpu_seconds']:.1f})", f"{MOST_SECONDS:g}" if is_timed else "",
            f"{row['error']:.4f}" if "error" in row else "", f"{row['more']:.2%}" if "more" in row else "",
            f"{MOST_MORE:.0%}" if "more" in row else "", verdict,
        ])  # fmt: skip
    threads = " or ".join(sorted({str(row["threads"]) for row in rows.values()}))
    head = (
        "# One wide layer\n\n"
        "This page shows how long one wide layer takes to prune, and what quicker ways to do it cost."
    )
    page = [head, LEGEND.format(threads=threads), table(TITLES, lines)]
    write(folder / "wide_layer.md", "\n\n".join(page) + "\n")


if __name__ == "__main__":
    sys.exit(main())
