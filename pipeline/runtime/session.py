"""ONNX Runtime, behind one door: sessions from `onnx_ir` models, and one clear error where it is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from netsurgeon.passes.solvers import allowed_cores
from netsurgeon.pipeline.errors import CheckFailedError, InputError, RunError
from netsurgeon.pipeline.runtime.large_models import Feed, has_large_data, is_large, serialize, without_shared_weights
from netsurgeon.pipeline.runtime.providers import (
    full_name,
    inactive,
    is_of_package,
    load_libraries,
    missing_library,
    requested,
)
from netsurgeon.pipeline.runtime.trial import Trial, operators_that_crash

logger = logging.getLogger(__name__)

OPTIMISATIONS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""Levels of graph optimisation, and what ONNX Runtime calls them."""
MOST_THREADS = 1024
"""Of one operator: ONNX Runtime takes minutes to start some thousands, and fails where the system has no more."""
_CPP = re.compile(r"/\S+\.(?:h|cc):\d+ .+?\) (?=[A-Z])")
"""File, line and signature of a function of ONNX Runtime, as its errors name them."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """How sessions are made.

    Attributes:
        custom_ops: shared libraries with the user's operators.
        provider: execution provider, by its short name or ONNX Runtime's; what it cannot run goes to the CPU.
        threads: of one operator on the CPU; None = one a core that this process may use.
        optimisation: of the graph, one of `notation.OPTIMISATIONS`.
        deployed: as fast as in deployment: threads spin while they wait, and TF32 may stand for float32. Otherwise
            cores are left to the solvers, and numbers are exact.
        integer_kernels: whether what lies between DequantizeLinear and QuantizeLinear runs on integers. False = on
            floats, as the model is written: ONNX Runtime would make integers of weights that are floats still.
        provider_options: of a provider that a package brings, names and values.
    """

    custom_ops: tuple[str, ...] = ()
    provider: str = "cpu"
    threads: int | None = None
    optimisation: str = "all"
    deployed: bool = False
    integer_kernels: bool = True
    provider_options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check that the libraries are a tuple, and the provider's name.

        Raises:
            InputError: they are one string, which would be taken for as many names as it has letters; or another
                field is out of range.
        """
        full_name(self.provider)
        if self.optimisation not in OPTIMISATIONS:
            raise InputError(f"optimisation is {self.optimisation!r}, expected one of {', '.join(OPTIMISATIONS)}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads is {self.threads}, expected 1 or more")
        if self.threads is not None and self.threads > MOST_THREADS:
            raise InputError(f"threads is {self.threads}, expected at most {MOST_THREADS}")
        if isinstance(self.custom_ops, str):
            raise InputError(f"custom_ops is {self.custom_ops!r}, expected a tuple of strings: ({self.custom_ops!r},)")

    def on_integers(self, **changes: Any) -> Runtime:
        """The same, with what lies between DequantizeLinear and QuantizeLinear on integers, as in deployment."""
        return dataclasses.replace(self, integer_kernels=True, **changes)

    def without_package(self) -> Runtime:
        """The same on the CPU provider, where a package brings the provider."""
        if not is_of_package(self.provider):
            return self
        return dataclasses.replace(self, provider="cpu", provider_options=())

    def on_floats(self) -> Runtime:
        """The same with the arithmetic that the model is written in."""
        return dataclasses.replace(self, integer_kernels=False)

    def session(
        self,
        model: ir.Model | onnx.ModelProto | Path,
        *,
        optimise: bool = True,
        trace: Path | None = None,
        is_tried: bool = False,
        is_of_large: bool = False,
    ) -> Session:
        """Load a model.

        Args:
            model: what to load.
            optimise: False = without graph optimisation.
            trace: where ONNX Runtime's profiler writes: the file's name starts like this.
            is_tried: whether this process may die of it, so that no other one has to try it first.
            is_of_large: whether the model is a part of a large one, and its weights stay where they lie, too.

        Raises:
            CheckFailedError: ONNX Runtime refuses the model, or crashes on it.
            InputError: the execution provider is not active.
        """
        ort = onnxruntime()
        operators = () if is_tried else operators_that_crash(model)
        options = self._options(ort, optimise, trace)
        providers = requested(self.provider, ort, exact=not self.deployed, options=dict(self.provider_options))
        load_libraries(self.provider, ort)
        weights: Feed = {}
        may_share = not self.deployed and self.provider == "cpu"
        if isinstance(model, ir.Model) and may_share:
            if is_of_large or is_large(model):
                model, weights = without_shared_weights(model)
            elif _share_memory(ort):
                options.add_session_config_entry("session.use_env_allocators", "1")
        with tempfile.TemporaryDirectory(prefix="netsurgeon-") as folder:
            source = _source(model, Path(folder))
            if isinstance(source, str) and not self.deployed and has_large_data(Path(source)):
                # rearranged weights are a copy of them; as they are they stay mapped from the file
                options.add_session_config_entry("session.disable_prepacking", "1")
            trial = self._trial(model, source, operators, optimise)
            if trial and (crash := trial.crash()):
                raise CheckFailedError(f"ONNX Runtime cannot load the model: it crashes ({crash})")
            try:
                inference = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
            except Exception as error:
                if missing_library(self.provider, ort):
                    raise inactive(self.provider, ort) from error
                raise CheckFailedError(f"ONNX Runtime cannot load the model: {first_line(error)}") from error
        if full_name(self.provider) not in inference.get_providers():
            raise inactive(self.provider, ort)
        logger.debug(
            "session made: provider %s, optimise %s, %d inputs", self.provider, optimise, len(inference.get_inputs())
        )
        return Session(inference, trial, weights)

    def _trial(self, model: object, source: bytes | str, operators: tuple[str, ...], optimise: bool) -> Trial | None:
        """What tries a model that may crash; a file that was written for this session alone is gone afterwards."""
        trial_source = model.resolve() if isinstance(model, Path) else source
        if not operators or isinstance(trial_source, str):
            return None
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Trial(trial_source, operators, {**fields, "optimise": optimise})

    def optimised_graph(self, model: ir.Model) -> onnx.GraphProto:
        """The graph that ONNX Runtime makes of a model; weights are left out.

        The CPU stands in for the providers of packages: these compile nodes, which ONNX Runtime cannot write.

        Raises:
            CheckFailedError: ONNX Runtime refuses the model.
        """
        ort = onnxruntime()
        with tempfile.TemporaryDirectory(prefix="netsurgeon-") as folder:
            options, path = self._options(ort, True, None), Path(folder) / "optimised.onnx"
            options.optimized_model_filepath = str(path)
            key = "session.optimized_model_external_initializers_file_name"
            options.add_session_config_entry(key, "weights.bin")
            try:
                provider = "cpu" if is_of_package(self.provider) else self.provider
                providers = requested(provider, ort, exact=not self.deployed)
                ort.InferenceSession(_source(model, Path(folder)), options, providers=providers)
            except Exception as error:
                raise CheckFailedError(f"ONNX Runtime cannot load the model: {first_line(error)}") from error
            return onnx.load(path, load_external_data=False).graph

    def _options(self, ort: Any, optimise: bool, trace: Path | None) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        # threads that spin while they wait would starve the solvers, or the other one of two models that are timed
        key = "force_spinning_stop" if self.deployed else "intra_op.allow_spinning"
        options.add_session_config_entry(f"session.{key}", "1" if self.deployed else "0")
        if not self.integer_kernels:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        level = OPTIMISATIONS[self.optimisation] if optimise else OPTIMISATIONS["off"]
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.intra_op_num_threads = self.threads or _threads_where_confined()
        if trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(trace)
        for library in self.custom_ops:
            self._register(options, library)
        return options

    @staticmethod
    def _register(options: Any, library: str) -> None:
        file = Path(library)
        if file.parent != Path() and not file.exists():
            raise InputError(f"custom operator library {library!r} does not exist: give the path of a shared library")
        if file.exists() and not file.is_file():
            raise InputError(f"custom operator library {library!r} is not a file: give the path of a shared library")
        try:
            # a name without a folder would be sought where the system keeps its libraries, not in the current folder
            options.register_custom_ops_library(str(file.resolve()) if file.exists() else library)
        except Exception as error:
            raise InputError(f"custom operator library {library!r} cannot be loaded: {first_line(error)}") from error


