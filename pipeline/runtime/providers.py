"""Execution providers of ONNX Runtime: their short names, and what to install where one cannot be used."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy._core._multiarray_umath import __cpu_features__  # type: ignore[import-not-found]

from netsurgeon.pipeline.errors import InputError

CPU = "CPUExecutionProvider"


@dataclasses.dataclass(frozen=True)
class _Provider:
    """One that has a short name.

    Attributes:
        name: in ONNX Runtime.
        library: of ONNX Runtime's package, without prefix and suffix; empty where it is built in.
        package: what to install.
        behind: providers that take what this one cannot run, before the CPU.
        exact: options that keep float32 what it says.
        module: of Python, whose `register()` lets ONNX Runtime load it; empty where ONNX Runtime knows it by itself.
            Its `provider_options()` are the provider's, and a file that its option `explain` names gets to hold what
            it has taken. It computes on the CPU, in the threads that ONNX Runtime has there.
    """

    name: str
    library: str
    package: str
    behind: tuple[str, ...] = ()
    exact: tuple[tuple[str, str], ...] = ()
    module: str = ""


_NVIDIA = "pip install 'onnxruntime-gpu[cuda,cudnn]' and an NVIDIA driver"
_PROVIDERS = {
    "cpu": _Provider(CPU, "", "pip install onnxruntime"),
    "cuda": _Provider("CUDAExecutionProvider", "providers_cuda", _NVIDIA, exact=(("use_tf32", "0"),)),
    "tensorrt": _Provider(
        "TensorrtExecutionProvider",
        "providers_tensorrt",
        f"{_NVIDIA}, and pip install tensorrt",
        behind=("CUDAExecutionProvider",),
    ),
    "openvino": _Provider(
        "OpenVINOExecutionProvider", "providers_openvino", "pip install onnxruntime-openvino in place of onnxruntime"
    ),
    "directml": _Provider("DmlExecutionProvider", "", "pip install onnxruntime-directml in place of onnxruntime"),
    "coreml": _Provider("CoreMLExecutionProvider", "", "pip install onnxruntime on macOS"),
    "migraphx": _Provider(
        "MIGraphXExecutionProvider", "providers_migraphx", "pip install onnxruntime-migraphx, and AMD's ROCm"
    ),
    "netsurgeon-sparse": _Provider(
        "NetsurgeonSparse",
        "",
        "pip install the wheel that make kernels builds (docs/sparse.md), and onnxruntime 1.25 or later",
        module="netsurgeon_sparse",
    ),
}
SHORT_NAMES = tuple(_PROVIDERS)


def full_name(provider: str) -> str:
    """ONNX Runtime's name of a provider: `cuda` is CUDAExecutionProvider; other full names stay.

    Raises:
        InputError: it is neither a short name nor of the form of a full one.
    """
    known_provider = _PROVIDERS.get(provider.lower())
    if known_provider is not None:
        return known_provider.name
    if not provider.endswith("ExecutionProvider"):
        raise InputError(
            f"provider is {provider!r}, expected one of {', '.join(SHORT_NAMES)}, or ONNX Runtime's name of another, "
            "such as QNNExecutionProvider"
        )
    return provider


def is_of_package(provider: str) -> bool:
    """Whether a package brings it, whose library ONNX Runtime loads."""
    known_provider = _by_full_name(full_name(provider))
    return known_provider is not None and bool(known_provider.module)


def measure_rates(provider: str) -> None:
    """Let a package that has not yet done so measure how fast this processor is, by which its provider takes layers.

    Where the user's cache cannot be written, the package goes by what is usual.
    """
    known_provider = _by_full_name(full_name(provider))
    if known_provider is None or not known_provider.module:
        return
    module = importlib.import_module(known_provider.module)
    with contextlib.suppress(OSError):
        if not module.read_rates():
            module.measure_rates()


def computes_on_the_cpu(provider: str) -> bool:
    """Whether the thread that calls a session has a part in all that it computes."""
    return full_name(provider) == CPU or is_of_package(provider)


def requested(
    provider: str, ort: Any, *, exact: bool, options: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[str, dict[str, str]]]:
    """The list of providers for a session: the one asked for, those behind it, the CPU.

    Args:
        provider: short or full name.
        ort: the onnxruntime module.
        exact: whether numbers matter more than speed: no TF32.
        options: of the one asked for, beside its own.

    Raises:
        InputError: this build of ONNX Runtime does not have it, or it cannot run here.
    """
    options = {**_register(provider), **options}
    name, available = full_name(provider), ort.get_available_providers()
    if name not in available:
        raise InputError(
            f"this ONNX Runtime has no {name}, only {', '.join(available)}: {_advice(name)}; never two onnxruntime "
            "packages in one environment"
        )
    known_provider = _by_full_name(name)
    chain = dict.fromkeys((name, *(known_provider.behind if known_provider else ()), CPU))
    return [
        (
            provider_name,
            {**(_options(provider_name) if exact else {}), **(options if provider_name == name else {})},
        )
        for provider_name in chain
        if provider_name in available
    ]


def _register(provider: str) -> dict[str, str]:
    """Let ONNX Runtime load a provider from a package of its own; the options it has there, none where it is not."""
    known_provider = _PROVIDERS.get(provider.lower())
    if known_provider is None or not known_provider.module:
        return {}
    try:
        module = importlib.import_module(known_provider.module)
    except ImportError:
        return {}
    try:
        module.register()
        options: dict[str, str] = module.provider_options()
        return options
    except module.UnsupportedError as error:
        raise InputError(f"{known_provider.name} was asked for and is not active: {error}") from error


def load_libraries(provider: str, ort: Any) -> None:
    """Load the CUDA and cuDNN libraries that pip has installed; what is missing is said by `inactive`."""
    if full_name(provider) in (_PROVIDERS["cuda"].name, _PROVIDERS["tensorrt"].name):
        ort.set_default_logger_severity(4)
        if hasattr(ort, "preload_dlls"):
            with contextlib.redirect_stdout(io.StringIO()):
                ort.preload_dlls()


def inactive(provider: str, ort: Any) -> InputError:
    """Why a provider that was asked for does not run the session, and what to do."""
    name, missing = full_name(provider), missing_library(provider, ort)
    otherwise = (
        f"onnxruntime {ort.__version__} is too old"
        if is_of_package(provider)
        else "it found no device, or its driver is too old"
    )
    reason = f"{missing} cannot be loaded" if missing else otherwise
    return InputError(f"{name} was asked for and is not active: {reason}; {_advice(name)}")


def missing_library(provider: str, ort: Any) -> str | None:
    """The shared library that keeps a provider from being loaded, as the system's loader names it.

    To be asked only after ONNX Runtime has tried: loaded before it, a provider's library would not find its host.
    """
    known_provider = _by_full_name(full_name(provider))
    if known_provider is None or not known_provider.library:
        return None
    pattern = (
        f"onnxruntime_{known_provider.library}.dll"
        if sys.platform == "win32"
        else f"libonnxruntime_{known_provider.library}.*"
    )
    for file in sorted((Path(ort.__file__).parent / "capi").glob(pattern)):
        try:
            ctypes.CDLL(str(file))
        except OSError as error:
            return str(error).partition(":")[0]
    return None


def _by_full_name(name: str) -> _Provider | None:
    return next((known_provider for known_provider in _PROVIDERS.values() if known_provider.name == name), None)


def _options(name: str) -> dict[str, str]:
    known_provider = _by_full_name(name)
    return dict(known_provider.exact) if known_provider else {}


def _advice(name: str) -> str:
    known_provider = _by_full_name(name)
    install = known_provider.package if known_provider else f"an onnxruntime that is built with {name}"
    return f"it needs {install} (see docs/gpu.md)"


def channel_block(provider: str) -> int:
    """How many channels convolutions of a provider take at a time: 16 on a processor with AVX-512, else 8."""
    return 16 if provider == "cpu" and __cpu_features__.get("AVX512F") else 8
