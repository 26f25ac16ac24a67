"""The plan of batches: every sample once and in order, never across parts that do not stack."""

import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_sources import F32, SPEECH, X4, X, rows, sizes, stacked

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.matching import Shard
from netsurgeon.pipeline.data.opened import OpenedData, Piece
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


@given(
    count=st.integers(1, 40), batch_size=st.integers(1, 9), fixed=st.none() | st.integers(1, 5), seed=st.integers(0, 99)
)
def test_batches_hold_every_sample_once_in_order(count: int, batch_size: int, fixed: int | None, seed: int) -> None:
    specs = (InputSpec("x", F32, (fixed, 3)),)
    if fixed is not None and count < fixed:
        with pytest.raises(InputError, match="fixed"):
            open_samples(rows(count), specs)
        return
    samples = open_samples(rows(count), specs, batch_size=batch_size)
    kept = count - count % (fixed or 1)
    assert samples.count == kept
    np.testing.assert_array_equal(stacked(samples), rows(kept))
    assert set(sizes(samples)[:-1]) <= {fixed or batch_size}
    order = np.random.default_rng(seed).permutation(kept)
    np.testing.assert_array_equal(stacked(samples.take(order)), rows(kept)[order])


def test_fixed_batch_of_exactly_that_many_is_one_feed() -> None:
    samples = open_samples(rows(4), X4)
    assert sizes(samples) == [4]
    assert samples.warnings == ()


def test_fixed_batch_with_too_few_samples() -> None:
    with pytest.raises(InputError, match="the data holds 3 samples, fewer than the model's fixed batch of 4"):
        open_samples(rows(3), X4)


def test_files_with_constants_or_other_lengths_do_not_share_a_feed(tmp_path: Path) -> None:
    for index, count in enumerate((3, 2)):
        np.savez(tmp_path / f"{index}.npz", input=rows(count, 8), state=np.full((2, 1, 4), index), rate=index)
    samples = open_samples(tmp_path, SPEECH)
    assert [(len(feed["input"]), int(feed["rate"])) for feed in samples.batches()] == [(3, 0), (2, 1)]
    words = tmp_path / "words"
    words.mkdir()
    for index, length in enumerate((4, 4, 7)):
        np.save(words / f"{index}.npy", np.zeros((1, length), np.float32))
    lengths = open_samples(words, (InputSpec("x", F32, (None, None)),))
    assert [feed["x"].shape for feed in lengths.batches()] == [(2, 4), (1, 7)]


def test_rows_that_are_kept_are_in_memory_once() -> None:
    count, width = 400, 1000
    shard = Shard("pictures", count, (("x", (width,)),), frozenset(), batched=True)

    def read(pieces: Iterable[Piece]) -> Iterator[dict[str, np.ndarray]]:
        for _, numbers in pieces:
            yield {"x": np.repeat(numbers[:, None], width, axis=1).astype(np.float32)}

    source = OpenedData([shard], read, is_decoded=True)
    taken = np.arange(1, count, dtype=np.intp)
    tracemalloc.start()
    kept = source.keeping(taken)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * count * width * 4
    (feed,) = kept.read([(0, taken[::7])])
    assert feed["x"][:, -1].tolist() == taken[::7].tolist()


def test_file_that_changes_while_open(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=rows(5))
    samples = open_samples(tmp_path / "a.npz", X)
    np.savez(tmp_path / "a.npz", x=rows(6))
    with pytest.raises(InputError, match="the same each time"):
        list(samples.batches())


def test_batched_and_unbatched_files_do_not_mix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows(4))
    np.save(tmp_path / "b.npy", rows(4)[None])
    with pytest.raises(InputError, match="some has none"):
        open_samples(tmp_path, X4)
