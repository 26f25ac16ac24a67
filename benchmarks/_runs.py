"""One run of `lobs.py` in a process of its own: ``python _runs.py task.json result.json``."""

from __future__ import annotations

import base64
import collections
import dataclasses
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import _models
import numpy as np
import onnx

import netsurgeon
from netsurgeon.pipeline.profiling.model_profile import profile

BATCH = {"mnist": 256, "cifar10": 64, "imagenet": 16}
CALIBRATION = {"mnist": 4096, "cifar10": 1024, "imagenet": 500}
SCALE_PICTURES = 128
SCALE_GIVEN = 146
"""One eighth of what is given, 18 pictures, is held out for validation: 128 are left to calibrate on."""
ZOO_SAMPLES = 16
THREADS, ROUNDS = 2, 60
"""Of the latency."""
NOTHING_TO_DO = ("no layer that can be pruned", "no layer is left")
NEAREST = "the nearest model found"
"""What a search says when two goals cannot be met together."""

Task = dict[str, Any]
Facts = dict[str, Any]


def main(task_path: str, result_path: str) -> None:
    """Run a task and write its facts."""
    kinds = {"he": he_weights, "accuracy": accuracy, "scale": scale, "zoo": zoo, "trim": trim, "trim_zoo": trim_zoo}
    write_facts({**kinds, "goals": goals}, task_path, result_path)


def write_facts(kinds: Mapping[str, Callable[[Task], Facts]], task_path: str, result_path: str) -> None:
    """Run a task by what is known of its kind, and write what it found, or how it failed."""
    task: Task = json.loads(Path(task_path).read_text("utf-8"))
    try:
        facts = {"status": "ok", **kinds[task["kind"]](task)}
    except netsurgeon.NetsurgeonError as error:
        declined = any(text in str(error) for text in NOTHING_TO_DO)
        status = "declined" if declined else "infeasible" if NEAREST in str(error) else "BROKEN"
        facts = {"status": status, "error": str(error)}
    Path(result_path).write_text(json.dumps(facts), "utf-8")


def he_weights(task: Task) -> Facts:
    """Write a `light_*` graph with He weights."""
    source = Path(task["source"]) if task["source"] else _models.light_resnet50()
    onnx.save(_models.he_model(source, seed=0, free_batch=task["free_batch"]), task["target"])
    return {}


def accuracy(task: Task) -> Facts:
    """Prune a model and measure its accuracy on the test split, once."""
    goal = {"sparsity": 1 - task["kept"] / 100, "layers": task["sparsities"], "method": task["method"]}
    goal |= {"pattern": task["pattern"]} if task.get("pattern") else {}
    right = b""

    def top1(outputs: Mapping[str, Any], labels: Any) -> float:
        """Called for the dense model, then for the compressed one, whose answers stay in `right`."""
        nonlocal right
        (scores,) = outputs.values()
        hits = scores.reshape(len(labels), -1).argmax(axis=1) == labels
        right = np.packbits(hits).tobytes()
        return float(hits.mean())

    facts = _compress(task, Path(task["folder"]) / "small.onnx", metric=top1, **goal)
    return {**facts, "right": base64.b85encode(zlib.compress(right, 9)).decode()}


def trim(task: Task) -> Facts:
    """Trim a model, measure its accuracy on the test split, once, and both models' latency."""
    small = Path(task["folder"]) / "small.onnx"
    facts = _compress(task, small, **task["options"])
    dense = Path(task["shared"]) / "models" / f"{task['model']}.onnx"
    facts["latency"] = _latency(dense, small, task["batches"]) if task["batches"] else []
    return facts


