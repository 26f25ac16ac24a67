"""What the benchmarks that train have in common: MNIST, its test error in ONNX Runtime, and rows that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

RESULTS = Path(__file__).parent / "results"
SCALE = np.float32(1 / 256)

Facts = dict[str, Any]


def mnist_error(model: Path, mnist: Path) -> float:
    """Test error in percent, in ONNX Runtime."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    with np.load(mnist / "test.npz") as archive:
        inputs, labels = archive["x"][:, None] * SCALE, archive["y"]
    name = session.get_inputs()[0].name
    logits = np.concatenate([session.run(None, {name: part})[0] for part in np.array_split(inputs, 20)])
    return round(100 * float(np.mean(logits.argmax(1) != labels)), 4)


def keep_row(name: str, row: str, facts: Facts, page: Callable[[dict[str, Facts]], str]) -> None:
    """Put a row into ``results/NAME.json``, in place of its older self, and write the page of all rows anew."""
    path = RESULTS / f"{name}.json"
    rows = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    rows[row] = facts
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
    path.with_suffix(".md").write_text(page(dict(sorted(rows.items()))), "utf-8")


def must(facts: Facts) -> str:
    """What a row has to reach, and whether it does not."""
    if facts["must_reach"] is None:
        return "-"
    return f"{facts['must_reach']:.2f}" + ("" if facts["reached"] else " (missed)")
