"""The process behind `native`: reads models on standard input, calls onnx, writes what it gives; imports onnx alone."""

from __future__ import annotations

import os
import struct
import sys
from typing import BinaryIO

import onnx.shape_inference
import onnx.version_converter


def answer(call: int, opset: int, data: bytes) -> bytes:
    """The model with shapes inferred (call 0) or converted to an opset (call 1)."""
    if call == 0:
        proto = onnx.shape_inference.infer_shapes(
            onnx.ModelProto.FromString(data), check_type=False, strict_mode=False, data_prop=True
        )
    else:
        proto = onnx.version_converter.convert_version(onnx.ModelProto.FromString(data), opset)
    return bytes(proto.SerializeToString())


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    while len(header := requests.read(17)) == 17:
        call, opset, size = struct.unpack("<BQQ", header)
        try:
            status, data = 0, answer(call, opset, requests.read(size))
        except Exception as error:
            status, data = 1, (str(error).strip().partition("\n")[0] or type(error).__name__).encode()[:400]
        answers.write(struct.pack("<BQ", status, len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what C++ prints must not come between the answers
    serve(sys.stdin.buffer, answers)
