"""From what holds a feed to arrays by name: with one input nothing is ambiguous, with several the dict is shown."""

import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_sources import F32, PICTURE, TWO, X, rows, sizes, stacked

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError

SHOWN = "{'ids': int64 (any, 5), 'mask': int64 (any, 5)}"
BATCH = np.zeros((4, 5), np.int64)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(BATCH, id="an array"),
        pytest.param([BATCH, BATCH], id="arrays"),
        pytest.param((BATCH, BATCH), id="a tuple"),
        pytest.param([(BATCH, BATCH)], id="batches of two"),
        pytest.param([(BATCH, BATCH, np.zeros(4, int))], id="batches of three"),
        pytest.param([[1.0, 2.0]], id="numbers"),
        pytest.param({"ids": BATCH}, id="half a mapping"),
        pytest.param(["text"], id="text"),
    ],
)
def test_several_inputs_need_a_dict_which_the_message_shows(source: Any) -> None:
    with pytest.raises(InputError, match=re.escape(SHOWN)) as error:
        open_samples(source, TWO)
    assert "\n" not in str(error.value)


def test_a_batch_of_several_values_says_how_to_name_them() -> None:
    with pytest.raises(InputError, match=r"lambda batch: \{'ids': batch\[0\], 'mask': batch\[1\]\}\)"):
        open_samples([(BATCH, BATCH, BATCH)], TWO)
    with pytest.raises(InputError, match="feed 0 of the data is a tuple of 3 values"):
        open_samples([(rows(2), rows(2), rows(2))], X)


@pytest.mark.parametrize("labels", [np.arange(4), [0, 1, 2, 3], np.arange(4)[:, None], np.eye(4), np.eye(4, dtype=int)])
def test_inputs_by_name_with_labels(labels: Any) -> None:
    inputs = {"ids": BATCH, "mask": BATCH}
    for source in ((inputs, labels), [(inputs, labels)]):
        samples = open_samples(source, TWO)
        assert samples.labels is not None
        assert samples.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ([rows(2), rows(2)], 4),
        ([rows(3), np.arange(3)], 3),
        (rows(2)[0], 1),
        ({"x": rows(2)[0]}, 1),
        ([{"x": rows(2)[0]}, {"x": rows(2)[1]}], 2),
        ([(rows(2)[0], 1)], 1),
        ([[rows(2), np.zeros(2, int)]], 2),
        ([(rows(2),), (rows(2),)], 4),
        ([[1.0, 2.0, 3.0], (4.0, 5.0, 6.0)], 2),
        (([rows(1)[0], rows(1)[0]], [0, 1]), 2),
        ([(rows(2), None)], 2),
    ],
    ids=str,
)
def test_with_one_input_nothing_is_ambiguous(source: Any, count: int) -> None:
    samples = open_samples(source, X)
    assert (samples.count, sum(sizes(samples))) == (count, count)
    assert stacked(samples).shape == (count, 3)


def test_truth_values_are_two_classes() -> None:
    samples = open_samples((rows(3), [True, False, True]), X)
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("targets", [np.array([0.5, 1.5]), rows(2), np.ones((2, 2))], ids=["numbers", "outputs", "map"])
def test_targets_that_are_no_classes_stay_beside_the_inputs(targets: Any) -> None:
    for source, times in (((rows(2), targets), 1), ([(rows(2), targets)] * 3, 3)):
        samples = open_samples(source, X)
        assert samples.labels is not None
        np.testing.assert_array_equal(samples.labels, np.concatenate([targets] * times))
        assert samples.classes is None


def test_samples_of_one_number_and_rows_of_two() -> None:
    one, two = (InputSpec("x", F32, (None,)),), (InputSpec("x", F32, (None, 2)),)
    samples = open_samples([(1.5, 0), (2.5, 1)], one)
    assert stacked(samples).tolist() == [1.5, 2.5]
    assert samples.labels is not None
    assert stacked(open_samples([(1.0, 2.0), (3.0, 4.0)], two)).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert open_samples([(1.0, 2.0)], two).labels is None


def test_pictures_become_inputs_as_the_options_say() -> None:
    options = PictureOptions(crop=8, channels="BGR", scale=1.0)
    pictures = [Image.new("RGB", (10, 9), (value, 0, 100)) for value in (1, 2)]
    for source in (pictures, [(picture, 0) for picture in pictures], [{"image": picture} for picture in pictures]):
        images = stacked(open_samples(source, PICTURE, pictures=options), "image")
        assert images[:, 2, 0, 0].tolist() == [1.0, 2.0]
        assert images[:, 0, 7, 7].tolist() == [100.0, 100.0]
    assert open_samples(pictures[0], PICTURE, pictures=options).count == 1


def test_batches_of_pictures() -> None:
    pictures = [Image.new("L", (8, 8), value) for value in (0, 255)]
    for source in ([pictures], [(pictures, [0, 1])], {"image": pictures}):
        samples = open_samples(source, PICTURE)
        assert stacked(samples, "image")[:, 0, 0, 0].tolist() == [0.0, 1.0]


def test_pictures_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="a picture becomes 3x9x9 but the model's input 'image' takes 3x8x8"):
        open_samples([Image.new("RGB", (9, 9))], PICTURE)
    with pytest.raises(InputError, match="a picture becomes 3x8x8 but the model's input 'image' takes 8x8"):
        open_samples([Image.new("RGB", (8, 8))], (InputSpec("image", F32, (3, 8, 8)),))
    with pytest.raises(InputError, match="mode F: expected 8 bits a channel"):
        open_samples([Image.new("F", (8, 8))], PICTURE)
    free = (InputSpec("image", F32, (None, 3, None, None)),)
    with pytest.raises(InputError, match="samples of different shapes"):
        open_samples([[Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))]], free)


def test_picture_options_need_a_picture() -> None:
    with pytest.raises(InputError, match="the data holds none: leave them out"):
        open_samples([rows(2)], X, pictures=PictureOptions())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([object()], "feed 0 of the data is of type object: expected an array, a picture, a pair of inputs and labels"),
        ([None], "feed 0 of the data is of type NoneType"),
        ([(rows(2), np.arange(3))], r"labels of feed 0 .* shape \(3,\): expected \(2,\)"),
        ([(rows(2), ["a", "b"])], "labels of feed 0 of the data are <U1: expected numbers"),
        (([rows(1)], [0, 1]), "the data holds 1 input and 2 labels: give one for each"),
    ],
)
def test_what_cannot_be_meant(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_samples(source, X)
