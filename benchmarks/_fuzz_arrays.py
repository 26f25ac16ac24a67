"""Cases of fuzz.py about arrays: `.npy` and `.npz` with values, shapes, types and headers that are wrong."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _fuzz_models import ROWS, seed_models
from _fuzz_mutations import FLOATS, INTEGERS, NAMES, mutate_bytes
from _fuzz_verdicts import Case


def _values(rng: random.Random, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rng.randrange(2**32)).normal(size=shape).astype(np.float32)


def mutated_arrays(rng: random.Random) -> Mapping[str, np.ndarray[Any, Any]]:
    """Inputs and labels for the model "dense", with something wrong about them."""
    inputs = _values(rng, (ROWS, 6))
    labels: np.ndarray[Any, Any] = np.arange(ROWS) % 4
    name = "x"
    match rng.randrange(9):
        case 0:
            inputs.flat[rng.randrange(inputs.size)] = rng.choice(FLOATS)
        case 1:
            inputs[...] = rng.choice(FLOATS)
        case 2:
            inputs = inputs.astype(
                rng.choice(("float16", "float64", "int8", "U8", "S3", "complex64", "bool", ">f4", "M8[s]"))
            )
        case 3:
            inputs = inputs.reshape(rng.choice(((6, ROWS), (ROWS, 6, 1), (-1,), (1, ROWS, 6), (ROWS, 2, 3))))
        case 4:
            inputs = inputs[: rng.choice((0, 1, 2, 3))]
        case 5:
            name = rng.choice((*NAMES, "y", "labels", "x.npy"))
        case 6:
            labels = rng.choice((labels[:5], labels - 1, labels * 10**12, labels + 0.5, labels[:, None], labels[:0]))
        case 7:
            labels = np.full(ROWS, rng.choice((*INTEGERS, *FLOATS, "a", None)))
        case _:
            labels = np.zeros((ROWS, rng.choice((0, 1, 4, 1000))), rng.choice(("int64", "float32", "bool")))
    return {name: inputs, "labels": labels} if rng.random() < 0.7 else {name: inputs}


def _npy(array: np.ndarray[Any, Any], rng: random.Random) -> bytes:
    """A file whose header lies, half of the time."""
    stream = io.BytesIO()
    # a pickle is one of the attacks: it is written to be refused, and never loaded here
    np.save(stream, array, allow_pickle=True)
    content = stream.getvalue()
    if rng.random() < 0.75:
        return content
    shape = tuple(rng.choice((*INTEGERS, ROWS, 6)) for _ in range(rng.choice((0, 1, 2, 2, 3, 40))))
    kind = rng.choice(("<f4", "<f4", "<f8", "|O", "<U5", "|V8", "<M8[s]", "|S0", "", "x", [("a", "<f4")], None))
    header = {"descr": kind, "fortran_order": rng.choice((True, False, 3)), "shape": rng.choice((shape, shape, 5, "x"))}
    text = rng.choice((*(repr(header),) * 8, "(" * 300, "{}", "1" * 9000, "__import__('os')")).encode()
    size = rng.choice((*(len(text),) * 8, 0, 65535)).to_bytes(2, "little")
    return b"\x93NUMPY" + rng.choice((*(b"\1\0",) * 8, b"\2\0", b"\xff\0")) + size + text + array.tobytes()


def of_arrays(mutator: str, rng: random.Random, folder: Path, shared: Path | None) -> Case:
    """Arrays for the model "dense", in a file."""
    del shared
    (folder / "model.onnx").write_bytes(seed_models()["dense"].SerializeToString())
    arrays = mutated_arrays(rng)
    data = rng.choice((*("data.npz",) * 4, *("data.npy",) * 2, "data.zip"))
    if data == "data.npy":
        content = _npy(next(iter(arrays.values())), rng)
    else:
        stream = io.BytesIO()
        packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        twice = list(arrays.items())[: rng.random() < 0.1]
        with zipfile.ZipFile(stream, "w", packing) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            for name, array in (*arrays.items(), *twice):
                archive.writestr(f"{name or '_'}.npy".replace("\0", "_"), _npy(array, rng))
        content = stream.getvalue()
    (folder / data).write_bytes(mutate_bytes(content, rng) if rng.random() < 0.3 else content)
    test = ("--test", data) if rng.random() < 0.2 else ()
    options = ("--quiet", "--sparsity", "0.5", "--method", "obs", *test)
    looks = (
        ("inspect", "model.onnx", "--sensitivity", "--data", data),
        ("inspect", "model.onnx", "--units", "--data", data),
        ("compare", "model.onnx", "model.onnx", "--data", data),
        ("profile", "model.onnx", "--runs", "3", "--data", data),
    )
    if rng.random() < 0.2:
        return Case(mutator, rng.choice(looks))
    return Case(mutator, ("compress", "model.onnx", "--data", data, "-o", "out.onnx", *options), "out.onnx")
