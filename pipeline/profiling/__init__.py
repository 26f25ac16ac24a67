"""Measure latency and memory of models in ONNX Runtime."""

from netsurgeon.pipeline.profiling.kernel_times import (
    NodeTime,
    left_to_the_cpu,
    node_times,
    times_in_package,
    times_of_layers,
)
from netsurgeon.pipeline.profiling.model_profile import Cost, Profile, by_operator, profile
from netsurgeon.pipeline.profiling.timing import Ratio, Spread, milliseconds, speedup
from netsurgeon.pipeline.profiling.timing_inputs import timing_feeds, value_dependence
from netsurgeon.pipeline.profiling.timing_table import StructureTimer, Timed, TimingTable

__all__ = [
    "Cost",
    "NodeTime",
    "Profile",
    "Ratio",
    "Spread",
    "StructureTimer",
    "Timed",
    "TimingTable",
    "by_operator",
    "left_to_the_cpu",
    "milliseconds",
    "node_times",
    "profile",
    "speedup",
    "times_in_package",
    "times_of_layers",
    "timing_feeds",
    "value_dependence",
]
