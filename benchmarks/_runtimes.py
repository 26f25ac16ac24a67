"""Runtimes that read our files beside ONNX Runtime: what they answer, what is left once they have loaded, and times."""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from netsurgeon.pipeline.runtime import onnxruntime

HERE = Path(__file__).parent
NODE_FOLDER = Path(os.environ.get("NETSURGEON_NODE_FOLDER", HERE.parent / "build" / "runtimes"))
"""Where `make test-runtimes` installs onnxruntime-web."""

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Mapping[str, NDArray[Any]]], Arrays]


@dataclass(frozen=True)
class Answer:
    """What a runtime says of a model.

    Attributes:
        outputs: by name.
        operators: of the graph that it runs, once it has loaded; None where it does not tell.
        load_ms: of each round.
        run_ms: of each round.
    """

    outputs: Arrays
    operators: tuple[str, ...] | None = None
    load_ms: tuple[float, ...] = ()
    run_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Runtime:
    """A runtime.

    Attributes:
        name: as people call it.
        version: of what is installed; None where it is not.
        answer: model, inputs by name, rounds to time → what it answers.
    """

    name: str
    version: Callable[[], str | None]
    answer: Callable[[bytes, Mapping[str, NDArray[Any]], int], Answer]


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _answer(
    load: Callable[[bytes], tuple[Run, tuple[str, ...] | None]],
    model: bytes,
    feeds: Mapping[str, NDArray[Any]],
    rounds: int,
) -> Answer:
    """Load and run in this process."""
    run, operators = load(model)
    outputs = run(feeds)
    loads = tuple(_milliseconds(lambda: load(model)) for _ in range(rounds))
    runs = tuple(_milliseconds(lambda: run(feeds)) for _ in range(rounds))
    return Answer(outputs, operators, loads, runs)


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def _load_onnx_runtime(model: bytes) -> tuple[Run, tuple[str, ...]]:
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimized.onnx"
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath)
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run, tuple(sorted(node.op_type for node in optimized.graph.node))


def _load_reference(model: bytes) -> tuple[Run, None]:
    evaluator = ReferenceEvaluator(onnx.load_from_string(model))

    def run(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        with np.errstate(all="ignore"):
            return dict(zip(evaluator.output_names, evaluator.run(None, dict(feeds)), strict=True))

    return run, None


@functools.cache
def _openvino_core() -> Any:
    import openvino

    return openvino.Core()


def _load_openvino(model: bytes) -> tuple[Run, tuple[str, ...]]:
    return compile_in_openvino(_openvino_core().read_model(io.BytesIO(model)))


def compile_in_openvino(model: Any) -> tuple[Run, tuple[str, ...]]:
    """Compile what OpenVINO has read for the CPU, in float32: on processors with AMX it takes bfloat16 by itself."""
    compiled = _openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        return {port.get_any_name(): np.array(array) for port, array in compiled(dict(feeds)).items()}

    nodes = compiled.get_runtime_model().get_ops()
    return run, tuple(sorted(str(node.get_rt_info()["layerType"].value) for node in nodes))


def _web_version() -> str | None:
    package = NODE_FOLDER / "node_modules" / "onnxruntime-web" / "package.json"
    if shutil.which("node") is None or not package.exists():
        return None
    return str(json.loads(package.read_text("utf-8"))["version"])


def _answer_in_node(model: bytes, feeds: Mapping[str, NDArray[Any]], rounds: int) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        arrays = {}
        for name, array in feeds.items():
            type_ = "int64" if array.dtype.kind in "iu" else "float32"
            data = base64.b64encode(array.astype(type_).tobytes()).decode()
            arrays[name] = {"type": type_, "dims": array.shape, "data": data}
        task = {"folder": str(NODE_FOLDER.resolve()), "model": str(path), "feeds": arrays, "rounds": rounds}
        command = ["node", str(HERE / "_run_in_node.mjs")]
        process = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr.strip() or f"node ended with exit code {process.returncode}")
    answer = json.loads(process.stdout)
    outputs = {
        name: np.frombuffer(base64.b64decode(output["data"]), output["type"]).reshape(output["dims"])
        for name, output in answer["outputs"].items()
    }
    return Answer(outputs, None, tuple(answer["load_ms"]), tuple(answer["run_ms"]))


ONNX_RUNTIME = Runtime(
    "ONNX Runtime", lambda: str(onnxruntime().__version__), functools.partial(_answer, _load_onnx_runtime)
)
OPENVINO = Runtime("OpenVINO", lambda: _package("openvino"), functools.partial(_answer, _load_openvino))
WEB = Runtime("onnxruntime-web", _web_version, _answer_in_node)
REFERENCE = Runtime("ONNX reference evaluator", lambda: _package("onnx"), functools.partial(_answer, _load_reference))
RUNTIMES = (ONNX_RUNTIME, OPENVINO, WEB, REFERENCE)