class Session:
    """A loaded model: arrays in, arrays out.

    Args:
        inference: ONNX Runtime's session.
        trial: runs a model that may crash before this process does.
        weights: inputs that are given with every run, unless the feed has them.
    """

    def __init__(self, inference: Any, trial: Trial | None = None, weights: Feed | None = None):
        self._inference, self._trial, self._weights = inference, trial, weights or {}
        inputs = [value.name for value in inference.get_inputs()]
        self.inputs: list[str] = [name for name in inputs if name not in self._weights]
        overridable = [value.name for value in inference.get_overridable_initializers()]
        self._accepted = frozenset((*inputs, *overridable))
        self.outputs: list[str] = [value.name for value in inference.get_outputs()]

    def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Outputs by name.

        Raises:
            RunError: the model fails on this feed.
        """
        names = list(outputs) if outputs is not None else self.outputs
        if not names:
            return {}
        accepted = {**self._weights, **{name: feed[name] for name in feed if name in self._accepted}}
        if self._trial and (crash := self._trial.crash(accepted)):
            raise RunError(
                f"the model cannot run on this input: ONNX Runtime crashes ({crash}), as it does where an LSTM or GRU "
                "gets an empty batch or sequence"
            )
        try:
            values = self._inference.run(names, accepted)
        except Exception as error:
            raise RunError(f"the model cannot run on this input: {first_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def end_trace(self) -> Path:
        """Stop ONNX Runtime's profiler, in a session that was made with `trace`; the file it has written."""
        return Path(self._inference.end_profiling())


