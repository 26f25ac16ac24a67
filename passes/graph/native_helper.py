"""The process behind `native`: reads models on standard input, calls onnx and ONNX Runtime, writes what they give."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import onnx.shape_inference
import onnx.version_converter

OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "bytes, which exceeds the supported maximum")
"""What ONNX Runtime says of a tensor that does not fit."""


def answer(request: bytes) -> bytes:
    """The model with shapes inferred (call 0) or converted to an opset (call 1), or its outputs' bytes (call 2)."""
    call, number = struct.unpack_from("<BQ", request)
    data = request[9:]
    if call == 0:
        proto = onnx.shape_inference.infer_shapes(
            onnx.ModelProto.FromString(data), check_type=False, strict_mode=False, data_prop=True
        )
    elif call == 1:
        proto = onnx.version_converter.convert_version(onnx.ModelProto.FromString(data), number)
    else:
        return bytes_of_outputs(data, number)
    return bytes(proto.SerializeToString())


def bytes_of_outputs(data: bytes, limit: int) -> bytes:
    """Run a model without inputs: bytes of its outputs as an int64, or −1 and a reason where `limit` is not enough."""
    import onnxruntime as ort  # its telemetry is off in the environment of our process, which this one has

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 4
    try:
        with _AtMost(limit):
            results = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {})
    except MemoryError:
        return struct.pack("<q", -1)
    except Exception as error:
        if not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        return struct.pack("<q", -1) + str(error).encode()[:400]
    return struct.pack("<q", sum(getattr(result, "nbytes", 0) for result in results))


class _AtMost:
    """Let this process take so many bytes more than it has, where the system can hold it to that (Linux)."""

    def __init__(self, limit: int):
        self._limit = limit

    def __enter__(self) -> None:
        status = Path("/proc/self/status")
        if not status.exists():
            return
        import resource

        taken = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmData"))
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        most = 1024 * taken + self._limit
        hard = self._before[1]
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_before"):
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, self._before)


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answer requests on standard input until there are no more: those of a `HelperProcess`."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what C++ prints must not come between the answers
    while len(header := requests.read(8)) == 8:
        try:
            status, data = 0, answer(requests.read(*struct.unpack("<Q", header)))
        except Exception as error:
            status, data = 1, (str(error).strip().partition("\n")[0] or type(error).__name__).encode()[:400]
        answers.write(struct.pack("<BQ", status, len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    serve(answer)
