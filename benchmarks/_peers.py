"""Other quantizers, each in an environment of its own under build/peers, called by a small script each.

What does not install is named and left out. Nothing here says where packages come from: that is pip's own affair.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from _process import Row, run_task

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / "build" / "peers"
STAMP = ".installed"
INSTALL_SECONDS = 1800.0


def pinned(name: str) -> str:
    """A package with the version that constraints.txt has for it."""
    lines = (HERE.parent / "constraints.txt").read_text("utf-8").splitlines()
    return next((line for line in lines if re.match(rf"{re.escape(name)}==", line)), name)


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


def quantize_with(peer: Peer, model: Path, calibration: Path, output: Path) -> Row:
    """Let a peer quantize a model: seconds, peak memory and versions, or why it could not.

    Args:
        peer: who.
        model: the dense file, of which it gets a copy.
        calibration: npz with the inputs by name, axis 0 the samples.
        output: where the quantized file goes.
    """
    if reason := install(peer):
        return {"status": "absent", "error": reason}
    copy = output.with_name("given.onnx")  # some write inferred shapes into the file they are given
    shutil.copyfile(model, copy)
    task = {"model": str(copy), "calibration": str(calibration), "output": str(output), **peer.options}
    # without PYTHONPATH, which belongs to this environment
    return run_task(task, f"_quantize_peers/{peer.script}", (str(_python(peer)), "-E"))


def install(peer: Peer) -> str | None:
    """Make a peer's environment where it is not there yet; why it cannot be made, if so."""
    stamp = ENVIRONMENTS / peer.environment / STAMP
    requirements = "\n".join(peer.packages)
    if stamp.exists() and stamp.read_text("utf-8") == requirements:
        return None
    print(f"installing {', '.join(peer.packages)} into build/peers/{peer.environment}", flush=True)
    pip = [str(_python(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.packages]
    for command in ([sys.executable, "-m", "venv", str(stamp.parent)], pip):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"does not install here: {type(error).__name__}"
        if done.returncode:
            errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
            return f"does not install here: {(errors or ['no reason given'])[-1].removeprefix('ERROR: ')[:200]}"
    stamp.write_text(requirements, "utf-8")
    return None


def _python(peer: Peer) -> Path:
    return ENVIRONMENTS / peer.environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
