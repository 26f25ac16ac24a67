"""Labelled data to train on, in its usual layouts, as examples that are read by row.

A folder may hold the parts ``train`` and ``test``: as .npz or .zip files, as folders, or as MNIST's four IDX files.
Anything else is training data as a whole. A part is an .npz with pixels ``x`` and classes ``y``, IDX files, or
whatever `open_samples` reads: arrays by input name with ``labels``, or class folders or a zip of pictures.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data.arrays import array_files, read_headers
from netsurgeon.pipeline.data.images import PictureOptions, check_fits
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import check_bytes, in_words, open_regular
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted

MOST_BYTES = 1 << 30
"""Decoded inputs up to this size are kept in memory."""
MOST_BYTES_OF_IDX = 1 << 30
BATCH = 256
IDX_PARTS = {"train": "train", "test": "t10k"}
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Examples in memory.

    Attributes:
        values: (count, …) float32, or pixels (count, channels, height, width) uint8.
        labels: (count,) classes, or None.
        table: (channels, 256) float32, the input of each value of a pixel; None for float values.
    """

    values: npt.NDArray[Any] = dataclasses.field(repr=False)
    labels: Labels | None = dataclasses.field(default=None, repr=False)
    table: npt.NDArray[np.float32] | None = dataclasses.field(default=None, repr=False)

    @property
    def count(self) -> int:
        """How many."""
        return len(self.values)

    def inputs(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The inputs at these rows, (rows, …) float32."""
        values = self.values[rows]
        if self.table is not None:
            values = self.table[np.arange(len(self.table))[:, None, None], values]
        return np.asarray(values, np.float32)


@dataclasses.dataclass(frozen=True)
class Read:
    """Examples that are read and decoded whenever they are asked for."""

    samples: Samples = dataclasses.field(repr=False)

    @property
    def count(self) -> int:
        """How many."""
        return self.samples.count

    @property
    def labels(self) -> Labels | None:
        """(count,) classes, or None."""
        return self.samples.classes

    def inputs(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The inputs at these rows, (rows, …) float32."""
        (name,) = (spec.name for spec in self.samples.specs)
        feeds = [feed[name] for feed in self.samples.take(rows).batches()]
        return np.asarray(np.concatenate(feeds), np.float32)


Examples = Arrays | Read


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a path holds.

    Attributes:
        train: examples to train on.
        test: examples of the final measurement, if there are any.
        classes: how many classes the labels name; None without labels.
    """

    train: Examples
    test: Examples | None
    classes: int | None

    def digest(self) -> str:
        """A sha256 (hex) of the labels and of some inputs of `train`: enough to tell other data."""
        probes = np.linspace(0, self.train.count - 1, 8).astype(np.intp)
        whole = hashlib.sha256(f"{self.train.count} ".encode() + self.train.inputs(probes).tobytes())
        whole.update(b"" if self.train.labels is None else self.train.labels.astype("<i8").tobytes())
        return whole.hexdigest()


def open_training_data(path: Path, name: str, shape: Shape, pictures: PictureOptions) -> TrainingData:
    """Open data for a network.

    Args:
        path: see above.
        name: of the network's input.
        shape: of the network's input without the batch; None where an axis is free.
        pictures: how pixels become inputs.

    Raises:
        InputError: the data cannot be read or does not fit the network.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: give a file or folder of training data")
    spec = InputSpec(name, np.dtype(np.float32), (None, *shape))
    parts = {part: part_data for part in ("train", "test") if (part_data := _part(path, part)) is not None}
    train = _open(parts.get("train", [path]), spec, pictures)
    test = _open(parts["test"], spec, pictures) if "train" in parts and "test" in parts else None
    if test is not None and (test.labels is None) != (train.labels is None):
        raise InputError(f"only one of the parts train and test of {path} has labels: give both or none")
    labels = [part.labels for part in (train, test) if part is not None and part.labels is not None]
    return TrainingData(train, test, int(max(part_labels.max() for part_labels in labels)) + 1 if labels else None)


def _part(path: Path, part: str) -> list[Path] | None:
    """The files of a part: one, or pictures and labels of IDX."""
    if not path.is_dir():
        return None
    idx = [_idx(path, f"{IDX_PARTS[part]}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    if idx[0] is not None and idx[1] is not None:
        return [idx[0], idx[1]]
    candidates = [path / f"{part}.npz", path / f"{part}.zip", path / part]
    return next(([file] for file in candidates if file.exists()), None)


def _idx(path: Path, name: str) -> Path | None:
    return next((file for file in (path / name, path / f"{name}.gz") if file.is_file()), None)


def _open(files: Sequence[Path], spec: InputSpec, pictures: PictureOptions) -> Examples:
    if len(files) == 2:
        return _pixels(_read_idx(files[0], 3), _read_idx(files[1], 1), str(files[0]), spec, pictures)
    (path,) = files
    if path.suffix.lower() == ".npz" and {"x", "y"} <= _names(path):
        size = sum(header.nbytes for header in read_headers(path).values())
        check_bytes(size, str(path), "give pictures in class folders, or a part of them")
        with np.load(path, allow_pickle=False) as archive:
            return _pixels(archive["x"], archive["y"], str(path), spec, pictures)
    decoded = not array_files(path)
    samples = open_samples(path, (spec,), pictures=pictures if decoded else None, batch_size=BATCH)
    if samples.labels is not None and samples.classes is None:
        raise InputError(
            f"the labels of {path} are {samples.labels.dtype} of shape {samples.labels.shape}: expected integers, one "
            "a sample"
        )
    read = Read(samples)
    one = read.inputs(np.zeros(1, np.intp))
    if one.nbytes * read.count > MOST_BYTES:
        return read
    return Arrays(read.inputs(np.arange(read.count)), read.labels)


def _names(path: Path) -> set[str]:
    try:
        return set(read_headers(path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an .npz ({error}): write it with numpy.savez") from error


def _pixels(pixels: Any, labels: Any, origin: str, spec: InputSpec, pictures: PictureOptions) -> Arrays:
    """Pixels (n, H, W) or (n, H, W, C), and a class each."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise InputError(
            f"the pixels of {origin} are {pixels.dtype} with {counted(pixels.ndim, 'axis', 'axes')}: "
            "expected uint8 (n, height, width), or (n, height, width, channels)"
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise InputError(
            f"{origin} has {counted(len(pixels), 'picture')} and labels {labels.dtype} of shape {labels.shape}: "
            f"expected one class, a whole number from 0, for each of one picture or more"
        )
    table = pictures.table(np.dtype(np.float32))
    if pixels.shape[3] != len(table):
        raise InputError(
            f"the pictures of {origin} have {counted(pixels.shape[3], 'channel')}, the network takes {len(table)}"
        )
    check_fits((len(table), *pixels.shape[1:3]), (spec.shape or (None,))[1:], spec.name, pictures)
    values = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return Arrays(values, labels.astype(np.int64), table)


def _read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """An IDX file of bytes (http://yann.lecun.com/exdb/mnist): magic number 0, 0, 8, axes; sizes; values."""
    try:
        with open_regular(path) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            content = file.read(MOST_BYTES_OF_IDX + 1)
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read as an IDX file: {error}") from error
    if len(content) > MOST_BYTES_OF_IDX:
        raise InputError(
            f"{path} holds more than {in_words(MOST_BYTES_OF_IDX)}, which no IDX file needs: give a part of it"
        )
    start = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">i4")) if len(content) >= start else ()
    if content[:4] != bytes((0, 0, 8, axes)) or len(content) - start != np.prod(shape, dtype=np.int64):
        raise InputError(f"{path} is not an IDX file of bytes with {axes} axes, or it is truncated: download it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
