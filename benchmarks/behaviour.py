"""The bytes of a fixed set of results, to show that a change of the code changes nothing that a user gets.

    python benchmarks/behaviour.py --shared ../shared --write   # keep the results of the code before the change
    python benchmarks/behaviour.py --shared ../shared           # compare those of the code after it

Each case is one command line. Of every model that it writes the sha256 is kept, and of every report the fields
that do not depend on the clock, the memory or the folder. Bytes differ between processors and library versions, so
results are kept in build/behaviour, for this machine alone. Exit code 1 where anything differs; what does is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _process import take_two_cores

REPOSITORY = Path(__file__).parent.parent
RESULTS = REPOSITORY / "build" / "behaviour" / "results.json"
TIMINGS = RESULTS.with_name("timings.json")
"""Times of a search for a speedup, recorded once, so that the search ends the same way each time."""
NOT_COMPARED = ("seconds", "peak_bytes", "latency", "timings", "versions", "cluster")
"""Fields of a report about the clock or the machine."""
MNIST_COUNT = 1024
DIGITS = REPOSITORY / "models" / "digits"
LENET5 = ["--data", "{folder}/mnist.npz"]
RESNET20 = ["--data", "{shared}/data/cifar10/train.zip", "--test", "{shared}/data/cifar10/test.zip", "--limit", "256"]
RESNET20 += ["--scale", "0.00392156862745098", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
RANDOM = ["--data", "random:32"]
UNTIMED = ["--target", "openvino"]
"""A target where every layer that can goes on integers: choices by time would not be the same twice."""

CASES: dict[str, list[str]] = {
    "digits sparsity": ["digits", "--sparsity", "0.9"],
    "digits trim": ["digits", "--trim", "0.3"],
    "digits default goal": ["digits"],
    "digits speedup with timings": ["digits", "--speedup", "1.1", "--max-drop", "5%", "--timings", str(TIMINGS)],
    "digits 2:4": ["digits", "--pattern", "2:4", "--method", "admm"],
    "lenet5 sparsity": ["{shared}/models/lenet5_dense.onnx", *LENET5, "--sparsity", "0.85"],
    "lenet5 trim and prune": ["{shared}/models/lenet5_dense.onnx", *LENET5, "--trim", "0.5", "--sparsity", "0.5"],
    "lenet5 keep zeros": ["{shared}/models/lenet5_dns.onnx", *LENET5, "--keep-zeros"],
    "resnet20 sparsity": ["{shared}/models/resnet20_cifar10.onnx", *RESNET20, "--sparsity", "0.7"],
    "resnet20 trim": ["{shared}/models/resnet20_cifar10.onnx", *RESNET20, "--trim", "0.2", "--save", "macs"],
    "yunet sparsity": ["{shared}/zoo/yunet.onnx", *RANDOM, "--sparsity", "0.5"],
    "mlperf_vww trim": ["{shared}/zoo/mlperf_vww.onnx", *RANDOM, "--trim", "up-to:0.2"],
    "digits int8 and zeros": ["digits", "--quantize", "int8", "--sparsity", "0.5", *UNTIMED],
    "resnet20 int8": ["{shared}/models/resnet20_cifar10.onnx", *RESNET20, "--quantize", "int8", *UNTIMED],
    "resnet20 w4a8": ["{shared}/models/resnet20_cifar10.onnx", *RESNET20, "--quantize", "w4a8", *UNTIMED],
    "vit_tracker w4": ["{shared}/zoo/vit_tracker.onnx", *RANDOM, "--quantize", "w4"],
    "digits tiles": ["digits", "--pattern", "k:64", "--sparsity", "0.5"],
}


def write_mnist(shared: Path, goal: Path) -> None:
    """Write the first digits of MNIST as the inputs of the LeNets."""
    with np.load(shared / "data" / "mnist" / "train.npz", allow_pickle=False) as arrays:
        images, labels = arrays["x"][:MNIST_COUNT], arrays["y"][:MNIST_COUNT]
    np.savez(goal, image=(images.reshape(-1, 1, 28, 28) / 256).astype(np.float32), labels=labels)


def command_line(arguments: list[str], shared: Path, output: Path, report: Path) -> list[str]:
    """The whole command of a case."""
    model, *rest = [argument.format(shared=shared, folder=output.parent) for argument in arguments]
    if model == "digits":
        model = str(DIGITS / "digits.onnx")
        rest = ["--data", str(DIGITS / "calibration.npz"), "--test", str(DIGITS / "test.npz"), *rest]
    files = ["-o", str(output), "--report", str(report), "--quiet"]
    return [sys.executable, str(REPOSITORY / "cli.py"), "compress", model, *rest, *files]


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_clock(value: Any) -> Any:
    """A value of a report without the fields that depend on the clock."""
    if isinstance(value, dict) and {"code", "text"} <= value.keys():  # a note: its sentence
        return value["text"]
    if isinstance(value, dict):
        return {key: without_clock(entry) for key, entry in value.items() if key not in NOT_COMPARED}
    return [without_clock(entry) for entry in value] if isinstance(value, list) else value


def run_case(arguments: list[str], shared: Path) -> dict[str, Any]:
    """What a case gives: the sha256 of the model and of the same model unpacked, and the report."""
    with tempfile.TemporaryDirectory() as folder:
        model, report, plain = (Path(folder) / name for name in ("model.onnx", "report.json", "plain.onnx"))
        if LENET5[1] in arguments:
            write_mnist(shared, Path(folder) / "mnist.npz")
        command = command_line(arguments, shared, model, report)
        subprocess.run(command, check=True, timeout=1800)
        unpack = [sys.executable, str(REPOSITORY / "cli.py"), "unpack", str(model), "-o", str(plain)]
        subprocess.run(unpack, check=True, timeout=600, stdout=subprocess.DEVNULL)
        facts = without_clock(json.loads(report.read_text("utf-8")))
        return {"model": digest(model), "unpacked": digest(plain), "report": facts}


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """The places where two JSON values differ."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        keys = dict.fromkeys((*expected, *actual))
        return [
            line for key in keys for line in differences(expected.get(key), actual.get(key), f"{path}.{key}".strip("."))
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return [line for at, (old, new) in pairs for line in differences(old, new, f"{path}[{at}]")]
    return [] if expected == actual else [f"{path}: {str(expected)[:120]} → {str(actual)[:120]}"]


def record_timings(shared: Path) -> None:
    """Measure the times that the search for a speedup is steered by, once."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = ["digits", "--speedup", "1.1", "--max-drop", "5%"]
        subprocess.run(command_line(arguments, shared, Path(folder) / "model.onnx", report), check=True, timeout=600)
        table = json.loads(report.read_text("utf-8"))["timings"]
        TIMINGS.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def main() -> int:
    """Run the cases; 1 where one differs from what was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shared", type=Path, required=True, help="folder with models/, zoo/ and data/")
    parser.add_argument("--write", action="store_true", help="keep the results instead of comparing them")
    parser.add_argument("--only", help="cases whose names contain this")
    arguments = parser.parse_args()
    take_two_cores()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    if not TIMINGS.exists():
        record_timings(arguments.shared)
    if not arguments.write and not RESULTS.exists():
        parser.error(f"{RESULTS} is not there: run with --write on the code before the change")
    kept: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    names = [name for name in CASES if not arguments.only or arguments.only in name]
    lines: list[str] = []
    for name in names:
        result = run_case(CASES[name], arguments.shared.resolve())
        if arguments.write:
            kept[name] = result
            RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
        changed = differences(kept.get(name), result)
        lines += [f"{name}: {line}" for line in changed]
        print(f"{name}: {'same' if not changed else f'{len(changed)} differences'}", flush=True)
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
