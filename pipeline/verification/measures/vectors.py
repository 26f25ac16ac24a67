"""What of a model's outputs is compared: a vector a sample, one number a sample, logits of a vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import plain_name
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.verification.measures.base import Array, Batch, Outputs
from netsurgeon.pipeline.verification.measures.scoring import measurable

KEEPING_MASKS = ("attention_mask", "input_mask")
"""Names of inputs that hold 1 at positions that count, also behind another word."""


def embeddings(outputs: Outputs, batch: Batch, names: Collection[str] = ()) -> Iterator[Array]:
    """The embeddings that a model gives, (samples, width) each: outputs with one vector of floats a sample.

    Where there is none it is the mean over the positions that count of the first output with a vector each.

    Args:
        outputs: of the model.
        batch: what it was fed.
        names: of the outputs that are embeddings; none = the first that may be one.
    """
    vectors = {
        name: value.reshape(batch.count, -1).astype(np.float64)
        for name, value in _floats(outputs, batch)
        if max(value.shape[1:], default=0) == value[:1].size > 1
    }
    chosen = [name for name in vectors if name in names] or list(vectors)[:1]
    if chosen:
        yield from (vectors[name] for name in chosen)
        return
    for _, value in _floats(outputs, batch):
        if value.ndim == 3:
            counted = counted_positions(batch, value.shape[1])[..., None]
            total = np.sum(value, axis=1, where=counted, dtype=np.float64)
            yield total / np.maximum(counted.sum(axis=1), 1)
            return


def single_numbers(outputs: Outputs, batch: Batch) -> Array | None:
    """One number a sample, (samples,): an output of that shape, or how far the second of two classes is ahead."""
    for _, value in _floats(outputs, batch):
        flat = value.reshape(batch.count, -1).astype(np.float64)
        if flat.shape[1] == 1:
            return np.asarray(flat[:, 0])
        if flat.shape[1] == 2:
            return np.asarray(flat[:, 1] - flat[:, 0])
    return None


def vocabulary_output(outputs: Outputs, batch: Batch) -> str | None:
    """The output with a score of every token of a vocabulary at each position of an input of integers.

    That may be a mask: it tells how many positions there are where the rows of tokens are fed in place of tokens.
    """
    lengths = {
        array.shape
        for array in batch.feed.values()
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.ndim == 2
    }
    for name, value in _floats(outputs, batch):
        if value.ndim == 3 and value.shape[2] > 1 and value.shape[:2] in lengths:
            return name
    return None


def counted_positions(batch: Batch, length: int) -> npt.NDArray[np.bool_]:
    """Which positions of each sample are more than padding, (samples, length); all of them where nothing tells.

    That is the mask that was recognised, or an input by whose name 1 means a position that counts. Other masks may hold
    1 where there is padding.
    """
    if batch.kept is not None and batch.kept.shape == (batch.count, length):
        return batch.kept
    for name, array in batch.feed.items():
        if plain_name(name).endswith(KEEPING_MASKS) and np.shape(array) == (batch.count, length):
            return np.asarray(array, np.float64) > 0.0
    return np.ones((batch.count, length), bool)


def token_ids(batch: Batch) -> npt.NDArray[np.int64]:
    """The tokens that the model is fed, (samples, positions): its input of that name, or its only one of integers.

    Raises:
        InputError: there is no such input.
    """
    candidates = {
        name: array
        for name, array in batch.feed.items()
        if array.dtype.kind in "iu" and array.ndim == 2 and len(array) == batch.count and "mask" not in name.lower()
    }
    chosen = [name for name in candidates if "input_ids" in name.lower()] or list(candidates)
    if len(chosen) != 1:
        raise InputError(
            "the data has no labels, and which input holds the tokens is not clear "
            f"({', '.join(chosen) or 'none has an integer a position'}): add labels, the token that follows each "
            "position"
        )
    return candidates[chosen[0]].astype(np.int64)


def _floats(outputs: Outputs, batch: Batch) -> Iterator[tuple[str, npt.NDArray[np.floating]]]:
    """Outputs of floats that have the samples on axis 0."""
    for name, output in outputs.items():
        value = measurable(output)
        if value is not None and value.dtype.kind == "f" and value.ndim and len(value) == batch.count:
            yield name, value
