"""Steps take all inputs of an epoch in an order of its own; what is done to them follows from what they are."""

import itertools
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.data import InputSpec, PictureOptions, Samples, open_samples
from netsurgeon.pipeline.repair.feeds import Changes, StepFeeds, choose_changes

FLOAT = np.dtype(np.float32)


def samples(*shape: int, count: int = 40, dtype: Any = np.float32, **options: Any) -> Samples:
    data = np.arange(count * int(np.prod(shape, dtype=int))).reshape(count, *shape).astype(dtype)
    return open_samples({"x": data}, [InputSpec("x", np.dtype(dtype), (None, *shape))], **options)


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


@pytest.mark.parametrize(
    ("shape", "dtype", "augment", "changes"),
    [
        ((3, 32, 32), np.float32, "auto", Changes(shifts={"x": 4}, flip=True)),
        ((3, 32, 32), np.float32, "shift", Changes(shifts={"x": 4})),
        ((3, 32, 32), np.float32, "none", Changes()),
        ((1, 28, 28), np.float32, "auto", Changes(shifts={"x": 3})),
        ((224, 224, 3), np.float32, "auto", Changes(shifts={"x": 16}, channels_last=frozenset({"x"}), flip=True)),
        ((12,), np.int64, "auto", Changes()),
    ],
)
def test_what_is_done_suits_the_inputs(shape: tuple[int, ...], dtype: Any, augment: str, changes: Changes) -> None:
    assert choose_changes(samples(*shape, count=2, dtype=dtype), augment) == changes


def test_floats_that_are_no_pictures_get_noise() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((64, 2)) * [1.0, 1000.0]).astype(np.float32)
    mask = (rng.random((64, 4)) < 0.5).astype(np.float32)
    specs = [InputSpec("x", FLOAT, (None, 2)), InputSpec("mask", FLOAT, (None, 4))]
    noises = choose_changes(open_samples({"x": x, "mask": mask}, specs), "auto").noises
    assert set(noises) == {"x"}
    np.testing.assert_allclose(noises["x"], 0.1 * x.std(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(), "none"),
        (Changes(shifts={"x": 4}, flip=True), "pictures moved by up to 4 pixels, half of them mirrored"),
        (Changes(noises={"x": np.ones(2, np.float32)}), "noise of 0.1 standard deviations"),
    ],
)
def test_what_is_done_is_said(changes: Changes, words: str) -> None:
    assert str(changes) == words
    assert PictureOptions().mirror is False
