"""Facts that identify a model or a set of inputs: sizes, counts, digests and versions."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

import netsurgeon
from netsurgeon.passes.graph import FLOATS
from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.passes.quantization import find_quantized_layers, scales_of_integers
from netsurgeon.passes.rewriting import hands_channels_on
from netsurgeon.pipeline.data import DataSource, Samples
from netsurgeon.pipeline.model_files.paths import model_files, path_of
from netsurgeon.pipeline.runtime import is_large, onnxruntime, without_shared_weights

MOST_ZIPPED = 1_000_000_000
"""Bytes of a model that is compressed by gzip to see how small it gets."""


def model_facts(model: ir.Model, path: Path | None) -> ModelFacts:
    """Size, hash and parameters of a model, from its files where there are any."""
    digest, size = hashlib.sha256(), 0
    zipped, is_zipped = _Counter(), model_size(model, path) <= MOST_ZIPPED
    with gzip.GzipFile(fileobj=zipped, mode="wb", mtime=0, compresslevel=6) as packer:
        for block in _blocks_of(model, path):
            digest.update(block)
            size += len(block)
            if is_zipped:
                packer.write(block)
    opset = model.graph.opset_imports.get("", 0)
    parameters, nonzero = _count_parameters(model)
    return ModelFacts(
        name=path.name if path else "",
        sha256=digest.hexdigest(),
        bytes=size,
        gzip_bytes=zipped.count if is_zipped else None,
        opset=opset,
        parameters=parameters,
        nonzero=nonzero,
    )


def model_size(model: ir.Model, path: Path | None) -> int:
    """Bytes of a model's files; of the serialised model where there is no file."""
    if path is None:
        return sum(map(len, _serialized(model)))
    return sum(file.stat().st_size for file in model_files(path))


def model_digest(model: ir.Model, path: Path | None) -> str:
    """The sha256 (hex) of a model's files; of the serialised model where there is no file."""
    digest = hashlib.sha256()
    for block in _blocks_of(model, path):
        digest.update(block)
    return digest.hexdigest()


def bytes_on_disk(path: Path) -> int:
    """Bytes of a model's file and of its external data."""
    return sum(file.stat().st_size for file in model_files(path))


def _count_parameters(model: ir.Model) -> tuple[int, int]:
    """Parameters, and those that are not zero; of a packed weight the elements of the weight it stands for."""
    plain = model.clone()
    UnpackWeights()(plain)
    integers = find_quantized_layers(plain.graph)
    count = sum(layer.weights for layer in integers)
    nonzero = count - sum(layer.zeros for layer in integers)
    for constant in _constants(plain):
        has_handed_on = len(constant.shape) > 2 and hands_channels_on(constant.numpy())
        if constant.dtype in FLOATS and not has_handed_on:
            array = constant.numpy()
            count, nonzero = count + array.size, nonzero + int(np.count_nonzero(array))
        elif constant.dtype not in FLOATS and has_handed_on:  # one of the integers
            count, nonzero = count - constant.size, nonzero - int(np.count_nonzero(constant.numpy()))
    return count, nonzero


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every initializer and the value of every Constant node, subgraphs included; no scale that integers have."""
    for graph in (model.graph, *model.graph.subgraphs()):
        scales = scales_of_integers(graph)
        values = (value for value in graph.initializers.values() if value not in scales)
        yield from (value.const_value for value in values if value.const_value is not None)
    for node in model.graph.all_nodes():
        if node.op_type == "Constant" and "value" in node.attributes:
            yield node.attributes["value"].as_tensor()


class _Counter:
    """A file that only counts."""

    count = 0

    def write(self, block: bytes) -> int:
        self.count += len(block)
        return len(block)

    def flush(self) -> None:
        """Nothing to flush."""


def _blocks_of(model: ir.Model, path: Path | None) -> Iterator[bytes | memoryview]:
    """The bytes of a model's files; of the serialised model where there is no file."""
    return _serialized(model) if path is None else _blocks(model_files(path))


def _serialized(model: ir.Model) -> Iterator[bytes | memoryview]:
    """A model as one message, or of a large one what is no weight as one message, then each weight where it lies."""
    if not is_large(model):
        yield ir.to_proto(model).SerializeToString()
        return
    light, weights = without_shared_weights(model)
    yield ir.to_proto(light).SerializeToString()
    yield from (array.reshape(-1).view(np.uint8).data for array in weights.values())


def _blocks(files: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of files one after the other, in large pieces."""
    for file in files:
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                yield block


def data_facts(data: DataSource, samples: Samples) -> DataFacts:
    """Name, number and hash of inputs."""
    path = path_of(data)
    name = _name_of(path) if path else data if isinstance(data, str) else type(data).__name__
    return DataFacts(name, samples.count, samples.digest())


def _name_of(path: Path) -> str:
    """The name of a file or folder, also of one that is named by where it lies, such as `.`."""
    return path.resolve().name if path.name in ("", "..") else path.name


def versions() -> dict[str, str]:
    """Versions of netsurgeon, Python and the libraries that shape the result."""
    version_of = {"netsurgeon": netsurgeon.__version__, "python": sys.version.split()[0]}
    version_of["onnxruntime"] = str(onnxruntime().__version__)
    for name in ("numpy", "scipy", "onnx", "onnx-ir", "onnxscript"):
        version_of[name] = importlib.metadata.version(name)
    return version_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model file.

    Attributes:
        name: file name; empty where the model came from memory.
        sha256: of the file's bytes; of the serialised model where there is no file.
        bytes: on disk, external data included.
        gzip_bytes: after gzip; None of more than a gigabyte, for which that would take minutes.
        opset: version of the default operator set.
        parameters: elements of all float initializers, and of weights of integers; scales of integers are none, nor are
            weights of convolutions that only hand channels on, as a Pad does.
        nonzero: those that are not zero.
    """

    name: str
    sha256: str
    bytes: int
    gzip_bytes: int | None
    opset: int
    parameters: int
    nonzero: int


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """A set of inputs.

    Attributes:
        source: where from.
        samples: how many.
        sha256: of their content.
    """

    source: str
    samples: int
    sha256: str
