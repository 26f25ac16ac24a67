"""Sizes are looked at before anything is read: what is too much, endless or no file ends in one sentence."""

import gzip
import io
import itertools
import os
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_sources import F32, PICTURE, TWO, X4, X, picture_bytes, rows, stacked, write_zip

from netsurgeon.pipeline.data import array_files, array_rows, limits, opened, training_data
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.objects import feeds, loaders
from netsurgeon.pipeline.data.samples import open_samples
from netsurgeon.pipeline.data.training_data import open_training_data
from netsurgeon.pipeline.errors import InputError


def header_of(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 3), (5, 3), (3, 3), (-4, 3), (2**62, 2**62)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_the_bytes_do_not_bear_out_is_refused(
    shape: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    content, file = header_of(shape) + rows(4).tobytes(), tmp_path / f"data{suffix}"
    if suffix == ".npy":
        file.write_bytes(content)
    else:
        write_zip(file, {"x.npy": content})
    with pytest.raises(InputError, match=r"its header speaks of shape .* but 176 bytes are there"):
        open_samples(file, X)


def test_more_samples_than_are_ever_needed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.npy").write_bytes(header_of((2**25, 3)))
    os.truncate(tmp_path / "data.npy", 128 + 2**25 * 12)  # a sparse file, which takes no room
    with pytest.raises(InputError, match="holds 33,554,432 samples, at most 16,777,216 are read: give a part of them"):
        open_samples(tmp_path / "data.npy", X)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_of_two_gigabytes_is_not_read(suffix: str, tmp_path: Path) -> None:
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + bytes(1 << 21)
    file = write_zip(tmp_path / "data.npz", {"x.npy": content})
    if suffix == ".npy":
        file = tmp_path / "data.npy"
        file.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        open_samples(file, X)


def test_a_large_npz_is_streamed_and_the_limit_bounds_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_rows, "HELD_BYTES", 1 << 20)
    monkeypatch.setattr(array_rows, "_CHUNK_BYTES", 1 << 16)
    values = np.zeros((10_000, 1000), np.float32)
    values[:, 0] = np.arange(10_000)
    np.savez_compressed(tmp_path / "data.npz", x=values, labels=np.arange(10_000))
    assert (tmp_path / "data.npz").stat().st_size < values.nbytes / 100
    tracemalloc.start()
    samples = open_samples(tmp_path / "data.npz", (InputSpec("x", F32, (None, 1000)),), limit=50, batch_size=7)
    read = stacked(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.labels is not None
    np.testing.assert_array_equal(read, values[samples.labels])
    assert peak < values.nbytes / 8


@pytest.fixture
def unpacked_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each reading of an archive's member asks for."""
    sizes: list[int] = []
    read = zipfile.ZipExtFile.read

    def counting(member: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        content = read(member, n)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counting)
    return sizes


@pytest.mark.parametrize("held_bytes", [1000, 1 << 28])
def test_what_a_limit_draws_is_unpacked_once_and_not_beyond_the_last_row(
    held_bytes: int, unpacked_bytes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_rows, "HELD_BYTES", held_bytes)
    values = rows(20_000)
    np.savez_compressed(tmp_path / "data.npz", x=values, labels=np.arange(20_000))
    samples = open_samples(tmp_path / "data.npz", X, limit=4, batch_size=3)
    assert samples.labels is not None
    assert samples.labels[-1] < 19_000
    if held_bytes == 1000:  # labels, a few headers, and the stream up to the last row
        assert sum(unpacked_bytes) < 20_000 * 8 + 4 * 2**16 + samples.labels[-1] * 12 + 1000
    unpacked_bytes.clear()
    for order in ([0, 1, 2, 3], [3, 0], [2, 2, 1]):
        np.testing.assert_array_equal(stacked(samples.take(order)), values[samples.labels[order]])
    assert samples.digest() == open_samples({"x": stacked(samples), "labels": samples.labels}, X).digest()
    assert not unpacked_bytes


def test_what_a_limit_draws_has_a_limit_in_memory(
    unpacked_bytes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = (InputSpec("x", F32, (None, 3)), InputSpec("keep", F32, (50, 50)))
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x=rows(300), keep=np.ones((50, 50), np.float32))
    kept = stacked(open_samples(tmp_path, specs, limit=40))
    for most in (40 * 3 * 8 - 1, 19_000):  # less than the rows drawn, less than the constants of two files
        monkeypatch.setattr(opened, "MOST_KEPT_BYTES", most)
        samples = open_samples(tmp_path, specs, limit=40)
        unpacked_bytes.clear()
        np.testing.assert_array_equal(stacked(samples), kept)
        assert unpacked_bytes


def test_what_is_streamed_is_what_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = (InputSpec("x", F32, (None, 3)), InputSpec("keep", F32, (2, 2)))
    for name in ("a", "b"):
        np.savez_compressed(tmp_path / f"{name}.npz", x=rows(300), keep=np.ones((2, 2), np.float32))

    def all_orders() -> list[dict[str, np.ndarray]]:
        samples = open_samples(tmp_path, specs, batch_size=9)
        orders = ([5, 3, 3, 299, 301, 0], np.arange(600)[::-1], np.arange(600))
        taken = (samples, *(samples.take(order) for order in orders))
        return [feed for part in taken for feed in part.batches()]

    held = all_orders()
    monkeypatch.setattr(array_rows, "HELD_BYTES", 1000)
    monkeypatch.setattr(array_rows, "_CHUNK_BYTES", 100)
    for one, other in zip(held, all_orders(), strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])


