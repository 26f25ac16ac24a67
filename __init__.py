"""netsurgeon: compress a trained ONNX model, verified by ONNX Runtime.

import netsurgeon

result = netsurgeon.compress("model.onnx", "calibration.npz", output="small.onnx", sparsity=0.9)
print(result.report.ratio, result.report.validation)
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netsurgeon.pipeline.compare import Comparison, Comparisons, compare, compare_all
    from netsurgeon.pipeline.compress import compress
    from netsurgeon.pipeline.compress_many import ManyCompressions, compress_many
    from netsurgeon.pipeline.data import Dataset, PictureOptions
    from netsurgeon.pipeline.errors import CheckFailedError, InputError, NetsurgeonError
    from netsurgeon.pipeline.inspect import Inspection, inspect_model
    from netsurgeon.pipeline.inspect_quantization import QuantizationInspection, inspect_quantization
    from netsurgeon.pipeline.inspect_sensitivity import SensitivityInspection, inspect_sensitivity
    from netsurgeon.pipeline.options import Options
    from netsurgeon.pipeline.profiling import Profile, profile
    from netsurgeon.pipeline.report import Report, report_schema
    from netsurgeon.pipeline.run import Compression
    from netsurgeon.pipeline.side_by_side import read_report
    from netsurgeon.pipeline.unpack import unpack
    from netsurgeon.pipeline.view import view

__version__ = "0.1.0"

# As it is loaded, ONNX Runtime would send events, and keep a database in the user's cache and a file in TMPDIR: calls
# come too late for that. Whoever loads it, a metric of the user's or a child, too, comes after this line.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent unless the application configures logging

_HOMES = {
    "Comparison": "compare",
    "Comparisons": "compare",
    "compare": "compare",
    "compare_all": "compare",
    "Compression": "run",
    "compress": "compress",
    "ManyCompressions": "compress_many",
    "compress_many": "compress_many",
    "Dataset": "data",
    "CheckFailedError": "errors",
    "InputError": "errors",
    "NetsurgeonError": "errors",
    "Inspection": "inspect",
    "inspect_model": "inspect",
    "QuantizationInspection": "inspect_quantization",
    "inspect_quantization": "inspect_quantization",
    "SensitivityInspection": "inspect_sensitivity",
    "inspect_sensitivity": "inspect_sensitivity",
    "Profile": "profiling",
    "profile": "profiling",
    "Options": "options",
    "PictureOptions": "data",
    "Report": "report",
    "report_schema": "report",
    "read_report": "side_by_side",
    "unpack": "unpack",
    "view": "view",
}
__all__ = [
    "CheckFailedError",
    "Comparison",
    "Comparisons",
    "Compression",
    "Dataset",
    "InputError",
    "Inspection",
    "ManyCompressions",
    "NetsurgeonError",
    "Options",
    "PictureOptions",
    "Profile",
    "QuantizationInspection",
    "Report",
    "SensitivityInspection",
    "__version__",
    "compare",
    "compare_all",
    "compress",
    "compress_many",
    "inspect_model",
    "inspect_quantization",
    "inspect_sensitivity",
    "profile",
    "read_report",
    "report_schema",
    "unpack",
    "view",
]


def __dir__() -> list[str]:
    """The public names: what completion should show, though nothing of it is loaded yet."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: `import netsurgeon` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'netsurgeon' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"netsurgeon.pipeline.{_HOMES[name]}"), name)
