"""Open and save ONNX models safely: limits, external data, normal form, atomic writes."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import google.protobuf.message
import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from netsurgeon.passes.normal_form import NameNodes, normal_form
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.runtime import IN_MEMORY_LIMIT, Feed, Runtime, first_line
from netsurgeon.pipeline.samples import InputSpec

ModelLike = str | os.PathLike[str] | onnx.ModelProto | ir.Model
OLDEST_OPSET = 9
UNKNOWN_OPERATOR = ("No Op registered", "is not a registered", "No opset import")
"""What ONNX Runtime says of an operator that it does not know."""
TOLERANCE = 1e-4
"""Largest difference, relative to the output's scale, between the model as given and its normal form."""


@dataclasses.dataclass(frozen=True)
class Source:
    """An opened model.

    Attributes:
        original: the model as given.
        model: a clone in normal form, which passes may change.
        path: where it was read from, if it was a file.
        bytes: size on disk, external data included (serialised size where there is no file).
        opset: version of the default operator set.
        notes: what was done to it on the way.
    """

    original: ir.Model = dataclasses.field(repr=False)
    model: ir.Model = dataclasses.field(repr=False)
    path: Path | None
    bytes: int
    opset: int
    notes: tuple[str, ...]


def open_model(model: ModelLike, runtime: Runtime) -> Source:
    """Open a model and bring a clone of it into normal form.

    Raises:
        InputError: it cannot be read, its external data is missing or outside its folder, its opset is too old,
            or ONNX Runtime cannot load it.
    """
    original, path, size = read_model(model)
    opset = original.graph.opset_imports.get("", 0)
    if opset < OLDEST_OPSET:
        raise InputError(
            f"the model uses opset {opset}, expected {OLDEST_OPSET} or newer: "
            "upgrade it with onnx.version_converter and check its outputs"
        )
    check_loads(original, path, runtime)
    overridable = sum(1 for value in original.graph.inputs if value.is_initializer())
    notes = [f"initializers also listed as graph inputs are constants now: {overridable}"] * bool(overridable)
    try:
        clone = _changed(original, normal_form())
    except ir.passes.PassError as error:
        clone = _changed(original, _least_form())
        notes.append(f"left as it is, it has no normal form: {first_line(_cause(error))}")
    return Source(original, clone, path, size, opset, tuple(notes))


def check_loads(model: ir.Model, path: Path | None, runtime: Runtime) -> None:
    """Check that ONNX Runtime loads a model as it was given.

    Raises:
        InputError: it does not.
    """
    try:
        runtime.session(model)
    except CheckFailedError as error:
        own = any(sign in str(error) for sign in UNKNOWN_OPERATOR)
        advice = "; if it uses operators of your own, name their library with --custom-ops" if own else ""
        raise InputError(f"{error}{advice}") from error
    except (ir.serde.SerdeError, TypeError, ValueError) as error:
        raise InputError(f"{path or 'the model'} is not a valid ONNX model: {first_line(error)}") from error


def _changed(model: ir.Model, change: ir.passes.PassBase) -> ir.Model:
    """A changed clone; from version 4 on initializers need not be inputs."""
    clone = model.clone()
    clone.ir_version = max(clone.ir_version, 4)
    return change(clone).model


def _least_form() -> ir.passes.PassBase:
    """What surgery cannot do without, for a model that has no normal form."""
    return ir.passes.Sequential(RemoveInitializersFromInputsPass(), NameNodes())


def _cause(error: BaseException) -> BaseException:
    return _cause(error.__cause__) if error.__cause__ is not None else error


def verified(source: Source, feed: Feed, runtime: Runtime) -> Source:
    """The source, its normal form proven equal on `feed`; hardly changed from what was given where it is not.

    Raises:
        InputError: the model as given cannot run on `feed`.
    """
    try:
        problem = verify_same(source.original, source.model, feed, runtime)
    except CheckFailedError as error:
        raise InputError(f"{error}: check the values of the inputs, and the model itself") from error
    if problem is None:
        return source
    notes = (*source.notes, f"left as it is, its normal form was undone: {problem}")
    return dataclasses.replace(source, model=_changed(source.original, _least_form()), notes=notes)


