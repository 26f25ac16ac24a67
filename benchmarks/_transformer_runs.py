"""One step of `transformer.py` in a process of its own: ``python _transformer_runs.py task.json result.json``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _quantize_runs import times
from _runs import Facts, Task, write_facts
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import spearmanr

import netsurgeon
from netsurgeon.pipeline.data.matching import Feed
from netsurgeon.pipeline.model_files import bytes_on_disk
from netsurgeon.pipeline.profiling import profile
from netsurgeon.pipeline.runtime import Runtime, Session

THREADS = 1
"""Of the latency, and of the product while it runs."""
TIMED_TOKENS = 32
MOST_SENTENCES = 64
"""Of one length, in a run."""


def main(task_path: str, result_path: str) -> None:
    """Run a step and write its facts."""
    write_facts({"compress": compress, "measure": measure}, task_path, result_path)


def compress(task: Task) -> Facts:
    """Let the product write a small model; a guided row gets pairs with scores: train to search, test to check."""
    folder, options = Path(task["models"]), dict(task["options"])
    given: Any = str(folder / task["data"])
    test: Any = str(folder / task["test"])
    if task["guided"]:
        given, test = (
            (load(folder / f"{split}.npz"), np.load(folder / f"{split}_scores.npy")) for split in ("train", "test")
        )
    started, processor = time.perf_counter(), time.process_time()
    result = netsurgeon.compress(task["model"], given, test=test, output=task["output"], threads=THREADS, **options)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - processor, 1),
        "peak_bytes": result.report.peak_bytes,
        "warnings": [str(warning) for warning in result.report.warnings],
    }


def measure(task: Task) -> Facts:
    """The figure of both files on the test split, their bytes, and their times in turn."""
    folder, dense, small = Path(task["models"]), Path(task["model"]), Path(task["output"])
    ids = np.random.default_rng(0).integers(1000, 2000, (1, TIMED_TOKENS))
    feed = {"input_ids": ids}
    if "language" in dense.stem:
        figures = {key: perplexity(Runtime().session(file), folder) for key, file in _sides(dense, small)}
    else:
        feed["attention_mask"] = np.ones_like(ids)
        inputs, scores = load(folder / "test.npz"), np.load(folder / "test_scores.npy")
        embeddings = {key: embed(Runtime().session(file), inputs) for key, file in _sides(dense, small)}
        figures = {key: spearman(side, scores) for key, side in embeddings.items()}
        figures["embedding_error"] = embedding_error(embeddings["dense"], embeddings["figure"])
    return {
        **figures,
        "ratio": round(bytes_on_disk(dense) / bytes_on_disk(small), 3),
        **times(profile(dense, small, data=[feed], threads=THREADS)),
    }


def _sides(dense: Path, small: Path) -> tuple[tuple[str, Path], ...]:
    return ("dense", dense), ("figure", small)


def embed(session: Session, inputs: Feed) -> NDArray[np.float32]:
    """Embeddings of sentences, (sentences, width); no sentence is padded."""
    embeddings = np.zeros((len(inputs["input_ids"]), 0), np.float32)
    for rows, feed in by_length(inputs):
        answers = list(session.run(feed).values())[-1]
        if not embeddings.size:
            embeddings = np.zeros((len(embeddings), answers.shape[-1]), np.float32)
        embeddings[rows] = answers
    return embeddings


def spearman(embeddings: NDArray[np.float32], scores: NDArray[np.floating]) -> float:
    """Of the cosine of each pair's embeddings, rows 2 i and 2 i + 1, with the pair's score."""
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return round(float(spearmanr(np.sum(units[::2] * units[1::2], axis=1), scores).statistic), 4)


def embedding_error(dense: NDArray[np.float32], small: NDArray[np.float32]) -> float:
    """‖small − dense‖ / ‖dense‖ over all sentences."""
    return round(float(np.linalg.norm(small - dense) / np.linalg.norm(dense)), 4)


def by_length(inputs: Feed) -> Iterator[tuple[NDArray[np.int64], Feed]]:
    """Sentences of one length together, without their padding: their rows, and the feed."""
    lengths = inputs["attention_mask"].sum(axis=1)
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        for rows in np.array_split(same, -(-len(same) // MOST_SENTENCES)):
            yield rows, {name: array[rows, :length] for name, array in inputs.items()}


def perplexity(session: Session, folder: Path) -> float:
    """The exponential of the mean negative log-likelihood of the next token."""
    ids, following = load(folder / "language_test.npz")["input_ids"], np.load(folder / "language_test_next.npy")
    losses = []
    for start in range(0, len(ids), MOST_SENTENCES):
        logits = session.run({"input_ids": ids[start : start + MOST_SENTENCES]})["logits"]
        expected = following[start : start + MOST_SENTENCES, :, None]
        losses.append(np.take_along_axis(-log_softmax(logits.astype(np.float64), axis=-1), expected, axis=-1).ravel())
    return round(float(np.exp(np.concatenate(losses).mean())), 3)


def load(path: Path) -> Feed:
    """The arrays of an npz."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


if __name__ == "__main__":
    main(*sys.argv[1:])