def test_what_is_streamed_is_checked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_rows, "HELD_BYTES", 1000)
    np.savez(tmp_path / "data.npz", x=rows(5000))
    content = bytearray((tmp_path / "data.npz").read_bytes())
    content[30_000] ^= 1
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read \(Bad CRC-32"):
        stacked(open_samples(tmp_path / "data.npz", X))


def test_large_arrays_column_by_column_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "data.npz", x=np.asfortranarray(rows(500)))
    np.testing.assert_array_equal(stacked(open_samples(tmp_path / "data.npz", X)), rows(500))
    monkeypatch.setattr(array_rows, "HELD_BYTES", 1000)
    with pytest.raises(InputError, match="column by column, so that no row can be read alone"):
        open_samples(tmp_path / "data.npz", X)


def test_labels_are_counted_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MOST_LABELS", 100)
    np.savez(tmp_path / "data.npz", x=rows(4), labels=np.zeros((4, 26), np.int64))
    with pytest.raises(InputError, match=r"labels of .* are 104 numbers, at most 100 are read: give one a sample"):
        open_samples(tmp_path / "data.npz", X)


def test_an_archive_of_very_many_arrays_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "data.npz", {f"{at}.npy": b"" for at in range(1001)})
    with pytest.raises(InputError, match="it holds 1,001 arrays, at most 1,000 are read"):
        open_samples(tmp_path / "data.npz", X)


def endless() -> Iterator[dict[str, Any]]:
    return ({"x": rows(1, start=at)} for at in itertools.count())


