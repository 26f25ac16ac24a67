"""Outputs that hold maps (ZipMap of scikit-learn exports): `onnx_ir` has no such type; it is kept beside the graph."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir

from netsurgeon.pipeline.errors import InputError

_KEY = "netsurgeon.map_types"


def without_maps(proto: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    """The model with outputs of maps left untyped, as ONNX Runtime accepts them, and their types by output.

    Raises:
        InputError: an input is a map, which no array can fill.
    """
    for value in proto.graph.input:
        if _has_map(value.type):
            raise InputError(
                f"input {value.name!r} of {name} takes a map of names to numbers, expected tensors: cut the vectorizer "
                "off, and give its outputs as inputs"
            )
    if not any(_has_map(value.type) for value in (*proto.graph.output, *proto.graph.value_info)):
        return proto, {}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    types = {value.name: value.type.SerializeToString() for value in copy.graph.output if _has_map(value.type)}
    for value in (*copy.graph.output, *copy.graph.value_info):
        if _has_map(value.type):
            value.ClearField("type")
    return copy, types


def remember_maps(model: ir.Model, types: dict[str, bytes]) -> None:
    """Keep the types with the graph; clones have them, too."""
    if types:
        model.graph.meta[_KEY] = types


def has_maps(model: ir.Model) -> bool:
    """Whether outputs have types that must be put back into a file."""
    return bool(model.graph.meta.get(_KEY))


def put_maps_back(proto: onnx.ModelProto, model: ir.Model) -> None:
    """Give outputs of a written model the types that `model` was opened with."""
    types: dict[str, bytes] = model.graph.meta.get(_KEY) or {}
    outputs: Iterable[onnx.ValueInfoProto] = proto.graph.output
    for value in outputs:
        if value.name in types:
            value.type.ParseFromString(types[value.name])


def _has_map(kind: onnx.TypeProto) -> bool:
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        kind = getattr(kind, kind.WhichOneof("value") or "").elem_type
    return bool(kind.HasField("map_type"))
