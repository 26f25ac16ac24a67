"""A goal of `sparse.py` in a process of its own: ``python _sparse_goals.py task.json result.json``.

The same goal for dense kernels (`--target cpu`) and for sparse ones (`--target cpu-sparse`), with the same inputs; then
both files and the dense float model are run in turn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _runs import BATCH, Facts, Task, labelled, write_facts
from _transformer_runs import TIMED_TOKENS, load
from sparse import quickest, session

import netsurgeon

TARGETS = ("cpu", "cpu-sparse")


def main(task_path: str, result_path: str) -> None:
    """Run a goal and write its facts."""
    write_facts({"goal": goal}, task_path, result_path)


def goal(task: Task) -> Facts:
    """Compress for both targets; how fast the files are, what they lose on the test split, and what runs sparse."""
    files, facts = {}, {}
    for target in TARGETS:
        files[target] = Path(task["folder"]) / f"{target}.onnx"
        model, calibration, test, options = _inputs(task)
        report = netsurgeon.compress(
            model, calibration, test=test, output=files[target], target=target, threads=1, **options, **task["options"]
        ).report
        assert report.search is not None
        layers = report.integers.layers if report.integers else ()
        facts[target] = {
            "form": report.search.form,
            "drop": report.search.measured.drop,
            "kept": next(point.kept for point in report.search.points if point.chosen),
            "bytes": report.compressed.bytes,
            "sparse_layers": sum(layer.sparse_ms is not None for layer in layers),
            "layers": len(layers),
            "notes": [str(note) for note in report.notes if "sparse" in note.code],
        }
    return {"targets": facts, **_times(task, files)}


def _times(task: Task, files: dict[str, Path]) -> Facts:
    """Milliseconds of the quickest run of each, one thread, in turn; each in the provider it is made for."""
    model, _, _, _ = _inputs(task)
    feed = _timed_feed(task, model)
    sessions = {
        "float32": session(model, None),
        "int8": session(files["cpu"], None),
        "sparse": session(files["cpu-sparse"], "auto"),
    }
    names = {value.name for value in sessions["sparse"].get_inputs()}
    times = quickest(sessions, {name: array for name, array in feed.items() if name in names}, task["runs"])
    outputs = [session(files["cpu-sparse"], claim).run(None, feed) for claim in (None, "auto")]
    return {**times, "equal": all(np.array_equal(a, b) for a, b in zip(*outputs, strict=True))}


def _inputs(task: Task) -> tuple[Path, Any, Any, dict[str, Any]]:
    """The model, inputs with labels that guide, those of the measurement, and options that belong to them."""
    if task["model"] == "l3":
        folder = Path(task["transformers"])
        splits = (
            (load(folder / f"{split}.npz"), np.load(folder / f"{split}_scores.npy")) for split in ("train", "test")
        )
        calibration, test = splits
        return folder / "l3.onnx", calibration, test, {"metric": "spearman"}
    shared = Path(task["shared"])
    model = shared / "models" / f"{task['model']}.onnx"
    calibration, test, more = labelled(shared, model, {**task, "seed": 0})
    return model, calibration, test, {"batch_size": BATCH[task["data"]], **more}


def _timed_feed(task: Task, model: Path) -> dict[str, Any]:
    """One sample."""
    rng = np.random.default_rng(0)
    if task["model"] == "l3":
        ids = rng.integers(1000, 2000, (1, TIMED_TOKENS))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    (value,) = onnx.load(model, load_external_data=False).graph.input
    shape = [max(size.dim_value, 1) for size in value.type.tensor_type.shape.dim]
    return {value.name: rng.normal(size=shape).astype(np.float32)}


if __name__ == "__main__":
    main(*sys.argv[1:])
