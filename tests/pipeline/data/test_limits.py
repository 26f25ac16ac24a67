"""Sizes are looked at before anything is read: what is too much, endless or no file ends in one sentence."""

import gzip
import io
import itertools
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_sources import PICTURE, TWO, X4, X, picture_bytes, rows, stacked

from netsurgeon.pipeline.data import limits, training_data
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.objects import feeds, loaders
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.training_data import open_training_data
from netsurgeon.pipeline.errors import InputError


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
