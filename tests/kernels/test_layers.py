"""Encoded layers against sums in numpy: every instruction set, every shape of a kernel, every epilogue."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sparse_emulator
from sparse_kernels import Fields, Layer, library, library_file

Array = npt.NDArray[Any]
ISAS = ("avx512-vbmi-vnni", "avx512-vnni", "avx-vnni", "avx2", "scalar", *sparse_emulator.ISAS)

SHAPES = {  # rows, channels, height, width, batch; Fields
    "one weight": ((1, 1, 1, 1, 1), Fields()),
    "pointwise": ((64, 64, 7, 7, 1), Fields(input_zero_point=3, zero_point=7)),
    "rows beside a tile": ((21, 67, 5, 6, 2), Fields(input_zero_point=128)),
    "three by three": ((32, 64, 9, 11, 2), Fields(kernel=(3, 3), pads=(1, 1, 1, 1), input_zero_point=114)),
    "few channels": ((24, 3, 17, 15, 2), Fields(kernel=(7, 7), stride=(2, 2), pads=(3, 3, 3, 3), input_zero_point=9)),
    "rows apart": (
        (80, 4, 11, 13, 2),
        Fields((3, 3), stride=(2, 1), dilation=(2, 1), pads=(2, 1, 2, 1), input_zero_point=9),
    ),
    "rows of windows in chunks": ((40, 256, 10, 9, 1), Fields((3, 3), pads=(1, 1, 1, 1), input_zero_point=14)),
    "rows without padding": ((20, 64, 14, 12, 1), Fields((2, 3), stride=(1, 2), dilation=(2, 2), input_zero_point=14)),
    "pixels as they are": ((30, 128, 15, 16, 1), Fields(input_zero_point=14)),
    "every other pixel": ((70, 64, 20, 19, 1), Fields(stride=(2, 2), input_zero_point=14)),
    "strides": ((17, 20, 13, 10, 1), Fields(kernel=(3, 2), stride=(3, 2), pads=(0, 1, 2, 0), input_zero_point=200)),
    "dilation": ((16, 33, 14, 15, 1), Fields(kernel=(3, 3), dilation=(2, 3), pads=(2, 3, 2, 3), input_zero_point=77)),
    "taps apart": ((16, 16, 14, 15, 1), Fields((3, 3), dilation=(5, 5), pads=(5, 5, 5, 5), input_zero_point=14)),
    "few taps apart": (
        (24, 3, 17, 15, 2),
        Fields((2, 3), stride=(2, 2), dilation=(1, 3), pads=(1, 3, 0, 2), input_zero_point=9),
    ),
    "many rows of taps apart": (
        (160, 33, 12, 13, 2),
        Fields((3, 3), dilation=(2, 2), pads=(2, 2, 2, 2), input_zero_point=77),
    ),
    "chunks of taps apart": (
        (40, 330, 9, 8, 1),
        Fields((3, 3), stride=(1, 2), dilation=(2, 3), pads=(2, 3, 2, 3), input_zero_point=77),
    ),
    "padding wider than the input": ((16, 5, 2, 3, 1), Fields(kernel=(5, 5), pads=(4, 4, 4, 4), input_zero_point=50)),
    "chunks of columns": ((40, 640, 6, 9, 1), Fields(kernel=(3, 3), pads=(1, 1, 1, 1), input_zero_point=14)),
    "many pixels": ((16, 48, 31, 29, 2), Fields(input_zero_point=5)),
    "a row": ((80, 1000, 1, 1, 1), Fields(input_zero_point=31)),
    "three rows": ((48, 130, 1, 1, 3), Fields(input_zero_point=31)),
}


def weights(rng: np.random.Generator, rows: int, fields: Fields, channels: int, zeros: float) -> npt.NDArray[np.int8]:
    dense = rng.integers(-128, 128, (rows, *fields.kernel, channels))
    return np.where(rng.random(dense.shape) < zeros, 0, dense).astype(np.int8)


def sums(weight: Array, inputs: Array, fields: Fields) -> Array:
    """The convolution of what inputs are beyond their zero point, NHWC, in integers without end."""
    top, left, bottom, right = fields.pads
    values = np.pad(inputs.astype(np.int64) - fields.input_zero_point, ((0, 0), (top, bottom), (left, right), (0, 0)))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(fields.dilation, fields.kernel, strict=True))
    patches = np.lib.stride_tricks.sliding_window_view(values, reach, axis=(1, 2))
    patches = patches[:, :: fields.stride[0], :: fields.stride[1], :, :: fields.dilation[0], :: fields.dilation[1]]
    products: Array = np.einsum("bhwcij,nijc->bhwn", patches, weight.astype(np.int64))
    return products


def quantized(sums_: Array, scale: Array, fields: Fields) -> Array:
    values = np.rint(np.float32(sums_) * scale) + fields.zero_point
    clipped: Array = np.clip(values, fields.low, fields.high).astype(np.int64)
    return clipped


def on(isa: str) -> dict[str, Any]:
    """Keywords of a layer whose code is for an instruction set, here or in the emulator."""
    if isa in library().isas:
        return {"isa": isa}
    if isa not in sparse_emulator.ISAS:
        pytest.skip(f"this processor has no {isa}")
    if missing := sparse_emulator.what_is_missing():
        pytest.skip(missing)
    return {"isa": isa, "backend": sparse_emulator.emulated()}


@functools.cache
def case(name: str, zeros: float) -> tuple[Array, Array, Array, Array, Fields]:
    (rows, channels, height, width, batch), fields = SHAPES[name]
    rng = np.random.default_rng(0)
    weight = weights(rng, rows, fields, channels, zeros)
    inputs = rng.integers(0, 256, (batch, height, width, channels), np.uint8)
    bias = rng.integers(-50_000, 50_000, rows).astype(np.int32)
    columns = weight[0].size
    scale = (rng.uniform(0.5, 2, rows) / (100 * np.sqrt(columns))).astype(np.float32)
    return weight, inputs, bias, scale, fields


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("zeros", [0.0, 0.8, 1.0])
def test_bytes_equal_those_of_numpy(name: str, zeros: float, isa: str) -> None:
    weight, inputs, bias, scale, fields = case(name, zeros)
    outputs = Layer(weight, scale, fields=fields, bias=bias, **on(isa))(inputs)
    expected = quantized(sums(weight, inputs, fields) + bias, scale, fields)
    assert np.array_equal(outputs, expected)
    assert zeros == 1 or weight[0].size < 50 or len(np.unique(outputs)) > 20


@pytest.mark.parametrize("name", SHAPES)
def test_threads_change_nothing(name: str) -> None:
    weight, inputs, bias, scale, fields = case(name, 0.8)
    layer = Layer(weight, scale, fields=fields, bias=bias)
    alone = layer(inputs)
    for threads in (2, 5):
        assert np.array_equal(layer(inputs, threads=threads), alone)


@pytest.mark.parametrize("isa", ISAS)
def test_floats_are_scaled_sums(isa: str) -> None:
    weight, inputs, bias, scale, fields = case("three rows", 0.7)
    floats = Fields(input_zero_point=fields.input_zero_point, output=2)
    outputs = Layer(weight, scale, fields=floats, bias=bias, **on(isa))(inputs)
    assert np.array_equal(outputs, np.float32(sums(weight, inputs, fields) + bias) * scale)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("product_first", [0, 1])
def test_a_residual_is_added_to_the_rounded_product(isa: str, product_first: int) -> None:
    weight, inputs, bias, scale, _ = case("rows beside a tile", 0.6)
    fields = Fields(
        input_zero_point=128, output=1, zero_point=120, product_ratio=0.7, residual_ratio=1.3, fixed=-100.25,
        product_first=product_first, added_low=10, added_high=240,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    residual = rng.integers(0, 256, (2, 5, 6, 21), np.uint8)
    outputs = Layer(weight, scale, fields=fields, bias=bias, **on(isa))(inputs, residual)
    product = quantized(sums(weight, inputs, fields) + bias, scale, fields)
    added = np.rint(product * np.float64(np.float32(0.7)) + (residual * np.float64(np.float32(1.3)) - 100.25))
    expected = np.clip(added, 10, 240)
    # float32 and float64 may round a tie differently; every instruction set gives the same float32
    assert np.abs(outputs - expected).max() <= 1
    assert np.mean(outputs != expected) < 0.01
    scalar = Layer(weight, scale, fields=fields, bias=bias, isa="scalar")(inputs, residual)
    assert np.array_equal(outputs, scalar)


@pytest.mark.parametrize("isa", ISAS)
def test_bounds_and_values_beyond_them(isa: str) -> None:
    weight, inputs, bias, scale, _ = case("pointwise", 0.5)
    fields = Fields(input_zero_point=3, zero_point=30, low=30, high=200)
    for factor in (1.0, 1e4, 1e30):  # far beyond what an integer holds, on both sides
        large = (scale * factor).astype(np.float32)
        outputs = Layer(weight, large, fields=fields, bias=bias, **on(isa))(inputs)
        values = np.clip(np.rint((sums(weight, inputs, fields) + bias).astype(np.float32) * large) + 30.0, 30, 200)
        assert np.array_equal(outputs, values)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("zeros", [0.3, 0.9])
def test_what_is_encoded_is_the_matrix(isa: str, zeros: float) -> None:
    weight, _, _, scale, fields = case("chunks of columns", zeros)
    layer = Layer(weight, scale, fields=fields, **on(isa))
    assert np.array_equal(layer.decoded(), weight.reshape(len(weight), -1))


def test_a_tile_takes_the_steps_of_its_fullest_row() -> None:
    weight = np.zeros((32, 1, 1, 128), np.int8)
    weight[3, 0, 0, :9] = 1  # three steps
    weight[5, 0, 0, 64] = 1  # one step in the second tile of the first sixteen rows
    weight[16:, 0, 0, 100:104] = 1  # one step
    assert Layer(weight, np.ones(32, np.float32), isa="scalar").steps == 5


MALFORMED = {
    "stride": Fields(stride=(1, 0)),
    "negative stride": Fields(stride=(-1, 1)),
    "dilation": Fields(dilation=(0, 1)),
    "padding": Fields(pads=(0, -1, 0, 0)),
    "much padding": Fields(pads=(0, 0, 1 << 40, 0)),
    "kind of output": Fields(output=7),
    "zero point": Fields(input_zero_point=256),
    "byte": Fields(low=200, high=100),
    "finite": Fields(output=1, product_ratio=float("nan")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_makes_no_layer_is_refused(name: str) -> None:
    weight = np.ones((16, 1, 1, 64), np.int8)
    with pytest.raises(ValueError, match=name.split()[-1]):
        Layer(weight, np.ones(16, np.float32), fields=MALFORMED[name])


@pytest.mark.parametrize(
    "shape", [(0, 1, 1, 64), (16, 0, 1, 64), (16, 1, 1 << 40, 64), (16, 1, 1, -1), (16, 4096, 4096, 64)]
)
def test_sizes_of_no_weight_are_refused(shape: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"layer|channels|kernel|weight"):
        Layer(np.ones((16, 1, 1, 64), np.int8), np.ones(16, np.float32), shape=shape)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_not_positive_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        Layer(np.ones((16, 1, 1, 64), np.int8), np.full(16, scale, np.float32))


def test_a_residual_that_is_not_there_is_refused() -> None:
    layer = Layer(np.ones((16, 1, 1, 64), np.int8), np.ones(16, np.float32), fields=Fields(output=1))
    with pytest.raises(ValueError, match="residual"):
        layer(np.ones((1, 1, 1, 64), np.uint8))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_rows_that_lie_far_apart_are_not_copied(isa: str, zeros: float) -> None:
    rng = np.random.default_rng(0)
    weight = weights(rng, 16, Fields(kernel=(2, 1)), 64, zeros)
    inputs = rng.integers(0, 256, (9, 1, 40, 64), np.uint8)
    scale = np.full(16, 1e-3, np.float32)
    apart = Fields(kernel=(2, 1), dilation=(65536, 1), pads=(65536, 0, 0, 0), zero_point=128)
    # the first row of the kernel sees padding, which is 0
    alone = Layer(np.ascontiguousarray(weight[:, 1:]), scale, fields=Fields(zero_point=128), isa="scalar")
    assert np.array_equal(Layer(weight, scale, fields=apart, **on(isa))(inputs), alone(inputs))


def _layer(channels: int = 4, kernel: tuple[int, int] = (1, 3), isa: str = "") -> Layer:
    weight = weights(np.random.default_rng(0), 16, Fields(kernel), channels, 0.5)
    return Layer(weight, np.full(16, 1e-3, np.float32), fields=Fields(kernel), isa=isa)


@pytest.mark.parametrize("channels", [4, 16])
def test_a_row_may_have_millions_of_pixels(channels: int) -> None:
    inputs = np.random.default_rng(1).integers(0, 256, (1, 1, 2**20 + 8, channels), np.uint8)
    isas = [isa for isa in library().isas if isa != "scalar"][:1]
    expected = _layer(channels, isa="scalar")(inputs)
    assert expected.shape == (1, 1, 2**20 + 6, 16)
    for isa in isas:
        np.testing.assert_array_equal(_layer(channels, isa=isa)(inputs), expected)


def test_sizes_that_memory_holds_are_taken_and_others_refused() -> None:
    assert _layer().sizes((2**24 + 1, 1, 3)) == (1, 1)
    assert _layer().sizes((1, 2**14, 2**24)) == (2**14, 2**24 - 2)
    one = _layer(1, (1, 1))
    for shape, reason in (
        ((1, 1, 2**30 + 1), "an input of more than 1,073,741,824 images, rows or columns"),
        ((2**23, 2**20, 1), "an output that no memory holds"),
        ((1, 2**30, 2**30), "an input that no memory holds"),
    ):
        with pytest.raises(ValueError, match=reason):
            one.sizes(shape)


def test_a_kernel_beyond_the_input_gives_nothing() -> None:
    layer = Layer(np.ones((16, 3, 3, 4), np.int8), np.ones(16, np.float32), fields=Fields(kernel=(3, 3)))
    assert layer(np.ones((2, 2, 9, 4), np.uint8)).shape == (2, 0, 7, 16)
    assert layer(np.ones((0, 5, 9, 4), np.uint8)).shape == (0, 3, 7, 16)


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="no emulator runs x86-64 here (Debian: qemu-user)")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the library is built for another processor")
@pytest.mark.parametrize("missing", ["avx2", "fma", "bmi2"])
def test_vector_code_needs_all_instructions_that_it_is_compiled_for(missing: str) -> None:
    program = (
        "import ctypes, sys; isas = ctypes.CDLL(sys.argv[1]).netsurgeon_sparse_isas; "
        "isas.restype = ctypes.c_char_p; print(isas().decode())"
    )
    offered = {}
    for processor in ("Haswell", f"Haswell,-{missing}"):
        command = ["qemu-x86_64", "-cpu", processor, sys.executable, "-c", program, str(library_file())]
        offered[processor] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if offered["Haswell"] == "scalar":
        pytest.skip("the emulator is too old to know AVX2")
    assert offered == {"Haswell": "avx2,scalar", f"Haswell,-{missing}": "scalar"}


def test_the_environment_chooses_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library().isa() == library().isas[0]
    monkeypatch.setenv("NETSURGEON_SPARSE_ISA", "scalar")
    assert library().isa() == "scalar"
    monkeypatch.setenv("NETSURGEON_SPARSE_ISA", "mmx")
    assert library().isa() is None
    assert "'mmx'" in library().error()
    assert "scalar" in library().error()
