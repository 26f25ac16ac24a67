"""Folders and zips of pictures: their order, the labels of class folders, and nothing extracted."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from sample_sources import F32, PICTURE, TWO, picture_bytes, sizes, stacked, write_pictures, write_zip

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


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
    (warning,) = samples.warnings
    assert (warning.code, warning.data) == ("files-left-out", {"left_out": 1, "files": 4})
    np.testing.assert_allclose(stacked(samples, "image")[:, 0, 0, 0] * 255, [1, 2, 3], rtol=1e-6)


def test_how_far_the_decoding_is_is_told_while_pictures_are_kept(tmp_path: Path) -> None:
    write_pictures(tmp_path, {f"{name:03}.png": name for name in range(70)})
    samples, told = open_samples(tmp_path, PICTURE), list[tuple[int, int]]()
    kept = samples.take(range(1, 70)).kept(lambda done, count: told.append((done, count)))
    assert told == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal(stacked(kept, "image"), stacked(samples, "image")[1:])


def test_pictures_that_are_kept_are_decoded_once(tmp_path: Path) -> None:
    write_pictures(tmp_path, {f"{name}.png": name for name in range(10, 16)})
    samples = open_samples(tmp_path, PICTURE, batch_size=4)
    expected = stacked(samples, "image")
    kept = samples.take([1, 3, 4]).kept()
    for picture in tmp_path.iterdir():
        picture.unlink()
    for _ in range(2):
        np.testing.assert_array_equal(stacked(kept, "image"), expected[[1, 3, 4]])
    np.testing.assert_array_equal(stacked(kept.take([2, 0]), "image"), expected[[4, 1]])
    with pytest.raises(InputError):
        stacked(samples, "image")


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
    assert [warning.code for warning in samples.warnings] == ["images-unlabelled"]


def test_pictures_at_different_depths(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"1.png": 3, "a/2.png": 3})
    with pytest.raises(InputError, match="different depths"):
        open_samples(tmp_path, PICTURE)


def test_pictures_without_a_batch_axis(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7, "b.png": 8})
    samples = open_samples(tmp_path, (InputSpec("image", F32, (3, 8, 8)),))
    assert (samples.count, samples.batched) == (2, False)
    assert [feed["image"].shape for feed in samples.batches()] == [(3, 8, 8)] * 2


def test_pictures_for_a_batch_of_one(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7, "b.png": 8})
    samples = open_samples(tmp_path, (InputSpec("image", F32, (1, 3, 8, 8)),))
    assert (sizes(samples, "image"), samples.batched) == ([1, 1], True)


def test_broken_zips(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="cannot be read as a zip"):
        open_samples(tmp_path / "a.zip", PICTURE)
    content = write_zip(tmp_path / "b.zip", {"a.png": picture_bytes(3)}).read_bytes()
    (tmp_path / "b.zip").write_bytes(content.replace(b"IDAT", b"XXXX"))
    with pytest.raises(InputError, match=r"a.png of .* cannot be read"):
        open_samples(tmp_path / "b.zip", PICTURE)
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", picture_bytes(3))
    damaged = bytearray((tmp_path / "lzma.zip").read_bytes())
    damaged[50:70] = b"\xff" * 20
    (tmp_path / "lzma.zip").write_bytes(damaged)
    with pytest.raises(InputError, match=r"a.png of .* cannot be read"):
        open_samples(tmp_path / "lzma.zip", PICTURE)
    with pytest.raises(InputError, match="holds no data"):
        open_samples(write_zip(tmp_path / "c.zip", {"a.txt": b""}), PICTURE)


def test_pictures_for_two_inputs(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    with pytest.raises(InputError, match="model has the inputs"):
        open_samples(tmp_path, TWO)
