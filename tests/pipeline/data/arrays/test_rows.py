"""Rows of files: headers are held against sizes, and large files are streamed."""

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sample_sources import F32, X, rows, stacked, write_zip

from netsurgeon.pipeline.data import opened
from netsurgeon.pipeline.data.arrays import rows as array_rows
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
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


def test_an_archive_of_very_many_arrays_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "data.npz", {f"{at}.npy": b"" for at in range(1001)})
    with pytest.raises(InputError, match="it holds 1,001 arrays, at most 1,000 are read"):
        open_samples(tmp_path / "data.npz", X)


def test_zip_sizes_are_those_declared(tmp_path: Path) -> None:
    """An archive whose members hold more than its directory says gives no more than that."""
    write_zip(tmp_path / "data.npz", {"x.npy": header_of((4, 3)) + rows(4).tobytes() + bytes(1 << 16)})
    content = (tmp_path / "data.npz").read_bytes()
    real, declared = (struct.pack("<I", size) for size in (176 + (1 << 16), 176))
    (tmp_path / "data.npz").write_bytes(content.replace(real, declared))
    with pytest.raises((InputError, zipfile.BadZipFile), match="cannot be read"):
        stacked(open_samples(tmp_path / "data.npz", X))
