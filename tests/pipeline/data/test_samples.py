"""Samples: every kind of source, how it is batched, and every refusal."""

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.samples import Samples, open_samples, random_samples
from netsurgeon.pipeline.errors import InputError

F32 = np.dtype(np.float32)
I64 = np.dtype(np.int64)
X = (InputSpec("x", F32, (None, 3)),)
X4 = (InputSpec("x", F32, (4, 3)),)
TWO = (InputSpec("ids", I64, (None, 5)), InputSpec("mask", I64, (None, 5)))
SPEECH = (
    InputSpec("input", F32, (None, 8)),
    InputSpec("state", F32, (2, 1, 4)),
    InputSpec("rate", I64, ()),
)
PICTURE = (InputSpec("image", F32, (None, 3, 8, 8)),)


def rows(count: int, width: int = 3, start: int = 0) -> np.ndarray:
    return np.arange(start * width, (start + count) * width, dtype=np.float32).reshape(count, width)


def stacked(samples: Samples, name: str = "x") -> np.ndarray:
    return np.concatenate([feed[name] for feed in samples.batches()])


def sizes(samples: Samples, name: str = "x") -> list[int]:
    return [len(feed[name]) for feed in samples.batches()]


def picture_bytes(value: int, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value + 1, value + 2)).save(buffer, kind)
    return buffer.getvalue()


def write_pictures(root: Path, names: dict[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    for name, value in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture_bytes(value, size))
    return root


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


# Arrays and batches


def test_array_is_cut_into_batches_and_read_again() -> None:
    samples = open_samples(rows(10), X, batch_size=4)
    assert sizes(samples) == [4, 4, 2]
    assert sizes(samples) == [4, 4, 2]
    assert samples.batched
    assert samples.count == 10
    assert samples.labels is None
    assert list(samples.batch_labels()) == [None, None, None]
    np.testing.assert_array_equal(stacked(samples), rows(10))


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


def test_fixed_batch_drops_the_rest_and_says_so() -> None:
    samples = open_samples({"x": rows(131), "labels": np.arange(131)}, X4)
    assert set(sizes(samples)) == {4}
    assert samples.count == 128
    assert samples.warnings == ("3 of 131 samples dropped: the model's batch is fixed to 4",)
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.labels, np.arange(128))


def test_fixed_batch_of_exactly_that_many_is_one_feed() -> None:
    samples = open_samples(rows(4), X4)
    assert sizes(samples) == [4]
    assert samples.warnings == ()


def test_fixed_batch_with_too_few_samples() -> None:
    with pytest.raises(InputError, match="3 samples are fewer than the model's fixed batch of 4"):
        open_samples(rows(3), X4)


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


# Subsets and the digest


def test_limit_keeps_a_seeded_subset_in_order() -> None:
    first = stacked(open_samples(rows(50), X, limit=7, seed=3))
    np.testing.assert_array_equal(first, stacked(open_samples(rows(50), X, limit=7, seed=3)))
    assert np.all(np.diff(first[:, 0]) > 0)
    assert len(first) == 7
    assert not np.array_equal(first, stacked(open_samples(rows(50), X, limit=7, seed=4)))


def test_limit_is_rounded_to_whole_feeds() -> None:
    samples = open_samples(rows(50), X4, limit=10)
    assert samples.count == 8
    assert samples.warnings == ()


def test_split_parts_are_disjoint_and_complete() -> None:
    samples = open_samples({"x": rows(50), "labels": np.arange(50)}, X)
    some, rest = samples.split(0.3, np.random.default_rng(0))
    assert (some.count, rest.count) == (15, 35)
    assert some.labels is not None
    assert rest.labels is not None
    assert sorted([*some.labels, *rest.labels]) == list(range(50))
    np.testing.assert_array_equal(stacked(some)[:, 0], some.labels * 3)
    assert samples.subset(99, np.random.default_rng(0)) is samples
    with pytest.raises(InputError, match="no samples are left"):
        samples.split(1.0, np.random.default_rng(0))


