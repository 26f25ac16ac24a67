"""The rows of `cluster.py` as a page, and what they miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from _cluster_cases import APART, FASTER, SCENARIOS, SLOWER, SPEED_UP
from _process import Row
from _tables import table, write

KILLS = 10
MUST_WORKERS, MUST_GIGABITS = 64, 10.0
BYTES = (
    "Models that were made alone, with local workers, and with two workers while ten are killed at random moments, if "
    "the run lasts for so many; goals replay the times of the first run. Seconds of the wall mean little where other "
    "programs use the machine; "
    "seconds of a core are those of the main process, scheduler included, and of all workers."
)
SPEED = "ResNet-50's shape, sparsity 0.8, by the wall; the main process and each worker are confined to one core."
COSTS = "Seconds of a core that Dask takes: of a task, and of a megabyte that the main process sends to a worker."
SEAM = (
    "What the seam costs in one process: joining the sums of two shards, which a run without shards would not do, and "
    "handing tasks on, as a share of the seconds of a core of the run. Dask: what it takes for the tasks and bytes of "
    "the same run on one local worker."
)
VALIDATION = (
    "The first tasks of the small decoder's graph, with 8 shards, on real schedulers and workers of Dask: asleep in "
    "proportion to how long they would have worked, so that other programs on the machine do not matter, with a part "
    "of their bytes. The forecast is the model's, with costs of Dask by the wall as they were on that machine. This "
    "shows that tasks are placed and waited for as Dask does it, with few workers; it shows nothing of how fast "
    "networks, disks and many cores are."
)
SIMULATED = (
    "Times: how many times as fast as one worker at 10 Gbit/s. Binds: what is busy for the largest part of the time; "
    "where that is far below 100 %, what is left is tasks that wait for each other. GB: sent by the main process, "
    "fetched by it, and moved between workers."
)


def misses(name: str, row: Row) -> list[str]:
    """What a row falls short of."""
    part = name.partition(" ")[0]
    checks: Mapping[str, Callable[[Row], list[str]]] = {
        "bytes": _bytes_misses, "speed": _speed_misses, "seam": _seam_misses, "validation": _validation_misses,
        "simulated": _simulated_misses,
    }  # fmt: skip
    if row.get("status", "ok") != "ok":
        return [row["error"]]
    return checks[part](row) if part in checks else []


def speed_up(row: Row) -> float:
    """How many times as fast two workers are as one."""
    return float(row["runs"]["1"]["seconds"] / row["runs"]["2"]["seconds"])


def _bytes_misses(row: Row) -> list[str]:
    runs: Mapping[str, Row] = row["runs"]
    failed = [f"{name}: {run['error']}" for name, run in runs.items() if run["status"] != "ok"]
    if failed:
        return failed
    other = [name for name, run in runs.items() if run["sha256"] != runs["alone"]["sha256"]]
    shortfalls = [f"other bytes than alone with {', '.join(other)}"] if other else []
    killed = runs["2, killed"]["killed"]
    return shortfalls + ([f"{killed} workers killed, must be {KILLS}"] if killed < KILLS else [])


def _speed_misses(row: Row) -> list[str]:
    failed = [f"{name} workers: {run['error']}" for name, run in row["runs"].items() if run["status"] != "ok"]
    if failed:
        return failed
    return [f"{speed_up(row):.2f} times as fast, must be {FASTER:g}"] if speed_up(row) < FASTER else []


def _seam_misses(row: Row) -> list[str]:
    return [f"{row['share']:.1%} of the run, at most {SLOWER:.0%}"] if row["share"] > SLOWER else []


def _validation_misses(row: Row) -> list[str]:
    apart = row["forecast"] / row["seconds"] - 1.0
    return [f"forecast {apart:+.0%}, at most {APART:.0%} apart"] if abs(apart) > APART else []


def _simulated_misses(row: Row) -> list[str]:
    if not row.get("is_bound"):
        return []
    reached = [
        run["times"]
        for run in row["runs"]
        if (run["workers"], run["gigabits"]) == (MUST_WORKERS, MUST_GIGABITS) and run["times"] < SPEED_UP
    ]
    return [f"{times:.1f} times one worker with {MUST_WORKERS}, must be {SPEED_UP:g}" for times in reached]


def render(folder: Path, rows: Mapping[str, Row]) -> None:
    """Write cluster.md."""
    purpose = "This page shows what runs on a cluster cost, and how far a model of clusters says that they scale."
    page = ["# On a cluster", purpose, *_measured(rows), *_simulated(rows)]
    write(folder / "cluster.md", "\n\n".join(page) + "\n")


def _part(rows: Mapping[str, Row], part: str) -> dict[str, Row]:
    """Rows of a part, by what is behind its name."""
    return {name.partition(" ")[2]: row for name, row in rows.items() if name.partition(" ")[0] == part}


def _verdict(name: str, row: Row) -> str:
    missed = "; ".join(misses(name, row)).replace("|", "\\|")
    return f"no: {missed}" if missed else "yes"


def _measured(rows: Mapping[str, Row]) -> list[str]:
    page: list[str] = []
    if compared := _part(rows, "bytes"):
        lines = [line for name, row in compared.items() for line in _bytes_lines(name, row)]
        titles = ("model", "inputs", "workers", "sha256", "s", "s of a core: main", "workers", "killed", "same bytes")
        page += ["## Bytes", BYTES, table(titles, lines)]
    if speeds := _part(rows, "speed"):
        lines = [
            [name, *(f"{row['runs'][workers].get('seconds', '')}" for workers in ("1", "2")),
             "" if _failed(row) else f"{speed_up(row):.2f}", f"{FASTER:g}", _verdict("speed", row)]
            for name, row in speeds.items()
        ]  # fmt: skip
        page += [
            "## Two workers",
            SPEED,
            table(("inputs", "1 worker, s", "2 workers, s", "times", "must", "reached"), lines),
        ]
    if "seam" in rows:
        row = rows["seam"]
        line = [f"{row['share']:.2%}", f"{SLOWER:.0%}", _verdict("seam", row), f"{row['dask']:.1%}"]
        page += ["## The seam", SEAM, table(("seam", "at most", "reached", "Dask"), [line])]
    if "costs" in rows and rows["costs"].get("status") == "ok":
        costs = rows["costs"]["dask"]
        lines = [
            [where, f"{1e3 * costs[where]:.2f} ms", f"{1e9 * costs[f'{where}_byte']:.2f} ms"]
            for where in ("client", "scheduler", "worker")
        ]
        page += ["## What Dask takes", COSTS, table(("process", "a task", "a megabyte"), lines)]
    if validated := _part(rows, "validation"):
        lines = [
            [name, f"{row.get('seconds', '')}", f"{row.get('forecast', '')}", _verdict("validation", row)]
            for name, row in validated.items()
        ]
        page += [
            "## Forecast and Dask",
            VALIDATION,
            table(("workers", "measured, s", "forecast, s", "within 20 %"), lines),
        ]
    return page


def _failed(row: Row) -> bool:
    return any(run["status"] != "ok" for run in row["runs"].values())


def _bytes_lines(name: str, row: Row) -> list[list[str]]:
    alone = row["runs"]["alone"].get("sha256")
    return [
        [
            name, f"{row.get('limit') or 'all'}", workers, run.get("sha256", run.get("error", ""))[:12],
            *(f"{run.get(key, '')}" for key in ("seconds", "main", "workers")), f"{run.get('killed') or ''}",
            "yes" if run.get("sha256") == alone and alone else "no",
        ]
        for workers, run in row["runs"].items()
    ]  # fmt: skip


def _simulated(rows: Mapping[str, Row]) -> list[str]:
    simulated = _part(rows, "simulated")
    if not simulated:
        return []
    page = ["## Simulated", SIMULATED]
    if "paper" in rows:
        paper = rows["paper"]
        words = (
            "Decoders are graphs on paper. What runs and sums took in a small decoder gives "
            f"{paper['runs']:,} s of a core for them in the 615 M one with 128 sequences; what is left of the "
            f"{paper['took']:,.0f} s that it took ([gigabytes.md](gigabytes.md)) is solves, which take "
            f"{paper['solves']:.2f} times what they took in the small one for a row and two columns. Sixteen cores are "
            "taken to be 12 times as fast as one."
        )
        page.append(words)
    titles = ("workers", "Gbit/s", "time", "times", "binds", "tasks run", "GB sent", "GB fetched", "GB moved")
    for scenario in SCENARIOS:
        if (row := simulated.get(scenario.name)) is None:
            continue
        lines = [
            [
                str(run["workers"]), f"{run['gigabits']:g}", duration(run["seconds"]), f"{run['times']:.1f}",
                run["binds"], f"{run['runs']:,}", *(f"{run[key] / 1e9:,.1f}" for key in ("sent", "fetched", "moved")),
            ]
            for run in row["runs"]
        ]  # fmt: skip
        words = (
            f"{row['tasks']:,} tasks on {row['shards']} shards, {duration(row['task_seconds'])} of a core; the main "
            f"process works {duration(row['main_seconds'])} of a core by itself. With a core for each task and "
            f"nothing else that costs: {duration(row['shortest'])}."
        )
        verdict = f" Must: {SPEED_UP:g} times with 64 workers at 10 Gbit/s: {_verdict('simulated', row)}."
        page += [f"### {scenario.name}", words + (verdict if row.get("is_bound") else ""), table(titles, lines)]
    return page


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as suits it."""
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"
