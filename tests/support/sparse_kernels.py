"""The kernels' library through its plain functions, built for the tests where a compiler is there."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KERNELS = Path(__file__).parents[2] / "kernels"
BUILT = KERNELS.parent / "build" / "kernels"

Bytes = npt.NDArray[np.uint8]


def can_build() -> bool:
    """Whether what builds the library is here."""
    return all(shutil.which(tool) for tool in ("cmake", "ninja", os.environ.get("CXX", "c++")))


@functools.cache
def library_file(sanitize: str = "") -> Path:
    """Build the library, once for each set of sanitizers; what is up to date is left alone."""
    folder = BUILT / (sanitize.replace(",", "-") or "plain")
    folder.mkdir(parents=True, exist_ok=True)
    configure = [
        "cmake",
        "-G",
        "Ninja",
        "-S",
        str(KERNELS),
        "-B",
        str(folder),
        f"-DNETSURGEON_SPARSE_SANITIZE={sanitize}",
    ]
    for command in (configure, ["cmake", "--build", str(folder)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "libnetsurgeon_sparse.so"


class LayerFields(ctypes.Structure):
    """`NetsurgeonSparseLayer` of c_interface.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (
            "rows", "channels", "kernel_height", "kernel_width", "stride_height", "stride_width", "dilation_height",
            "dilation_width", "pad_top", "pad_left", "pad_bottom", "pad_right",
        )),
        *((name, ctypes.c_int32) for name in ("input_zero_point", "output", "zero_point", "low", "high")),
        *((name, ctypes.c_float) for name in ("product_ratio", "residual_ratio", "fixed")),
        *((name, ctypes.c_int32) for name in ("product_first", "added_low", "added_high")),
    )  # fmt: skip


class Library:
    """Its functions, with their types."""

    def __init__(self, path: Path):
        library = ctypes.CDLL(str(path))
        self.functions: dict[str, Any] = {}
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        for name, result, arguments in (
            ("error", ctypes.c_char_p, []),
            ("isas", ctypes.c_char_p, []),
            ("isa", ctypes.c_char_p, []),
            ("create", pointer, [pointer, pointer, pointer, pointer, ctypes.c_char_p]),
            ("destroy", None, [pointer]),
            ("sizes", ctypes.c_int32, [pointer, number, number, number, pointer]),
            ("run", ctypes.c_int32, [pointer, number, number, number, ctypes.c_int32, pointer, pointer, pointer]),
            ("steps", number, [pointer]),
            ("decode", None, [pointer, pointer]),
        ):
            function = getattr(library, f"netsurgeon_sparse_{name}")
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function
        self.isas: list[str] = self.functions["isas"]().decode().split(",")

    def error(self) -> str:
        """Why the last call failed."""
        return str(self.functions["error"]().decode())

    def isa(self) -> str | None:
        """The instruction set that is chosen; None where the one that the environment names is not here."""
        name = self.functions["isa"]()
        return name.decode() if name else None


@functools.cache
def library() -> Library:
    """The library, built."""
    return Library(library_file())


@dataclasses.dataclass
class Fields:
    """A layer's numbers; kernel, stride, dilation are (height, width), pads (top, left, bottom, right)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    input_zero_point: int = 0
    output: int = 0
    zero_point: int = 0
    low: int = 0
    high: int = 255
    product_ratio: float = 0.0
    residual_ratio: float = 0.0
    fixed: float = 0.0
    product_first: int = 1
    added_low: int = 0
    added_high: int = 255


class Layer:
    """A layer of the library. weight (rows, kernel height, kernel width, channels) int8.

    Raises:
        ValueError: the library's own sentence.
    """

    def __init__(
        self,
        weight: npt.NDArray[np.int8],
        scale: npt.NDArray[np.float32],
        *,
        fields: Fields | None = None,
        bias: npt.NDArray[np.int32] | None = None,
        isa: str = "",
        shape: tuple[int, int, int, int] | None = None,
    ):
        self._library = library()
        fields = fields or Fields()
        rows, height, width, channels = weight.shape if shape is None else shape
        self.shape = (rows, height, width, channels)
        self.floats = fields.output == 2
        numbers = LayerFields(
            rows, channels, height, width, *fields.stride, *fields.dilation, *fields.pads,
            fields.input_zero_point, fields.output, fields.zero_point, fields.low, fields.high,
            fields.product_ratio, fields.residual_ratio, fields.fixed,
            fields.product_first, fields.added_low, fields.added_high,
        )  # fmt: skip
        weight, scale = np.ascontiguousarray(weight, np.int8), np.ascontiguousarray(scale, np.float32)
        bias = None if bias is None else np.ascontiguousarray(bias, np.int32)
        self._layer = self._library.functions["create"](
            ctypes.byref(numbers), weight.ctypes, bias.ctypes if bias is not None else None, scale.ctypes, isa.encode()
        )
        if not self._layer:
            raise ValueError(self._library.error())

    def __del__(self) -> None:
        if getattr(self, "_layer", None):
            self._library.functions["destroy"](self._layer)

    @property
    def steps(self) -> int:
        """Steps of its encoded weights."""
        return int(self._library.functions["steps"](self._layer))

    def decoded(self) -> npt.NDArray[np.int8]:
        """The dense weights again, (rows, columns)."""
        rows, height, width, channels = self.shape
        weight = np.empty((rows, height * width * channels), np.int8)
        self._library.functions["decode"](self._layer, weight.ctypes)
        return weight

    def __call__(self, inputs: Bytes, residual: Bytes | None = None, *, threads: int = 1) -> npt.NDArray[Any]:
        """Run on (batch, height, width, channels) bytes."""
        batch, height, width, _ = inputs.shape
        sizes = np.zeros(2, np.int64)
        if self._library.functions["sizes"](self._layer, batch, height, width, sizes.ctypes) < 0:
            raise ValueError(self._library.error())
        output = np.empty((batch, *sizes, self.shape[0]), np.float32 if self.floats else np.uint8)
        inputs = np.ascontiguousarray(inputs)
        residual = None if residual is None else np.ascontiguousarray(residual)
        done = self._library.functions["run"](
            self._layer,
            batch,
            height,
            width,
            threads,
            inputs.ctypes,
            residual.ctypes if residual is not None else None,
            output.ctypes,
        )
        if done < 0:
            raise ValueError(self._library.error())
        return output
