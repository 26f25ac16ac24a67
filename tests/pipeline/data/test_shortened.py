"""Samples cut to a part of their length: each at its own place, and found again under its own name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_sources import I64

from netsurgeon.pipeline.data import opened
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError

SPECS = (InputSpec("ids", I64, (None, None)), InputSpec("rows", np.dtype(np.float32), (None, None, 2)))
STARTS, STOPS = np.array([0, 2, 1, 0, 1]), np.array([2, 4, 4, 1, 3])
AXES = {"ids": (1,), "rows": (1,)}


def arrays() -> dict[str, np.ndarray]:
    ids = np.arange(20).reshape(5, 4)
    return {"ids": ids, "rows": np.stack([ids, -ids], axis=2).astype(np.float32), "labels": np.arange(5)}


def expected(samples: np.ndarray) -> list[list[int]]:
    ids = arrays()["ids"]
    return [ids[row, STARTS[row] : STOPS[row]].tolist() for row in samples]


def read(samples: Samples) -> list[list[int]]:
    rows: list[list[int]] = []
    for feed in samples.batches():
        rows += feed["ids"].tolist()
        np.testing.assert_array_equal(feed["rows"][..., 0], feed["ids"])
        np.testing.assert_array_equal(feed["rows"][..., 1], -feed["ids"])
    return [rows[place] for place in samples.order]


@pytest.mark.parametrize("kind", ["arrays", "feeds", "function"])
def test_each_is_cut_at_its_own_place(kind: str) -> None:
    whole = arrays()
    feeds = [{name: array[row : row + 1] for name, array in whole.items()} for row in range(5)]
    sources: dict[str, Any] = {"arrays": whole, "feeds": feeds, "function": lambda: iter(feeds)}
    samples = open_samples(sources[kind], SPECS, batch_size=2).shortened(STARTS, STOPS, AXES)
    assert read(samples) == expected(np.arange(5))
    assert [feed["ids"].shape for feed in samples.batches()] == [(2, 2), (1, 2), (1, 3), (1, 1)]
    assert samples.labels is not None
    assert samples.labels[samples.order].tolist() == list(range(5))
    part = samples.take([0, 3])
    assert part.labels is not None
    assert read(part) == expected(np.sort(part.labels))


def test_what_is_too_large_for_memory_is_read_in_its_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=False, **arrays())
    for most, shapes in ((1 << 30, [(3, 2), (1, 3), (1, 1)]), (1, [(2, 2), (1, 3), (1, 1), (1, 2)])):
        monkeypatch.setattr(opened, "MOST_KEPT_BYTES", most)
        samples = open_samples(tmp_path / "x.npz", SPECS).shortened(STARTS, STOPS, AXES)
        assert read(samples) == expected(np.arange(5))
        assert [feed["ids"].shape for feed in samples.batches()] == shapes


def test_labels_are_cut_as_samples_are_if_they_are_one_a_position() -> None:
    """Those of padding were kept behind the others."""
    samples = open_samples({**arrays(), "labels": arrays()["ids"] + 1}, SPECS).shortened(STARTS, STOPS, AXES)
    again = samples.shortened(np.zeros(5, int), np.ones(5, int), AXES)
    for part in (samples, samples.take([0, 2, 3]), again):
        for feed, labels in zip(part.batches(), part.batch_labels(), strict=True):
            assert labels is not None
            np.testing.assert_array_equal(labels, feed["ids"] + 1)


@pytest.mark.parametrize("case", ["other length", "numbers", "another input of the same length"])
def test_other_labels_stay_whole(case: str) -> None:
    labels = np.arange(10).reshape(5, 2) if case == "other length" else arrays()["ids"]
    labels = labels.astype(np.float32) if case == "numbers" else labels
    axes = {"ids": (1,)} if "another" in case else AXES
    samples = open_samples({**arrays(), "labels": labels}, SPECS).shortened(STARTS, STOPS, axes)
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.labels[samples.order], labels)
    for numbers, of_feed in zip(samples.batch_numbers(), samples.batch_labels(), strict=True):
        np.testing.assert_array_equal(of_feed, labels[numbers])


def test_inputs_without_that_axis_stay_whole() -> None:
    samples = open_samples(arrays(), SPECS).shortened(STARTS, STOPS, {"ids": (1,)})
    assert {feed["rows"].shape[1:] for feed in samples.batches()} == {(4, 2)}


def test_a_broken_sample_is_named_as_in_the_source() -> None:
    broken = arrays()
    broken["rows"][3, 0, 0] = np.nan
    samples = open_samples(broken, SPECS).shortened(STARTS, STOPS, AXES)
    with pytest.raises(InputError, match="the input 'rows' of sample 3 of the mapping holds NaN"):
        list(samples.batches())


def test_pairs_stay_pairs_and_labels_of_positions_begin_where_their_samples_do() -> None:
    whole = {name: array[:4] for name, array in arrays().items()}
    paired = open_samples({**whole, "labels": np.array([0.5, 1.5])}, SPECS).shortened(STARTS[:4], STOPS[:4], AXES)
    assert paired.is_paired
    assert paired.labels is not None
    assert paired.labels[paired.order].tolist() == [0.5, 0.5, 1.5, 1.5]
    for feed, labels, numbers in zip(paired.batches(), paired.batch_labels(), paired.batch_numbers(), strict=True):
        assert labels is not None
        assert [ids[0] for ids in feed["ids"]] == [whole["ids"][row, STARTS[row]] for row in numbers]
        assert labels.tolist() == [0.5 if row < 2 else 1.5 for row in numbers]
    following = open_samples({**whole, "labels": whole["ids"] + 1}, SPECS).shortened(STARTS[:4], STOPS[:4], AXES)
    for feed, labels in zip(following.batches(), following.batch_labels(), strict=True):
        assert labels is not None
        np.testing.assert_array_equal(labels, feed["ids"] + 1)
