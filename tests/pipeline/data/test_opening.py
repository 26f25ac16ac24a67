"""Which kind of source is given: what is no source is refused, in one sentence."""

import numpy as np
import pytest
from sample_sources import X4, X, rows, stacked

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


@pytest.mark.parametrize("name", ["random:", "random:0", "random:many", "random:-3"])
def test_random_with_a_bad_count(name: str) -> None:
    if name == "random:":
        assert open_samples(name, X).count == 64
        return
    with pytest.raises(InputError, match="random:N"):
        open_samples(name, X)


def test_limit_keeps_a_seeded_subset_in_order() -> None:
    first = stacked(open_samples(rows(50), X, limit=7, seed=3))
    np.testing.assert_array_equal(first, stacked(open_samples(rows(50), X, limit=7, seed=3)))
    assert np.all(np.diff(first[:, 0]) > 0)
    assert len(first) == 7
    assert not np.array_equal(first, stacked(open_samples(rows(50), X, limit=7, seed=4)))


def test_limit_is_rounded_to_whole_feeds() -> None:
    samples = open_samples(rows(50), X4, limit=10)
    assert samples.count == 8
    assert samples.warnings == ()


def test_unsupported_source() -> None:
    with pytest.raises(InputError, match="type int is not understood"):
        open_samples(7, X)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"limit": 0}, {"seed": -1}])
def test_numbers_out_of_range(arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected at least"):
        open_samples(rows(3), X, **arguments)  # type: ignore[arg-type]


def test_model_without_inputs() -> None:
    with pytest.raises(InputError, match="no inputs"):
        open_samples(rows(3), ())


def test_picture_options_without_pictures() -> None:
    with pytest.raises(InputError, match="leave them out"):
        open_samples(rows(3), X, pictures=PictureOptions())
