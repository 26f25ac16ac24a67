"""Quantize real models, by netsurgeon and by others: ``python benchmarks/quantize.py --shared ../shared --peers``.

Every step is a process of its own. Results are kept row by row in results/quantize.json and shown in
results/quantize.md. What the installed netsurgeon or a peer refuses is shown with its reason. Exit code 1 if a row of
netsurgeon that was asked for misses what it must reach.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _cases import zoo_names
from _peers import PEERS, Peer, quantize_with
from _process import Row, run_task, run_zoo, take_two_cores
from _quantize_cases import CASES, DATA, RESNET50, RUNS, Case
from _quantize_tables import PEER, keep_row, misses, read_rows, render, zoo_misses

HERE = Path(__file__).parent
STEPS = "_quantize_runs.py"
BATCHES = (1, 32)


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    cases = [case for case in CASES if case.model in arguments.only and case.run in arguments.rows]
    graphs = _graphs(arguments) if "zoo" in arguments.rows else []
    if not arguments.render:
        for model in DATA:
            peers = arguments.peers if model in arguments.only else []
            _run_model(arguments, model, [case for case in cases if case.model == model], peers)
        _run_zoo(arguments, graphs)
    render(arguments.results)
    rows = read_rows(arguments.results)
    missed = [f"{case.name}: {miss}" for case in cases for miss in misses(rows, case)]
    missed += zoo_misses(rows, graphs)
    print("\n".join([f"{arguments.results / 'quantize.md'}", *(f"missed: {miss}" for miss in missed)]))
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with models, data and zoo")
    parser.add_argument(
        "--only", type=_words, help=f"any of {', '.join(DATA)}, zoo, zoo/<graph>, or parts of these names"
    )
    parser.add_argument("--rows", type=_words, help=f"any of {', '.join(RUNS)}")
    parser.add_argument(
        "--peers",
        type=_words,
        nargs="?",
        const=[""],
        help=f"other quantizers, too: all, or parts of the names {'; '.join(peer.name for peer in PEERS)}",
    )
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[0])
    parser.add_argument(
        "--results", type=Path, default=HERE / "results", help="folder of quantize.json and quantize.md"
    )
    parser.add_argument("--render", action="store_true", help="only write quantize.md anew")
    arguments = parser.parse_args()
    arguments.shared = arguments.shared.resolve()
    arguments.rows = arguments.rows or [run for run in RUNS if run != "peers"]
    if unknown := [word for word in arguments.rows if word not in RUNS]:
        parser.error(f"unknown rows: {', '.join(unknown)}; known: {', '.join(RUNS)}")
    names = [*DATA, "zoo", *(f"zoo/{name}" for name in zoo_names(arguments.shared))]
    arguments.only = _matching(parser, arguments.only or [""], names)
    words = arguments.peers or ([""] if "peers" in arguments.rows else [])
    chosen_peers = _matching(parser, words, [peer.name for peer in PEERS])
    arguments.peers = [peer for peer in PEERS if peer.name in chosen_peers]
    return arguments


def _words(text: str) -> list[str]:
    return text.split(",")


def _matching(parser: argparse.ArgumentParser, words: list[str], names: list[str]) -> list[str]:
    """Names that have one of the words in them; the whole name alone where there is one."""
    if unknown := [word for word in words if not any(word in name for name in names)]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {'; '.join(names)}")
    return [name for name in names if any(word == name or (word not in names and word in name) for word in words)]


def _run_model(arguments: argparse.Namespace, model: str, cases: list[Case], peers: list[Peer]) -> None:
    """All rows of one model that were asked for."""
    if not cases and not peers:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.shared / "models" / f"{model}.onnx"
        if model == RESNET50:
            path = Path(folder) / "dense.onnx"
            run_task({"kind": "he", "source": "", "target": str(path), "free_batch": True})
        for seed in arguments.seeds:
            step: dict[str, Any] = {
                "shared": str(arguments.shared),
                "name": model,
                "data": DATA[model],
                "model": str(path),
            }
            step |= {"seed": seed, "batches": BATCHES}
            for case in cases:
                options = {"options": case.options, "limit": case.limit}
                _keep(arguments, model, case.what, seed, _product_row(Path(folder), {**step, **options}))
            for peer, facts in _peer_rows(Path(folder), step, peers):
                _keep(arguments, model, PEER + peer, seed, facts)


def _product_row(folder: Path, step: dict[str, Any]) -> Row:
    """Quantize with netsurgeon, and measure the file."""
    output = folder / "small.onnx"
    output.unlink(missing_ok=True)
    product = run_task({**step, "kind": "compress", "output": str(output)}, STEPS)
    return _measured(product, {**step, "limit": None}, output)


def _peer_rows(folder: Path, step: dict[str, Any], peers: list[Peer]) -> Any:
    """The same by each of the others, as they are done."""
    if not peers:
        return
    calibration, output = folder / "calibration.npz", folder / "peer.onnx"
    run_task({**step, "kind": "calibration", "output": str(calibration)}, STEPS)
    for peer in peers:
        output.unlink(missing_ok=True)
        yield peer.name, _measured(quantize_with(peer, Path(step["model"]), calibration, output), step, output)


def _measured(product: Row, step: dict[str, Any], output: Path) -> Row:
    """What it took, and what came out."""
    if product["status"] != "ok":
        return product
    figures = run_task({**step, "kind": "measure", "output": str(output)}, STEPS)
    return {**product, **figures, "versions": {**product.get("versions", {}), **figures.get("versions", {})}}


def _graphs(arguments: argparse.Namespace) -> list[str]:
    """The graphs of the zoo that were asked for: all, or some by name."""
    return [name for name in zoo_names(arguments.shared) if {"zoo", f"zoo/{name}"} & set(arguments.only)]


def _run_zoo(arguments: argparse.Namespace, names: list[str]) -> None:
    manifest = json.loads((arguments.shared / "zoo" / "manifest.json").read_text("utf-8"))
    for name in names:
        path = arguments.shared / "zoo" / f"{name}.onnx"
        _keep(arguments, f"zoo/{name}", "int8", 0, run_zoo("zoo", path, manifest[name]["inputs"], STEPS))


def _keep(arguments: argparse.Namespace, model: str, run: str, seed: int, facts: Row) -> None:
    keep_row(arguments.results, {"model": model, "run": run, "seed": seed, **facts})
    told = ("top1", "agreement", "error", "ratio", "seconds")
    times = [timing["ratio"] for timing in facts.get("latency", ())]
    print(model, run, facts["status"], {name: facts[name] for name in told if name in facts}, times, flush=True)


if __name__ == "__main__":
    sys.exit(main())
