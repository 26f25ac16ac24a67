"""The rows of `quantize.py`, kept as JSON and shown as Markdown beside what they must reach."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from _kernels import conversions, float_layers, integer_layers
from _peers import PEERS
from _process import Row
from _quantize_cases import CASES, DATA, FOR_BATCHES, RESNET50, Case, Must, shortfalls
from _tables import table, write

NOISE = 1.03
"""How much slower than dense the interval of a graph of the zoo may lie."""
PEER = "peer "
SMALLEST = " --prefer size"
LEGEND = (
    "Percent of the test split, which is read once, when a file is done; agreement: same answer as the dense model. "
    "Logit error: mean square of quantized - dense over the variance of the dense model's outputs, all samples and "
    "classes together. "
    "Calibrated on at most 4,096 pictures of MNIST, 1,024 of CIFAR, 500 of ImageNet (128 for the shape of "
    "ResNet-50), without labels; rows with `--max-drop` get labels, and guide their search by a part of them. Peers "
    "get the same pictures as arrays, each in an environment of its own with its defaults; the product adds mirror "
    "images but for MNIST. Latency: quantized over dense, one thread, in turn in one process, with the 95 % interval; "
    "empty where the model's batch rules it out. "
    "Layers in integers: counted in the graph that ONNX Runtime runs once it has optimised the file, of those that the "
    "file means to run so; layers left in floats, and steps between the two, beside them. Seconds (the product: the "
    "whole command on one thread, test split and all; peers: their quantizer) and peak memory (resident) on a machine "
    "that other programs used, too. A file's goal is for processors with VNNI; `portable` runs on all and may have 1.5 "
    "times the error and half a point less agreement. With more than one seed: medians, latency of the first."
)
TITLES = (
    "run", "top-1", "agreement", "logit error", "latency batch 1", "latency batch 32", "file ÷", "layers in integers",
    "in floats", "Q/DQ", "seconds", "peak MiB", "reached",
)  # fmt: skip


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows kept so far, by model, run and seed."""
    path = folder / "quantize.json"
    rows: dict[str, Row] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return rows


def keep_row(folder: Path, row: Row) -> None:
    """Put a row in the place of an older one of the same run, and show all anew."""
    rows = read_rows(folder)
    rows[f"{row['model']}/{row['run']}/{row['seed']}"] = row
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({key: rows[key] for key in sorted(rows)}, indent=1, ensure_ascii=False)
    write(folder / "quantize.json", text + "\n")
    render(folder)


def render(folder: Path) -> None:
    """Write quantize.md from the rows kept."""
    rows = list(read_rows(folder).values())
    head = (
        "# Quantization of real models\n\n"
        "This page shows what integers cost and gain on real models, beside other quantizers."
    )
    parts = [head, LEGEND, _machines(rows), *(_model(rows, model) for model in DATA)]
    write(folder / "quantize.md", "\n\n".join(part for part in [*parts, _zoo(rows)] if part) + "\n")


def misses(rows: dict[str, Row], case: Case) -> list[str]:
    """What a row of the product falls short of; a run that failed misses everything."""
    same = _of(list(rows.values()), case.model, case.what)
    failed = [str(row["error"]) for row in same if row["status"] != "ok"]
    if failed or not same:
        return failed[:1] or ["not run"]
    missed = list(shortfalls(figures(same), _owed(case.must, same)).values())
    fastest = _of(list(rows.values()), case.model, case.what.removesuffix(SMALLEST)) if case.run == "size" else []
    if fastest and same[0]["ratio"] < fastest[0].get("ratio", 0.0):
        missed.append(f"ratio {same[0]['ratio']:.3g}, the fastest model has {fastest[0]['ratio']:.3g}")
    return missed


def zoo_misses(rows: dict[str, Row], names: Sequence[str]) -> list[str]:
    """What the zoo falls short of."""
    row_of = {name: next(iter(_of(list(rows.values()), f"zoo/{name}", "int8")), None) for name in names}
    return [f"{name}: {miss}" for name, row in row_of.items() if (miss := _graph_miss(row))]


