"""The kernels of another processor, compiled for it and run in an emulator behind a pipe."""

from __future__ import annotations

import atexit
import functools
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
from sparse_kernels import BUILT, Backend, Buffer, build

ISAS = ("neon-dotprod", "neon")
"""What an AArch64 processor has beside scalar code."""
DOT_PRODUCTS, PLAIN = "max", "cortex-a72"
"""Processors that the emulator knows, with and without dot products."""
WORKER = Path(__file__).with_name("sparse_worker.cpp")
FUNCTIONS = ("isas", "create", "destroy", "sizes", "run", "steps", "decode")


def _compiler() -> str | None:
    return shutil.which("aarch64-linux-gnu-g++")


def _emulator() -> str | None:
    return shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def what_is_missing() -> str:
    """Why nothing can be emulated here; empty where it can."""
    if not _emulator():
        return "no emulator runs the kernels for ARM here (Debian: apt-get install qemu-user)"
    if not _compiler():
        return "no compiler builds the kernels for ARM here (Debian: apt-get install g++-aarch64-linux-gnu)"
    return ""


@functools.cache
def _worker() -> Path:
    settings = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": _compiler() or "",
        "NETSURGEON_SPARSE_WORKER": str(WORKER),
    }
    return build(BUILT / "aarch64", settings, "sparse_worker") / "sparse_worker"


class Emulated(Backend):
    """The library's functions on an emulated processor."""

    def __init__(self, processor: str):
        emulator = _emulator()
        assert emulator is not None
        self._process = subprocess.Popen(
            [emulator, "-cpu", processor, str(_worker())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        atexit.register(self.close)
        self.isas = self._call("isas").decode().split(",")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def create(self, fields: bytes, weight: Buffer, bias: Buffer | None, scale: Buffer, isa: str) -> int:
        """As `Backend.create`."""
        blobs = (fields, weight.tobytes(), b"" if bias is None else bias.tobytes(), scale.tobytes(), isa.encode())
        return self._number(self._call("create", *blobs))

    def destroy(self, layer: int) -> None:
        """As `Backend.destroy`."""
        if self._process.poll() is None:
            self._call("destroy", layer)

    def sizes(self, layer: int, shape: tuple[int, int, int]) -> tuple[int, int]:
        """As `Backend.sizes`."""
        height, width = struct.unpack("<qq", self._call("sizes", layer, *shape))
        return height, width

    def run(self, layer: int, threads: int, inputs: Buffer, residual: Buffer | None, output: Buffer) -> None:
        """As `Backend.run`."""
        added = b"" if residual is None else residual.tobytes()
        data = self._call("run", layer, *inputs.shape[:3], threads, inputs.tobytes(), added, output.nbytes)
        output[...] = np.frombuffer(data, output.dtype).reshape(output.shape)

    def steps(self, layer: int) -> int:
        """As `Backend.steps`."""
        return self._number(self._call("steps", layer))

    def decode(self, layer: int, weight: Buffer) -> None:
        """As `Backend.decode`."""
        weight[...] = np.frombuffer(self._call("decode", layer, weight.nbytes), weight.dtype).reshape(weight.shape)

    @staticmethod
    def _number(data: bytes) -> int:
        (number,) = struct.unpack("<q", data)
        return int(number)

    def _call(self, function: str, *arguments: int | bytes) -> bytes:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        to.write(struct.pack("<q", FUNCTIONS.index(function)))
        for argument in arguments:
            if isinstance(argument, int):
                to.write(struct.pack("<q", argument))
            else:
                to.write(struct.pack("<q", len(argument)) + argument)
        to.flush()
        head = back.read(16)
        assert len(head) == 16, f"the emulated program ended in {function}"
        status, length = struct.unpack("<qq", head)
        data = back.read(length)
        if status < 0:
            raise ValueError(data.decode())
        return data


@functools.cache
def emulated(processor: str = DOT_PRODUCTS) -> Emulated:
    """The library on a processor that the emulator knows, built and started once."""
    return Emulated(processor)
