"""One step of `quantize.py` in a process of its own: ``python _quantize_runs.py task.json result.json``."""

from __future__ import annotations

import collections
import dataclasses
import json
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import _models
import _runs
import numpy as np
import onnx
from _kernels import intended_layers, kernels
from _quantize_cases import RESNET50
from _runs import BATCH, Facts, Task

import netsurgeon
from netsurgeon.pipeline.data import Samples, open_samples
from netsurgeon.pipeline.model_files import bytes_on_disk, input_specs, open_model, read_model
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.profiling import Profile, profile
from netsurgeon.pipeline.runtime import Runtime, Session
from netsurgeon.pipeline.verification import choose_measure, validate

THREADS = 1
"""Of the latency, and of the product while it runs, so that what it times is what counts here."""
RESNET50_RECIPE: dict[str, Any] = {
    "resize": 256,
    "crop": 224,
    "channels": "RGB",
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
RESNET50_PICTURES = 128
ZOO_BATCH = 1
NOTHING_TO_QUANTIZE = (*_runs.NOTHING_TO_DO, "no layer that can be quantized", "nothing to quantize")
"""What the product says of graphs in which there is nothing to do."""


def main(task_path: str, result_path: str) -> None:
    """Run a step and write its facts."""
    kinds = {"calibration": calibration, "compress": compress, "measure": measure, "zoo": zoo}
    _runs.write_facts(kinds, task_path, result_path)


def calibration(task: Task) -> Facts:
    """Write the calibration inputs that everybody gets as arrays, without labels, for the peers."""
    inputs, _, options = sources(task)
    samples = _open(task, inputs, options, options.get("limit"))
    name = samples.specs[0].name
    arrays: dict[str, Any] = {name: np.concatenate([feed[name] for feed in samples.batches()])}
    np.savez(task["output"], **arrays)
    return {"samples": samples.count}


def compress(task: Task) -> Facts:
    """Let the product write a quantized model; `test` stands aside, so that all calibration inputs are used."""
    inputs, test, options = sources(task)
    options |= {
        "batch_size": BATCH.get(task["data"], ZOO_BATCH),
        "seed": task["seed"],
        "threads": THREADS,
        **task["options"],
    }
    started = time.perf_counter()
    try:
        report = netsurgeon.compress(task["model"], inputs, test=test, output=task["output"], **options).report
    except (TypeError, netsurgeon.NetsurgeonError) as error:
        if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
            raise
        return {"status": "refused", "error": str(error)}
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_bytes": report.peak_bytes,
        "calibration_samples": report.calibration.samples,
        "warnings": [str(warning) for warning in report.warnings],
        "on_floats": reasons_for_floats(report),
    }


def reasons_for_floats(report: netsurgeon.Report) -> list[str]:
    """Why the model, or some of its layers, stayed on floats: each reason once, the most frequent first."""
    notes = [str(note) for note in report.notes if note.code == "not-quantized"]
    layers = report.integers.layers if report.integers is not None else ()
    counts = collections.Counter(layer.reason for layer in layers if layer.reason)
    return [*notes, *(f"{counted(count, 'layer')}: {reason}" for reason, count in counts.most_common())]


def measure(task: Task) -> Facts:
    """Compare a quantized file with the dense one on the test split, and time both in turn."""
    dense, small = Path(task["model"]), Path(task["output"])
    _, test, options = sources(task)
    samples = _open(task, test, options, None)
    session = Runtime().session(dense)
    judging = choose_measure(open_model(dense, Runtime()).original, session, samples)
    validation = validate(session, Runtime().session(small), samples, judging=judging, held_out=True)
    spread = energy_over_variance(session, samples)
    squares = {output.output: output.relative_error**2 for output in validation.outputs}
    return {
        "top1_dense": _percent(validation.dense.top1),
        "top1": _percent(validation.compressed.top1),
        "agreement": _percent(validation.agreement),
        "error": max(square * spread[name] for name, square in squares.items()),
        "energy_error": max(squares.values()),
        "test_samples": validation.samples,
        **_file_facts(dense, small),
        **times(profile(dense, small, data="random", batches=task["batches"], threads=THREADS)),
    }


def energy_over_variance(session: Session, samples: Samples) -> dict[str, float]:
    """Of each float output of the dense model: mean square over variance, over all samples and classes.

    Logits that are all positive have an energy many times their variance, beside which errors seem small.
    """
    moments: dict[str, Any] = {}
    for feed in samples.batches():
        for name, value in session.run(feed).items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                wide = value.astype(np.float64)
                moments[name] = moments.get(name, 0.0) + np.array([wide.size, wide.sum(), np.square(wide).sum()])
    return {name: float(squares / (squares - total**2 / count)) for name, (count, total, squares) in moments.items()}


def zoo(task: Task) -> Facts:
    """Quantize a graph with random inputs, and say whether it runs, as meant and no slower."""
    facts = compress_graph(task, {"quantize": "int8"})
    if "status" in facts:
        return facts
    dense, small = Path(task["path"]), compressed_graph(task)
    feeds = _runs.random_feeds(task["inputs"])
    return {**facts, **_file_facts(dense, small), **times(profile(dense, small, data=feeds[:1], threads=THREADS))}