def goals(task: Task) -> Facts:
    """Search for a user's goals, and measure what came out on the test split, once; labels guide the search."""
    shared, small = Path(task["shared"]), Path(task["folder"]) / "small.onnx"
    model = shared / "models" / f"{task['model']}.onnx"
    options: dict[str, Any] = {"batch_size": BATCH[task["data"]], "seed": task["seed"], "threads": task["threads"]}
    calibration, test, more = labelled(shared, model, task)
    started, busy = time.perf_counter(), time.process_time()
    report = netsurgeon.compress(
        model, calibration, test=test, output=small, **{**options, **more, **task["goals"]}
    ).report
    seconds, busy, search = time.perf_counter() - started, time.process_time() - busy, report.search
    if search is None:
        raise netsurgeon.CheckFailedError("the report has no search")
    return {
        **_common(report, seconds),
        "goals": dataclasses.asdict(search.goals),
        "guide": dataclasses.asdict(search.evidence),
        "test": dataclasses.asdict(search.measured),
        "proven": search.proven,
        "needed": search.needed,
        "corrected": report.calibration.samples,
        "cpu_seconds": round(busy, 1),
        "tried": sum(point.kind == "candidate" for point in search.points),
        "points": [dataclasses.asdict(point) for point in search.points],
        "predicted_ms": search.timed.model if search.timed else None,
        "ratio_same_type": round((report.dense.bytes - 2 * report.dense.parameters) / report.compressed.bytes, 3),
        "threads": task["threads"],
        "latency": _latency(model, small, [1], task["threads"])[0],
    }


def labelled(shared: Path, model: Path, task: Task) -> tuple[Any, Any, dict[str, Any]]:
    """Calibration inputs with labels, the test split, and how pictures become inputs."""
    recipe = json.loads((shared / "models" / "manifest.json").read_text("utf-8"))[task["model"]]
    if task["data"] == "mnist":
        return *mnist(shared, model, recipe["scale"], task["seed"], task["limit"]), {}
    calibration, test, pictures = calibration_pictures(shared, task["data"], recipe)
    return calibration, test, {**pictures, "limit": task["limit"]}


def _latency(dense: Path, small: Path, batches: list[int], threads: int = THREADS) -> list[Facts]:
    """Both models in turn on random pictures, one entry a batch size."""
    profiled = profile(dense, small, data="random", batches=batches, threads=threads, rounds=ROUNDS)
    timed = {
        timing.batch: {
            "batch": timing.batch,
            "dense_ms": round(timing.model.median, 3),
            "small_ms": round(timing.other.median, 3),
            "ratio": round(timing.speedup.value, 3),
            "interval": [round(timing.speedup.low, 3), round(timing.speedup.high, 3)],
        }
        for timing in profiled.timings
        if timing.other and timing.speedup
    }
    return [timed.get(batch, {"batch": batch, "skipped": "its batch is fixed"}) for batch in batches]


def _compress(task: Task, output: Path, **goal: Any) -> Facts:
    shared, data = Path(task["shared"]), task["data"]
    model = shared / "models" / f"{task['model']}.onnx"
    recipe = json.loads((shared / "models" / "manifest.json").read_text("utf-8"))[task["model"]]
    options: dict[str, Any] = {"batch_size": BATCH[data], "seed": task["seed"], **goal}
    calibration: Any
    test: Any
    if data == "mnist":
        calibration, test = mnist(shared, model, recipe["scale"], task["seed"])
        del calibration["labels"]
    else:
        calibration, test, pictures = calibration_pictures(shared, data, recipe)
        options |= pictures
    started = time.perf_counter()
    report = netsurgeon.compress(model, calibration, test=test, output=output, **options).report
    scores = (report.validation.dense.top1, report.validation.compressed.top1)
    if scores[0] is None or scores[1] is None:
        raise netsurgeon.CheckFailedError("the validation has no top-1")
    return {
        **_common(report, time.perf_counter() - started),
        "top1_dense": round(100 * scores[0], 4),
        "top1": round(100 * scores[1], 4),
        "test_samples": report.validation.samples,
        "sparsities": {layer.name: 1 - layer.kept / layer.weights for layer in report.layers},
        "slots": sum(layer.slots or 0 for layer in report.layers) / sum(layer.weights for layer in report.layers),
    }


