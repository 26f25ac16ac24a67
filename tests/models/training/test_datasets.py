"""Splits and batches are functions of seed and step, and pictures move with their edges repeated."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from netsurgeon.models.training.datasets import augment, rows_of_step, seed_of_step, split


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Example i is the number i, of class i % 3."""

    count: int

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.count) % 3

    def inputs(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return rows.astype(np.float32)


def test_a_split_shares_no_example_and_loses_none() -> None:
    rest, drawn = split(Numbers(20), 6, seed=1)
    assert (rest.count, drawn.count) == (14, 6)
    assert sorted([*rest.rows, *drawn.rows]) == list(range(20))
    assert drawn.inputs(np.array([0, 5])).tolist() == drawn.rows[[0, 5]].tolist()
    assert drawn.labels is not None
    assert drawn.labels.tolist() == (drawn.rows % 3).tolist()
    assert split(Numbers(20), 6, seed=1)[1].rows.tolist() == drawn.rows.tolist()
    assert split(Numbers(20), 6, seed=2)[1].rows.tolist() != drawn.rows.tolist()


def test_an_epoch_has_no_example_twice_and_every_epoch_its_own_order() -> None:
    epochs = [np.concatenate([rows_of_step(10, 3, 0, 3 * epoch + batch) for batch in range(3)]) for epoch in range(2)]
    assert all(len(set(epoch.tolist())) == 9 for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    assert rows_of_step(10, 3, 0, 4).tolist() == epochs[1][3:6].tolist()


def test_fewer_examples_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 training examples are fewer than one batch of 4"):
        rows_of_step(3, 4, 0, 0)


def test_every_process_and_step_has_a_seed_of_its_own() -> None:
    assert len({seed_of_step(seed, step, rank) for seed in range(3) for step in range(3) for rank in range(3)}) == 27


def test_a_moved_picture_is_a_window_of_the_picture_with_its_edge_repeated() -> None:
    pictures = torch.rand(12, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    moved = augment(pictures, 2, False, torch.Generator().manual_seed(1))
    padded = np.pad(pictures.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    shifts = set()
    for picture, frame in zip(moved.numpy(), padded, strict=True):
        windows = [
            (r, c) for r in range(5) for c in range(5) if np.array_equal(frame[:, r : r + 5, c : c + 4], picture)
        ]
        assert len(windows) == 1
        shifts.update(windows)
    assert len(shifts) > 3


def test_some_pictures_are_mirrored_and_nothing_else() -> None:
    pictures = torch.rand(20, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    found = augment(pictures, 0, True, torch.Generator().manual_seed(1))
    mirrored = [torch.equal(one, other.flip(2)) for one, other in zip(found, pictures, strict=True)]
    same = [torch.equal(one, other) for one, other in zip(found, pictures, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 20
