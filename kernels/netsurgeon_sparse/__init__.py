"""Runs pruned int8 models in ONNX Runtime faster than dense ones, the more the wider their layers.

    import onnxruntime as ort, netsurgeon_sparse

    options = netsurgeon_sparse.session_options()
    session = ort.InferenceSession("fast.onnx", options)

Layers whose weights have enough zeros run in the provider's kernels, everything else on the CPU provider. Where the
provider cannot run, the same file runs dense.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from netsurgeon_sparse.rates import measure_rates, rates_path, read_rates

__all__ = [
    "NAME",
    "UnsupportedError",
    "library_path",
    "measure_rates",
    "provider_options",
    "rates_path",
    "register",
    "session_options",
]

NAME = "NetsurgeonSparse"
"""The execution provider's name, as ONNX Runtime lists it."""
OLDEST = (1, 23)
"""The first ONNX Runtime that loads execution providers from libraries."""
CLAIMS = ("auto", "all", "none")
CLAIM_ENTRY = f"ep.{NAME.lower()}.claim"
"""Where ONNX Runtime keeps the provider's option in a session's."""
LIBRARY_VARIABLE = "NETSURGEON_SPARSE_LIBRARY"
"""The environment variable that names another library, such as one that was just built."""

_lock = threading.Lock()


class UnsupportedError(RuntimeError):
    """The provider cannot run here; the message says why and what to do."""


def library_path() -> Path:
    """The provider's library.

    Raises:
        UnsupportedError: it is not there.
    """
    names = {"win32": "netsurgeon_sparse.dll", "darwin": "libnetsurgeon_sparse.dylib"}
    default = Path(__file__).parent / names.get(sys.platform, "libnetsurgeon_sparse.so")
    path = Path(os.environ.get(LIBRARY_VARIABLE) or default).absolute()  # ONNX Runtime would look beside its own
    if not path.is_file():
        raise UnsupportedError(f"{path} is not there: install netsurgeon-sparse again, or set {LIBRARY_VARIABLE}")
    return path


def register() -> list[Any]:
    """Let ONNX Runtime load the provider, once a process, and give the devices it runs on.

    They are for `SessionOptions.add_provider_for_devices(devices, {"claim": "auto"})`. Without the claim
    `session_options` does not see the provider in these options, adds it again, and the session fails.

    Raises:
        UnsupportedError: ONNX Runtime is too old, or the processor has none of the instruction sets.
    """
    runtime = _runtime()
    with _lock:
        devices = _devices(runtime)
        if not devices:
            try:
                runtime.register_execution_provider_library(NAME, str(library_path()))
            except UnsupportedError:
                raise
            except Exception as error:  # ONNX Runtime has one class for each of its codes
                if "already registered" not in str(error):
                    raise UnsupportedError(
                        f"ONNX Runtime does not load netsurgeon-sparse: {_sentence(error)}"
                    ) from error
            devices = _devices(runtime)
    if not devices:
        raise UnsupportedError(
            "netsurgeon-sparse needs an x86-64 processor with AVX2 (best: AVX-512 VBMI and VNNI) or a 64-bit ARM one, "
            "and this is neither"
        )
    return devices


def provider_options(claim: str = "auto") -> dict[str, str]:
    """Options for `SessionOptions.add_provider_for_devices(register(), …)`, or for a list of providers.

    Where `measure_rates` has kept how fast this processor is, that is among them.

    Args:
        claim: as in `session_options`.

    Raises:
        ValueError: `claim` is none of those.
    """
    if claim not in CLAIMS:
        raise ValueError(f"claim is {claim!r}, expected one of {', '.join(CLAIMS)}")
    rates = read_rates()
    measured = {"rates": " ".join(f"{name}={rate:.6g}" for name, rate in rates.items())} if rates else {}
    return {"claim": claim, **measured}


def session_options(options: Any = None, *, claim: str = "auto") -> Any:
    """Options of a session whose layers with enough zeros run in the provider's kernels.

    Where the provider cannot run, a warning says why, and the session runs dense.

    Args:
        options: `onnxruntime.SessionOptions` to add to, for the second time, too; new ones by default.
        claim: "auto" takes layers that gain by it, "all" those that can be run, "none" no layer.

    Raises:
        ValueError: `claim` is none of these.
    """
    added = provider_options(claim)
    try:
        devices = register()
    except UnsupportedError as error:
        warnings.warn(f"{error}; the model runs dense", RuntimeWarning, stacklevel=2)
        devices = []
    if options is None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
    if devices and not _has_device(options):
        options.add_provider_for_devices(devices, added)
    elif devices and options.get_session_config_entry(CLAIM_ENTRY) != claim:
        options.add_session_config_entry(CLAIM_ENTRY, claim)
    return options


def _has_device(options: Any) -> bool:
    """Whether the provider's device was added to these options before: a second time would fail the session."""
    if not options.has_providers():
        return False
    try:
        options.get_session_config_entry(CLAIM_ENTRY)
    except RuntimeError:
        return False
    return True


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError("onnxruntime is not installed: pip install 'onnxruntime>=1.23'") from error
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < OLDEST or not hasattr(onnxruntime, "register_execution_provider_library"):
        raise UnsupportedError(
            f"netsurgeon-sparse needs ONNX Runtime 1.23 or later, and this is {onnxruntime.__version__}: "
            "pip install -U onnxruntime"
        )
    return onnxruntime


def _devices(runtime: Any) -> list[Any]:
    return [device for device in runtime.get_ep_devices() if device.ep_name == NAME]


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
