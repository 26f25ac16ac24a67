"""Patterns by their names, and where they run on the columns of a layer."""

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from prunable_models import build, gemm, inputs, layer_of, moments_of, normal
from tiled_weights import kernel_order, loose_tiles, slots_of

from netsurgeon.passes.pruning.layer_plan import LayerPlan
from netsurgeon.passes.pruning.patterns import TILE_PATTERNS, SharePattern, TilePattern, read_pattern
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.solvers import METHODS


def grouped(groups: int, channels: int, outputs: int, kernel: int = 3) -> ir.Model:
    """A convolution of `channels` channels in so many groups."""
    weight = normal(outputs, channels // groups, kernel, kernel)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], "layer", group=groups)]
    return build(nodes, {"w": weight, "b": normal(outputs)}, [None, channels, 8, 8])


def stored(model: ir.Model) -> np.ndarray:
    weight = layer_of(model).weight.const_value
    assert weight is not None
    return weight.numpy()


def pruned(model: ir.Model, plan: LayerPlan) -> int | None:
    """Prunes the layer; slots of its tiles."""
    surgery = PruneWeights({"layer": plan}, {"layer": moments_of(layer_of(model), inputs(model))})
    surgery(model)
    return surgery.outcomes["layer"].slots


def test_names() -> None:
    assert read_pattern("2:4") == SharePattern(2, 4)
    assert [read_pattern(name) for name in TILE_PATTERNS] == [TilePattern(64), TilePattern(16)]
    for text in ("", "k:16", "tile:64", "64:k", "4:4", "0:4"):
        with pytest.raises(ValueError, match="expected N:M with 0 < N < M, such as 2:4, or k:64 or tile:16x16"):
            read_pattern(text)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [16, 64])
def test_a_convolution_is_tiled_as_the_kernel_reads_it(method: str, width: int) -> None:
    """Channels of a kernel position side by side, as in NHWC; in the weight's own order the tiles would be loose."""
    model = grouped(groups=1, channels=24, outputs=20)
    keep = layer_of(model).size // 3
    slots = pruned(model, LayerPlan(keep, method, damping=1e-3, pattern=TilePattern(width)))
    weight = stored(model)
    assert np.count_nonzero(weight) == keep
    groups = np.split(weight, layer_of(model).groups)
    assert sum(loose_tiles(kernel_order(group), width) for group in groups) <= 1
    assert slots == sum(slots_of(kernel_order(group), width) for group in groups)
    assert sum(loose_tiles(group.reshape(len(group), -1), width) for group in groups) > 1


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_a_matrix_is_tiled_along_its_inputs(operator: str) -> None:
    node = helper.make_node(operator, ["x", "w"], ["z"], "layer")
    model = build([node], {"w": normal(40, 24)}, [None, 40])
    pruned(model, LayerPlan(300, damping=1e-3, pattern=TilePattern(16)))
    assert loose_tiles(stored(model).T, 16) <= 1
    assert loose_tiles(stored(model), 16) > 1
    assert np.count_nonzero(stored(model)) == 300


def test_each_group_of_a_convolution_has_tiles_of_its_own() -> None:
    model = grouped(groups=2, channels=16, outputs=40)
    slots = pruned(model, LayerPlan(700, damping=1e-3, pattern=TilePattern(64)))
    groups = [kernel_order(group) for group in np.split(stored(model), 2)]
    assert [len(group) for group in groups] == [20, 20]
    assert sum(loose_tiles(group, 64) for group in groups) <= 1
    assert slots == sum(slots_of(group, 64) for group in groups)


@pytest.mark.parametrize(
    ("groups", "channels", "outputs", "widths"),
    [
        (1, 8, 16, {16, 64}),
        (1, 7, 16, {16}),  # 63 columns
        (1, 8, 15, set()),
        (2, 16, 32, {16, 64}),
        (2, 16, 30, set()),
        (8, 8, 16, set()),  # each channel by itself
    ],
)
def test_what_is_smaller_than_a_tile_has_none(groups: int, channels: int, outputs: int, widths: set[int]) -> None:
    layer = layer_of(grouped(groups, channels, outputs))
    assert {width for width in (16, 64) if TilePattern(width).on(layer) is not None} == widths


def test_weights_of_what_is_smaller_than_a_tile_stay_anywhere() -> None:
    tiled, anywhere = gemm(), gemm()
    assert pruned(tiled, LayerPlan(40, damping=1e-3, pattern=TilePattern(64))) is None
    pruned(anywhere, LayerPlan(40, damping=1e-3))
    np.testing.assert_array_equal(stored(tiled), stored(anywhere))


def test_a_layer_in_blocks_is_tiled_as_a_whole() -> None:
    layer = layer_of(grouped(groups=1, channels=24, outputs=16))
    blocked = dataclasses.replace(layer, blocks=3)
    mask = np.random.default_rng(0).random(layer.matrix().shape) < 0.2
    weight = np.where(mask, layer.matrix(), 0.0)
    tiles, whole = TilePattern(64).on(blocked), TilePattern(64).on(layer)
    assert tiles is not None
    assert whole is not None
    slots = slots_of(kernel_order(layer.stored(weight)), 64)
    assert tiles.slots(blocked._split(weight) != 0) == whole.slots(mask) == slots


def test_only_tiles_have_slots() -> None:
    assert pruned(gemm(), LayerPlan(40, damping=1e-3)) is None
