"""Plans spread a sparsity over the layers; those that leave no room are refused."""

import pytest
from perceptron_models import FAST, UNIFORM, inputs, perceptron

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError


@pytest.mark.parametrize(
    ("sparsity", "layers", "message"),
    [
        (0.9, {"first": 0.0}, "2,048 weights stay in the layer with a sparsity of its own, .* leaves only 269 for all"),
        (0.5, {"first": 0.75}, "1,536 weights go from the layer with a sparsity of its own, more than the 1,344 "),
        (0.9999, {}, "a sparsity of 0.9999 leaves none of 2,688 weights: give a smaller one"),
        (0.9999, {"first": 0.5}, "a sparsity of 0.9999 leaves none of 2,688 weights: give a smaller one"),
    ],
)
def test_sparsities_that_leave_no_room_are_refused(sparsity: float, layers: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compress(perceptron(), inputs(), sparsity=sparsity, layers=layers, **FAST)


def test_a_uniform_sparsity_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="leaves none of 2,688 weights"):
        compress(perceptron(), inputs(), sparsity=0.9999, **UNIFORM)
