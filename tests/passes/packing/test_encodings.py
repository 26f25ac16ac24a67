"""Encodings: exact, as small as they can be, and refused where they no longer fit."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from packed_models import FLOATS, LAYOUTS, OFF, assert_same, model_of, pack_as, run, sparse, unpacked_weight

from netsurgeon.passes.packing.encodings import Encoding, choose_encoding, encode
from netsurgeon.passes.packing.indices import IndexCode
from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.unpack_weights import packed_weights


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("stored", ["own", "float16"])
@pytest.mark.parametrize(
    "index",
    [None, IndexCode((5,)), IndexCode((8,)), IndexCode((4,), low=1), IndexCode((1, 2, 5)), IndexCode((2, 1, 2), low=2)],
    ids=str,
)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.layout}{layout.gap_bits or ''}")
def test_every_encoding_gives_back_every_bit(
    layout: Encoding, index: IndexCode | None, stored: str, dtype: str
) -> None:
    weight = sparse((17, 23), 0.8, dtype, grid=20)
    encoding = Encoding(layout.layout, dtype if stored == "own" else stored, layout.gap_bits, index)
    packed = pack_as(weight, encoding)
    assert packed_weights(packed) == ["w"]
    assert_same(model_of(weight), packed)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("index", [None, IndexCode((8,))], ids=str)
def test_signed_zeros_infinities_and_nan_are_kept(layout: Encoding, index: IndexCode | None) -> None:
    weight = np.zeros(500, np.float32)
    weight[::7] = -0.0
    weight[3:9] = [np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.0]
    weight[99:100].view(np.uint32)[:] = 0xFFC12345
    packed = pack_as(weight, Encoding(layout.layout, "float32", layout.gap_bits, index))
    assert run(packed, OFF).tobytes() == run(packed).tobytes() == weight.tobytes()
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_float16_comes_back(dtype: str) -> None:
    halves = np.arange(2**16).astype(np.uint16).view(np.float16)
    weight = halves[~np.isnan(halves)].astype(dtype)
    encoding, _ = choose_encoding(weight, 1)
    assert encoding == Encoding("dense", "float16")
    assert_same(model_of(weight), pack_as(weight, encoding))


@pytest.mark.parametrize("value", [1e6, 1e-9, 1.0001, np.nan])
def test_values_that_float16_does_not_hold_stay(value: float) -> None:
    weight = sparse((40, 40), 0.9, grid=30)
    weight[0, 0] = value
    assert choose_encoding(weight, 1)[0].dtype == "float32"
    with pytest.raises(ValueError, match="plan the packing again"):
        encode(weight, Encoding("gaps", "float16", 8))


def test_too_many_values_for_a_codebook() -> None:
    assert choose_encoding(sparse((64, 64), 0, grid=257), 1)[0].index is None
    with pytest.raises(ValueError, match="257 distinct values"):
        encode(sparse((64, 64), 0, grid=257), Encoding("dense", "float16", 0, IndexCode((8,))))


@pytest.mark.parametrize(("sparsity", "ratio", "shared"), [(0.9, 14, 500), (0.95, 26.5, 490), (0.99, 115, 90)])
def test_sizes(sparsity: float, ratio: float, shared: int, tmp_path: Path) -> None:
    """The estimate leaves out the constants that all weights of a model would share."""
    model = model_of(sparse((1000, 1000), sparsity).astype(np.float16).astype(np.float32), "Gemm")
    [packing] = plan_packing(model)
    ir.save(model, tmp_path / "plain.onnx")
    PackWeights()(model)
    ir.save(model, tmp_path / "packed.onnx")
    before, after = ((tmp_path / name).stat().st_size for name in ("plain.onnx", "packed.onnx"))
    assert before / after > ratio
    assert before - after == pytest.approx(packing.bytes_before - packing.bytes_after - shared, abs=50)


@pytest.mark.parametrize("bits", [3, 5, 6, 7])
@pytest.mark.parametrize("count", [20_000, 20_001])
def test_integers_that_fill_no_byte_are_stored_in_parts_that_do(bits: int, count: int, tmp_path: Path) -> None:
    grid = np.random.default_rng(0).standard_normal(2**bits).astype(np.float16).astype(np.float32)
    weight = grid[np.random.default_rng(1).integers(0, 2**bits, (1, count))]
    packed = model_of(weight)
    [packing] = plan_packing(packed)
    assert packing.encoding == Encoding("dense", "float16", 0, IndexCode((bits,)))
    PackWeights()(packed)
    assert_same(model_of(weight), packed)
    ir.save(packed, tmp_path / "packed.onnx")
    spent = (tmp_path / "packed.onnx").stat().st_size
    assert spent < count * bits / 8 + 1500
    assert spent == pytest.approx(packing.bytes_after, abs=700)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


def test_small_fields_beat_bytes_and_bitmap() -> None:
    assert choose_encoding(sparse((500, 500), 0.9, grid=250), 1)[0] == Encoding("gaps", "float16", 5, IndexCode((8,)))
    assert choose_encoding(sparse((500, 500), 0.6, grid=30), 1)[0] == Encoding("bitmap", "float16", 0, IndexCode((5,)))
    assert choose_encoding(sparse((500, 500), 0.995), 1)[0] == Encoding("gaps", "float32", 8)


def test_float16_has_no_scales() -> None:
    """ONNX Runtime would multiply it each time the model runs."""
    weight = (sparse((300, 400), 0.5, grid=31) * 2.0 ** np.arange(300)[:, None] % 5).astype(np.float16)
    assert choose_encoding(weight, 1)[0].scaled_axis is None


def test_scales_that_are_no_longer_there_are_refused() -> None:
    with pytest.raises(ValueError, match="plan the packing again"):
        encode(sparse((60, 50), 0.5), Encoding("bitmap", "float16", 0, IndexCode((5,)), 0))


@pytest.mark.parametrize("power", [-30, 20])
def test_values_that_float16_holds_times_a_power_of_two(power: int) -> None:
    halves = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float16)
    weight = np.ldexp(halves.astype(np.float32), power)
    encoding, _ = choose_encoding(weight, 1)
    assert encoding.dtype == "float16"
    assert encoding.power != 0
    packed = pack_as(weight, encoding)
    assert_same(model_of(weight), packed)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()