def test_take_checks_its_indices() -> None:
    with pytest.raises(IndexError):
        open_samples(rows(3), X).take([3])
    with pytest.raises(IndexError):
        open_samples(rows(3), X).take([-1])


def test_batch_labels_are_in_step() -> None:
    samples = open_samples({"x": rows(9), "labels": np.arange(9, dtype=np.uint8)}, X, batch_size=4).take(
        [8, 1, 2, 3, 0]
    )
    for feed, labels in zip(samples.batches(), samples.batch_labels(), strict=True):
        assert labels is not None
        assert labels.dtype == I64
        np.testing.assert_array_equal(feed["x"][:, 0], labels * 3)


@pytest.mark.parametrize(("shape", "axis"), [((5, 3, 4, 6), -1), ((5, 4, 6, 3), -2)])
def test_each_feed_is_followed_by_its_mirror_image(shape: tuple[int, ...], axis: int) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(F32)
    plain = open_samples(x, (InputSpec("x", F32, (None, *shape[1:])),), batch_size=2)
    mirrored = plain.mirrored(axis)
    assert mirrored.count == plain.count == plain.fed == 5
    assert mirrored.fed == 10
    assert mirrored.digest() == plain.digest()
    feeds = [feed["x"] for feed in mirrored.batches()]
    assert [len(feed) for feed in feeds] == [2, 2, 2, 2, 1, 1]
    np.testing.assert_array_equal(np.concatenate(feeds[::2]), x)
    np.testing.assert_array_equal(np.concatenate(feeds[1::2]), np.flip(x, axis))
    assert mirrored.batch_name(3) == plain.batch_name(1)
    for part in mirrored.split(0.4, np.random.default_rng(0)):
        pictures = list(part.batches())
        np.testing.assert_array_equal(pictures[1]["x"], np.flip(pictures[0]["x"], axis))


def test_digest_knows_content_and_labels_but_not_the_batch_size() -> None:
    data = {"input": rows(10, 8), "state": np.ones((2, 1, 4), np.float32), "rate": np.array(1), "labels": np.arange(10)}
    digest = open_samples(data, SPEECH, batch_size=3).digest()
    assert digest == open_samples(data, SPEECH, batch_size=32).digest()
    assert len(digest) == 64
    for name in data:
        changed = {**data, name: data[name] + 1}
        assert open_samples(changed, SPEECH).digest() != digest
    assert open_samples(data, SPEECH).take(range(9)).digest() != digest