def read_model(model: ModelLike) -> tuple[ir.Model, Path | None, int]:
    """The model, the file it came from and its size in bytes.

    Raises:
        InputError: it cannot be read as an ONNX model.
    """
    if isinstance(model, ir.Model):
        mapped = _one_name_for_onnx(_map_external_data(model.clone()))
        return mapped, None, ir.to_proto(mapped).ByteSize()
    if isinstance(model, onnx.ModelProto):
        size = model.ByteSize() + sum(file.stat().st_size for file in external_files(model, Path("the model")))
        return _map_external_data(_deserialize(model, "the model")), None, size
    if not isinstance(model, str | os.PathLike):
        raise InputError(
            f"the model is of type {type(model).__name__}, expected a path, a ModelProto or an onnx_ir.Model"
        )
    path = Path(model)
    if not path.is_file():
        raise InputError(f"{path} is not a file: give the path of an ONNX model")
    try:
        proto = onnx.load(path, load_external_data=False, format="protobuf")
    except google.protobuf.message.DecodeError as error:
        raise InputError(f"{path} is not an ONNX file, or it is truncated ({first_line(error)})") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if not proto.graph.node:
        raise InputError(f"{path} is not an ONNX model with nodes in its graph, or it is truncated")
    size = sum(file.stat().st_size for file in (path, *external_files(proto, path)))
    return _map_external_data(_deserialize(proto, str(path)), path.resolve().parent), path, size


def _deserialize(proto: onnx.ModelProto, name: str) -> ir.Model:
    if proto.graph.sparse_initializer:
        sparse = proto.graph.sparse_initializer[0].values.name
        raise InputError(f"{name} holds {sparse!r} as a sparse initializer, which is not read: make it a dense one")
    try:
        return _one_name_for_onnx(ir.from_proto(proto))
    except Exception as error:
        raise InputError(f"{name} is not a valid ONNX model: {first_line(error)}") from error


def _one_name_for_onnx(model: ir.Model) -> ir.Model:
    """The domain of the standard operators is called "" only: "ai.onnx" is another name for it."""
    for imports in (model.graph.opset_imports, *(function.opset_imports for function in model.functions.values())):
        if "ai.onnx" in imports:
            imports.setdefault("", imports.pop("ai.onnx"))
    return model


def _map_external_data(model: ir.Model, folder: Path | None = None) -> ir.Model:
    """Map external data into memory: nothing that is run or saved later depends on where it was.

    Raises:
        InputError: a file cannot be read, or holds less than a tensor needs.
    """
    for graph in (*model.graphs(), *(f.graph for f in model.functions.values())):
        if folder is not None:
            ir.external_data.set_base_dir(graph, folder)
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _mapped(value.const_value)
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if isinstance(attribute.value, ir.ExternalTensor):
                    node.attributes[name] = ir.AttrTensor(name, _mapped(attribute.value))
    return model


def _mapped(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    try:
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"tensor {tensor.name!r} cannot be read from {tensor.location!r}: {first_line(error)}"
        ) from error


def external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """Files of external data, sorted; every one must lie inside the model's folder and be long enough.

    Raises:
        InputError: one does not.
    """
    folder = path.resolve().parent
    files: set[Path] = set()
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = (folder / location.replace("\0", "")).resolve()
        if not location or "\0" in location or not file.is_relative_to(folder):
            raise InputError(
                f"tensor {tensor.name!r} has its data at {location!r}, outside the model's folder: "
                "move it beside the model"
            )
        if not file.is_file():
            raise InputError(
                f"tensor {tensor.name!r} has its data in {location!r}, which is missing beside {path}: put it there"
            )
        needed = sum(_count(entries.get(key, "0"), tensor) for key in ("offset", "length"))
        if file.stat().st_size < needed:
            raise InputError(
                f"{file} holds {file.stat().st_size} bytes, tensor {tensor.name!r} needs {needed}: it is cut off, "
                "copy it again"
            )
        files.add(file)
    return sorted(files)


