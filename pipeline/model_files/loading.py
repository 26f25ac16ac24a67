"""Open and save ONNX models safely: limits, external data, normal form, atomic writes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import google.protobuf.message
import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from netsurgeon.passes.graph import NativeError, convert_version
from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.passes.rewriting import NameNodes, normal_form
from netsurgeon.pipeline.data import InputSpec, check_path
from netsurgeon.pipeline.errors import CheckFailedError, InputError, RunError
from netsurgeon.pipeline.messages import Message, cause_of
from netsurgeon.pipeline.model_files.external_data import external_files, map_external_data, name_real_files
from netsurgeon.pipeline.model_files.integer_weights import IntegerWeights, find_integers, weights_to_floats
from netsurgeon.pipeline.model_files.limits import check_values, checked
from netsurgeon.pipeline.model_files.map_types import remember_maps, without_maps
from netsurgeon.pipeline.model_files.other_formats import by_content, by_name, by_path
from netsurgeon.pipeline.runtime import Feed, Runtime, first_line, reference_outputs, verify_outputs, verify_same

ModelLike = str | os.PathLike[str] | onnx.ModelProto | ir.Model


OLDEST_OPSET = 9


OLDEST_RUN_OPSET = 7
"""The oldest that ONNX Runtime runs as a whole; of older ones it runs a few operators."""
_EXPORT_ANEW = "export it anew with a newer opset"


UNKNOWN_OPERATOR = ("No Op registered", "is not a registered", "No opset import")
"""What ONNX Runtime says of an operator that it does not know."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """An opened model.

    Attributes:
        given: the model as given.
        original: the same, or where ONNX Runtime does not run it for its age, the model at an opset that it runs.
        model: a clone in normal form, which passes may change.
        path: where it was read from, if it was a file.
        bytes: size on disk, external data included (serialised size where there is no file).
        opset: version of the default operator set.
        notes: what was done to it on the way.
        integers: what it came with of weights that are integers.
    """

    given: ir.Model = dataclasses.field(repr=False)
    original: ir.Model = dataclasses.field(repr=False)
    model: ir.Model = dataclasses.field(repr=False)
    path: Path | None
    bytes: int
    opset: int
    notes: tuple[Message, ...]
    integers: IntegerWeights = dataclasses.field(default_factory=IntegerWeights, repr=False)

    @property
    def runs_as(self) -> Path | ir.Model:
        """What ONNX Runtime loads: the file, where there is one and it can."""
        return self.original if self.path is None or self.original is not self.given else self.path


def open_model(model: ModelLike, runtime: Runtime, stored: Sequence[str] = ()) -> LoadedModel:
    """Open a model and bring a clone of it into normal form.

    Args:
        model: the model.
        runtime: how it is loaded.
        stored: globs of layers whose weights are stored even where a ConstantOfShape makes them.

    Raises:
        InputError: it cannot be read, its external data is missing or outside its folder, its opset cannot be raised,
            it goes beyond the limits, or ONNX Runtime cannot load it.
    """
    given, path, size, notes = _read(model)
    if "" not in given.graph.opset_imports:
        raise _foreign(given, path)
    opset = given.graph.opset_imports[""]
    check_values(given, str(path or "the model"))
    original = _runnable(given, path, runtime)
    base = original
    if opset < OLDEST_OPSET:
        base = original if original is not given else _raised(given)
        text = f"opset raised from {opset} to {OLDEST_OPSET}, the oldest that is analysed"
        notes.append(Message(text, "old-opset-raised", before=opset, after=OLDEST_OPSET))
    overridable = sum(1 for value in original.graph.inputs if value.is_initializer())
    notes += [
        Message(
            f"initializers also listed as graph inputs are constants now: {overridable}",
            "initializers-fixed",
            count=overridable,
        )
    ] * bool(overridable)
    try:
        clone = _changed(base, ir.passes.Sequential(UnpackWeights(), normal_form(stored)))
    except ir.passes.PassError as error:
        clone = _changed(base, _least_form())
        reason = first_line(_cause(error))
        notes.append(Message(f"left as it is, it has no normal form: {reason}", "no-normal-form", reason=reason))
    return LoadedModel(
        given=given,
        original=original,
        model=clone,
        path=path,
        bytes=size,
        opset=opset,
        notes=tuple(notes),
        integers=find_integers(clone),
    )


def _foreign(model: ir.Model, path: Path | None) -> InputError:
    """What to say of a model without operators of the standard: trees, say, and linear models."""
    operators = sorted({f"{node.domain}.{node.op_type}" for node in model.graph})
    listed = ", ".join(operators[:4]) + (", …" if len(operators) > 4 else "")
    return InputError(
        f"{path or 'the model'} has no operators of the ONNX standard, only {listed}: expected a neural network, "
        "whose Conv, Gemm and MatMul have weights to prune"
    )


def _raised(model: ir.Model) -> ir.Model:
    """The model at the oldest opset that is analysed."""
    opset = model.graph.opset_imports[""]
    try:
        return convert_version(model, OLDEST_OPSET)
    except NativeError as error:
        raise InputError(
            f"the model uses opset {opset}, expected {OLDEST_OPSET} or newer, and it cannot be raised "
            f"({first_line(error)}): {_EXPORT_ANEW}"
        ) from error


def _runnable(model: ir.Model, path: Path | None, runtime: Runtime) -> ir.Model:
    """A model as it is, or raised where it is so old that ONNX Runtime does not load it."""
    try:
        check_loads(model, path, runtime)
    except InputError:
        if model.graph.opset_imports[""] >= OLDEST_RUN_OPSET:
            raise
        raised = _raised(model)
        check_loads(raised, path, runtime)
        return raised
    return model


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
        opset = model.graph.opset_imports.get("", OLDEST_OPSET)
        if opset < OLDEST_OPSET:
            advice = f"; it uses opset {opset}, of which ONNX Runtime runs a part only: {_EXPORT_ANEW}"
        raise InputError(f"{error}{advice}") from error
    except (ir.serde.SerdeError, TypeError, ValueError) as error:
        raise InputError(f"{path or 'the model'} is not a valid ONNX model: {_why_invalid(error)}") from error


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


def _why_invalid(error: BaseException) -> str:
    """What is wrong with a model that cannot be read or written: half a sentence."""
    cause = _cause(error)
    if isinstance(cause, UnicodeDecodeError):
        return f"the name {cause.object[:100]!r} in it is not UTF-8"
    return first_line(cause)


def verified(source: LoadedModel, feed: Feed, runtime: Runtime) -> LoadedModel:
    """The source, its normal form proven equal on `feed`; hardly changed from what was given where it is not.

    Raises:
        InputError: the model as given cannot run on `feed`, or gives other outputs at a newer opset.
    """
    if source.original is not source.given:
        source = _checked_by_reference(source, feed, runtime)
    try:
        problem = verify_same(source.original, source.model, feed, runtime)
    except CheckFailedError as error:
        raise InputError(f"{error}: check the values of the inputs, and the model itself") from error
    if problem is None:
        return source
    if source.opset < OLDEST_OPSET:
        raise _other_outputs(source, problem)
    text = f"left as it is, its normal form was undone: {problem}"
    note = Message(text, "normal-form-undone", cause_of(problem), reason=str(problem))
    notes = (*source.notes, note)
    return dataclasses.replace(source, model=_changed(source.original, _least_form()), notes=notes)


def _checked_by_reference(source: LoadedModel, feed: Feed, runtime: Runtime) -> LoadedModel:
    """The source, what ONNX Runtime runs in place of the model given proven equal to it on `feed`."""
    try:
        expected = reference_outputs(source.given, feed)
    except RunError as error:
        raise InputError(
            f"the model uses opset {source.opset}, which ONNX Runtime does not run, so that its form at opset "
            f"{OLDEST_OPSET} cannot be checked ({error}): {_EXPORT_ANEW}"
        ) from error
    problem = verify_outputs(expected, source.original, feed, runtime)
    if problem is not None:
        raise _other_outputs(source, problem)
    text = f"ONNX Runtime does not run opset {source.opset}: compared with ONNX's reference evaluator"
    return dataclasses.replace(source, notes=(*source.notes, Message(text, "old-opset-checked", before=source.opset)))


def _other_outputs(source: LoadedModel, problem: Message) -> InputError:
    change = f"the model uses opset {source.opset} and gives other outputs at opset {OLDEST_OPSET}"
    return InputError(f"{change} ({problem}): {_EXPORT_ANEW}")


def with_float_weights(source: LoadedModel, feed: Feed, runtime: Runtime) -> LoadedModel:
    """The source, weights that are integers as floats where they can be pruned, proven equal on `feed`.

    Args:
        source: what was opened.
        feed: an input of it.
        runtime: which leaves the model on floats: ONNX Runtime would make integers of its weights again.
    """
    model, integers = weights_to_floats(source.model)
    if not integers.grids:
        return dataclasses.replace(source, integers=integers)
    problem = verify_same(source.model, model, feed, runtime)
    if problem is not None:
        reasons = {**integers.reasons, **dict.fromkeys(integers.grids, f"its integers stay: {problem}")}
        return dataclasses.replace(source, integers=IntegerWeights(layers=integers.layers, reasons=reasons))
    return dataclasses.replace(source, model=model, integers=integers)


def read_model(model: ModelLike) -> tuple[ir.Model, Path | None, int]:
    """The model, the file it came from and its size in bytes.

    Raises:
        InputError: it cannot be read as an ONNX model.
    """
    return _read(model)[:3]


def _read(model: ModelLike) -> tuple[ir.Model, Path | None, int, list[Message]]:
    """What `read_model` gives, and what was put right on the way."""
    if isinstance(model, ir.Model):
        return *_from_memory(model), []
    if isinstance(model, onnx.ModelProto):
        size = model.ByteSize() + sum(file.stat().st_size for file in external_files(model, Path("the model")))
        loaded, notes = _deserialize(model, "the model", Path())
        return map_external_data(loaded), None, size, notes
    if not isinstance(model, str | os.PathLike):
        raise InputError(
            f"the model is of type {type(model).__name__}, expected a path, a ModelProto or an onnx_ir.Model"
        )
    check_path(model, "the model")
    path = Path(model)
    if not path.is_file():
        raise InputError(by_path(path) or f"{path} is not a file: give the path of an ONNX model")
    if other_format := by_content(path):
        raise InputError(other_format)
    try:
        proto = onnx.load(path, load_external_data=False, format="protobuf")
    except google.protobuf.message.DecodeError as error:
        truncated = f"{path} is not an ONNX file, or it is truncated ({first_line(error)})"
        raise InputError(by_name(path) or truncated) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if not proto.graph.node:
        empty = f"{path} is not an ONNX model with nodes in its graph, or it is truncated"
        raise InputError(by_name(path) or empty)
    with _names_as_utf8(str(path)):
        size = sum(file.stat().st_size for file in (path, *external_files(proto, path)))
        name_real_files(proto, path)
    loaded, notes = _deserialize(proto, str(path), path.resolve().parent)
    return map_external_data(loaded, path.resolve().parent), path, size, notes


def _from_memory(model: ir.Model) -> tuple[ir.Model, None, int]:
    """A clone of a model that was made here, held to the same limits; its own nodes are not put in another order."""
    try:
        proto = ir.to_proto(model)
    except Exception as error:
        raise InputError(f"the model is not a valid ONNX model: {first_line(error)}") from error
    if any(note.code == "nodes-sorted" for note in checked(proto, "the model")[1]):
        raise InputError("the model has nodes before what they read: put them in order with model.graph.sort()")
    constants = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    outside = sum(constant.nbytes for constant in constants if isinstance(constant, ir.ExternalTensor))
    return _one_name_for_onnx(map_external_data(model.clone())), None, proto.ByteSize() + outside


def _deserialize(proto: onnx.ModelProto, name: str, folder: Path) -> tuple[ir.Model, list[Message]]:
    """A model within the limits, its nodes in order, and what was put right."""
    with _names_as_utf8(name):
        if proto.graph.sparse_initializer:
            sparse = proto.graph.sparse_initializer[0].values.name
            raise InputError(f"{name} holds {sparse!r} as a sparse initializer, which is not read: make it a dense one")
        proto, notes = checked(proto, name, folder)
        proto, map_types = without_maps(proto, name)
    try:
        model = _one_name_for_onnx(ir.from_proto(proto))
    except Exception as error:
        raise InputError(f"{name} is not a valid ONNX model: {_why_invalid(error)}") from error
    remember_maps(model, map_types)
    return model, notes


@contextmanager
def _names_as_utf8(name: str) -> Iterator[None]:
    """Refuse a model with a name that is no UTF-8: protobuf reads the file, and fails where the name is looked at."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not a valid ONNX model: {_why_invalid(error)}") from error


def _one_name_for_onnx(model: ir.Model) -> ir.Model:
    """The domain of the standard operators is called "" only: "ai.onnx" is another name for it."""
    for imports in (model.graph.opset_imports, *(function.opset_imports for function in model.functions.values())):
        if "ai.onnx" in imports:
            imports.setdefault("", imports.pop("ai.onnx"))
    return model


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
