"""Compress on workers: the same bytes, how much faster, and what a cluster would do that is not here.

    python benchmarks/cluster.py --shared ../shared                                  # all that is measured: hours
    python benchmarks/cluster.py --shared ../shared --only bytes --limit 256         # while developing
    python benchmarks/cluster.py --simulate                                          # from what is kept: minutes

The parts of what is measured (`--only`):

bytes       the bytes of a model that was made alone, with 1, 2 and 4 local workers, and with 2 of which ten are killed
            at random moments: resnet20 and MiniLM's layers (where benchmarks/transformer.py has put them) to the
            default goal with replayed times, and the digits
speed       two workers of one thread against one, on ResNet-50's shape: `--pictures 128`
costs       seconds of a core that Dask takes for a task and for a byte, and the seam for a task in this process
graphs      the task graphs of ResNet-50's shape and of a small decoder: runs on two shards, all tasks in one process,
            kept in results/cluster_resnet50.json, and what each kind of work took in the decoder
validation  a part of the decoder's graph with tasks that sleep, on 1, 2 and 4 local workers, beside the forecast

`--simulate` takes graphs and costs through a discrete-event model (`_simulated_cluster.py`): 10,000 pictures through
ResNet-50's shape, and on paper (`_paper_decoder.py`) 4,096 sequences through decoders of 615 million and 7 billion
parameters. Figures are kept in results/cluster.json and .md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import _cluster_tables as tables
from _cluster_cases import (
    BYTES,
    DECODER,
    GRAPHS,
    LARGE,
    MEASURED,
    RESNET,
    SCENARIOS,
    SEQUENCES,
    VALIDATED,
    Case,
    Scenario,
)
from _larger_graphs import with_more_shards
from _paper_decoder import Rates, measured_rates, paper_graph
from _process import Row, run_task
from _rows import RESULTS, keep_rows, read_rows, refuse_unknown, report_misses
from _simulated_cluster import Cluster, Costs, Outcome, shortest, simulate
from _task_graphs import JOINED, TaskGraph, excerpt, scaled

NAME, SCRIPT = "cluster", "_cluster_runs.py"
PARTS = ("bytes", "speed", "costs", "graphs", "validation")
LOCAL = (1, 2, 4)
KILLS = 10


def main() -> int:
    """Measure or simulate what was asked for; 1 if something misses what it must reach."""
    arguments = _arguments()
    if not arguments.render:
        for name, row in _simulated(arguments) if arguments.simulate else _measured(arguments):
            keep_rows(arguments.results, NAME, {**read_rows(arguments.results, NAME), name: row})
            print(name, json.dumps(row)[:400], flush=True)
    rows = read_rows(arguments.results, NAME)
    tables.render(arguments.results, rows)
    missed = [f"{name}: {miss}" for name, row in rows.items() for miss in tables.misses(name, row)]
    return report_misses(arguments.results / f"{NAME}.md", missed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=lambda text: Path(text).resolve(), help="folder with models and data")
    parser.add_argument("--simulate", action="store_true", help="simulate, from what is kept")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=[""], help="parts of names of bytes")
    parser.add_argument("--limit", type=int, help="calibration inputs of `bytes`; all count if it is left out")
    parser.add_argument("--pictures", type=int, default=128, help="of `speed`")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of cluster.json and cluster.md")
    parser.add_argument("--render", action="store_true", help="only write cluster.md anew")
    arguments = parser.parse_args()
    refuse_unknown(parser, arguments.only, PARTS)
    if not (arguments.shared or arguments.simulate or arguments.render):
        parser.error("give --shared FOLDER to measure, or --simulate")
    return arguments


def _measured(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    parts: dict[str, Callable[[argparse.Namespace], Iterator[tuple[str, Row]]]] = {
        "bytes": _bytes, "speed": _speed, "costs": _costs, "graphs": _graphs, "validation": _validation
    }  # fmt: skip
    for part in arguments.only:
        yield from parts[part](arguments)


def _bytes(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    for case in BYTES:
        if not any(word in case.name for word in arguments.cases):
            continue
        if not case.path(arguments.shared).exists():
            print(f"{case.name}: {case.path(arguments.shared)} is not there, see benchmarks/README.md")
            continue
        with tempfile.TemporaryDirectory() as folder:
            yield f"bytes {case.name}", {"limit": arguments.limit, "runs": _runs_of(case, arguments, Path(folder))}


def _runs_of(case: Case, arguments: argparse.Namespace, folder: Path) -> dict[str, Row]:
    """One run alone, which measures the times, and those that replay them."""
    timings = folder / "report.json"
    limit = {} if arguments.limit is None else {"limit": arguments.limit}
    task = {"kind": "compress", "model": case.model, "path": str(case.path(arguments.shared)), **limit}
    options = {**case.options, **(limit if case.takes_limit else {})}
    runs = {"alone": run_task({**task, "options": options, "cluster": None, "keep": str(timings)}, SCRIPT)}
    if case.is_timed:
        options["timings"] = str(timings)
    for workers in LOCAL:
        runs[f"{workers}"] = run_task({**task, "options": options, "cluster": f"local:{workers}"}, SCRIPT)
    killed = {"cluster": "local:2", "kills": KILLS, "within": runs["2"].get("seconds", 0.0)}
    runs["2, killed"] = run_task({**task, "options": options, **killed}, SCRIPT)
    return runs


def _speed(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    task = {"kind": "compress", "model": "resnet50", "options": RESNET, "pictures": arguments.pictures}
    task["confined"] = True
    runs = {str(workers): run_task({**task, "cluster": f"local:{workers}"}, SCRIPT) for workers in (1, 2)}
    yield f"speed {arguments.pictures} pictures", {"runs": runs}


def _costs(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    del arguments
    yield "costs", run_task({"kind": "costs"}, SCRIPT)


def _graphs(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    for name, task in GRAPHS.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "graph.json" if "shape" in task else _graph_file(arguments.results, name)
            row = run_task({"kind": "record", **task, "graph": str(file)}, SCRIPT)
            if "shape" in task and row["status"] == "ok":
                rates = measured_rates(TaskGraph.read(file), DECODER.shape, DECODER.sequences, DECODER.share)
                row["rates"] = dataclasses.asdict(rates)
            yield f"graph {name}", row


def _validation(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    """Sleep on real workers, beside the forecast with the costs that are kept, as slow as they were then."""
    rows = read_rows(arguments.results, NAME)
    rates = _rates(rows["graph decoder"])[0]
    part = excerpt(paper_graph(DECODER.shape, SEQUENCES, VALIDATED.shard, rates), VALIDATED.tasks)
    part = scaled(part, VALIDATED.seconds / part.task_seconds, VALIDATED.size)
    costs = _costs_of(rows["costs"], rows["costs"]["slowed"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.json"
        part.write(file)
        for workers in LOCAL:
            replayed = run_task({"kind": "replay", "graph": str(file), "workers": workers}, SCRIPT)
            forecast = simulate(part, Cluster(workers, costs=costs)).seconds
            yield f"validation {workers}", {**replayed, "forecast": round(forecast, 2)}


def _simulated(arguments: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    rows = read_rows(arguments.results, NAME)
    costs = _costs_of(rows["costs"])
    for scenario in SCENARIOS:
        if f"graph {scenario.graph}" not in rows:
            print(f"{scenario.name}: the graph {scenario.graph!r} has not been recorded, see --only graphs")
            continue
        if scenario.shape is not None:
            yield "paper", _rates(rows[f"graph {scenario.graph}"])[1]
        graph = _graph_of(scenario, arguments.results)
        if scenario.is_bound:
            measured = TaskGraph.read(_graph_file(arguments.results, scenario.graph))
            yield "seam", _seam(measured, rows["costs"]["seam"], costs)
        outcomes = {
            (workers, bandwidth): simulate(graph, scenario.cluster(workers, bandwidth, costs))
            for bandwidth in scenario.bandwidths
            for workers in scenario.workers
        }
        one = outcomes[1, MEASURED].seconds
        yield f"simulated {scenario.name}", {
            "tasks": len(graph.tasks), "task_seconds": round(graph.task_seconds),
            "main_seconds": round(graph.main_seconds), "shards": graph.shards, "shortest": round(shortest(graph)),
            "is_bound": scenario.is_bound,
            "runs": [_facts(outcome, *key, one) for key, outcome in outcomes.items()],
        }  # fmt: skip


def _seam(graph: TaskGraph, seconds_of_task: float, costs: Costs) -> Row:
    """Which share of a run alone is the seam's, and which Dask takes of one on a worker of this machine."""
    whole = graph.main_seconds + graph.task_seconds
    here = graph.seconds_by_label()[JOINED] + len(graph.tasks) * seconds_of_task
    sent = sum(task.sent for task in graph.tasks)
    sent += sum(graph.tasks[step.task].result_bytes for step in graph.steps if step.kind == "wait")
    dask = len(graph.tasks) * (costs.client + costs.scheduler + costs.worker)
    dask += sent * (costs.client_byte + costs.scheduler_byte + costs.worker_byte)
    return {"share": round(here / whole, 5), "dask": round(dask / whole, 4)}