@pytest.mark.parametrize(("source", "advice"), [(endless, "let it end"), (endless(), "or give a function")])
def test_a_source_without_an_end_is_refused(source: Any, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (feeds, loaders):
        monkeypatch.setattr(module, "MOST_FEEDS", 50)
    with pytest.raises(InputError, match=f"gives more than 50 feeds .*{advice}.* a limit"):
        open_samples(source, X)


@pytest.mark.parametrize("kind", ["function", "iterator", "iterable"])
@pytest.mark.parametrize(
    ("specs", "feed_rows", "limit", "taken", "feeds_asked"),
    [(X, 1, 5, 5, 5), (X, 4, 5, 5, 2), (X4, 4, 5, 4, 1), (X4, 4, 3, 4, 1), (X4, 1, 10, 8, 8)],
)
def test_a_limit_takes_the_first_samples_of_a_source_without_an_end(
    kind: str,
    specs: tuple[InputSpec, ...],
    feed_rows: int,
    limit: int,
    taken: int,
    feeds_asked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (feeds, loaders):
        monkeypatch.setattr(module, "MOST_FEEDS", 50)
    asked = []

    class Endless:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            for at in itertools.count():
                asked.append(at)
                yield {"x": rows(feed_rows, start=at * feed_rows)}

    sources: dict[str, Any] = {"function": lambda: iter(Endless()), "iterator": iter(Endless()), "iterable": Endless()}
    samples = open_samples(sources[kind], specs, limit=limit, batch_size=2)
    assert (samples.count, samples.warnings) == (taken, ())
    for _ in range(2):
        np.testing.assert_array_equal(stacked(samples), rows(taken))
    np.testing.assert_array_equal(stacked(samples.take(np.arange(taken)[::-1])), rows(taken)[::-1])
    assert max(asked) == feeds_asked - 1


@pytest.mark.parametrize("is_function", [True, False])
def test_a_limit_draws_from_all_of_a_source_with_a_length(is_function: bool) -> None:
    whole = [{"x": rows(1, start=at)} for at in range(100)]
    samples = open_samples((lambda: whole) if is_function else whole, X, limit=5)
    places = np.sort(np.random.default_rng(0).permutation(100)[:5])
    np.testing.assert_array_equal(stacked(samples), rows(100)[places])
    assert places[-1] > 5


@pytest.mark.parametrize(("source", "name"), [(endless, "MOST_FED_BYTES"), (endless(), "MOST_BYTES")])
def test_feeds_of_too_many_bytes_are_refused(source: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders if name == "MOST_BYTES" else feeds, name, 1200)
    with pytest.raises(InputError, match=r"or 1\.2 KB"):
        open_samples(source, X)


@pytest.mark.parametrize("source", ["random:1000000000000", f"random:{'9' * 5000}", "random:16777217"])
def test_more_random_samples_than_memory_holds_are_refused(source: str) -> None:
    with pytest.raises(InputError, match="16,777,216"):
        open_samples(source, X)


@pytest.mark.parametrize("shape", [(2**40, 3), (None, 2**40)])
def test_random_samples_of_a_huge_shape_are_refused(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(InputError, match=r"at most"):
        open_samples("random:2", (InputSpec("x", F32, shape),))


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def zeros(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("make", [pipe, zeros])
@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.zip"])
def test_data_is_no_device(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a device or a pipe, which is not read as data: give a file or folder"):
        open_samples(make(tmp_path / name), X)


@pytest.mark.parametrize("make", [pipe, zeros])
def test_a_picture_and_texts_are_no_devices(make: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    make(tmp_path / "pictures" / "0.png")
    with pytest.raises(InputError, match="a device or a pipe, not a file"):
        open_samples(tmp_path / "pictures", PICTURE)
    text = make(tmp_path / "text")
    with pytest.raises(InputError, match="a device or a pipe, not a file"):
        PictureOptions.from_toml(text)
    for at in range(2):
        (tmp_path / "classes" / f"{at}").mkdir(parents=True)
        (tmp_path / "classes" / f"{at}" / "0.png").write_bytes(picture_bytes(0))
    with pytest.raises(InputError, match="a device or a pipe, not a file"):
        open_samples(tmp_path / "classes", PICTURE, classes=text)


def test_a_text_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "options.toml").write_text("scale = 1.0\r\n" + "# long\n" * 100, "utf-8")
    assert PictureOptions.from_toml(tmp_path / "options.toml").scale == 1.0
    monkeypatch.setattr(limits, "MOST_TEXT_BYTES", 100)
    with pytest.raises(InputError, match="longer than 100 bytes"):
        PictureOptions.from_toml(tmp_path / "options.toml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"mean = {'[' * 3000}{']' * 3000}", "too deep"),
        (f"scale = 1{'0' * 400}", "expected a finite number"),
        (f"scale = 1{'0' * 5000}", "cannot be read"),
        ("scale = 1e400", "expected a finite number"),
        ("resize = 100000", "at most 16384"),
        ("crop = 100000", "at most 16384"),
        (f"resize = 1{'0' * 400}", "at most 16384"),
        ('mean = ["a"]', "expected a finite number"),
    ],
)
def test_picture_options_beyond_all_measure(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=problem) as error:
        PictureOptions.from_toml(tmp_path / "options.toml")
    assert len(str(error.value)) < 500


def png_of(width: int, height: int) -> bytes:
    """A picture that says it is of that size, and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (10_000, 7_000), (30_000, 30_000)])
def test_a_picture_of_too_many_pixels_is_refused_without_a_warning(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png_of(*size))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(InputError, match=r"picture .*0\.png"):
            open_samples(tmp_path, PICTURE)
    assert not caught


def test_a_picture_that_grows_too_large_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 3000)).save(buffer, "PNG")
    (tmp_path / "0.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="resized, has 512x768000 pixels, at most 67,108,864"):
        open_samples(tmp_path, PICTURE, pictures=PictureOptions(resize=512))


def test_a_batch_of_pictures_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(4):
        (tmp_path / f"{at}.png").write_bytes(picture_bytes(at))
    stacked(open_samples(tmp_path, PICTURE, batch_size=4), "image")
    monkeypatch.setattr(limits, "MOST_BYTES", 3 * 8 * 8 * 5 * 2)
    stacked(open_samples(tmp_path, PICTURE, batch_size=2), "image")
    with pytest.raises(InputError, match=r"a batch of 4 pictures of 8x8 pixels would take .* a smaller --batch-size"):
        stacked(open_samples(tmp_path, PICTURE, batch_size=4), "image")


@pytest.mark.parametrize(("source", "problem"), [("", "is an empty path"), ("a\0b", "no path holds a NUL")])
def test_what_is_no_path(source: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        open_samples(source, TWO)


def test_a_training_file_that_unpacks_to_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_data, "MOST_BYTES_OF_IDX", 1000)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(gzip.compress(bytes(2000)))
    with pytest.raises(InputError, match=r"holds more than 1 KB, which no IDX file needs: give a part of it"):
        open_training_data(tmp_path, "x", (1, 28, 28), PictureOptions(channels="grey"))


def test_training_pictures_that_memory_does_not_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "train.npz", x=np.zeros((9, 28, 28), np.uint8), y=np.zeros(9, np.int64))
    grey = PictureOptions(channels="grey")
    assert open_training_data(tmp_path, "x", (1, 28, 28), grey).train.count == 9
    monkeypatch.setattr(limits, "MOST_BYTES", 7000)
    with pytest.raises(InputError, match=r"would take 7\.13 KB of memory, at most 7 KB"):
        open_training_data(tmp_path, "x", (1, 28, 28), grey)


def test_sizes_in_words() -> None:
    sizes = (0, 999, 1000, 3_900_000, 4 * 10**9, 12 * 10**12, 10**400)
    words = ["0 bytes", "999 bytes", "1 KB", "3.9 MB", "4 GB", "12 TB", "more than 1,000,000 TB"]
    assert [limits.in_words(size) for size in sizes] == words


def test_zip_sizes_are_those_declared(tmp_path: Path) -> None:
    """An archive whose members hold more than its directory says gives no more than that."""
    write_zip(tmp_path / "data.npz", {"x.npy": header_of((4, 3)) + rows(4).tobytes() + bytes(1 << 16)})
    content = (tmp_path / "data.npz").read_bytes()
    real, declared = (struct.pack("<I", size) for size in (176 + (1 << 16), 176))
    (tmp_path / "data.npz").write_bytes(content.replace(real, declared))
    with pytest.raises((InputError, zipfile.BadZipFile), match="cannot be read"):
        stacked(open_samples(tmp_path / "data.npz", X))