# Names, types, values


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"data": rows(3)}, "holds 'data' but the model's inputs are 'x'"),
        ({"x": rows(3), "y": rows(3)}, "'x', 'y' but the model's inputs are 'x': remove the others"),
        ({"labels": np.arange(3)}, "holds no arrays"),
        ({"x": rows(3, 4)}, r"shape \(3, 4\) .* takes \(any, 3\)"),
        ({"x": np.zeros(3, np.float32)}, r"shape \(3,\) .* takes \(any, 3\)"),
        ({"x": np.zeros((0, 3), np.float32)}, "no samples"),
        ({"x": np.array([["a", "b", "c"]])}, "holds <U1 for the input 'x' but the model takes float32"),
        ({"x": np.array([[None, 1, 2]])}, "Python objects"),
        ({"x": np.zeros((3, 3), complex)}, "complex128"),
        ({"x": [[1.0], [1.0, 2.0]]}, "'x' of the mapping is no array"),
        ({"x": rows(3), "labels": np.arange(4)}, r"labels .* shape \(4,\): expected \(3,\)"),
        ({"x": rows(3), "labels": np.zeros(3)}, "labels .* float64: expected integers"),
    ],
)
def test_mapping_that_does_not_fit(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_samples(data, X)


def test_missing_inputs_are_named() -> None:
    with pytest.raises(InputError, match="holds 'ids' but the model's inputs are 'ids', 'mask': rename or add 'mask'"):
        open_samples({"ids": np.zeros((3, 5), int)}, TWO)


def test_inputs_with_different_counts() -> None:
    with pytest.raises(InputError, match="3 for 'ids', 4 for 'mask'"):
        open_samples({"ids": np.zeros((3, 5), int), "mask": np.zeros((4, 5), int)}, TWO)


@pytest.mark.parametrize(
    ("given_type", "wanted"), [("f8", "f4"), ("u1", "f4"), ("i4", "i8"), ("i8", "i4"), ("?", "i8"), (">f4", "f4")]
)
def test_safe_casts(given_type: str, wanted: str) -> None:
    samples = open_samples(np.ones((2, 3), given_type), (InputSpec("x", np.dtype(wanted), (None, 3)),))
    (feed,) = samples.batches()
    assert feed["x"].dtype == np.dtype(wanted)
    assert np.all(feed["x"] == 1)


@pytest.mark.parametrize(("given_type", "wanted"), [("f4", "i8"), ("i8", "?"), ("f4", "?")])
def test_refused_casts(given_type: str, wanted: str) -> None:
    with pytest.raises(InputError, match="convert the data"):
        open_samples(np.ones((2, 3), given_type), (InputSpec("x", np.dtype(wanted), (None, 3)),))


@pytest.mark.parametrize(
    ("bad", "wanted", "message"),
    [
        (np.nan, "f4", "'x' of sample 5 of the array holds NaN or Inf"),
        (np.inf, "f4", "sample 5 of the array holds NaN or Inf"),
        (1e6, "f2", "sample 5 of the array holds numbers beyond float16"),
    ],
)
def test_values_that_are_not_finite(bad: float, wanted: str, message: str) -> None:
    data = rows(8).astype(np.float64)
    data[5, 1] = bad
    samples = open_samples(data, (InputSpec("x", np.dtype(wanted), (None, 3)),), batch_size=2)
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


# Files


def test_npz_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=rows(5), labels=np.arange(5))
    samples = open_samples(tmp_path / "data.npz", X, batch_size=2)
    np.testing.assert_array_equal(stacked(samples), rows(5))
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2, 3, 4]


def test_npy_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", rows(5))
    np.testing.assert_array_equal(stacked(open_samples(str(tmp_path / "data.npy"), X)), rows(5))
    with pytest.raises(InputError, match="model has the inputs 'ids', 'mask'"):
        open_samples(tmp_path / "data.npy", TWO)


def test_array_for_two_inputs() -> None:
    with pytest.raises(InputError, match="model has the inputs 'ids', 'mask'"):
        open_samples(rows(5), TWO)


def test_folder_of_files_is_joined_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=rows(3, start=4))
    np.save(tmp_path / "a.npy", rows(4))
    np.save(tmp_path / ".hidden.npy", rows(9))
    np.save(tmp_path / "labels.npy", np.arange(7))
    samples = open_samples(tmp_path, X, batch_size=3)
    assert sizes(samples) == [3, 3, 1]
    np.testing.assert_array_equal(stacked(samples), rows(7))
    np.testing.assert_array_equal(stacked(samples.take([6, 0, 5, 1])), rows(7)[[6, 0, 5, 1]])
    assert samples.labels is not None
    assert samples.labels.tolist() == list(range(7))


def test_folder_with_labels_in_each_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=rows(2), labels=[1, 2])
    np.savez(tmp_path / "b.npz", x=rows(1), labels=[3])
    labels = open_samples(tmp_path, X).labels
    assert labels is not None
    assert labels.tolist() == [1, 2, 3]
    np.save(tmp_path / "labels.npy", np.arange(3))
    with pytest.raises(InputError, match="labels both"):
        open_samples(tmp_path, X)
    (tmp_path / "labels.npy").unlink()
    np.savez(tmp_path / "c.npz", x=rows(1))
    with pytest.raises(InputError, match="2 of 3 parts"):
        open_samples(tmp_path, X)


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


def test_file_that_changes_while_open(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=rows(5))
    samples = open_samples(tmp_path / "a.npz", X)
    np.savez(tmp_path / "a.npz", x=rows(6))
    with pytest.raises(InputError, match="the same each time"):
        list(samples.batches())


