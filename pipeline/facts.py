"""What the report says of models, layers, data and this machine, measured from the files and models themselves."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.metadata
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

import netsurgeon
from netsurgeon.passes._find_layers import find_layers
from netsurgeon.passes._nodes import FLOATS, tensor
from netsurgeon.passes.unpack_weights import UnpackWeights
from netsurgeon.pipeline.bound import Bound
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.pack import Packed
from netsurgeon.pipeline.paths import model_files, path_of
from netsurgeon.pipeline.plan import Plan
from netsurgeon.pipeline.prune import Pruned
from netsurgeon.pipeline.report import DataFacts, GroupFacts, LayerFacts, ModelFacts, TrimFacts
from netsurgeon.pipeline.runtime import onnxruntime
from netsurgeon.pipeline.samples import Samples
from netsurgeon.pipeline.samples import Source as Data
from netsurgeon.pipeline.selection import Selection
from netsurgeon.pipeline.trim import Trimmed, TrimPlan, multiply_adds, saved_share


def model_facts(model: ir.Model, path: Path | None) -> ModelFacts:
    """Size, hash and parameters of a model, from its files where there are any."""
    digest, size = hashlib.sha256(), 0
    zipped = _Counter()
    blocks = _blocks(model_files(path)) if path else (ir.to_proto(model).SerializeToString(),)
    with gzip.GzipFile(fileobj=zipped, mode="wb", mtime=0, compresslevel=6) as packer:
        for block in blocks:
            digest.update(block)
            packer.write(block)
            size += len(block)
    opset = model.graph.opset_imports.get("", 0)
    return ModelFacts(
        path.name if path else "", digest.hexdigest(), size, zipped.count, opset, *_count_parameters(model)
    )


def model_digest(model: ir.Model, path: Path | None) -> str:
    """The sha256 (hex) of a model's files; of the serialised model where there is no file."""
    digest = hashlib.sha256()
    for block in _blocks(model_files(path)) if path else (ir.to_proto(model).SerializeToString(),):
        digest.update(block)
    return digest.hexdigest()


def bytes_on_disk(path: Path) -> int:
    """Bytes of a model's file and of its external data."""
    return sum(file.stat().st_size for file in model_files(path))


def _count_parameters(model: ir.Model) -> tuple[int, int]:
    """Parameters, and those that are not zero; of a packed weight the elements of the weight it stands for."""
    plain = model.clone()
    UnpackWeights()(plain)
    arrays = [constant.numpy() for constant in _constants(plain) if constant.dtype in FLOATS]
    return sum(array.size for array in arrays), sum(int(np.count_nonzero(array)) for array in arrays)


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every initializer and the value of every Constant node, subgraphs included."""
    for graph in (model.graph, *model.graph.subgraphs()):
        yield from (value.const_value for value in graph.initializers.values() if value.const_value is not None)
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


def _blocks(files: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of files one after the other, in large pieces."""
    for file in files:
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                yield block


def layer_facts(
    selection: Selection, plan: Plan, pruned: Pruned, model: ir.Model, packed: Packed, bound: Bound
) -> tuple[LayerFacts, ...]:
    """What became of each layer of the selection; `model` is the pruned one, not packed."""
    after = {layer.name: layer for layer in find_layers(model.graph)[0]}
    packings = {packing.name: packing for packing in packed.packings}
    errors = {error.node: error.error for error in bound.layers}
    facts = []
    for layer in selection.layers:
        now, outcome = after[layer.name], pruned.outcomes[layer.name]
        before = tensor(layer.weight).nbytes
        packing, cost = packings.get(now.weight.name or ""), plan.costs.get(layer.name)
        facts.append(
            LayerFacts(
                name=layer.name,
                operator=layer.operator,
                shape=(layer.groups, layer.rows, layer.columns),
                weights=layer.size,
                kept=int(np.count_nonzero(now.matrix())),
                sensitivity=cost.sensitivity if cost else None,
                damping=outcome.damping,
                samples=outcome.samples,
                error=errors.get(layer.name, 0.0),
                stored=str(packing.encoding) if packing else "dense",
                bytes_before=before,
                bytes_after=packing.bytes_after if packing else tensor(now.weight).nbytes,
                seconds=round(outcome.seconds, 3),
            )
        )
    return tuple(facts)


def trim_facts(masked: ir.Model, plan: TrimPlan, trimmed: Trimmed, options: Options) -> TrimFacts:
    """What became of the units; `masked` still has all of them."""
    dependencies, removed = plan.dependencies, trimmed.removed
    groups = []
    for group in dependencies.groups:
        gone = int(removed[list(group.units)].sum())
        if gone:
            groups.append(GroupFacts(group.node, group.operators, len(group.units), gone))
    macs = multiply_adds(dependencies)
    return TrimFacts(
        asked=None if options.trim is None else options.trim_goal,
        saved=saved_share(masked, dependencies, removed, options.save),
        macs_dense=macs.total(np.ones_like(removed)),
        macs=macs.total(~removed),
        unread=int((removed & ~plan.removed).sum()),
        groups=tuple(groups),
        frozen=tuple(dataclasses.asdict(each) for each in dependencies.frozen),
        failed=tuple((group.node, reason) for group, reason in (*plan.failed, *trimmed.failed)),
        proof=trimmed.proof,
    )


def data_facts(data: Data, samples: Samples) -> DataFacts:
    """Name, number and hash of inputs."""
    path = path_of(data)
    name = path.name if path else data if isinstance(data, str) else type(data).__name__
    return DataFacts(name, samples.count, samples.digest())


def versions() -> dict[str, str]:
    """Versions of netsurgeon, Python and the libraries that shape the result."""
    found = {"netsurgeon": netsurgeon.__version__, "python": sys.version.split()[0]}
    found["onnxruntime"] = str(onnxruntime().__version__)
    for name in ("numpy", "scipy", "onnx", "onnx-ir", "onnxscript"):
        found[name] = importlib.metadata.version(name)
    return found


def peak_bytes() -> int:
    """Most resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
