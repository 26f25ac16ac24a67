"""Where integers may be other than 0: where the float model's weights are, or where they are integers already."""

import numpy as np
import pytest
from integer_models import float_net, integer_net

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.pruning import read_pattern
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.passes.solvers import Tiles
from netsurgeon.pipeline.repair import integer_patterns
from netsurgeon.pipeline.repair.patterns import cells_of_weights


def test_what_rounding_has_made_zero_may_grow_again_and_nothing_else() -> None:
    dense = float_net(zeros=0.5)
    integers = integer_net(dense, most=1)
    patterns, weights = integer_patterns(dense, integers), find_integer_weights(integers.graph)
    floats = {layer.name: tensor(layer.weight).numpy() for layer in find_layers(dense.graph)[0]}
    assert len(patterns) == 4
    for layer, weight in weights.items():
        assert np.array_equal(patterns[weight.name], floats[layer] != 0)
        assert (patterns[weight.name] & (weight.codes == 0)).any()


def test_a_layer_that_only_the_integer_model_has_keeps_its_zeros() -> None:
    dense = float_net(zeros=0.5)
    integers = integer_net(dense)
    next(node for node in dense.graph if node.op_type == "Conv").name = "another"
    assert len(integer_patterns(dense, integers)) == 3


def test_zeros_that_have_paid_for_a_bias_stay() -> None:
    dense = float_net(zeros=0.5)
    integers = integer_net(dense, most=1)
    assert "first" in integer_patterns(dense, integers)
    next(node for node in dense.graph if node.op_type == "Conv").replace_input_with(2, None)
    assert "first" not in integer_patterns(dense, integers)


def test_a_weight_changes_places_inside_what_the_pattern_counts() -> None:
    layers = [layer.name for layer in find_layers(float_net().graph)[0]]
    assert not any(cells.any() for cells in cells_of_weights(float_net(), layers, None).values())
    cells = cells_of_weights(float_net(), layers[1:2], read_pattern("2:4"))
    assert set(cells) == {"second"}
    groups = cells["second"].reshape(8, 2, 4, 9)  # four input channels of each output channel and kernel position
    assert (groups == groups[:, :, :1]).all()
    assert len(np.unique(groups)) == 8 * 2 * 9


@pytest.mark.parametrize("width", [16, 64])
def test_inside_a_row_of_a_tile_depths_stay(width: int) -> None:
    tiles = Tiles(width, np.random.default_rng(0).permutation(80))
    cells = tiles.cells((1, 20, 80))
    assert cells.shape == (1, 20, 80)
    assert len(np.unique(cells)) == 20 * -(-80 // width)
    assert np.bincount(cells.ravel()).max() == width
    mask = np.random.default_rng(1).random((1, 20, 80)) < 0.3
    order = np.lexsort((np.random.default_rng(2).random(mask.size), cells.ravel()))
    counts = np.bincount(cells.ravel(), mask.ravel()).astype(int)
    moved = np.zeros(mask.size, bool)
    for cell in np.unique(cells):
        moved[[at for at in order if cells.ravel()[at] == cell][: counts[cell]]] = True
    assert not np.array_equal(moved.reshape(mask.shape), mask)
    assert np.array_equal(tiles.depths(moved.reshape(mask.shape)), tiles.depths(mask))
