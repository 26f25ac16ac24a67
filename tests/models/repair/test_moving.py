"""Masks move inside their cells: as many weights stay, the largest, and no row or column that is empty comes back."""

import numpy as np
import pytest
import torch
from onnx import helper
from perceptron_models import built, random

from netsurgeon.models.onnx_module import OnnxModule
from netsurgeon.models.repair.moving import MaskMoves, move_masks, moved_mask

MASK = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
SIZES = np.array([[5, 9, 1, 9], [2, 3, 4, 9], [9, 9, 9, 9]], np.float32)


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.0, [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]),
        (0.25, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]),
        (0.5, [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]),
        (1.0, [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]),
    ],
)
def test_what_has_grown_takes_the_place_of_what_is_smaller(share: float, kept: list[list[int]]) -> None:
    moved = moved_mask(MASK, SIZES, np.zeros(MASK.shape, np.int64), share)
    assert np.array_equal(moved, np.array(kept, bool))


def test_cells_keep_as_many_as_they_had() -> None:
    rng = np.random.default_rng(0)
    mask, sizes = rng.random((8, 12, 3, 3)) < 0.3, rng.random((8, 12, 3, 3)).astype(np.float32)
    cells = rng.integers(0, 20, mask.shape)
    moved = moved_mask(mask, sizes, cells, 0.5)
    assert not np.array_equal(moved, mask)
    counts = [np.bincount(cells.ravel(), each.ravel(), minlength=20) for each in (mask, moved)]
    assert np.array_equal(*counts)


def test_masks_move_in_the_first_half_and_ever_less() -> None:
    moves = MaskMoves(cells={}, every=10, until=0.5, share=0.1)
    shares = [moves.share_at(step, 100) for step in range(1, 101)]
    assert [step for step, share in enumerate(shares, 1) if share] == [10, 20, 30, 40]
    assert sorted(shares[9:40:10], reverse=True) == shares[9:40:10]


def test_weights_that_come_back_begin_at_zero() -> None:
    weight = random(32, 10) * (np.abs(random(32, 10)) > 1.0)
    network = OnnxModule(built([helper.make_node("Gemm", ["x", "w1"], ["y"], name="first")], {"w1": weight}))
    parametrization = network.parametrizations[network.places["w1"]]
    before = network.arrays()["w1"]
    grown = np.where(before == 0, 3.0, before).astype(np.float32)
    with torch.no_grad():
        parametrization.original.copy_(torch.from_numpy(grown))
    move_masks(network, MaskMoves(cells={"w1": np.zeros((32, 10), np.int64)}), 0.1)
    after, mask = network.arrays()["w1"], parametrization[0].mask.numpy()
    came = mask & (before == 0)
    assert came.any()
    assert mask.sum() == np.count_nonzero(before)
    assert not after[came].any()
    assert np.array_equal(after[mask & ~came], before[mask & ~came])