def mnist(
    shared: Path, model: Path, scale: float, seed: int, count: int = CALIBRATION["mnist"]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Training pictures drawn with the seed, and the test split, both with labels."""
    name = onnx.load(model, load_external_data=False).graph.input[0].name

    def inputs(pixels: Any) -> Any:
        return pixels.astype(np.float32)[:, None] * np.float32(scale)

    with np.load(shared / "data" / "mnist" / "train.npz") as train:
        pixels, labels = train["x"], train["y"].astype(np.int64)
    drawn = np.random.default_rng(seed).permutation(len(pixels))[:count]
    with np.load(shared / "data" / "mnist" / "test.npz") as test:
        calibration = {name: inputs(pixels[drawn]), "labels": labels[drawn]}
        return calibration, {name: inputs(test["x"]), "labels": test["y"].astype(np.int64)}


def calibration_pictures(shared: Path, data: str, recipe: dict[str, Any]) -> tuple[Path, Path, dict[str, Any]]:
    """Calibration pictures, test pictures, and the options that make inputs of them; labels only count in the test."""
    folder = shared / "data" / data
    pictures = dataclasses.replace(picture_options(recipe), mirror=True)
    options: dict[str, Any] = {"pictures": pictures, "limit": CALIBRATION[data]}
    if data == "imagenet":
        options["classes"] = folder / "synsets.txt"
    return folder / ("train.zip" if data == "cifar10" else "calibration.zip"), folder / "test.zip", options


def picture_options(recipe: dict[str, Any]) -> netsurgeon.PictureOptions:
    """How the manifest says that a picture becomes an input."""
    return netsurgeon.PictureOptions(
        resize=recipe["resize"],
        crop=recipe["crop"],
        channels=recipe["channels"],
        scale=recipe["scale"],
        mean=tuple(recipe["mean"]),
        std=tuple(recipe["std"]),
    )


def scale(task: Task) -> Facts:
    """Compress ResNet-50's shape, and say where the time goes."""
    pictures = netsurgeon.PictureOptions(
        resize=256, crop=224, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    data = Path(task["shared"]) / "data" / "imagenet" / "calibration.zip"
    operators = collections.Counter(node.op_type for node in onnx.load(task["path"]).graph.node)
    started = time.perf_counter()
    report = netsurgeon.compress(
        task["path"],
        data,
        output=Path(task["folder"]) / "small.onnx",
        sparsity=0.8,
        batch_size=BATCH["imagenet"],
        limit=SCALE_GIVEN,
        pictures=pictures,
    ).report
    seconds = time.perf_counter() - started
    slowest = sorted(report.layers, key=lambda layer: -layer.seconds)[:10]
    return {
        **_common(report, seconds),
        "calibration_samples": report.calibration.samples,
        "complete": report.calibration.samples == SCALE_PICTURES
        and len(report.layers) == operators["Conv"] + operators["Gemm"],
        "layers": len(report.layers),
        "solver_seconds": round(sum(layer.seconds for layer in report.layers), 1),
        "slowest": [[layer.name, layer.operator, list(layer.shape), layer.seconds] for layer in slowest],
        "relative_error": _worst_error(report),
    }


def zoo(task: Task) -> Facts:
    """Inspect and prune a graph, and run what came out."""
    return _zoo(task, sparsity=0.5)


def trim_zoo(task: Task) -> Facts:
    """Inspect and trim a graph, and run what came out."""
    facts = _zoo(task, trim="up-to:0.5", round_to=1)
    feed = random_feeds(task["inputs"])[0]
    return {"products": [_multiplied(path, feed) for path in (task["path"], f"{task['folder']}/small.onnx")], **facts}


def _multiplied(path: str, feed: dict[str, Any]) -> int:
    """How many elements enter products of two activations, such as those of attention."""
    model = onnx.load(path)
    computed, entering = set(feed), []
    for node in model.graph.node:
        if computed & set(node.input):
            computed |= set(node.output)
        if node.op_type == "MatMul" and computed >= set(node.input):
            entering += node.input
    if not entering:
        return 0
    names, outputs = sorted({*entering} - {*feed}), {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    values = _models.quiet_session(model.SerializeToString()).run(names, feed)
    sizes = {name: value.size for name, value in (*feed.items(), *zip(names, values, strict=True))}
    return sum(sizes[name] for name in entering)


def _zoo(task: Task, **goal: Any) -> Facts:
    path, output = task["path"], Path(task["folder"]) / "small.onnx"
    inspection = netsurgeon.inspect_model(path)
    facts: Facts = {
        "inspected": len(inspection.layers),
        "declined": _reasons((entry.operator, entry.reason) for entry in inspection.declined),
    }
    feeds = random_feeds(task["inputs"])
    by_name = is_static(path, task["inputs"])
    started = time.perf_counter()
    try:
        report = netsurgeon.compress(path, f"random:{ZOO_SAMPLES}" if by_name else feeds, output=output, **goal).report
    except netsurgeon.InputError as error:
        if any(text in str(error) for text in NOTHING_TO_DO):
            return {**facts, "status": "declined", "error": str(error)}
        raise
    facts |= _common(report, time.perf_counter() - started)
    facts["data"] = f"random:{ZOO_SAMPLES}" if by_name else "feeds"
    facts["layers"] = len(report.layers)
    facts["pruned"] = sum(layer.kept < layer.weights for layer in report.layers)
    listed = {layer.name for layer in report.layers} | {entry.node for entry in report.declined}
    facts["declined"] = _reasons((entry.operator, entry.reason) for entry in report.declined)
    facts["relative_error"] = _compare(path, output, feeds[:4])
    missing = sorted({layer.name for layer in inspection.layers} - listed)
    if missing:
        facts |= {"status": "BROKEN", "error": f"neither pruned nor declined: {', '.join(missing[:3])}"}
    if facts["relative_error"] is None:
        facts |= {"status": "BROKEN", "error": "an output is not finite where it was, or has another shape"}
    return facts


def _reasons(declined: Iterable[tuple[str, str]]) -> list[list[Any]]:
    """How often each operator was declined for each reason."""
    return [[count, *reason] for reason, count in collections.Counter(declined).most_common()]


def _trim_facts(trim: Any) -> Facts:
    return {
        "macs_dense": trim.macs_dense,
        "macs": trim.macs,
        "trimmed_groups": len(trim.groups),
        "frozen": _frozen(trim.frozen),
        "failed": list(trim.failed),
        "proof": dataclasses.asdict(trim.proof) if trim.proof else None,
    }


def _frozen(frozen: Iterable[Any]) -> list[list[Any]]:
    """Parameters that each operator freezes for each reason, the most first."""
    sizes: collections.Counter[tuple[str, str]] = collections.Counter()
    for group in frozen:
        sizes[group.operator, group.reason] += group.parameters
    return [[count, *group] for group, count in sizes.most_common()]


def random_feeds(inputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Seeded random feeds; inputs with a fixed value get that."""
    rng = np.random.default_rng(0)
    return [{name: _random(spec, rng) for name, spec in inputs.items()} for _ in range(ZOO_SAMPLES)]


def _random(spec: dict[str, Any], rng: np.random.Generator) -> Any:
    dtype = np.dtype({"float": "float32"}.get(spec["dtype"], spec["dtype"]))
    if "value" in spec:
        return np.full(spec["shape"], spec["value"], dtype)
    if dtype.kind == "f":
        return rng.standard_normal(spec["shape"]).astype(dtype)
    return rng.integers(0, 256, spec["shape"]).astype(dtype)


def is_static(path: str, inputs: dict[str, Any]) -> bool:
    """Whether random inputs can be asked for by name: floats, no fixed values, no dynamic axis but the batch."""
    graph = onnx.load(path, load_external_data=False).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.input if value.name in inputs}
    return all(
        spec["dtype"] == "float" and "value" not in spec and all(axis.dim_value for axis in shapes[name][1:])
        for name, spec in inputs.items()
    )


def _compare(dense: str, small: Path, feeds: list[dict[str, Any]]) -> float | None:
    """Largest relative error of a float output, None where one is not finite any more or has another shape."""
    sessions = [_models.quiet_session(str(path)) for path in (dense, small)]
    errors = [0.0]
    for feed in feeds:
        for before, after in zip(*(session.run(None, feed) for session in sessions), strict=True):
            if before.dtype.kind != "f":
                continue
            usable = np.isfinite(before)
            if before.shape != after.shape or not np.isfinite(after[usable]).all():
                return None
            norm = float(np.linalg.norm(before[usable].astype(np.float64)))
            distance = float(np.linalg.norm(after[usable].astype(np.float64) - before[usable]))
            errors.append(distance / norm if norm else float(distance > 0))
    return max(errors)


def _worst_error(report: Any) -> float | None:
    errors = [output.relative_error for output in report.validation.outputs]
    return max(errors) if errors else None


def _common(report: Any, seconds: float) -> Facts:
    return {
        "kept_measured": round(100 * (1 - report.sparsity), 4),
        "seconds": round(seconds, 1),
        "stages": report.seconds,
        "peak_bytes": report.peak_bytes,
        "parameters_dense": report.dense.parameters,
        "parameters": report.compressed.parameters,
        **(_trim_facts(report.trim) if report.trim else {}),
        "bytes_dense": report.dense.bytes,
        "bytes": report.compressed.bytes,
        "ratio": round(report.ratio, 3),
        "warnings": list(report.warnings),
        "versions": {name: report.versions[name] for name in ("netsurgeon", "onnxruntime")},
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
