"""Samples: batches, subsets, mirror images and the digest, from any source that is understood."""

from pathlib import Path

import numpy as np
import pytest
from sample_sources import F32, I64, SPEECH, X4, X, rows, sizes, stacked

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opened import NUMBERS_AT_ONCE
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError


def test_array_is_cut_into_batches_and_read_again() -> None:
    samples = open_samples(rows(10), X, batch_size=4)
    assert sizes(samples) == [4, 4, 2]
    assert sizes(samples) == [4, 4, 2]
    assert samples.batched
    assert samples.count == 10
    assert samples.labels is None
    assert list(samples.batch_labels()) == [None, None, None]
    np.testing.assert_array_equal(stacked(samples), rows(10))


@pytest.mark.parametrize(("at_once", "feeds"), [(40, [32, 18]), (8, [8, 8, 8, 8, 8, 8, 2]), (0.3, [1] * 50)])
def test_large_samples_are_fed_fewer_at_once_unless_the_user_says_how_many(at_once: float, feeds: list[int]) -> None:
    count = int(NUMBERS_AT_ONCE / at_once)
    large, spec = np.broadcast_to(np.float32(1.0), (50, count)), [InputSpec("x", F32, (None, count))]
    assert [len(indices) for indices in open_samples(large, spec)._plan] == feeds
    assert [len(indices) for indices in open_samples(large, spec, batch_size=25)._plan] == [25, 25]


def test_what_is_kept_is_read_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=rows(50))
    samples = open_samples(tmp_path / "x.npz", X)
    kept = samples.take(range(0, 50, 2)).kept()
    (tmp_path / "x.npz").unlink()
    np.testing.assert_array_equal(stacked(kept), rows(50)[::2])
    with pytest.raises(InputError):
        stacked(samples)


def test_fixed_batch_drops_the_rest_and_says_so() -> None:
    samples = open_samples({"x": rows(131), "labels": np.arange(131)}, X4)
    assert set(sizes(samples)) == {4}
    assert samples.count == 128
    (warning,) = samples.warnings
    assert (warning.code, warning.data) == ("samples-dropped", {"dropped": 3, "samples": 131})
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.labels, np.arange(128))


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
    for one, other in zip(
        mirrored.take([4, 1, 0]).unmirrored().batches(), plain.take([4, 1, 0]).batches(), strict=True
    ):
        np.testing.assert_array_equal(one["x"], other["x"])
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


def ragged(*lengths: int) -> Samples:
    specs = (InputSpec("x", F32, (None, None)),)
    return open_samples([np.full(length, length, np.float32) for length in lengths], specs, batch_size=3)


def test_a_typical_feed_is_of_median_length_and_full_enough() -> None:
    samples = ragged(9, 4, 1, 4, 5, 4, 4, 9, 9, 9, 1)
    assert samples.is_ragged
    assert sizes(samples) == [3, 1, 3, 1, 2, 1]
    assert samples.typical()["x"].shape == (3, 4)
    assert ragged(11, 1, 1, 1, 5, 11, 11, 11).typical()["x"].shape == (1, 5)
    assert ragged(11, 1, 1, 1, 5, 11, 11, 11).typical(3)["x"].shape == (3, 1)
    assert samples.typical(100)["x"].shape == (4, 4), "all of one length, though feeds are of three"
    assert samples.few(2, np.random.default_rng(0))["x"].shape == (2, 4)
    even = open_samples(rows(10), X, batch_size=4)
    assert not even.is_ragged
    assert even.typical(3)["x"].tolist() == rows(4).tolist()
    assert even.typical(9)["x"].tolist() == rows(10)[:9].tolist()
    assert len(even.few(2, np.random.default_rng(0))["x"]) == 2


def test_the_ends_of_ragged_samples_differ_in_shape() -> None:
    def shapes(samples: Samples) -> list[tuple[int, ...]]:
        return [feed["x"].shape for end in samples.end_parts() for feed in end.batches()]

    assert shapes(ragged(2, 3, 2, 4)) == [(2, 2), (1, 4)]
    assert shapes(ragged(3, 2, 2, 4)) == [(1, 3), (2, 2), (1, 4)], "the first one is among them in any case"
    assert shapes(open_samples(rows(10), X, batch_size=4)) == [(4, 3)]


def test_those_alike_are_of_the_most_common_shape() -> None:
    alike = ragged(9, 4, 1, 4, 5, 4, 4, 9, 9, 1).alike()
    assert (alike.count, alike.is_ragged) == (4, False)
    assert {feed["x"].shape[1] for feed in alike.batches()} == {4}
    even = open_samples(rows(10), X)
    assert even.alike() is even


def test_pairs_are_drawn_together() -> None:
    """By a limit, into subsets and into parts, whatever is asked for."""
    x, scores = np.arange(60, dtype=np.float32)[:, None], np.arange(30, dtype=np.float32)
    specs = (InputSpec("x", np.dtype(np.float32), (None, 1)),)
    whole = open_samples({"x": x, "labels": scores}, specs, batch_size=7)
    rng = np.random.default_rng(0)
    limited = open_samples({"x": x, "labels": scores}, specs, limit=11)
    parts = [whole.subset(10, rng), whole.subset(1, rng), *whole.split(0.125, rng), limited]
    assert [part.count for part in parts] == [10, 2, 8, 52, 10]
    for part in parts:
        values = stacked(part)[:, 0].astype(int)
        assert (values.reshape(-1, 2) == values[::2, None] + [0, 1]).all()
        assert part.labels is not None
        np.testing.assert_array_equal(part.labels, values // 2)
        assert part.is_paired


def test_what_stands_beside_the_inputs_counts_in_the_digest() -> None:
    x, specs = np.ones((4, 1), np.float32), (InputSpec("x", np.dtype(np.float32), (None, 1)),)
    labels = [None, np.zeros(4), np.zeros(4, int), np.full(4, 0.5), np.zeros(2), np.zeros((4, 2), int)]
    digests = {
        open_samples({"x": x} if given is None else {"x": x, "labels": given}, specs).digest() for given in labels
    }
    assert len(digests) == 5, "zeros are the same numbers as floats and as integers"


def test_files_of_one_name_in_other_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("data", "test"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "part-0.npy", rows(2))
        np.save(tmp_path / folder / "part-1.npy", rows(4))
        samples = open_samples(tmp_path / folder, X)
        assert samples.first_of(np.array([5, 4])) == f"sample 2 of {tmp_path / folder / 'part-1.npy'}"