def test_npz_of_pickles_is_not_read(tmp_path: Path) -> None:
    objects = np.array([[None, 1, 2]], object)
    np.savez(tmp_path / "a.npz", x=objects)
    np.savez(tmp_path / "labels.npz", x=rows(1), labels=objects)
    np.save(tmp_path / "a.npy", objects)
    (tmp_path / "b.npy").write_bytes(b"\x80\x04N.")
    for name in ("a.npz", "labels.npz", "a.npy", "b.npy"):
        with pytest.raises(InputError, match="Python objects"):
            open_samples(tmp_path / name, X)


def test_broken_files(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "good.npz", x=rows(500))
    content = bytearray((tmp_path / "good.npz").read_bytes())
    (tmp_path / "short.npz").write_bytes(content[:200])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "other.npz").write_bytes(b"\x93NUMPY nothing")
    (tmp_path / "text.npy").write_bytes(b"")
    (tmp_path / "member.npz").write_bytes(write_zip(tmp_path / "m.zip", {"x.npy": b"no header"}).read_bytes())
    (tmp_path / "npz.npy").write_bytes(bytes(content))
    content[-400:-300] = bytes(100)
    (tmp_path / "flipped.npz").write_bytes(content)
    names = ("short.npz", "empty.npz", "other.npz", "text.npy", "member.npz", "npz.npy", "flipped.npz")
    for name in names:
        with pytest.raises(InputError, match="cannot be read"):
            list(open_samples(tmp_path / name, X).batches())


def test_empty_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows(0))
    with pytest.raises(InputError, match=r"no samples|cannot be read"):
        open_samples(tmp_path / "a.npy", X)


def test_paths_that_do_not_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_samples(tmp_path / "none.npz", X)
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(InputError, match="of a kind that is not read"):
        open_samples(tmp_path / "data.csv", X)
    (tmp_path / "data.csv").unlink()
    with pytest.raises(InputError, match="holds no data"):
        open_samples(tmp_path, X)
    np.save(tmp_path / "a.npy", rows(3))
    (tmp_path / "b.png").write_bytes(picture_bytes(1))
    with pytest.raises(InputError, match="both pictures and array files"):
        open_samples(tmp_path, X)


def test_batched_and_unbatched_files_do_not_mix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", rows(4))
    np.save(tmp_path / "b.npy", rows(4)[None])
    with pytest.raises(InputError, match="some has none"):
        open_samples(tmp_path, X4)


def test_unsupported_source() -> None:
    with pytest.raises(InputError, match="type int is not understood"):
        open_samples(7, X)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"limit": 0}, {"seed": -1}])
