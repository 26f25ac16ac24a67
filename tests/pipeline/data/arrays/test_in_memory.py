"""Arrays by input name: in memory, and made up."""

import numpy as np
import pytest
from sample_sources import F32, SPEECH, TWO, X4, X, stacked

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples, random_samples
from netsurgeon.pipeline.errors import InputError


def test_random_is_seeded_and_independent_of_the_batch_size() -> None:
    samples = open_samples("random", (*TWO, InputSpec("x", F32, (None, None, 3)), InputSpec("on", np.dtype(bool), ())))
    assert samples.count == 64
    feed = next(iter(samples.batches()))
    assert {name: array.shape for name, array in feed.items()} == {
        "ids": (32, 5),
        "mask": (32, 5),
        "x": (32, 1, 3),
        "on": (),
    }
    assert set(np.unique(feed["ids"])) == {0, 1}
    again = open_samples("random:10", X, seed=5, batch_size=3)
    np.testing.assert_array_equal(stacked(again), stacked(random_samples(X, 10, 5)))
    assert again.digest() != random_samples(X, 10, 6).digest()


def test_random_with_fixed_and_unrelated_axes() -> None:
    assert random_samples(X4, 10).count == 12
    samples = random_samples(SPEECH, 3)
    assert (samples.count, samples.batched) == (3, False)
    assert [feed["state"].shape for feed in samples.batches()] == [(2, 1, 4)] * 3


def test_random_needs_a_shape_and_numbers() -> None:
    with pytest.raises(InputError, match="rank of the input 'x' is unknown"):
        random_samples((InputSpec("x", F32, None),))
    with pytest.raises(InputError, match="real data"):
        list(random_samples((InputSpec("x", np.dtype(complex), (None, 3)),)).batches())


@pytest.mark.parametrize("shape", [(2**40, 3), (None, 2**40)])
def test_random_samples_of_a_huge_shape_are_refused(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(InputError, match=r"at most"):
        open_samples("random:2", (InputSpec("x", F32, shape),))
