"""Which nodes differ between two models, and which models cannot be compared."""

import pytest
from bounded_nets import bound_of, random_net, values

from netsurgeon.pipeline.errors import InputError


def test_identical_models_have_no_error() -> None:
    model = random_net(0)
    bound = bound_of(model, model.clone(), values(3, 3, 8, 8))
    assert bound.layers == ()
    assert [(o.bound, o.measured, o.ends_at) for o in bound.outputs] == [(0.0, 0.0, None)] * 2


def test_other_graphs_are_an_error() -> None:
    with pytest.raises(InputError, match="differ in nodes"):
        bound_of(random_net(0), random_net(1), values(2, 3, 8, 8))
