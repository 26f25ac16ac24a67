"""What fuzz.py does to bytes and protobuf messages. Every function draws from the generator it gets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

INTEGERS = (0, 1, -1, 2, 3, 7, 16, 255, 4097, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
NAMES = (
    "",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "../up",
    "/etc/passwd",
    "a/b:0",
    "x" * 5000,
    "ä\u202e\u2028",
    "a\0b",
    "<b>",
)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, insert, duplicate and zero, one to four times."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        length = rng.choice((1, 2, 8, 64, 1 + len(content) // 3))
        match rng.randrange(6):
            case 0:
                for place in range(at, min(at + rng.choice((1, 4)), len(content))):
                    content[place] ^= 1 << rng.randrange(8)
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = rng.randbytes(min(length, 64))
            case 3:
                content[at:at] = content[at : at + length]
            case 4:
                content[at : at + length] = bytes(len(content[at : at + length]))
            case _:
                content[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))])
    return bytes(content)


# ------------------------------------------------------------------------------------------------ any field
def _messages(root: Message) -> Iterator[Message]:
    waiting = [root]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += list(value) if field.is_repeated else [value]


def _extreme(field: FieldDescriptor, rng: random.Random, old: Any) -> Any:
    """A value at the edge of a field's type."""
    kind = field.cpp_type
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice(list(field.enum_type.values_by_number))
    if kind != FieldDescriptor.CPPTYPE_STRING:
        lowest, highest = {
            FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
            FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
        }.get(kind, (-(2**63), 2**63 - 1))
        return min(max(rng.choice(INTEGERS), lowest), highest)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", bytes(old or b"")[:-1], bytes(old or b"") + b"\0", rng.randbytes(8), b"\xff\xfe"))
    return rng.choice(NAMES)


def mutate_field(model: onnx.ModelProto, rng: random.Random) -> None:
    """Set a field of some message to an extreme, remove, repeat or reorder it, or put another message in its place."""
    messages = list(_messages(model))
    message = rng.choice(messages)
    field = rng.choice(list(message.DESCRIPTOR.fields))
    if rng.random() < 0.2:
        message.ClearField(field.name)
    elif field.message_type is not None:
        _mutate_messages(message, field, [other for other in messages if other.DESCRIPTOR is field.message_type], rng)
    elif field.is_repeated:
        mutate_list(getattr(message, field.name), field, rng)
    else:
        setattr(message, field.name, _extreme(field, rng, getattr(message, field.name)))


def _mutate_messages(message: Message, field: FieldDescriptor, others: Sequence[Message], rng: random.Random) -> None:
    copy = field.message_type._concrete_class()
    if others and rng.random() < 0.9:
        copy.CopyFrom(rng.choice(others))
    if not field.is_repeated:
        getattr(message, field.name).CopyFrom(copy)
        return
    entries = getattr(message, field.name)
    if entries and rng.random() < 0.4:
        del entries[rng.randrange(len(entries))]
    for _ in range(rng.choice((1, 1, 2, 30))):
        entries.add().CopyFrom(copy)


def mutate_list(entries: Any, field: FieldDescriptor, rng: random.Random) -> None:
    """Extreme, missing, further, repeated or shuffled entries of a repeated field."""
    values = list(entries)
    match rng.randrange(5) if values else 0:
        case 0:
            values += [_extreme(field, rng, None)] * rng.choice((1, 2, 100))
        case 1:
            values[rng.randrange(len(values))] = _extreme(field, rng, None)
        case 2:
            del values[rng.randrange(len(values))]
        case 3:
            rng.shuffle(values)
        case _:
            values *= 2
    del entries[:]
    entries.extend(values)
