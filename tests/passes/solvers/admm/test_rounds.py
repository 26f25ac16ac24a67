"""A round that is kept or sent is small, and comes back as it was."""

import pickle

import numpy as np
from layer_problems import normal

from netsurgeon.passes.solvers import admm


def test_the_support_of_a_packed_round_is_a_bit_a_weight() -> None:
    mask = normal(2, 64, 1001) > 0.0
    packed = admm.PackedRound.of(admm.Round(2, 2, 0.1, None, mask))
    assert len(pickle.dumps(packed)) < mask.size / 7
    of_round = packed.unpacked()
    assert (of_round.taken, of_round.steps, of_round.rho, of_round.settled_with) == (2, 2, 0.1, None)
    np.testing.assert_array_equal(of_round.mask, mask)
    some = packed.unpacked(np.s_[8:40]).mask
    np.testing.assert_array_equal(some[:, 8:40], mask[:, 8:40])
    assert np.count_nonzero(some) == np.count_nonzero(mask[:, 8:40])
