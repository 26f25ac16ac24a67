"""ONNX Runtime behind one door: sessions, providers, observed values, comparison of outputs."""

from netsurgeon.pipeline.runtime.failures import attribute_to_inputs
from netsurgeon.pipeline.runtime.large_models import (
    EXTERNAL_BYTES,
    PAGE,
    Feed,
    is_large,
    weight_bytes,
    without_shared_weights,
    write_model,
)
from netsurgeon.pipeline.runtime.observations import observe, tapped
from netsurgeon.pipeline.runtime.peak_memory import available_bytes, peak_bytes
from netsurgeon.pipeline.runtime.providers import (
    CPU,
    channel_block,
    computes_on_the_cpu,
    full_name,
    is_of_package,
    measure_rates,
)
from netsurgeon.pipeline.runtime.reference import reference_outputs
from netsurgeon.pipeline.runtime.same_outputs import (
    TOLERANCE,
    relative_difference,
    same_bits,
    verify_outputs,
    verify_same,
)
from netsurgeon.pipeline.runtime.session import MOST_THREADS, Runtime, Session, can_run, first_line, onnxruntime
from netsurgeon.pipeline.runtime.session_wrappers import Remembering, counted

__all__ = [
    "CPU",
    "EXTERNAL_BYTES",
    "MOST_THREADS",
    "PAGE",
    "TOLERANCE",
    "Feed",
    "Remembering",
    "Runtime",
    "Session",
    "attribute_to_inputs",
    "available_bytes",
    "can_run",
    "channel_block",
    "computes_on_the_cpu",
    "counted",
    "first_line",
    "full_name",
    "is_large",
    "is_of_package",
    "measure_rates",
    "observe",
    "onnxruntime",
    "peak_bytes",
    "reference_outputs",
    "relative_difference",
    "same_bits",
    "tapped",
    "verify_outputs",
    "verify_same",
    "weight_bytes",
    "without_shared_weights",
    "write_model",
]
