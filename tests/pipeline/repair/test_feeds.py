"""Steps take all inputs of an epoch in an order of its own."""

import itertools
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.data import InputSpec, Samples, open_samples
from netsurgeon.pipeline.repair.feeds import StepFeeds


def samples(*shape: int, count: int = 40, **options: Any) -> Samples:
    data = np.arange(count * int(np.prod(shape, dtype=int))).reshape(count, *shape).astype(np.float32)
    return open_samples({"x": data}, [InputSpec("x", data.dtype, (None, *shape))], **options)


def feeds(batch: int = 16, seed: int = 0) -> StepFeeds:
    return StepFeeds(samples(2, batch_size=8), samples(2, count=8), batch, seed)


def rows(step: Any) -> list[int]:
    return [int(row[0]) // 2 for feed, _ in step for row in feed["x"]]


def test_each_step_is_a_batch_and_each_epoch_has_an_order_of_its_own() -> None:
    first, second, third, fourth = itertools.islice(feeds().steps(0), 4)
    assert [count for _, count in first] == [8, 8]
    assert len({*rows(first), *rows(second)}) == 32
    assert rows(third) != rows(first)
    assert rows(fourth) != rows(second)
    assert rows(next(feeds(seed=1).steps(0))) != rows(first)


@pytest.mark.parametrize("start", [0, 1, 2, 5])
def test_steps_from_a_later_one_on_are_the_same(start: int) -> None:
    whole = [rows(step) for step in itertools.islice(feeds().steps(0), 8)]
    assert [rows(step) for step in itertools.islice(feeds().steps(start), 8 - start)] == whole[start:]


def test_few_inputs_are_one_step() -> None:
    few = StepFeeds(samples(2, count=5), samples(2), 16, 0)
    assert [sorted(rows(step)) for step in itertools.islice(few.steps(0), 2)] == [[0, 1, 2, 3, 4]] * 2


def test_mirrored_samples_are_fed_twice() -> None:
    pictures = samples(3, 8, 8, batch_size=8).mirrored(-1)
    step = next(StepFeeds(pictures, pictures, 16, 0).steps(0))
    assert [count for _, count in step] == [8, 8]
    assert np.array_equal(step[0][0]["x"], step[1][0]["x"][..., ::-1])
