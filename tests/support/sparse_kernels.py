"""The kernels' library through its plain functions, built for the tests where a compiler is there."""

from __future__ import annotations

import abc
import ctypes
import dataclasses
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KERNELS = Path(__file__).parents[2] / "kernels"
BUILT = KERNELS.parent / "build" / "kernels"

Bytes = npt.NDArray[np.uint8]
Buffer = npt.NDArray[Any]


def compiler() -> str:
    """A C++ compiler as CMake takes it: the system's, or that of the package ziglang; empty where there is none."""
    if system := shutil.which(os.environ.get("CXX", "c++")):
        return system
    if importlib.util.find_spec("ziglang"):
        return f"{sys.executable};-m;ziglang;c++"
    return ""


def can_build() -> bool:
    """Whether what builds the library is here."""
    return bool(shutil.which("cmake") and shutil.which("ninja") and compiler())


def build(folder: Path, settings: Mapping[str, str], target: str = "all") -> Path:
    """Build a target of the kernels; what is up to date is left alone. Gives `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    defined = [f"-D{name}={value}" for name, value in settings.items()]
    configure = ["cmake", "-G", "Ninja", "-S", str(KERNELS), "-B", str(folder), *defined]
    for command in (configure, ["cmake", "--build", str(folder), "--target", target]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@functools.cache
def library_file(sanitize: str = "") -> Path:
    """Build the library, once for each set of sanitizers."""
    folder = BUILT / (sanitize.replace(",", "-") or "plain")
    settings = {"CMAKE_CXX_COMPILER": compiler(), "NETSURGEON_SPARSE_SANITIZE": sanitize}
    return build(folder, settings) / "libnetsurgeon_sparse.so"


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


class Backend(abc.ABC):
    """The library's functions, called here or on an emulated processor. Layers are numbers.

    Each raises ValueError with the library's own sentence.
    """

    isas: list[str]

    @abc.abstractmethod
    def create(self, fields: bytes, weight: Buffer, bias: Buffer | None, scale: Buffer, isa: str) -> int:
        """Make a layer of `LayerFields` as bytes, and arrays."""

    @abc.abstractmethod
    def destroy(self, layer: int) -> None:
        """Free a layer."""

    @abc.abstractmethod
    def sizes(self, layer: int, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Output height and width for (batch, height, width)."""

    @abc.abstractmethod
    def run(self, layer: int, threads: int, inputs: Buffer, residual: Buffer | None, output: Buffer) -> None:
        """Fill `output` from inputs (batch, height, width, channels)."""

    @abc.abstractmethod
    def steps(self, layer: int) -> int:
        """Steps of its encoded weights."""

    @abc.abstractmethod
    def decode(self, layer: int, weight: Buffer) -> None:
        """Fill `weight` with the dense weights again."""


class Library(Backend):
    """The library, loaded into this process."""

    def __init__(self, path: Path):
        library = ctypes.CDLL(str(path))
        self._functions: dict[str, Any] = {}
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
            ("repeat", number, [ctypes.c_char_p, number]),
        ):
            function = getattr(library, f"netsurgeon_sparse_{name}")
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function
        self.isas = self._functions["isas"]().decode().split(",")

    def error(self) -> str:
        """Why the last call failed."""
        return str(self._functions["error"]().decode())

    def isa(self) -> str | None:
        """The instruction set that is chosen; None where the one that the environment names is not here."""
        name = self._functions["isa"]()
        return name.decode() if name else None

    def create(self, fields: bytes, weight: Buffer, bias: Buffer | None, scale: Buffer, isa: str) -> int:
        """As `Backend.create`."""
        layer = self._functions["create"](fields, weight.ctypes, _address(bias), scale.ctypes, isa.encode())
        if not layer:
            raise ValueError(self.error())
        return int(layer)

    def destroy(self, layer: int) -> None:
        """As `Backend.destroy`."""
        self._functions["destroy"](layer)

    def sizes(self, layer: int, shape: tuple[int, int, int]) -> tuple[int, int]:
        """As `Backend.sizes`."""
        sizes = np.zeros(2, np.int64)
        if self._functions["sizes"](layer, *shape, sizes.ctypes) < 0:
            raise ValueError(self.error())
        return int(sizes[0]), int(sizes[1])

    def run(self, layer: int, threads: int, inputs: Buffer, residual: Buffer | None, output: Buffer) -> None:
        """As `Backend.run`."""
        addresses = (inputs.ctypes, _address(residual), output.ctypes)
        if self._functions["run"](layer, *inputs.shape[:3], threads, *addresses) < 0:
            raise ValueError(self.error())

    def steps(self, layer: int) -> int:
        """As `Backend.steps`."""
        return int(self._functions["steps"](layer))

    def decode(self, layer: int, weight: Buffer) -> None:
        """As `Backend.decode`."""
        self._functions["decode"](layer, weight.ctypes)

    def repeat(self, isa: str, slots: int) -> int:
        """Multiply about so many slots with nothing else to do, and give their number."""
        multiplied = int(self._functions["repeat"](isa.encode(), slots))
        if multiplied < 0:
            raise ValueError(self.error())
        return multiplied


def _address(array: Buffer | None) -> Any:
    return None if array is None else array.ctypes


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
        backend: Backend | None = None,
    ):
        self._backend = backend or library()
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
        self._layer = self._backend.create(bytes(numbers), weight, bias, scale, isa)

    def __del__(self) -> None:
        if getattr(self, "_layer", None):
            self._backend.destroy(self._layer)

    @property
    def steps(self) -> int:
        """Steps of its encoded weights."""
        return self._backend.steps(self._layer)

    def sizes(self, shape: tuple[int, int, int]) -> tuple[int, int]:
        """Output height and width for (batch, height, width)."""
        return self._backend.sizes(self._layer, shape)

    def decoded(self) -> npt.NDArray[np.int8]:
        """The dense weights again, (rows, columns)."""
        rows, height, width, channels = self.shape
        weight = np.empty((rows, height * width * channels), np.int8)
        self._backend.decode(self._layer, weight)
        return weight

    def __call__(self, inputs: Bytes, residual: Bytes | None = None, *, threads: int = 1) -> npt.NDArray[Any]:
        """Run on (batch, height, width, channels) bytes."""
        batch, height, width, _ = inputs.shape
        sizes = self.sizes((batch, height, width))
        output = np.empty((batch, *sizes, self.shape[0]), np.float32 if self.floats else np.uint8)
        residual = None if residual is None else np.ascontiguousarray(residual)
        self._backend.run(self._layer, threads, np.ascontiguousarray(inputs), residual, output)
        return output
