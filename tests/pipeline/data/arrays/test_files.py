"""Arrays by input name, in files and in folders of files; whatever is broken is refused."""

from pathlib import Path

import numpy as np
import pytest
from sample_sources import F32, TWO, X, picture_bytes, rows, sizes, stacked, write_zip

from netsurgeon.pipeline.data.arrays import files
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


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


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_files_of_one_sample_without_a_batch_axis(tmp_path: Path, suffix: str) -> None:
    for at, row in enumerate(rows(3)):
        if suffix == ".npy":
            np.save(tmp_path / f"{at}.npy", row)
        else:
            np.savez(tmp_path / f"{at}.npz", x=row, labels=at)
    samples = open_samples(tmp_path, X, batch_size=2)
    assert sizes(samples) == [2, 1]
    np.testing.assert_array_equal(stacked(samples.take([2, 0])), rows(3)[[2, 0]])


def test_columns_of_a_file(tmp_path: Path) -> None:
    specs = (InputSpec("a", F32, (None, 1)), InputSpec("s", F32, (1, 4)))
    np.savez(tmp_path / "x.npz", a=np.arange(5) / 2, s=np.ones(4))
    samples = open_samples(tmp_path / "x.npz", specs, batch_size=2)
    assert stacked(samples, "a").ravel().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [feed["s"].shape for feed in samples.batches()] == [(1, 4)] * 3


def test_labels_are_counted_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_LABELS", 100)
    np.savez(tmp_path / "data.npz", x=rows(4), labels=np.zeros((4, 26), np.int64))
    with pytest.raises(InputError, match=r"labels of .* are 104 numbers, at most 100 are read: give one a sample"):
        open_samples(tmp_path / "data.npz", X)
