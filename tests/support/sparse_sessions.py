"""Sessions with the sparse provider beside sessions without it, and what the provider took."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from sparse_kernels import KERNELS, library_file

Arrays = dict[str, npt.NDArray[Any]]


def package() -> Any:
    """netsurgeon_sparse with the library that the tests build."""
    if str(KERNELS) not in sys.path:
        sys.path.append(str(KERNELS))
    os.environ["NETSURGEON_SPARSE_LIBRARY"] = str(library_file())
    import netsurgeon_sparse

    return netsurgeon_sparse


def session(model: onnx.ModelProto | bytes, *, claim: str | None = "all", threads: int = 1, **options: Any) -> Any:
    """A session; `claim` None is the CPU provider alone. `options` are attributes of SessionOptions."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = threads, 3
    for name, value in options.items():
        setattr(settings, name, value)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    if claim is None:
        return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    return onnxruntime.InferenceSession(data, package().session_options(settings, claim=claim))


def run(model: onnx.ModelProto, feed: Arrays, **options: Any) -> list[npt.NDArray[Any]]:
    """Its outputs."""
    outputs: list[npt.NDArray[Any]] = session(model, **options).run(None, feed)
    return outputs


def taken(model: onnx.ModelProto, feed: Arrays, folder: Path, claim: str = "all") -> list[str]:
    """Names of the nodes that the provider ran."""
    traced = session(model, claim=claim, enable_profiling=True, profile_file_prefix=str(folder / "trace"))
    traced.run(None, feed)
    events = json.loads(Path(traced.end_profiling()).read_text("utf-8"))
    ran = {event["name"] for event in events if event.get("args", {}).get("provider") == package().NAME}
    return sorted(ran)


def explained(model: onnx.ModelProto, path: Path, **options: str) -> dict[str, tuple[str, str]]:
    """What the provider says of each layer with these options of it: taken or left, and by which node or why.

    Args:
        model: to load.
        path: of the file that it writes.
        options: of the provider.
    """
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    quiet.add_provider_for_devices(package().register(), {"claim": "auto", "explain": str(path), **options})
    loaded = onnxruntime.InferenceSession(model.SerializeToString(), quiet, enable_fallback=0)
    assert package().NAME in loaded.get_providers()
    lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return {layer.partition("_token_")[0]: (what, rest) for what, layer, rest in lines}


def inputs(model: onnx.ModelProto, seed: int = 0, **sizes: int) -> Arrays:
    """Random inputs of a float model; `sizes` are those of dimensions with a name."""
    rng = np.random.default_rng(seed)
    feed: Arrays = {}
    for value in model.graph.input:
        shape = [sizes.get(d.dim_param, 1) if d.dim_param else d.dim_value for d in value.type.tensor_type.shape.dim]
        feed[value.name] = rng.normal(size=shape).astype(np.float32)
    return feed