def _facts(outcome: Outcome, workers: int, bandwidth: float, one: float) -> Row:
    row = {key: round(value, 1) for key, value in dataclasses.asdict(outcome).items()}
    return {"workers": workers, "gigabits": bandwidth * 8e-9, **row, "times": round(one / outcome.seconds, 2),
            "binds": outcome.binds}  # fmt: skip


def _graph_of(scenario: Scenario, results: Path) -> TaskGraph:
    """A measured graph on more shards, or one on paper, with what work took in a small one."""
    if scenario.shape is not None:
        rates = _rates(read_rows(results, NAME)["graph decoder"])[0]
        return paper_graph(scenario.shape, scenario.inputs, scenario.shard, rates, scenario.threads)
    measured = TaskGraph.read(_graph_file(results, scenario.graph))
    return with_more_shards(measured, scenario.shards, larger=scenario.larger)


def _rates(row: Row) -> tuple[Rates, Row]:
    """Of the small decoder; solves so fast that the large one takes what it has taken alone."""
    rates = Rates(**row["rates"])
    alone = paper_graph(LARGE.shape, LARGE.sequences, LARGE.sequences, rates)
    seconds = alone.seconds_by_label()
    runs = seconds["run_segment"] + seconds["shard_moments"]
    forecast, took = alone.main_seconds + alone.task_seconds, read_rows(RESULTS, "gigabytes")[LARGE.row]["processor"]
    times = (took - runs) / (forecast - runs)
    return rates.with_solves(times), {"runs": round(runs), "took": took, "solves": round(times, 3)}


def _costs_of(row: Row, times: float = 1.0) -> Costs:
    return Costs(**{name: times * value for name, value in row["dask"].items()})


def _graph_file(results: Path, name: str) -> Path:
    return results / f"{NAME}_{name}.json"


if __name__ == "__main__":
    sys.exit(main())
