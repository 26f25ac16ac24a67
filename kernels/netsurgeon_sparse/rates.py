"""How fast this processor is: measured once by small layers, kept, and told to the provider in each session.

    python -m netsurgeon_sparse

The provider takes a layer where a line of these rates says that it gains. The file holds the rates as JSON, numbers a
nanosecond of one thread, and of which processor and instruction set they are: on others they count for nothing. Its
place is NETSURGEON_SPARSE_RATES, or netsurgeon-sparse/rates.json in the user's cache.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RATES_VARIABLE = "NETSURGEON_SPARSE_RATES"
"""The environment variable that names another file of rates."""
SPARSE = ("slots", "gathered", "finished", "pieces", "lines", "calls")
DENSE = ("dense", "dense_gathered", "dense_finished", "dense_calls")
NAMES = (*SPARSE, *DENSE)
"""Of a pixel: weights of steps, bytes of windows, outputs, pieces that are gathered, multiplications in lines; of the
dense kernel multiplications, inputs, outputs; and of both calls."""
LAYERS = ((64, 3, 8), (64, 3, 28), (64, 1, 56), (128, 3, 14), (128, 1, 28), (256, 3, 14), (256, 1, 14), (512, 3, 7))
"""Channels in and out, size of the kernel, and of the picture: whole windows, which are read where they lie."""
CALLS = ((64, 1, 1), (64, 1, 2), (128, 1, 2))
"""The same of layers that take little more than a call."""
GATHERED = ((40, 3, 28), (88, 3, 14), (40, 1, 28), (88, 1, 14))
"""Layers whose channels fill no windows on any processor: each pixel's are gathered first."""
PIECE_BYTES = 64
FREE = 1e9
"""A rate of what takes no time that can be seen."""
KEPT_STEPS = (4, 8)
"""Steps of each tile, of the 16 that hold all of its weights; multiples of 4, so that four tiles of 16 columns have as
many together as one of 64."""
LINES = ((16, 3, 32), (16, 3, 64), (32, 3, 16), (32, 3, 32), (64, 3, 8))
"""Of layers that keep all of them, which small ones run in lines."""
DENSE_CHANNELS = 22
"""The dense kernel takes as long for fewer channels."""
TILE_ROWS, TILE_COLUMNS, NARROW_COLUMNS, STEP_WEIGHTS = 16, 64, 16, 64
RUNS = 15
CLOCK_STEP = 1000.0
"""Nanoseconds that ONNX Runtime's profile counts in."""
CPU_INFO = Path("/proc/cpuinfo")
IDENTITY = (
    *("vendor_id", "cpu family", "model", "stepping", "model name"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision"),
)
"""Lines by which a processor is told from another one, on x86-64 and ARM; a virtual machine may give several the same
name."""

_measured: dict[tuple[str, str], dict[str, float]] = {}
"""Rates that this process has measured, by `measured_on`: they count even where no file can be written."""


def rates_path() -> Path:
    """Where the rates are kept."""
    if named := os.environ.get(RATES_VARIABLE):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111, that of Path may raise
    return Path(cache) / "netsurgeon-sparse" / "rates.json"


def measured_on() -> tuple[str, str]:
    """The processor and the instruction set of its kernels, by name; each empty where it cannot be told."""
    return _processor(), _instruction_set()


def read_rates() -> dict[str, float]:
    """The rates that were measured on such a processor; empty where none were. A file that holds none is warned of."""
    path, here = rates_path(), measured_on()
    try:
        data = path.read_bytes()
    except OSError:
        return _measured.get(here, {})
    try:
        document = json.loads(data)
        rates = {str(name): float(rate) for name, rate in document["rates"].items()}
        if not rates or not set(rates) <= set(NAMES) or not all(0.0 < rate < math.inf for rate in rates.values()):
            raise ValueError(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        advice = "measure again: python -m netsurgeon_sparse"
        warnings.warn(f"{path} holds no rates of netsurgeon-sparse, and is left out: {advice}", stacklevel=2)
        return _measured.get(here, {})
    is_of_here = (document.get("processor"), document.get("isa")) == here
    return rates if is_of_here else _measured.get(here, {})


def measure_rates() -> dict[str, float]:
    """Time layers on both kernels, which takes some seconds, and keep what follows.

    The times of each layer are a sum over what it does; the rates are what fits all of them best (least squares of the
    relative errors). A part that is too small to be seen costs nothing.

    Raises:
        ImportError: onnx or numpy is missing.
        OSError: the file cannot be written; this process goes by the rates all the same.
    """
    sparse, dense = _Fit(SPARSE), _Fit(DENSE)
    for channels, kernel, size in (*LAYERS, *CALLS, *GATHERED):
        taps, pixels = kernel * kernel, size * size
        columns, row_groups = taps * channels, -(-channels // TILE_ROWS)
        pieces = kernel * -(-kernel * channels // PIECE_BYTES) if channels % NARROW_COLUMNS else 0
        for steps in KEPT_STEPS:
            times = _times(channels, kernel, size, steps)
            slots = row_groups * columns / TILE_COLUMNS * steps * STEP_WEIGHTS
            work = (slots, columns, row_groups * TILE_ROWS, pieces, 0.0, 1.0 / pixels)
            sparse.add(work, times[0] / pixels)
        dense.add((channels * columns, columns * (taps > 1), channels, 1.0 / pixels), times[1] / pixels)
    for channels, kernel, size in LINES:
        taps, pixels = kernel * kernel, size * size
        times = _times(channels, kernel, size, NARROW_COLUMNS)
        sparse.add((0.0, 0.0, channels, 0.0, taps * channels**2, 1.0 / pixels), times[0] / pixels)
        gathered = taps * max(channels, DENSE_CHANNELS)
        dense.add((taps * channels**2, gathered, channels, 1.0 / pixels), times[1] / pixels)
    rates, (processor, isa) = {**sparse.rates(), **dense.rates()}, measured_on()
    _measured[processor, isa] = rates
    path = rates_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    document = {"processor": processor, "isa": isa, "rates": rates}
    part.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    part.replace(path)
    return rates


@functools.cache
def _processor() -> str:
    try:
        lines = CPU_INFO.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    first: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        first.setdefault(name.strip(), value.strip())
    return " ".join(first[name] for name in IDENTITY if name in first) or platform.processor()


def _instruction_set() -> str:
    import netsurgeon_sparse

    try:
        name = ctypes.CDLL(str(netsurgeon_sparse.library_path())).netsurgeon_sparse_isa
    except (OSError, AttributeError, netsurgeon_sparse.UnsupportedError):  # none, no library, or another one
        return ""
    name.restype = ctypes.c_char_p
    return (name() or b"").decode()


class _Fit:
    """Rates by which amounts of work add up to times."""

    def __init__(self, names: Sequence[str]):
        self.names, self.rows = names, list[list[float]]()

    def add(self, amounts: Sequence[float], nanoseconds: float) -> None:
        """A layer's work and time; each counts by its relative error."""
        self.rows.append([amount / nanoseconds for amount in amounts])

    def rates(self) -> dict[str, float]:
        """By name. A part too small to be seen is free; one of no layer is left out, as is the first where unseen."""
        import numpy as np

        seen = [at for at in range(len(self.names)) if any(row[at] for row in self.rows)]
        used, free = list(seen), {self.names[at]: FREE for at in seen if at}
        while used:
            matrix = np.array(self.rows)[:, used]
            costs = np.linalg.lstsq(matrix, np.ones(len(matrix)), rcond=None)[0]
            if (costs > 0.0).all():
                return free | {self.names[at]: float(1.0 / cost) for at, cost in zip(used, costs, strict=True)}
            used.pop(int(np.argmin(costs)))
        return {}


def _times(channels: int, kernel: int, size: int, steps: int) -> tuple[float, float]:
    """Nanoseconds of a layer on the sparse kernel and on the dense one: of the second of two, which sees real bytes."""
    import numpy as np

    import netsurgeon_sparse

    model = _two_layers(channels, kernel, size, steps)
    feed = {"x": np.random.default_rng(0).normal(size=(1, channels, size, size)).astype(np.float32)}
    runtime = netsurgeon_sparse._runtime()
    quickest = []
    for claim in ("all", "none"):
        with tempfile.TemporaryDirectory() as folder:
            options = runtime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
            options.add_provider_for_devices(netsurgeon_sparse.register(), {"claim": claim})
            session = runtime.InferenceSession(model, options)
            deadline = time.perf_counter() + 0.1
            for _ in range(RUNS):
                session.run(None, feed)
            while time.perf_counter() < deadline:
                session.run(None, feed)
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        quickest.append(_quickest_layer(events))
    return quickest[0], quickest[1]


def _quickest_layer(events: Sequence[dict[str, Any]]) -> float:
    """Nanoseconds of the layer that runs last: the mean of the runs that took at most a step of the clock too long.

    The clock counts microseconds, of which a small layer takes two or three.
    """
    kernels: dict[str, list[float]] = {}
    for event in events:
        arguments = event.get("args", {})
        is_layer = arguments.get("provider") == "NetsurgeonSparse" or arguments.get("op_name") == "QLinearConv"
        if event["name"].endswith("_kernel_time") and is_layer:
            kernels.setdefault(event["name"], []).append(1000.0 * event["dur"])
    last = kernels[list(kernels)[-1]]
    quickest = [duration for duration in last if duration <= min(last) + CLOCK_STEP]
    return max(sum(quickest) / len(quickest), 1.0)


def _two_layers(channels: int, kernel: int, size: int, steps: int) -> bytes:
    """Two convolutions between bytes, whose tiles have so many steps, as a model."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = {"step": np.float32(0.02), "zero": np.uint8(128), "fine": np.full(channels, 0.001, np.float32)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q0"])]
    for at in range(2):
        constants[f"w{at}"] = _tiled_weight(rng, channels, kernel, steps)
        pads = [kernel // 2] * 4
        nodes += [
            helper.make_node("DequantizeLinear", [f"q{at}", "step", "zero"], [f"d{at}"]),
            helper.make_node("DequantizeLinear", [f"w{at}", "fine"], [f"f{at}"], axis=0),
            helper.make_node("Conv", [f"d{at}", f"f{at}"], [f"c{at}"], kernel_shape=[kernel] * 2, pads=pads),
            helper.make_node("QuantizeLinear", [f"c{at}", "step", "zero"], [f"q{at + 1}"]),
        ]
    nodes.append(helper.make_node("DequantizeLinear", ["q2", "step", "zero"], ["y"]))
    shape = [1, channels, size, size]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "rates", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _tiled_weight(rng: Any, channels: int, kernel: int, steps: int) -> Any:
    """int8 [channels, channels, kernel, kernel]: of each 16 columns a row keeps one weight a step."""
    import numpy as np

    columns = kernel * kernel * channels
    drawn = rng.random((channels, -(-columns // NARROW_COLUMNS), NARROW_COLUMNS))
    kept = np.argsort(np.argsort(drawn, axis=-1), axis=-1) < steps
    kept = kept.reshape(channels, -1)[:, :columns]
    values = rng.choice([-60, -20, 20, 60], size=kept.shape)
    last = np.where(kept, values, 0).astype(np.int8).reshape(channels, kernel, kernel, channels)
    return np.ascontiguousarray(last.transpose(0, 3, 1, 2))
