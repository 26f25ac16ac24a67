"""Samples of varying length in .npz files: flat arrays with the lengths of samples beside them."""

from pathlib import Path

import numpy as np
import pytest
from sample_sources import I64

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError

IDS = (InputSpec("ids", I64, (None, None)), InputSpec("mask", I64, (None, None)))
LENGTHS = [3, 2, 3, 1, 2]


def sentences() -> list[np.ndarray]:
    return [np.arange(100 * number, 100 * number + length) for number, length in enumerate(LENGTHS)]


def write(path: Path, others: dict[str, np.ndarray] | None = None, part: slice = slice(None)) -> Path:
    some = sentences()[part]
    lengths, flat = np.array([len(sentence) for sentence in some]), np.concatenate(some)
    arrays = {"ids": flat, "ids.lengths": lengths, "mask": np.ones_like(flat), "mask.lengths": lengths}
    np.savez(path, allow_pickle=False, **arrays | (others or {}))
    return path


def read(samples: Samples) -> list[list[int]]:
    """The sentences in the order of the source."""
    read_samples = [row.tolist() for feed in samples.batches() for row in feed["ids"]]
    return [read_samples[place] for place in samples.order]


def test_flat_arrays_with_lengths_are_batched_by_length_and_keep_their_order(tmp_path: Path) -> None:
    samples = open_samples(write(tmp_path / "x.npz", {"labels": np.arange(5)}), IDS)
    assert [feed["ids"].shape for feed in samples.batches()] == [(2, 3), (2, 2), (1, 1)]
    assert read(samples) == [sentence.tolist() for sentence in sentences()]
    assert [labels.tolist() for labels in samples.batch_labels() if labels is not None] == [[0, 2], [1, 4], [3]]
    assert samples.labels is not None
    assert samples.labels[samples.order].tolist() == list(range(5))


def test_a_folder_of_them_is_read_in_order_of_name(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", part=slice(0, 3))
    write(tmp_path / "b.npz", part=slice(3, None))
    np.save(tmp_path / "labels.npy", np.arange(5))
    samples = open_samples(tmp_path, IDS, batch_size=2)
    assert read(samples) == [sentence.tolist() for sentence in sentences()]
    assert samples.labels is not None
    assert samples.labels[samples.order].tolist() == list(range(5))


def test_a_limit_draws_from_all_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz")
    drawn = {tuple(map(tuple, read(open_samples(path, IDS, limit=2, seed=seed)))) for seed in range(20)}
    assert len(drawn) > 3
    assert {len(sentences) for sentences in drawn} == {2}


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    flat = np.concatenate(sentences())
    cases = {
        "add up to 11, but it holds 10 entries": {"ids": flat[:-1]},
        "expected an integer a sample": {"ids.lengths": np.ones((5, 1), np.int64)},
        "holds 4 samples of 'mask' and 5 of others": {"mask.lengths": np.array([3, 2, 3, 3])},
        "is one number": {"mask": np.array(1), "mask.lengths": np.array([1])},
        "go down to -1": {"ids.lengths": np.array([3, 2, 3, -1, 4])},
    }
    for text, change in cases.items():
        with pytest.raises(InputError, match=text):
            open_samples(write(tmp_path / "x.npz", change), IDS)


def test_labels_that_are_not_one_a_sample_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.npz")
    np.save(tmp_path / "labels.npy", np.arange(4))
    with pytest.raises(InputError, match=r"there are labels of shape .* for 5 samples"):
        open_samples(tmp_path, IDS)


@pytest.mark.parametrize("is_beside", [True, False])
def test_pairs_of_sentences_share_a_label(is_beside: bool, tmp_path: Path) -> None:
    scores = np.array([0.5, 1.5])
    for number, part in enumerate((slice(0, 2), slice(2, 4))):
        others = {} if is_beside else {"labels": scores[number : number + 1]}
        write(tmp_path / f"{number}.npz", others, part)
    if is_beside:
        np.save(tmp_path / "labels.npy", scores)
    samples = open_samples(tmp_path, IDS)
    assert samples.is_paired
    assert samples.labels is not None
    assert samples.labels[samples.order].tolist() == [0.5, 0.5, 1.5, 1.5]
    assert read(samples) == [sentence.tolist() for sentence in sentences()[:4]]
