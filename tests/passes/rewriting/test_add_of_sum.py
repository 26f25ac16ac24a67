"""Sums become Adds that give the same numbers."""

import numpy as np
import pytest
from quantized_models import network_of, node, normal, run

from netsurgeon.passes.rewriting.add_of_sum import SumToAdd


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_sum_becomes_adds_to_the_last_bit(count: int) -> None:
    constants = {f"c{index}": normal(6, seed=index) for index in range(1, count)}
    model = network_of([node("Sum", ["x", *constants], ["y"], "total")], constants, ("N", 6))
    output, before, x = model.graph.outputs[0], model.clone(), normal(5, 6)
    assert SumToAdd()(model).modified == (count > 1)
    assert [part.op_type for part in model.graph] == (["Add"] * (count - 1) or ["Sum"])
    assert model.graph[-1].name == "total"
    (after,) = model.graph.outputs
    assert (after.name, after.type, after.shape) == (output.name, output.type, output.shape)
    np.testing.assert_array_equal(run(model, x), run(before, x))
