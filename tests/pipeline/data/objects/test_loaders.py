"""Loaders: what is read again each time, what is kept, and what gives other values the second time."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sample_sources import TWO, X, rows, sizes, stacked

from netsurgeon.pipeline.data.objects import loaders
from netsurgeon.pipeline.data.objects.loaders import Dataset, Replayed, is_indexed, is_sized, rereadable
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


class Batches:
    """A loader that can be iterated again and again."""

    def __init__(self, noise: float = 0.0):
        self.readings = 0
        self._noise = noise

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        self.readings += 1
        for at in range(3):
            ids = np.full((2, 5), at, np.int64)
            yield ids, ids + 1, np.array([at, at]) + int(self._noise * self.readings)


def by_name(batch: Any) -> dict[str, np.ndarray]:
    return {"ids": batch[0], "mask": batch[1], "labels": batch[2]}


def test_a_transform_names_the_parts_of_a_batch() -> None:
    samples = open_samples(Dataset(Batches(), by_name), TWO, batch_size=4)
    assert sizes(samples, "ids") == [4, 2]
    np.testing.assert_array_equal(stacked(samples, "mask"), stacked(samples, "ids") + 1)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_transform_may_give_whatever_a_feed_may_be() -> None:
    for transform in (lambda at: rows(1, start=at), lambda at: rows(1, start=at)[0], lambda at: (rows(1, start=at), 0)):
        np.testing.assert_array_equal(stacked(open_samples(Dataset(range(4), transform), X)), rows(4))
    np.testing.assert_array_equal(stacked(open_samples(Dataset(list(rows(4))), X)), rows(4))


def test_what_a_transform_raises_is_blamed_on_the_data() -> None:
    with pytest.raises(InputError, match="the data failed with IndexError"):
        open_samples(Dataset([rows(1)], lambda batch: {"x": batch[7]}), X)


def test_a_loader_that_can_be_read_again_is_not_kept() -> None:
    batches = Batches()
    samples = open_samples(Dataset(batches, by_name), TWO)
    assert rereadable(batches) is batches
    list(samples.batches())
    list(samples.batches())
    assert batches.readings == 3


def test_pictures_and_tables_of_an_iterator_count_as_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "MOST_BYTES", 10_000)
    image, pandas = pytest.importorskip("PIL.Image"), pytest.importorskip("pandas")
    for item in (image.new("RGB", (64, 64)), pandas.DataFrame({"x": np.zeros(2000)})):
        with pytest.raises(InputError, match="the most that is kept of an iterator"):
            list(Replayed(iter([(item, 0)]), "the data"))
        assert len(list(Replayed(iter([(1, 0)]), "the data"))) == 1


def test_a_loader_with_a_limit_is_read_once_more_and_kept() -> None:
    limited, whole = Batches(), Batches()
    kept = [
        open_samples(Dataset(limited, by_name), TWO, limit=2),
        open_samples(Dataset(whole, by_name), TWO).kept(),
    ]
    readings = limited.readings, whole.readings
    for samples in kept * 3:
        list(samples.batches())
    assert (limited.readings, whole.readings) == readings


def test_what_is_random_is_told_and_how_to_keep_one_reading() -> None:
    samples = open_samples(Dataset(Batches(noise=1.0), by_name), TWO)
    with pytest.raises(InputError, match=r"other values than before: .*augmentation, or give a list of it"):
        list(samples.batches())


def test_an_iterator_is_kept_also_under_a_transform() -> None:
    for source in (iter(rows(4)), Dataset(iter(rows(4)), lambda row: {"x": row})):
        kept = rereadable(source)
        assert isinstance(kept, Replayed)
        for _ in range(2):
            np.testing.assert_array_equal(stacked(open_samples(kept, X)), rows(4))


def test_a_limit_takes_the_first_of_what_does_not_say_how_many_it_gives() -> None:
    endless = Dataset(itertools.repeat(rows(1)), lambda row: {"x": row})
    assert open_samples(endless, X, limit=5).count == 5
    drawn = stacked(open_samples(Dataset(list(rows(50))), X, limit=5, seed=1))
    assert not np.array_equal(drawn, rows(5))


def test_what_has_a_length_and_items() -> None:
    assert is_sized(Dataset([1, 2]))
    assert not is_sized(Dataset(iter([1])))
    assert not is_indexed([1, 2])
    assert repr(Dataset([1], by_name)) == "Dataset(list, by_name)"
    assert repr(Dataset([1])) == "Dataset(list)"
