"""Other quantizers, each in an environment of its own, called by a small script each."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from _environments import install, pinned, python
from _process import Row, run_task

RUNTIME = pinned("onnxruntime")


@dataclasses.dataclass(frozen=True)
class Peer:
    """A way to quantize a model with another package.

    Attributes:
        name: as the table has it.
        script: of benchmarks/_quantize_peers.
        environment: folder under build/peers.
        packages: what pip installs there.
        options: for the script.
    """

    name: str
    script: str
    environment: str
    packages: tuple[str, ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)


_ORT = ("ort_static.py", "ort", (RUNTIME, "onnx", "sympy"))
_NNCF = ("nncf_int8.py", "nncf", ("nncf", "onnx", RUNTIME))
# not its extra [onnx], which brings CUDA
_MODELOPT = (
    "modelopt_int8.py",
    "modelopt",
    (
        "nvidia-modelopt", "onnx==1.21.0", RUNTIME, "onnx-graphsurgeon", "onnxconverter-common", "onnxscript",
        "onnxslim", "polygraphy", "lief", "cppimport", pinned("torch"),
    ),
)  # fmt: skip
_QUARK = ("quark_int8.py", "quark", ("amd-quark", RUNTIME, pinned("torch")))
PEERS = (
    Peer("onnxruntime per channel", *_ORT, options={"per_channel": True, "activations": "QUInt8"}),
    Peer("onnxruntime per channel s8", *_ORT, options={"per_channel": True, "activations": "QInt8"}),
    Peer("onnxruntime per tensor", *_ORT, options={"per_channel": False, "activations": "QUInt8"}),
    Peer("nncf", *_NNCF),
    Peer("modelopt", *_MODELOPT),
    Peer("quark", *_QUARK, options={"adaround": False}),
    Peer("quark AdaRound", *_QUARK, options={"adaround": True}),
)

TRANSFORMER_PEERS = (
    Peer("onnxruntime dynamic", "ort_dynamic.py", *_ORT[1:], options={"per_channel": True}),
    Peer("onnxruntime static", *_ORT, options={"per_channel": True, "activations": "QUInt8"}),
)
"""Beside int8 of sentence encoders."""


def quantize_with(peer: Peer, model: Path, calibration: Path, output: Path) -> Row:
    """Let a peer quantize a model: seconds, peak memory and versions, or why it could not.

    Args:
        peer: who.
        model: the dense file, of which it gets a copy.
        calibration: npz with the inputs by name, axis 0 the samples.
        output: where the quantized file goes.
    """
    if reason := install(peer.environment, peer.packages):
        return {"status": "absent", "error": reason}
    copy = output.with_name("given.onnx")  # some write inferred shapes into the file they are given
    shutil.copyfile(model, copy)
    task = {"model": str(copy), "calibration": str(calibration), "output": str(output), **peer.options}
    # without PYTHONPATH, which belongs to this environment
    return run_task(task, f"_quantize_peers/{peer.script}", (str(python(peer.environment)), "-E"))
