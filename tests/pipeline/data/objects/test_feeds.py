"""Feeds from an iterable or a function: batched anew where that can be, the same each time, or refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sample_sources import F32, SPEECH, X4, X, rows, sizes, stacked

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


def test_feeds_are_batched_anew_where_every_axis_is_dynamic() -> None:
    feeds = [{"x": rows(2), "labels": [0, 1]}, {"x": rows(3, start=2), "labels": [2, 3, 4]}]
    samples = open_samples(feeds, X, batch_size=4)
    assert sizes(samples) == [4, 1]
    np.testing.assert_array_equal(stacked(samples.take([4, 0, 3])), rows(5)[[4, 0, 3]])
    assert samples.labels is not None
    assert samples.labels.tolist() == list(range(5))


def test_other_feeds_stay_as_they_are() -> None:
    feeds = [
        {"input": rows(count, 8), "state": np.full((2, 1, 4), count), "rate": 16000, "labels": count}
        for count in (3, 1, 2)
    ]
    samples = open_samples(feeds, SPEECH)
    assert (samples.count, samples.batched) == (3, False)
    assert sizes(samples, "input") == [3, 1, 2]
    assert samples.labels is not None
    assert samples.labels.tolist() == [3, 1, 2]
    assert sizes(samples.take([2, 0]), "input") == [2, 3]


def test_labels_tell_that_a_feed_with_constants_is_a_batch() -> None:
    specs = (InputSpec("x", F32, (None, 3)), InputSpec("keep", F32, ()))
    feeds = [{"x": rows(count), "keep": 1.0, "labels": np.arange(count)} for count in (3, 5)]
    samples = open_samples(feeds, specs, batch_size=2)
    assert (samples.count, samples.batched) == (8, True)
    assert sizes(samples) == [3, 5]


def test_feeds_of_a_fixed_batch() -> None:
    samples = open_samples(({"x": rows(4, start=4 * index)} for index in range(3)), X4)
    assert (samples.count, samples.batched) == (12, True)
    assert sizes(samples) == [4, 4, 4]
    np.testing.assert_array_equal(stacked(samples), stacked(samples))


def test_function_is_called_for_each_iteration_and_read_lazily() -> None:
    calls = []

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        calls.append(0)
        for index in range(6):
            calls[-1] += 1
            yield {"x": rows(1, start=index)}

    samples = open_samples(feeds, X, batch_size=2)
    np.testing.assert_array_equal(stacked(samples), rows(6))
    np.testing.assert_array_equal(next(iter(samples.batches()))["x"], rows(2))
    assert calls == [6, 6, 2]
    np.testing.assert_array_equal(stacked(samples.take([5, 2])), rows(6)[[5, 2]])


def test_feed_with_one_axis_more() -> None:
    with pytest.raises(InputError, match="give each dict as one feed"):
        open_samples([{"x": rows(4)[None]}], X4)


def test_function_that_gives_other_data_later() -> None:
    counts = iter([3, 2])
    samples = open_samples(lambda: [{"x": rows(1)}] * next(counts), X)
    with pytest.raises(InputError, match="gave only 2 feeds"):
        list(samples.batches())
    widths = iter([3, 2])
    samples = open_samples(lambda: [{"x": rows(next(widths))}], X)
    with pytest.raises(InputError, match="other shapes"):
        list(samples.batches())
    labels = iter([1, 1, 2])
    samples = open_samples(lambda: [{"x": rows(1), "labels": np.array([next(labels)])}], X)
    list(samples.batches())
    with pytest.raises(InputError, match="holds other values than before"):
        list(samples.batches())
    factors = iter([1.0, 1.0, 2.0])
    samples = open_samples(lambda: [{"x": rows(1) * next(factors)}], X)
    list(samples.batches())
    with pytest.raises(InputError, match="holds other values than before: data must be the same each time"):
        list(samples.batches())


def test_a_function_may_fill_one_array_again_and_order_inputs_anew() -> None:
    turns = iter(range(100))

    def feeds() -> Iterator[dict[str, Any]]:
        buffer, keys = np.zeros((1, 3), np.float32), ["x", "k"]
        for number in range(5):
            buffer[:] = number
            yield dict.fromkeys(keys if next(turns) % 2 else keys[::-1], buffer)

    specs = [InputSpec(name, np.dtype(np.float32), (None, 3)) for name in ("x", "k")]
    (feed,) = open_samples(feeds, specs).batches()
    np.testing.assert_array_equal(feed["x"][:, 0], np.arange(5))