def _count(text: str, tensor: onnx.TensorProto) -> int:
    if not text.isdecimal():
        raise InputError(f"tensor {tensor.name!r} has its data at {text!r} in a file, expected a number of bytes")
    return int(text)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graph_tensors(body)


def verify_same(
    expected: ir.Model, actual: ir.Model, feed: Feed, runtime: Runtime, tolerance: float = TOLERANCE
) -> str | None:
    """None when both models give the same outputs on `feed`; else one sentence that says where they differ.

    Raises:
        CheckFailedError: `expected` cannot run on `feed`.
    """
    wanted = runtime.session(expected).run(feed)
    try:
        found = runtime.session(actual).run(feed)
    except CheckFailedError as error:
        return str(error)
    for name, value in wanted.items():
        difference = relative_difference(value, found[name])
        if difference > tolerance:
            return f"output {name!r} differs by {difference:.2g} of its scale, allowed {tolerance:.2g}"
    return None


def relative_difference(expected: object, actual: object) -> float:
    """Largest absolute difference over the largest magnitude expected; infinite for other shapes or types."""
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return max((relative_difference(a, b) for a, b in zip(expected, actual, strict=True)), default=0.0)
    if isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        return relative_difference(np.array(list(expected.values())), np.array([actual[key] for key in expected]))
    if not isinstance(expected, np.ndarray) or not isinstance(actual, np.ndarray):
        return 0.0 if type(expected) is type(actual) and expected == actual else np.inf
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return np.inf
    if expected.dtype.kind not in "fc" or expected.size == 0:
        return 0.0 if np.array_equal(expected, actual) else np.inf
    wide, other = (each.astype(np.result_type(each, np.float64)) for each in (expected, actual))
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))
    finite = np.isfinite(wide)
    if not np.all(same | (finite & np.isfinite(other))):
        return np.inf
    scale = float(np.max(np.abs(wide[finite]), initial=0.0))
    gap = float(np.max(np.abs(np.where(same, 0.0, np.where(finite, wide, 0.0) - np.where(finite, other, 0.0)))))
    return gap / scale if scale else (0.0 if gap == 0.0 else np.inf)


def save_model(model: ir.Model, output: Path, check: Callable[[Path], object] | None = None) -> int:
    """Write the model beside its goal and rename; weights over the limit of protobuf go to one external file.

    Args:
        model: what to write.
        output: where to; its folder is made where it is missing.
        check: called with the written file before it is renamed; what it raises stops the delivery.

    Returns:
        Bytes on disk.

    Raises:
        InputError: it cannot be written (disk full, no permission); nothing is left behind.
    """
    goal = output.parent.resolve()
    try:
        goal.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=goal) as name:
            folder = Path(name)
            weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
            external = f"{output.name}.data" if weights > IN_MEMORY_LIMIT else None
            ir.save(model, folder / output.name, format="protobuf", external_data=external)
            files = sorted(folder.iterdir(), reverse=True)
            size = sum(file.stat().st_size for file in files)
            if check is not None:
                check(folder / output.name)
            for file in files:
                _sync(file)
                file.replace(goal / file.name)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    return size


def write_text(text: str, output: Path) -> None:
    """Write a text file beside its goal and rename.

    Raises:
        InputError: it cannot be written; nothing is left behind.
    """
    goal = output.parent.resolve() / output.name
    temporary = goal.with_name(f".{output.name}.part")
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(goal)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def input_specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """What the model takes: names, types and shapes of the inputs that have no default."""
    return tuple(
        InputSpec(
            value.name or "",
            np.dtype(value.dtype.numpy() if value.dtype is not None else np.float32),
            None if value.shape is None else tuple(d if isinstance(d, int) and d >= 0 else None for d in value.shape),
        )
        for value in model.graph.inputs
        if not value.is_initializer()
    )
