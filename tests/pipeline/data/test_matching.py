"""What arrays are to a model: samples, constants or whole feeds, and which values fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_sources import F32, I64, SPEECH, TWO, X4, X, rows, sizes, stacked

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError


def test_one_axis_more_enumerates_feeds() -> None:
    data = np.arange(5 * 12, dtype=np.float32).reshape(5, 4, 3)
    samples = open_samples({"x": data, "labels": np.arange(5)}, X4, batch_size=2)
    assert not samples.batched
    assert samples.count == 5
    for index, feed in enumerate(samples.batches()):
        np.testing.assert_array_equal(feed["x"], data[index])


def test_enumerated_scalars_stay_arrays_of_rank_zero() -> None:
    specs = (InputSpec("x", F32, (3,)), InputSpec("rate", I64, ()))
    samples = open_samples({"x": rows(2), "rate": np.array([8, 16])}, specs)
    assert not samples.batched
    rates = [feed["rate"] for feed in samples.batches()]
    assert [rate.shape for rate in rates] == [(), ()]
    assert [int(rate) for rate in rates] == [8, 16]


def test_enumerated_and_batched_arrays_do_not_mix() -> None:
    data = {"ids": np.zeros((2, 3, 5), int), "mask": np.zeros((3, 5), int)}
    with pytest.raises(InputError, match="not for 'mask'"):
        open_samples(data, TWO)


def test_constants_go_with_every_batch() -> None:
    state = np.ones((2, 1, 4), np.float32)
    data = {"input": rows(10, 8), "state": state, "rate": np.array(16000), "labels": np.arange(10)}
    samples = open_samples(data, SPEECH, batch_size=4)
    assert samples.batched
    assert samples.count == 10
    for feed in samples.batches():
        np.testing.assert_array_equal(feed["state"], state)
        assert feed["rate"] == 16000
        assert feed["rate"].dtype == I64
        assert feed["rate"].shape == ()
    np.testing.assert_array_equal(stacked(samples, "input"), rows(10, 8))


def test_constant_with_a_dynamic_axis_is_never_fed_with_a_larger_batch() -> None:
    specs = (InputSpec("input", F32, (None, 8)), InputSpec("state", F32, (2, None, 4)))
    ones = open_samples({"input": rows(3, 8), "state": np.ones((2, 1, 4), np.float32)}, specs)
    assert sizes(ones, "input") == [1, 1, 1]
    whole = open_samples({"input": rows(3, 8), "state": np.ones((2, 3, 4), np.float32)}, specs)
    assert sizes(whole, "input") == [3]
    assert not whole.batched


def test_unrelated_fixed_shapes_are_one_feed() -> None:
    specs = (InputSpec("a", F32, (1, 3)), InputSpec("b", F32, (5, 3)))
    samples = open_samples({"a": rows(1), "b": rows(5)}, specs)
    assert (samples.count, samples.batched) == (1, False)
    assert [feed["b"].shape for feed in samples.batches()] == [(5, 3)]


def test_unknown_rank_is_batched_along_the_first_axis() -> None:
    assert sizes(open_samples(rows(5), (InputSpec("x", F32, None),), batch_size=3)) == [3, 2]


def test_different_fixed_batches_cannot_be_shared() -> None:
    specs = (InputSpec("a", F32, (2, 3)), InputSpec("b", F32, (5, 3)))
    with pytest.raises(InputError, match=r"different fixed sizes \[2, 5\]"):
        open_samples({"a": rows(20), "b": rows(20)}, specs)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"data": rows(3)}, "holds 'data' but the model's inputs are 'x'"),
        ({"x": rows(3), "y": rows(3)}, "'x', 'y' but the model's inputs are 'x': remove the others"),
        ({"labels": np.arange(3)}, "holds no arrays"),
        ({"x": rows(3, 4)}, r"shape \(3, 4\) .* takes \(any, 3\)"),
        ({"x": np.zeros(4, np.float32)}, r"shape \(4,\) .* takes \(any, 3\)"),
        ({"x": np.zeros((0, 3), np.float32)}, "no samples"),
        ({"x": np.array([["a", "b", "c"]])}, "holds <U1 for the input 'x' but the model takes float32"),
        ({"x": np.array([[None, 1, 2]])}, "Python objects"),
        ({"x": np.zeros((3, 3), complex)}, "complex128"),
        ({"x": [[1.0], [1.0, 2.0]]}, r"feed 0 of the data holds an array of shape \(1,\) .* takes \(any, 3\)"),
        ({"x": [[[1.0], [1.0, 2.0]], [[1.0], [2.0]]]}, "is not an array"),
        ({"x": rows(3), "labels": np.arange(4)}, r"labels .* shape \(4,\): expected \(3,\)"),
        ({"x": rows(3), "labels": np.array([0.0, np.nan, 1.0])}, "labels .* hold NaN or Inf"),
        ({"x": rows(3), "labels": np.array(["a", "b", "c"])}, "labels .* <U1: expected numbers"),
        ({"x": rows(3), "labels": np.zeros((4, 2), int)}, r"labels .* shape \(4, 2\): expected \(3,\)"),
        (
            {"x": rows(4), "labels": np.zeros(3)},
            r"labels .* shape \(3,\): expected \(4,\), one a sample, or 2 for pairs",
        ),
    ],
)
def test_mapping_that_does_not_fit(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_samples(data, X)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
def test_one_hot_labels_are_taken_for_their_classes(tmp_path: Path, dtype: type) -> None:
    classes = np.array([2, 0, 1, 2, 3])
    given = {"x": rows(5), "labels": np.eye(4, dtype=dtype)[classes]}
    np.savez(tmp_path / "data.npz", **given)
    for source in (given, tmp_path / "data.npz"):
        samples = open_samples(source, X)
        assert samples.labels is not None
        assert samples.labels.dtype == np.int64
        np.testing.assert_array_equal(samples.labels, classes)


def test_whether_labels_are_one_hot_is_told_by_all_of_them() -> None:
    """Rows of several labels, given one by one, of which some have a single 1."""
    given = [(rows(1), np.array([[0, 1, 1]])), (rows(1), np.array([[0, 1, 0]]))]
    samples = open_samples(given, X)
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.labels, [[0, 1, 1], [0, 1, 0]])


def test_a_column_of_labels_is_taken() -> None:
    samples = open_samples({"x": rows(3), "labels": np.array([[7], [0], [2]])}, X)
    np.testing.assert_array_equal(samples.labels, [7, 0, 2])


@pytest.mark.parametrize(
    "labels",
    [np.array([0.5, 1.0, 2.0]), np.full((3, 4), 0.25), np.ones((3, 4), int), np.array([[0, 1], [2, -1], [1, 0]])],
    ids=["scores", "soft", "tokens", "signed"],
)
def test_labels_that_are_no_classes_are_targets(tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "data.npz", x=rows(3), labels=labels)
    for source in ({"x": rows(3), "labels": labels}, tmp_path / "data.npz"):
        samples = open_samples(source, X)
        assert samples.labels is not None
        np.testing.assert_array_equal(samples.labels, labels)
        assert (samples.classes, samples.is_paired) == (None, False)


def test_half_as_many_labels_are_those_of_pairs(tmp_path: Path) -> None:
    scores = np.array([0.5, 1.5, 2.5])
    np.savez(tmp_path / "data.npz", x=rows(6), labels=scores)
    for source in ({"x": rows(6), "labels": scores}, tmp_path / "data.npz", (rows(6), scores)):
        samples = open_samples(source, X, batch_size=4)
        assert samples.labels is not None
        assert (samples.labels.tolist(), samples.is_paired) == ([0.5, 0.5, 1.5, 1.5, 2.5, 2.5], True)
        assert samples.classes is None
        assert [batch.tolist() for batch in samples.batch_numbers()] == [[0, 1, 2, 3], [4, 5]]
    assert open_samples({"x": rows(6), "labels": np.array([0, 1, 0])}, X).classes is None


@pytest.mark.parametrize("kind", ["feeds", "files"])
def test_whether_labels_are_those_of_pairs_is_told_by_all_parts_together(kind: str, tmp_path: Path) -> None:
    def opened(*counts: int) -> Samples:
        feeds = [{"x": rows(4), "labels": np.arange(count) + 0.5} for count in counts]
        if kind == "feeds":
            return open_samples(feeds, X)
        for number, feed in enumerate(feeds):
            np.savez(tmp_path / f"{number}.npz", **feed)  # type: ignore[arg-type]
        return open_samples(tmp_path, X)

    paired = opened(2, 2)
    assert paired.labels is not None
    assert (paired.labels.tolist(), paired.is_paired) == ([0.5, 0.5, 1.5, 1.5] * 2, True)
    assert not opened(4, 4).is_paired
    with pytest.raises(InputError, match=r"1 of 2 parts of .* have half as many labels as samples"):
        opened(4, 2)


def test_missing_inputs_are_named() -> None:
    with pytest.raises(InputError, match="holds 'ids' but the model's inputs are 'ids', 'mask': rename or add 'mask'"):
        open_samples({"ids": np.zeros((3, 5), int)}, TWO)


def test_inputs_with_different_counts() -> None:
    with pytest.raises(InputError, match="3 for 'ids', 4 for 'mask'"):
        open_samples({"ids": np.zeros((3, 5), int), "mask": np.zeros((4, 5), int)}, TWO)


@pytest.mark.parametrize(
    ("data_type", "model_type"), [("f8", "f4"), ("u1", "f4"), ("i4", "i8"), ("i8", "i4"), ("?", "i8"), (">f4", "f4")]
)
def test_safe_casts(data_type: str, model_type: str) -> None:
    samples = open_samples(np.ones((2, 3), data_type), (InputSpec("x", np.dtype(model_type), (None, 3)),))
    (feed,) = samples.batches()
    assert feed["x"].dtype == np.dtype(model_type)
    assert np.all(feed["x"] == 1)


@pytest.mark.parametrize(("data_type", "model_type"), [("f4", "i8"), ("i8", "?"), ("f4", "?")])
def test_refused_casts(data_type: str, model_type: str) -> None:
    with pytest.raises(InputError, match="convert the data"):
        open_samples(np.ones((2, 3), data_type), (InputSpec("x", np.dtype(model_type), (None, 3)),))


@pytest.mark.parametrize(
    ("bad", "model_type", "message"),
    [
        (np.nan, "f4", "'x' of sample 5 of the array holds NaN or Inf"),
        (np.inf, "f4", "sample 5 of the array holds NaN or Inf"),
        (1e6, "f2", "sample 5 of the array holds numbers beyond float16"),
    ],
)
def test_values_that_are_not_finite(bad: float, model_type: str, message: str) -> None:
    data = rows(8).astype(np.float64)
    data[5, 1] = bad
    samples = open_samples(data, (InputSpec("x", np.dtype(model_type), (None, 3)),), batch_size=2)
    with pytest.raises(InputError, match=message):
        list(samples.batches())


def test_integers_that_do_not_fit() -> None:
    data = np.array([[0, 0, 0], [0, 300, 0], [0, -1, 0]])
    samples = open_samples(data, (InputSpec("x", np.dtype(np.uint8), (None, 3)),))
    with pytest.raises(InputError, match="sample 1 of the array holds numbers beyond uint8"):
        list(samples.batches())


def test_constant_that_is_not_finite() -> None:
    data = {"input": rows(3, 8), "state": np.full((2, 1, 4), np.nan, np.float32), "rate": np.array(1)}
    with pytest.raises(InputError, match="'state' of the mapping holds NaN"):
        list(open_samples(data, SPEECH).batches())


def test_array_for_two_inputs() -> None:
    with pytest.raises(InputError, match="model has the inputs 'ids', 'mask'"):
        open_samples(rows(5), TWO)


def test_a_sample_without_a_batch_axis_gets_one() -> None:
    np.testing.assert_array_equal(stacked(open_samples({"x": rows(1)[0]}, X)), rows(1))
    feeds = [{"input": rows(1, 8, at)[0], "state": np.ones((2, 1, 4)), "rate": 16000, "labels": at} for at in range(3)]
    samples = open_samples(feeds, SPEECH)
    np.testing.assert_array_equal(stacked(samples, "input"), rows(3, 8))
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2]


def test_samples_without_a_batch_axis_fill_a_fixed_batch() -> None:
    samples = open_samples([{"x": row} for row in rows(9)], X4)
    assert sizes(samples) == [4, 4]
    with pytest.raises(InputError, match="fewer than the model's fixed batch of 4"):
        open_samples({"x": rows(1)[0]}, X4)


@pytest.mark.parametrize("count", [1, 5])
def test_a_plain_column_is_an_input_of_one_number_a_sample(count: int) -> None:
    specs = (InputSpec("a", F32, (None, 1)), InputSpec("b", I64, (None,)))
    samples = open_samples({"a": np.arange(count) / 2, "b": np.arange(count)}, specs)
    assert stacked(samples, "a").tolist() == [[at / 2] for at in range(count)]
    assert stacked(samples, "b").tolist() == list(range(count))


@pytest.mark.parametrize("source", [rows(3).astype(np.uint8), [{"x": rows(1).astype(int)}] * 3], ids=["array", "feeds"])
def test_integers_for_floats_are_taken_with_a_warning(source: Any) -> None:
    samples = open_samples(source, X)
    (warning,) = samples.warnings
    assert (warning.code, warning.data) == ("integers-for-floats", {"inputs": ["x"]})
    assert "'x' (" in warning
    assert samples.take([0]).warnings == samples.warnings
    assert open_samples(rows(3), X).warnings == ()


def test_integers_for_integers_and_constants_are_as_they_should_be() -> None:
    data = {"input": rows(10, 8), "state": np.ones((2, 1, 4), int), "rate": np.array(1)}
    assert open_samples(data, SPEECH).warnings == ()
    assert open_samples({"ids": np.zeros((3, 5), int), "mask": np.zeros((3, 5), int)}, TWO).warnings == ()


def test_one_feed_where_many_samples_were_meant() -> None:
    specs = (InputSpec("input", F32, (None, 8)), InputSpec("state", F32, (2, None, 4)))
    data = {"input": rows(400, 8), "state": np.ones((2, 400, 4), np.float32)}
    (warning,) = open_samples(data, specs).warnings
    assert (warning.code, warning.data) == ("one-feed", {"entries": 400, "input": "input"})
    assert "'input' (400, 8), 'state' (2, 400, 4)" in warning
    assert "give a list of 400 dicts" in warning
    assert open_samples([data, data], specs).warnings == ()
    ones = {"input": rows(400, 8), "state": np.ones((2, 1, 4), np.float32)}
    assert open_samples(ones, specs).warnings == ()


def test_a_second_input_with_one_entry_is_to_be_repeated() -> None:
    with pytest.raises(InputError, match=r"400 for 'ids', 1 for 'mask'.* such as numpy.repeat\(mask, 400, axis=0\)"):
        open_samples({"ids": np.zeros((400, 5), int), "mask": np.zeros((1, 5), int)}, TWO)
