"""onnx's shape inference and version conversion, and constants, in a process of their own: where it dies, ours goes on.

The first two are C++ and end the process on some graphs (a negative dimension behind a Slice, an unexpected attribute),
which no `except` catches; constants may take all memory. One helper process is started at the first call and serves all
later ones.
"""

from __future__ import annotations

import struct
from pathlib import Path

import onnx
import onnx_ir as ir

from netsurgeon.passes.graph.helper_process import SECONDS, HelperDiedError, HelperError, HelperProcess

SELF_BROADCASTING_OPSET, INFERRED_OPSET = 7, 6
"""From the first on Add and others broadcast by themselves: older ones have adapters that want a number for every size.
From the second on Relu and others have shape inference, on which these adapters rest."""
_ANY_SIZE = 512
"""What a free size is to such an adapter: large enough for kernels and strides, and none that is fed by chance."""
LARGE = 1000
"""Bytes of an initializer above which the helper sees its type and shape only."""
SECONDS_OF_CONSTANTS = 60.0
"""For constants in place of `SECONDS`: loops may have no end."""
_CALLS = {"infer_shapes": 0, "convert_version": 1, "compute_constants": 2}


class NativeError(Exception):
    """The call failed, or its process died; the text is one sentence's worth of reason."""


class NativeCrashError(NativeError):
    """The process died, or took too long."""


def infer_shapes(model: ir.Model) -> ir.Model:
    """Note shapes and types on the values of a model, in place; it stays as it is where inference fails."""
    try:
        inferred = _parsed(_call("infer_shapes", ir.to_proto(_light(model)), 0))
    except Exception:  # of a graph that cannot be inferred, written or read again: all that is lost are shapes
        return model
    for graph, other in zip(model.graphs(), inferred.graphs(), strict=False):
        values = ir.convenience.create_value_mapping(other)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            source = values.get(name)
            if source is not None and source.shape is not None:
                value.shape = source.shape
            if source is not None and source.dtype is not None:
                value.dtype = source.dtype
    return model


def convert_version(model: ir.Model, opset: int) -> ir.Model:
    """The model at another version of the standard operators; interface, metadata and initializers are those it had.

    The converter writes down the shapes that it infers; those of inputs and outputs are put back, so that what was free
    stays free.

    Raises:
        NativeError: it cannot be converted.
    """
    before = model.graph.opset_imports.get("", opset)
    if before < INFERRED_OPSET < opset:
        model = convert_version(model, INFERRED_OPSET)
    try:
        light = _light(model)
        if before < SELF_BROADCASTING_OPSET:
            _number_sizes(light)
        converted = _parsed(_call("convert_version", ir.to_proto(light), opset))
        _put_back(model, converted)
        if before < SELF_BROADCASTING_OPSET:
            _forget_shapes(converted)
    except NativeError:
        raise
    except Exception as error:
        raise NativeError(str(error).strip().partition("\n")[0] or type(error).__name__) from error
    return converted


def compute_constants(proto: onnx.ModelProto, limit: int) -> int:
    """Compute the outputs of a model without inputs in ONNX Runtime, and tell how many bytes they have.

    Args:
        proto: the model; it holds all of its weights.
        limit: bytes that may be taken on the way.

    Raises:
        MemoryError: it takes more than `limit`; the text names the node, where ONNX Runtime does.
        NativeError: it cannot be computed, or has no end.
    """
    (size,) = struct.unpack_from("<q", answer := _call("compute_constants", proto, limit, SECONDS_OF_CONSTANTS))
    if size < 0:
        raise MemoryError(answer[8:].decode("utf-8", "replace"))
    return int(size)


def _parsed(answer: bytes) -> ir.Model:
    proto = onnx.ModelProto()
    proto.ParseFromString(answer)
    return ir.from_proto(proto)


def _number_sizes(model: ir.Model) -> None:
    """Put a number for every free size, in place."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape([size if isinstance(size, int) else _ANY_SIZE for size in value.shape])
    _forget_shapes(model)


def _forget_shapes(model: ir.Model) -> None:
    """Drop the shapes inside the graph, in place."""
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def _put_back(model: ir.Model, converted: ir.Model) -> None:
    """Give a converted model the initializers, shapes of inputs and outputs, and metadata that it had."""
    kept = {value.name for value in model.graph.inputs}
    stored = converted.graph.initializers
    for name, value in model.graph.initializers.items():
        place = next((entry for entry in converted.graph.inputs if entry.name == name), stored.get(name))
        if place is None:
            continue  # read by nothing any more
        place.const_value = value.const_value
        converted.graph.register_initializer(place)
        if name not in kept and place in converted.graph.inputs:
            converted.graph.inputs.remove(place)
    before = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    for value in (*converted.graph.inputs, *converted.graph.outputs):
        if value.name in before:
            original = before[value.name]
            value.type, value.shape = original.type, None if original.shape is None else original.shape.copy()
    converted.metadata_props.update(model.metadata_props)
    converted.graph.meta.update(model.graph.meta)


def _light(model: ir.Model) -> ir.Model:
    """A clone whose large initializers are inputs, so that little is sent and protobuf's 2 GB suffice."""
    light = model.clone()
    for name, value in list(light.graph.initializers.items()):
        constant = value.const_value
        if constant is None:
            continue
        value.shape, value.dtype = ir.Shape(constant.shape.numpy()), constant.dtype
        is_input = value.is_graph_input()
        if constant.nbytes > LARGE:
            value.const_value = None
            light.graph.initializers.pop(name)
        if not is_input and (constant.nbytes > LARGE or light.ir_version < 4):
            light.graph.inputs.append(value)
    return light


def _call(name: str, proto: onnx.ModelProto, number: int, seconds: float = SECONDS) -> bytes:
    """What becomes of a model; `number` is what the call takes besides it.

    Raises:
        NativeError: it fails, dies or takes too long.
    """
    try:
        return _HELPER.call(struct.pack("<BQ", _CALLS[name], number) + proto.SerializeToString(), seconds)
    except HelperDiedError as error:
        if name == "compute_constants":
            raise NativeCrashError(f"computing constants has ended the process ({error})") from error
        raise NativeCrashError(f"onnx's {name} has crashed on it ({error})") from error
    except HelperError as error:
        raise NativeError(str(error)) from error


_HELPER = HelperProcess(Path(__file__).with_name("native_helper.py"))
