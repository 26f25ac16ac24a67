"""ONNX Runtime behind one door: sessions, providers, observed values, comparison of outputs."""

from netsurgeon.pipeline.runtime.counted_session import counted
from netsurgeon.pipeline.runtime.failures import attribute_to_inputs
from netsurgeon.pipeline.runtime.observations import observe, tapped
from netsurgeon.pipeline.runtime.peak_memory import peak_bytes
from netsurgeon.pipeline.runtime.providers import CPU, channel_block, full_name
from netsurgeon.pipeline.runtime.reference import reference_outputs
from netsurgeon.pipeline.runtime.same_outputs import (
    TOLERANCE,
    relative_difference,
    same_bits,
    verify_outputs,
    verify_same,
)
from netsurgeon.pipeline.runtime.session import (
    EXTERNAL_BYTES,
    IN_MEMORY_LIMIT,
    MOST_THREADS,
    Feed,
    Runtime,
    Session,
    first_line,
    onnxruntime,
)

__all__ = [
    "CPU",
    "EXTERNAL_BYTES",
    "IN_MEMORY_LIMIT",
    "MOST_THREADS",
    "TOLERANCE",
    "Feed",
    "Runtime",
    "Session",
    "attribute_to_inputs",
    "channel_block",
    "counted",
    "first_line",
    "full_name",
    "observe",
    "onnxruntime",
    "peak_bytes",
    "reference_outputs",
    "relative_difference",
    "same_bits",
    "tapped",
    "verify_outputs",
    "verify_same",
]