def figures(rows: list[Row]) -> dict[str, float | None]:
    """What is compared with goals: medians over the seeds, and times and size of the first."""
    told: dict[str, float | None] = {}
    for name in ("top1", "agreement", "error"):
        values = [row[name] for row in rows if row.get(name) is not None]
        told[name] = statistics.median(values) if values else None
    if rows[0]["model"] == RESNET50:
        told["top1"] = None
    dense = rows[0].get("top1_dense")
    told["lost"] = None if dense is None or told["top1"] is None else dense - told["top1"]
    by_batch = {timing["batch"]: timing["ratio"] for timing in rows[0]["latency"]}
    return told | {"latency": by_batch.get(1), "latency32": by_batch.get(32), "ratio": rows[0]["ratio"]}


def _owed(must: Must, rows: list[Row]) -> Must:
    """Without what cannot be measured: a batch that the model's own rules out."""
    fixed = any("skipped" in note for note in rows[0]["notes"])
    return dataclasses.replace(must, latency32=None) if fixed else must


def _of(rows: list[Row], model: str, run: str) -> list[Row]:
    return sorted((row for row in rows if (row["model"], row["run"]) == (model, run)), key=lambda row: row["seed"])


def _machines(rows: list[Row]) -> str:
    """Where the rows come from."""
    measured = [row for row in rows if "machine" in row]
    machines = sorted({row["machine"] for row in measured})
    versions = sorted({row["versions"]["onnxruntime"] for row in measured})
    return f"Measured in ONNX Runtime {', '.join(versions)} on {'; '.join(machines)}." if measured else ""


def _model(rows: list[Row], model: str) -> str:
    """The table of one model: what it is, what the product makes of it, and what others do."""
    lines = [_line(case.what, _of(rows, model, case.what), case.must) for case in CASES if case.model == model]
    lines += [_line(peer.name, _of(rows, model, PEER + peer.name), Must()) for peer in PEERS]
    lines = [line for line in lines if line]
    if not lines:
        return ""
    done = next((row for row in rows if row["model"] == model and row["status"] == "ok"), None)
    dense = f"{done['bytes_dense']:,} bytes" if done else "not measured"
    if done and model != RESNET50:
        dense = f"top-1 {done['top1_dense']:.2f} of {done['test_samples']:,}, {dense}"
    parts = [f"## {model}", f"Dense: {dense}.", table(TITLES, lines), peer_sentence(rows, model)]
    return "\n\n".join(part for part in parts if part)


def peer_sentence(rows: list[Row], model: str) -> str:
    """Whether a peer's int8 model is more exact, or faster by more than noise, than ours for the same processors."""
    runs = {row["run"]: row for row in rows if row["model"] == model and row["status"] == "ok"}
    ours, peers = runs.get("int8"), {run.removeprefix(PEER): row for run, row in runs.items() if run.startswith(PEER)}
    if ours is None or not peers:
        return ""
    better = [f"{name} has less logit error" for name, row in peers.items() if row["error"] < ours["error"]]
    ours_at_least = {timing["batch"]: timing["interval"][0] for timing in ours["latency"]}
    for timing in runs.get(FOR_BATCHES, {}).get("latency", []):
        if timing["batch"] > 1:  # what it was made for
            ours_at_least[timing["batch"]] = min(timing["interval"][0], ours_at_least[timing["batch"]])
    better += [
        f"{name} is faster at batch {timing['batch']}"
        for name, row in peers.items()
        for timing in row["latency"]
        if timing["interval"][1] < ours_at_least.get(timing["batch"], 0.0)
    ]
    verdict = f": {'; '.join(better)}." if better else " none is more exact than int8, and none surely faster."
    return f"Of {len(peers)} models of other quantizers{verdict}"