def test_numbers_out_of_range(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected at least"):
        open_samples(rows(3), X, **arguments)  # type: ignore[arg-type]


def test_model_without_inputs() -> None:
    with pytest.raises(InputError, match="no inputs"):
        open_samples(rows(3), ())


# Feeds


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


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    monkeypatch.chdir(tmp_path)
    names = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_function_named_by_a_string(write_module: Callable[[str, str], None]) -> None:
    write_module(
        "feeds_for_test",
        "import numpy as np\n"
        "def good():\n    return [{'x': np.ones((2, 3), 'f4')}]\n"
        "def tuples():\n    yield 1, 2\n"
        "def nothing():\n    return []\n"
        "def none():\n    pass\n"
        "def fails():\n    raise KeyError('no such column')\n"
        "number = 3\n",
    )
    path = list(sys.path)
    assert open_samples("feeds_for_test:good", X).count == 2
    assert sys.path == path
    for name, message in {
        "tuples": "feed 0 of feeds_for_test:tuples is of type tuple: expected a dict",
        "nothing": "gave no samples",
        "none": "'NoneType' object is not iterable",
        "fails": "failed with KeyError",
        "number": "is of type int: expected a function",
        "missing": "cannot be imported",
    }.items():
        with pytest.raises(InputError, match=message):
            open_samples(f"feeds_for_test:{name}", X)


def test_modules_that_do_not_import(write_module: Callable[[str, str], None]) -> None:
    write_module("broken_for_test", "1 / 0")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        open_samples("broken_for_test:feeds", X)
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        open_samples("no_such_module_for_test:feeds", X)


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


# Random


def test_random_is_seeded_and_independent_of_the_batch_size() -> None:
    samples = open_samples("random", (*TWO, InputSpec("x", F32, (None, None, 3)), InputSpec("on", np.dtype(bool), ())))
    assert samples.count == 64
    feed = next(iter(samples.batches()))
    assert {name: array.shape for name, array in feed.items()} == {
        "ids": (32, 5),
        "mask": (32, 5),
        "x": (32, 1, 3),
        "on": (),
    }
    assert set(np.unique(feed["ids"])) == {0, 1}
    again = open_samples("random:10", X, seed=5, batch_size=3)
    np.testing.assert_array_equal(stacked(again), stacked(random_samples(X, 10, 5)))
    assert again.digest() != random_samples(X, 10, 6).digest()


def test_random_with_fixed_and_unrelated_axes() -> None:
    assert random_samples(X4, 10).count == 12
    samples = random_samples(SPEECH, 3)
    assert (samples.count, samples.batched) == (3, False)
    assert [feed["state"].shape for feed in samples.batches()] == [(2, 1, 4)] * 3


@pytest.mark.parametrize("name", ["random:", "random:0", "random:many", "random:-3"])
def test_random_with_a_bad_count(name: str) -> None:
    if name == "random:":
        assert open_samples(name, X).count == 64
        return
    with pytest.raises(InputError, match="random:N"):
        open_samples(name, X)


def test_random_needs_a_shape_and_numbers() -> None:
    with pytest.raises(InputError, match="rank of the input 'x' is unknown"):
        random_samples((InputSpec("x", F32, None),))
    with pytest.raises(InputError, match="real data"):
        list(random_samples((InputSpec("x", np.dtype(complex), (None, 3)),)).batches())


# Pictures


def test_flat_folder_is_sorted_and_unlabelled(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"b.png": 20, "a.png": 10, ".c.png": 30})
    samples = open_samples(tmp_path, PICTURE)
    assert samples.labels is None
    assert samples.class_names is None
    images = stacked(samples, "image")
    assert images.dtype == F32
    assert images.shape == (2, 3, 8, 8)
    expected = np.array([[10, 11, 12], [20, 21, 22]]) / 255
    np.testing.assert_allclose(images[:, :, 0, 0], expected, rtol=1e-6)


def test_class_folders_give_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"dog/1.png": 3, "cat/2.png": 2, "cat/1.png": 1})
    (tmp_path / "read.me").write_text("no picture")
    samples = open_samples(tmp_path, PICTURE)
    assert samples.class_names == ("cat", "dog")
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1]
    assert samples.warnings == (f"left out of {tmp_path} because they are not pictures: 1 of 4 files",)
    np.testing.assert_allclose(stacked(samples, "image")[:, 0, 0, 0] * 255, [1, 2, 3], rtol=1e-6)


def test_zip_is_read_in_place(tmp_path: Path) -> None:
    members = {f"top/{name}.jpg": picture_bytes(9, kind="JPEG") for name in ("b/1", "a/1", "a/2", "../../evil/1")}
    members["__MACOSX/top/a/._1.jpg"] = b"junk"
    del members["top/../../evil/1.jpg"]
    path = write_zip(tmp_path / "set.zip", members)
    before = sorted(tmp_path.iterdir())
    samples = open_samples(path, PICTURE, batch_size=2)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1]
    assert sizes(samples, "image") == [2, 1]
    assert sorted(tmp_path.iterdir()) == before


def test_names_that_climb_out_of_a_zip_write_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write_zip(inside / "set.zip", {"../evil.png": picture_bytes(1), "ok.png": picture_bytes(2)})
    samples = open_samples(path, PICTURE)
    assert samples.count == 1
    assert [file.name for file in tmp_path.iterdir()] == ["inside"]