def onnxruntime() -> Any:
    """The onnxruntime module, the one way to it, whose telemetry is off (`netsurgeon/__init__.py`).

    Raises:
        InputError: it is not installed.
    """
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(
            "ONNX Runtime is not installed: run `pip install onnxruntime`, or `pip install onnxruntime-gpu` (also for "
            "machines without a GPU), one of them, never both"
        ) from error
    if hasattr(module, "disable_telemetry_events"):
        module.disable_telemetry_events()
    if not hasattr(module, "InferenceSession"):
        raise InputError(
            "ONNX Runtime is broken (onnxruntime and onnxruntime-gpu overwrite each other): uninstall both, "
            "then install one of the two"
        )
    return module


def can_run(provider: str) -> bool:
    """Whether the package that brings a provider is there, and ONNX Runtime has taken it from there and lists it."""
    with contextlib.suppress(InputError):
        return is_of_package(provider) and bool(requested(provider, onnxruntime(), exact=False))
    return False


@functools.cache
def _share_memory(ort: Any) -> bool:
    """Let sessions of small models take their memory from one place, if they can; whether they can.

    A sweep makes a session a segment: pages that are new to each of them cost more than what is computed in them.
    """
    try:
        place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(place, None)
    except Exception as error:
        logger.debug("sessions have memory of their own: %s", first_line(error))
        return False
    return True


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without places in ONNX Runtime's source, shortened: enough for a sentence."""
    text = str(error).strip().splitlines()
    return _CPP.sub("", text[0] if text else type(error).__name__)[:400]


def _threads_where_confined() -> int:
    """One a core where this process has fewer than the machine: ONNX Runtime would start one for each, on any core.

    0 = as ONNX Runtime has it: one a physical core.
    """
    cores = allowed_cores()
    return cores if cores < (os.cpu_count() or 1) else 0


def _source(model: ir.Model | onnx.ModelProto | Path, folder: Path) -> bytes | str:
    if isinstance(model, Path):
        return _named_in_utf8(model, folder)
    if isinstance(model, onnx.ModelProto):
        data: bytes = model.SerializeToString()
        return data
    source = serialize(model, folder)
    return source if isinstance(source, bytes) else str(source)


def _named_in_utf8(path: Path, folder: Path) -> bytes | str:
    """A path that ONNX Runtime can be given: names that are not UTF-8 it does not take, so that links lead to them."""
    if _is_utf8(path):
        return str(path)
    if not _is_utf8(Path(path.name)):
        return path.read_bytes()
    alias = folder / "models"
    alias.symlink_to(path.resolve().parent)
    return str(alias / path.name)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
