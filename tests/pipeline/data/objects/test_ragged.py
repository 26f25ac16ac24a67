"""Samples of varying length in lists."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sample_sources import I64

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError

IDS = (InputSpec("ids", I64, (None, None)), InputSpec("mask", I64, (None, None)))
LISTS = [[1, 2, 3], [4], [5, 6, 7], [8]]
MASKS = [[1] * len(entries) for entries in LISTS]


def read(samples: Samples) -> list[list[int]]:
    read_samples = [row.tolist() for feed in samples.batches() for row in feed["ids"]]
    return [read_samples[place] for place in samples.order]


class Columns:
    """A data frame, as far as it is asked for."""

    def __init__(self, columns: dict[str, list[Any]]):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        entries = self._columns[name]
        column = np.array(entries) if not isinstance(entries[0], list) else np.empty(len(entries), object)
        column[:] = entries
        return type("Column", (), {"to_numpy": staticmethod(lambda: column)})()

    def to_numpy(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("kind", ["lists", "arrays", "labelled", "frame", "feeds"])
def test_lists_of_varying_length_are_one_sample_an_entry(kind: str) -> None:
    arrays = {"ids": [np.array(entries) for entries in LISTS], "mask": [np.array(mask) for mask in MASKS]}
    sources: dict[str, Any] = {
        "lists": {"ids": LISTS, "mask": MASKS},
        "arrays": arrays,
        "labelled": (arrays, np.arange(4)),
        "frame": Columns({"ids": LISTS, "mask": MASKS, "label": [0, 1, 2, 3]}),
        "feeds": [{"ids": ids[None], "mask": mask[None]} for ids, mask in zip(*arrays.values(), strict=True)],
    }
    samples = open_samples(sources[kind], IDS)
    assert [feed["ids"].shape for feed in samples.batches()] == [(2, 3), (2, 1)]
    assert read(samples) == LISTS
    if kind in ("labelled", "frame"):
        assert samples.labels is not None
        assert samples.labels.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("kind", ["lists", "labelled", "one input"])
def test_pairs_of_lists_share_a_label(kind: str) -> None:
    scores = [0.5, 1.5]
    sources: dict[str, Any] = {
        "lists": {"ids": LISTS, "mask": MASKS, "labels": scores},
        "labelled": ({"ids": LISTS, "mask": MASKS}, np.array(scores)),
        "one input": ([np.array([entries]) for entries in LISTS], scores),
    }
    samples = open_samples(sources[kind], IDS[:1] if kind == "one input" else IDS)
    assert samples.is_paired
    assert samples.labels is not None
    assert samples.labels[samples.order].tolist() == [0.5, 0.5, 1.5, 1.5]
    assert read(samples) == LISTS


def test_a_generator_is_asked_once_and_kept() -> None:
    calls = 0

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        nonlocal calls
        calls += 1
        for entries in LISTS:
            yield {"ids": np.array(entries), "mask": np.ones(len(entries), np.int64)}

    samples = open_samples(feeds, IDS)
    opening = calls
    for _ in range(3):
        assert read(samples) == LISTS
    assert calls == opening


def test_unequal_counts_are_refused() -> None:
    with pytest.raises(InputError, match=r"different numbers of samples \(4 for 'ids', 3 for 'mask'\)"):
        open_samples({"ids": LISTS, "mask": MASKS[:3]}, IDS)
    with pytest.raises(InputError, match="4 inputs and 3 labels"):
        open_samples(({"ids": LISTS, "mask": MASKS}, np.arange(3)), IDS)


@pytest.mark.parametrize("label", [np.array(1), 1])
def test_a_single_label_for_all_is_refused(label: Any) -> None:
    with pytest.raises(InputError, match="0 for 'labels'"):
        open_samples({"ids": LISTS, "mask": MASKS, "labels": label}, IDS)
    if isinstance(label, np.ndarray):
        with pytest.raises(InputError, match="4 inputs and 0 labels"):
            open_samples(({"ids": LISTS, "mask": MASKS}, label), IDS)