def test_class_list_gives_the_line(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", {"n03/1.png": 3, "n01/1.png": 1})
    classes = tmp_path / "synsets.txt"
    classes.write_text("n01 tench\nn02 goldfish\nn03 shark\n")
    samples = open_samples(tmp_path / "set", PICTURE, classes=classes)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 2]
    assert samples.class_names == ("n01", "n02", "n03")
    classes.write_text("n01\nn02\n")
    with pytest.raises(InputError, match="class folder n03 is not among the 2 classes"):
        open_samples(tmp_path / "set", PICTURE, classes=classes)
    classes.write_text("n01\nn01\n")
    with pytest.raises(InputError, match="repeated"):
        open_samples(tmp_path / "set", PICTURE, classes=classes)
    with pytest.raises(InputError, match="cannot be read"):
        open_samples(tmp_path / "set", PICTURE, classes=tmp_path / "none.txt")


def test_class_list_needs_class_folders(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", {"1.png": 3})
    (tmp_path / "classes.txt").write_text("a\n")
    with pytest.raises(InputError, match="lie flat"):
        open_samples(tmp_path / "set", PICTURE, classes=tmp_path / "classes.txt")


def test_one_class_folder_is_taken_as_unlabelled(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"pictures/1.png": 3, "pictures/2.png": 3})
    samples = open_samples(tmp_path, PICTURE)
    assert samples.labels is None
    assert "taken as unlabelled" in samples.warnings[0]


def test_pictures_at_different_depths(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"1.png": 3, "a/2.png": 3})
    with pytest.raises(InputError, match="different depths"):
        open_samples(tmp_path, PICTURE)


def test_options_follow_the_published_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = (104.0, 117.0, 123.0), (1.0, 2.0, 4.0)
    options = PictureOptions(crop=8, channels="BGR", scale=2.0, mean=mean, std=std)
    (feed,) = open_samples(tmp_path, PICTURE, pictures=options).batches()
    expected = (pixels[2:10, 6:14, ::-1] * 2.0 - mean) / std
    np.testing.assert_allclose(feed["image"][0], expected.transpose(2, 0, 1), rtol=1e-6)
    last = (InputSpec("image", F32, (None, 8, 8, 3)),)
    (feed,) = open_samples(tmp_path, last, pictures=PictureOptions(crop=8, layout="NHWC")).batches()
    np.testing.assert_allclose(feed["image"][0], pixels[2:10, 6:14] / 255, rtol=1e-6)


def test_resize_scales_the_shorter_side(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7}, size=(30, 16))
    specs = (InputSpec("image", F32, (None, 1, None, None)),)
    (feed,) = open_samples(tmp_path, specs, pictures=PictureOptions(resize=8, channels="grey")).batches()
    assert feed["image"].shape == (1, 1, 8, 15)


def test_pictures_without_a_batch_axis(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7, "b.png": 8})
    samples = open_samples(tmp_path, (InputSpec("image", F32, (3, 8, 8)),))
    assert (samples.count, samples.batched) == (2, False)
    assert [feed["image"].shape for feed in samples.batches()] == [(3, 8, 8)] * 2


def test_pictures_for_a_batch_of_one(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7, "b.png": 8})
    samples = open_samples(tmp_path, (InputSpec("image", F32, (1, 3, 8, 8)),))
    assert (sizes(samples, "image"), samples.batched) == ([1, 1], True)


def test_integer_pixels(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    specs = (InputSpec("image", np.dtype(np.uint8), (None, 3, 8, 8)),)
    (feed,) = open_samples(tmp_path, specs, pictures=PictureOptions(scale=1)).batches()
    assert feed["image"][0, :, 0, 0].tolist() == [7, 8, 9]
    with pytest.raises(InputError, match="give scale = 1"):
        open_samples(tmp_path, specs)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((None, 3, 227, 227), "3x8x8 but the model's input 'image' takes 3x227x227: give --crop 227"),
        ((None, 3, 6, 4), "--crop cuts squares"),
        ((None, 1, 8, 8), "channels = 'grey'"),
        ((None, 8, 8, 3), "layout = 'NHWC'"),
        ((None, 10), "takes 10: give the data as .npz"),
    ],
)
def test_pictures_that_do_not_fit(tmp_path: Path, shape: tuple[int | None, ...], message: str) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    with pytest.raises(InputError, match=message):
        open_samples(tmp_path, (InputSpec("image", F32, shape),))


