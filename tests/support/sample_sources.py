"""Inputs of models as arrays, pictures and zips, and what batches of them hold."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.samples import Samples

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
