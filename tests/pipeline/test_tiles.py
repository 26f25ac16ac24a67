"""`compress --pattern k:64` and `tile:16x16`: weights lie in the tiles of a sparse kernel, in the file as well."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import DIGITS, FAST, UNIFORM, inputs, perceptron, weights_of
from searched_models import FAST as SEARCH
from searched_models import labelled, small_network
from tiled_weights import kernel_order, loose_tiles, slots_of

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect import inspect_model

ANYWHERE = {
    "k:64": {"node_Conv_85", "node_Conv_89", "node_Conv_91", "node_linear_1"},
    "tile:16x16": {"node_Conv_85", "node_Conv_89", "node_linear_1"},
}
"""Layers smaller than a tile."""
WIDTHS = {"k:64": 64, "tile:16x16": 16}


def digits(folder: Path, pattern: str | None, **options: Any) -> tuple[ir.Model, Compression]:
    """The model in the file, unpacked, and what was done."""
    path = folder / "small.onnx"
    given = {"sparsity": 0.8, "pattern": pattern, "limit": 300, "uniform": True, "damping": 0.01, **options}
    result = compress(
        DIGITS / "digits.onnx", DIGITS / "calibration.npz", test=DIGITS / "test.npz", output=path, **given
    )
    plain = ir.load(path)
    UnpackWeights()(plain)
    return plain, result


def matrices(model: ir.Model) -> dict[str, Any]:
    """Each layer's weight as a kernel reads it, by name: the integers, where it lies on them."""
    weights = {layer.name: layer.weight.const_value for layer in find_layers(model.graph)[0]}
    numbers = {name: tensor.numpy() for name, tensor in weights.items() if tensor is not None}
    numbers |= {name: stored.codes for name, stored in find_integer_weights(model.graph).items()}
    return {name: kernel_order(array) if array.ndim == 4 else array for name, array in numbers.items()}


@pytest.mark.parametrize("pattern", WIDTHS)
def test_weights_in_the_file_fill_tiles(pattern: str, tmp_path: Path) -> None:
    model, result = digits(tmp_path, pattern)
    found, report = matrices(model), result.report
    for layer in report.layers:
        matrix = found[layer.name]
        assert np.count_nonzero(matrix) == layer.kept == layer.weights - round(0.8 * layer.weights)
        if layer.name not in ANYWHERE[pattern]:
            assert loose_tiles(matrix, WIDTHS[pattern]) <= 1
            assert layer.slots == slots_of(matrix, WIDTHS[pattern])
    assert {layer.name for layer in report.layers if layer.slots is None} == ANYWHERE[pattern]
    assert not report.declined
    before, after = report.validation.dense.top1, report.validation.compressed.top1
    assert before is not None
    assert after is not None
    assert after > before - 0.02


def test_integers_stay_in_the_tiles_in_which_floats_were_pruned(tmp_path: Path) -> None:
    model, result = digits(tmp_path, "k:64", quantize="int8", target="openvino")
    integers, found = find_integer_weights(model.graph), matrices(model)
    assert {layer.name for layer in result.report.layers} <= set(integers)
    for layer in result.report.layers:
        asked = layer.weights - round(0.8 * layer.weights)
        assert 0.9 * asked <= layer.kept <= asked
        if layer.slots is not None:
            assert slots_of(found[layer.name], 64) <= layer.slots
    assert sum(layer.slots is not None for layer in result.report.layers) == 4
    assert result.report.validation.agreement is not None
    assert result.report.validation.agreement > 0.98


def test_weights_in_any_place_need_more_slots(tmp_path: Path) -> None:
    """What the tests above would find if nothing held the weights in tiles, and what `inspect` tells of both."""
    anywhere, _ = digits(tmp_path, None)
    loose = {layer.name: layer for layer in inspect_model(tmp_path / "small.onnx").layers}
    assert loose_tiles(matrices(anywhere)["node_linear"], 64) > 1
    model, result = digits(tmp_path, "k:64")
    found = inspect_model(tmp_path / "small.onnx")
    for layer in found.layers:
        matrix = matrices(model)[layer.name]
        tiled = {name: width for name, width in WIDTHS.items() if layer.name not in ANYWHERE[name]}
        assert layer.slots == {name: slots_of(matrix, width) for name, width in tiled.items()}
        if "k:64" in tiled:
            assert layer.slots["k:64"] < loose[layer.name].slots["k:64"]
    assert loose["node_linear"].slots["k:64"] > 1.2 * result.report.layers[-2].kept
    assert "slots of k:64" in found.overview().titles
    assert "slots of k:64" not in inspect_model(DIGITS / "digits.onnx").overview().titles


def test_half_of_the_weights_stay_where_no_share_is_given() -> None:
    report = compress(perceptron(), inputs(), pattern="k:64", **UNIFORM).report
    assert [layer.sparsity for layer in report.layers] == [0.5, 0.5]
    report = compress(perceptron(), inputs(), pattern="k:64", quantize="int8", target="openvino", **UNIFORM).report
    assert report.sparsity >= 0.5


def test_the_budget_is_spread_over_layers_and_layers_may_have_their_own() -> None:
    result = compress(perceptron(), inputs(), pattern="tile:16x16", sparsity=0.7, layers={"second": 0.5}, **FAST)
    first, second = result.report.layers
    assert (second.kept, first.kept + second.kept) == (320, 2688 - round(0.7 * 2688))
    weights = weights_of(result.model)
    assert loose_tiles(weights["w1"].T, 16) <= 1
    report = compress(perceptron(), inputs(), pattern="tile:16x16", sparsity=0.7, **FAST).report
    assert sum(layer.kept for layer in report.layers) == 2688 - round(0.7 * 2688)
    assert all(layer.sensitivity is not None for layer in report.layers)


def test_a_search_keeps_to_the_tiles() -> None:
    model = small_network()
    result = compress(
        model, labelled(model, 400, 1), test=labelled(model, 300, 2), max_drop="5%", pattern="tile:16x16", **SEARCH
    )
    assert result.report.search is not None
    assert 0.1 < result.report.sparsity < 1.0
    assert loose_tiles(weights_of(result.model)["w1"].T, 16) <= 1
    assert result.report.layers[0].slots is not None
    assert result.report.trim is None


def test_a_target_with_sparse_kernels_has_tiles(tmp_path: Path) -> None:
    model, result = digits(tmp_path, None, target="cpu-sparse")
    assert {layer.name for layer in result.report.layers if layer.slots is None} == ANYWHERE["k:64"]
    assert loose_tiles(matrices(model)["node_linear"], 64) <= 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"trim": 0.3}, "trim first, then give the trimmed model the pattern"),
        ({"speedup": 2}, "--speedup 2 decides which units go, and a pattern of k:64 holds weights in their places"),
        ({"max_macs": "1M", "max_drop": "1%"}, "reach it without a pattern, then give the smaller model the pattern"),
        ({"keep_zeros": True}, "the zeros are those of the model"),
    ],
)
def test_what_moves_weights_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        compress(perceptron(), inputs(), pattern="k:64", **options)