def _line(name: str, rows: list[Row], must: Must) -> list[str]:
    """One run; empty where it has not been made."""
    if not rows:
        return []
    failed = next((row for row in rows if row["status"] != "ok"), None)
    if failed:
        reason = " ".join(str(failed["error"]).split()).replace("|", "\\|")
        return [name, *[""] * (len(TITLES) - 2), f"{failed['status']}: {reason[:240]}"]
    measured, owed = figures(rows), _owed(must, rows)
    missed = shortfalls(measured, owed)
    seeds = f" ({len(rows)} seeds)" if len(rows) > 1 else ""
    row = rows[0]
    counts = row["kernels"]
    return [
        name + seeds,
        _cell(measured["top1"], ".2f", "≥", owed.top1),
        _cell(measured["agreement"], ".2f", "≥", owed.agreement),
        _cell(measured["error"], ".2g", "≤", owed.error),
        _time(row, 1, owed.latency, must.stretch),
        _time(row, 32, owed.latency32, None),
        _cell(measured["ratio"], ".2f", "≥", owed.ratio),
        f"{integer_layers(counts)} of {row['intended']}",
        str(float_layers(counts)),
        str(conversions(counts)),
        f"{statistics.median(run['seconds'] for run in rows):.0f}",
        f"{max(run['peak_bytes'] for run in rows) / 2**20:.0f}",
        ("short" if missed else "yes") if owed != Must() else "",
    ]


def _cell(figure: float | None, style: str, sign: str, bound: float | None) -> str:
    """A figure, and whether it is good enough."""
    if figure is None:
        return ""
    text = format(figure, style)
    return text if bound is None else f"{text} ({sign} {bound:.3g} {_verdict(figure, sign, bound)})"


def _verdict(figure: float, sign: str, bound: float) -> str:
    return "ok" if (figure >= bound - 1e-9 if sign == "≥" else figure <= bound + 1e-9) else "short"


def _time(row: Row, batch: int, bound: float | None, stretch: float | None) -> str:
    """Quantized over dense, its interval, and whether it is good enough."""
    timing = next((timing for timing in row["latency"] if timing["batch"] == batch), None)
    if timing is None:
        return ""
    text = f"{timing['ratio']:.2f}, {timing['interval'][0]:.2f} to {timing['interval'][1]:.2f}"
    text += f" (≤ {bound:.3g} {_verdict(timing['ratio'], '≤', bound)})" if bound is not None else ""
    return text + (f" (stretch {stretch:.3g} {_verdict(timing['ratio'], '≤', stretch)})" if stretch else "")


def _zoo(rows: list[Row]) -> str:
    """The graphs of the zoo."""
    graphs = [row for row in rows if row["model"].startswith("zoo/")]
    if not graphs:
        return ""
    words = (
        "int8 for the default target, 16 random inputs, `light_*` with He weights. Every graph has to run, no slower "
        f"than dense beyond noise ({NOISE:g} times its time), and what its file means to run in integers has to. "
        f"{sum(not _graph_miss(row) for row in graphs)} of {len(graphs)} do."
    )
    titles = ("graph", "status", "latency", "file ÷", "layers in integers", "in floats", "Q/DQ", "seconds", "why not")
    return f"## Zoo\n\n{words}\n\n{table(titles, [_zoo_line(row) for row in graphs])}"


def _zoo_line(row: Row) -> list[str]:
    name, miss = row["model"].removeprefix("zoo/"), _graph_miss(row)
    told = miss or str(row.get("error", "")) or "; ".join(row.get("on_floats", ()))
    reason = " ".join(told.split()).replace("|", "\\|")[:240]
    if row["status"] != "ok":
        return [name, row["status"], *[""] * 6, reason]
    (timing, *_), counts = row["latency"], row["kernels"]
    return [
        name,
        row["status"],
        f"{timing['ratio']:.2f}, {timing['interval'][0]:.2f} to {timing['interval'][1]:.2f}",
        f"{row['ratio']:.2f}",
        f"{integer_layers(counts)} of {row['intended']}",
        str(float_layers(counts)),
        str(conversions(counts)),
        f"{row['seconds']:.0f}",
        reason,
    ]


def _graph_miss(row: Row | None) -> str:
    """What a graph of the zoo falls short of; one in which there is nothing to quantize is not amiss."""
    if row is None:
        return "not run"
    if row["status"] != "ok":
        return "" if row["status"] == "declined" else str(row["error"])
    ratio, (low, _) = row["latency"][0]["ratio"], row["latency"][0]["interval"]
    if ratio > NOISE:
        return f"{ratio:.2f} times the time of dense" + ("" if low > NOISE else ", undecided: measure again")
    fused = integer_layers(row["kernels"])
    return "" if fused >= row["intended"] else f"{fused} layers run in integers, {row['intended']} are meant to"
