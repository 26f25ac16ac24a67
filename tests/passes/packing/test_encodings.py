"""Encodings: exact, as small as they can be, and refused where they no longer fit."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from packed_models import FLOATS, LAYOUTS, OFF, assert_same, model_of, pack_as, run, sparse, unpacked_weight

from netsurgeon.passes.packing.encodings import Encoding, choose_encoding, encode
from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.unpack_weights import packed_weights


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("stored", ["own", "float16"])
@pytest.mark.parametrize("index_bits", [0, 5, 8])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.layout}{layout.gap_bits or ''}")
def test_every_encoding_gives_back_every_bit(layout: Encoding, index_bits: int, stored: str, dtype: str) -> None:
    weight = sparse((17, 23), 0.8, dtype, grid=20)
    encoding = Encoding(layout.layout, dtype if stored == "own" else stored, layout.gap_bits, index_bits)
    packed = pack_as(weight, encoding)
    assert packed_weights(packed) == ["w"]
    assert_same(model_of(weight), packed)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("index_bits", [0, 8])
def test_signed_zeros_infinities_and_nan_are_kept(layout: Encoding, index_bits: int) -> None:
    weight = np.zeros(500, np.float32)
    weight[::7] = -0.0
    weight[3:9] = [np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.0]
    weight[99:100].view(np.uint32)[:] = 0xFFC12345
    packed = pack_as(weight, Encoding(layout.layout, "float32", layout.gap_bits, index_bits))
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
    assert choose_encoding(sparse((64, 64), 0, grid=257), 1)[0].index_bits == 0
    with pytest.raises(ValueError, match="257 distinct values"):
        encode(sparse((64, 64), 0, grid=257), Encoding("dense", "float16", 0, 8))


@pytest.mark.parametrize(("sparsity", "ratio", "shared"), [(0.9, 14, 260), (0.95, 26.5, 190), (0.99, 115, 20)])
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


@pytest.mark.parametrize("bits", [5, 6])
@pytest.mark.parametrize("count", [2_000, 200_000, 200_001])
def test_integers_of_five_and_six_bits(bits: int, count: int, tmp_path: Path) -> None:
    """Many of them are stored in two parts that fill bytes, few in words of 64 bits, for two parts take more nodes."""
    grid = np.random.default_rng(0).standard_normal(2**bits).astype(np.float16).astype(np.float32)
    weight = grid[np.random.default_rng(1).integers(0, 2**bits, (1, count))]
    packed = model_of(weight)
    [packing] = plan_packing(packed)
    assert packing.encoding == Encoding("dense", "float16", 0, bits)
    PackWeights()(packed)
    assert any(node.op_type == "Add" for node in packed.graph) == (count > 2_000)
    assert_same(model_of(weight), packed)
    ir.save(packed, tmp_path / "packed.onnx")
    spent = (tmp_path / "packed.onnx").stat().st_size
    assert count == 2_000 or spent < 1.02 * count * bits / 8
    assert spent == pytest.approx(packing.bytes_after, abs=400)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


def test_small_fields_beat_bytes_and_bitmap() -> None:
    assert choose_encoding(sparse((500, 500), 0.9, grid=250), 1)[0] == Encoding("gaps", "float16", 5, 8)
    assert choose_encoding(sparse((500, 500), 0.6, grid=30), 1)[0] == Encoding("bitmap", "float16", 0, 5)
    assert choose_encoding(sparse((500, 500), 0.995), 1)[0] == Encoding("gaps", "float32", 8)


def test_float16_has_no_scales() -> None:
    """ONNX Runtime would multiply it each time the model runs."""
    weight = (sparse((300, 400), 0.5, grid=31) * 2.0 ** np.arange(300)[:, None] % 5).astype(np.float16)
    assert choose_encoding(weight, 1)[0].scaled_axis is None


def test_scales_that_are_no_longer_there_are_refused() -> None:
    with pytest.raises(ValueError, match="plan the packing again"):
        encode(sparse((60, 50), 0.5), Encoding("bitmap", "float16", 0, 5, 0))