def test_picture_smaller_than_the_crop(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    with pytest.raises(InputError, match="too small for --crop 9: give --resize 9"):
        open_samples(tmp_path, PICTURE, pictures=PictureOptions(crop=9))


def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    write_pictures(tmp_path, {"b.png": 7}, size=(9, 10))
    specs = (InputSpec("image", F32, (None, 3, None, None)),)
    with pytest.raises(InputError, match=r"a.png has 8x8 pixels and b.png has 9x10"):
        list(open_samples(tmp_path, specs).batches())
    shapes = [feed["image"].shape for feed in open_samples(tmp_path, specs, batch_size=1).batches()]
    assert shapes == [(1, 3, 8, 8), (1, 3, 10, 9)]
    with pytest.raises(InputError, match="3x10x9 but"):
        list(open_samples(tmp_path, PICTURE, batch_size=1).batches())


def test_broken_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a.png cannot be decoded"):
        open_samples(tmp_path, PICTURE)
    (tmp_path / "a.png").write_bytes(picture_bytes(3, (64, 64))[:70])
    with pytest.raises(InputError, match=r"a.png cannot be decoded"):
        open_samples(tmp_path, PICTURE)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="8 bits a channel"):
        open_samples(tmp_path, PICTURE)


def test_broken_zips(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="cannot be read as a zip"):
        open_samples(tmp_path / "a.zip", PICTURE)
    content = write_zip(tmp_path / "b.zip", {"a.png": picture_bytes(3)}).read_bytes()
    (tmp_path / "b.zip").write_bytes(content.replace(b"IDAT", b"XXXX"))
    with pytest.raises(InputError, match=r"a.png of .* cannot be read"):
        open_samples(tmp_path / "b.zip", PICTURE)
    with pytest.raises(InputError, match="holds no data"):
        open_samples(write_zip(tmp_path / "c.zip", {"a.txt": b""}), PICTURE)


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 50, 60, 70])
    picture.save(tmp_path / "a.png", transparency=b"\x00\x80")
    (feed,) = open_samples(tmp_path, PICTURE, pictures=PictureOptions(scale=1)).batches()
    assert feed["image"][0, :, 0, 0].tolist() == [50, 60, 70]


def test_pictures_for_two_inputs(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    with pytest.raises(InputError, match="model has the inputs"):
        open_samples(tmp_path, TWO)


def test_picture_options_without_pictures() -> None:
    with pytest.raises(InputError, match="leave them out"):
        open_samples(rows(3), X, pictures=PictureOptions())


def test_options_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "pictures.toml"
    path.write_text('resize = 256\ncrop = 224\nchannels = "BGR"\nscale = 1\nmean = [104, 117.5, 123]\nstd = 2\n')
    assert PictureOptions.from_toml(path) == PictureOptions(
        resize=256, crop=224, channels="BGR", scale=1.0, mean=(104.0, 117.5, 123.0), std=(2.0,)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size = 3", "unknown picture options size: the known ones are resize, crop"),
        ("crop = 0", "crop is 0"),
        ("crop = 2.5", "crop is 2.5"),
        ("resize = true", "resize is True"),
        ('channels = "RBG"', "expected one of RGB, BGR, grey"),
        ('layout = ["NCHW"]', "expected one of NCHW, NHWC"),
        ('scale = "1/255"', "expected a finite number"),
        ("scale = nan", "expected a finite number"),
        ("mean = [1, 2]", "expected one, or one for each of 3 channels"),
        ('channels = "grey"\nmean = [1, 2, 3]', "each of 1 channels"),
        ("std = [1, 0, 1]", "a zero cannot divide"),
        ("= 3", "cannot be read as picture options"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pictures.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        PictureOptions.from_toml(path)


def test_options_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        PictureOptions.from_toml(tmp_path / "none.toml")