def compressed_graph(task: Task) -> Path:
    """Where `compress_graph` puts the file."""
    return Path(task["folder"]) / "small.onnx"


def compress_graph(task: Task, options: dict[str, Any]) -> Facts:
    """Compress a graph of the zoo with random inputs, and run it; with a `status` where that came to nothing."""
    dense, small = Path(task["path"]), compressed_graph(task)
    feeds = _runs.random_feeds(task["inputs"])
    by_name = _runs.is_static(task["path"], task["inputs"])
    step = {"model": str(dense), "output": str(small), "data": "zoo", "seed": 0, "options": options}
    facts = compress({**step, "given": f"random:{_runs.ZOO_SAMPLES}" if by_name else feeds})
    if facts.get("status") == "refused":
        nothing = any(text in facts["error"] for text in NOTHING_TO_QUANTIZE)
        return {**facts, "status": "declined" if nothing else "refused"}
    before, after = (_models.quiet_session(str(path)).run(None, feeds[0]) for path in (dense, small))
    usable = all(
        a.shape == b.shape and np.isfinite(b[np.isfinite(a)]).all() for a, b in zip(before, after, strict=True)
    )
    if not usable:
        return {**facts, "status": "BROKEN", "error": "an output is not finite where it was, or has another shape"}
    return facts


def sources(task: Task) -> tuple[Any, Any, dict[str, Any]]:
    """Calibration inputs, test inputs, and how they are read; a row that searches gets labels with the first."""
    if "given" in task:
        return task["given"], None, {}
    shared, data, limit = Path(task["shared"]), task["data"], task.get("limit")
    manifest = json.loads((shared / "models" / "manifest.json").read_text("utf-8"))
    recipe = RESNET50_RECIPE if task["name"] == RESNET50 else manifest[task["name"]]
    if data == "mnist":
        count = limit or _runs.CALIBRATION["mnist"]
        inputs, test = _runs.mnist(shared, Path(task["model"]), recipe["scale"], task["seed"], count)
        if not limit:
            del inputs["labels"]
        return inputs, test, {}
    pictures, test_pictures, options = _runs.calibration_pictures(shared, data, recipe)
    if task["name"] == RESNET50:  # its answers are no classes
        del options["classes"]
        options["limit"] = RESNET50_PICTURES
        pictures, test_pictures = (
            _without_classes(archive, Path(task["output"]).parent) for archive in (pictures, test_pictures)
        )
    return pictures, test_pictures, {**options, **({"limit": limit} if limit else {})}


def _without_classes(archive: Path, folder: Path) -> Path:
    """The pictures of an archive of class folders in one folder."""
    target = folder / archive.stem
    target.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive) as pictures:
        for name in (name for name in pictures.namelist() if name.endswith(".jpg")):
            (target / Path(name).name).write_bytes(pictures.read(name))
    return target


def _open(task: Task, source: Any, options: dict[str, Any], limit: int | None) -> Samples:
    """Inputs as the product opens them, without their mirror images."""
    pictures = options.get("pictures")
    return open_samples(
        source,
        input_specs(read_model(task["model"])[0]),
        pictures=dataclasses.replace(pictures, mirror=False) if pictures else None,
        batch_size=BATCH[task["data"]],
        limit=limit,
        seed=task["seed"],
        classes=options.get("classes"),
    )


def _file_facts(dense: Path, small: Path) -> Facts:
    bytes_dense, size = bytes_on_disk(dense), bytes_on_disk(small)
    return {
        "bytes_dense": bytes_dense,
        "bytes": size,
        "ratio": round(bytes_dense / size, 3),
        "intended": intended_layers(small),
        "kernels": kernels(small),
        "opset": max(entry.version for entry in onnx.load(small, load_external_data=False).opset_import),
    }


def times(timed: Profile) -> Facts:
    """Quantized over dense, unlike the speedup of a profile."""
    latency = [
        {
            "batch": timing.batch,
            "dense_ms": round(timing.model.median, 3),
            "small_ms": round(timing.other.median, 3),
            "ratio": round(1 / timing.speedup.value, 4),
            "interval": [round(1 / timing.speedup.high, 4), round(1 / timing.speedup.low, 4)],
        }
        for timing in timed.timings
        if timing.other and timing.speedup
    ]
    return {
        "latency": latency,
        "threads": THREADS,
        "machine": f"{timed.machine}, {'with' if _has_vnni() else 'without'} VNNI",
        "notes": [str(note) for note in timed.notes],
        "versions": {name: timed.versions[name] for name in ("netsurgeon", "onnxruntime")},
    }


def _has_vnni() -> bool:
    """Whether the processor multiplies bytes without saturation."""
    cpus = Path("/proc/cpuinfo")
    return cpus.exists() and "_vnni" in cpus.read_text("utf-8")


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 4)


if __name__ == "__main__":
    main(*sys.argv[1:])
