"""How errors travel: through every part of a Split, by shapes that only a run tells, and to where they end."""

import math
from typing import Any

import numpy as np
import pytest
from bounded_nets import (
    ROUNDING,
    Net,
    assert_holds,
    bound_of,
    damaged,
    ended,
    values,
    whole,
)
from onnx import TensorProto, helper


def test_every_part_of_a_split_may_carry_the_whole_error() -> None:
    net = Net()
    x = net.add("Split", net.conv("x", 6, 3), net.constant(whole(2, 2, 2)), axis=1, outputs=3)
    model = net.model(["N", 3, 5, 5], x, f"{x}_1", net.add("Relu", f"{x}_2"))
    bound = bound_of(model, damaged(model), values(5, 3, 5, 5))
    assert_holds(bound)
    assert [output.bound for output in bound.outputs] == [pytest.approx(bound.layers[0].error)] * 3


@pytest.mark.parametrize("names", [["N", 3, None, None], ["?", 3, "?", "?"], [-1, 3, -1, -1]])
def test_extents_that_vary_are_read_while_the_model_runs(names: list[Any]) -> None:
    net = Net()
    x = net.conv("x", 4, 3, pads=[1] * 4)
    pooled = net.add("GlobalAveragePool", x)
    model = net.model(
        names, pooled, net.add("Add", x, pooled), net.add("ReduceMean", x, axes=[2], keepdims=0), opset=13
    )
    bound = bound_of(model, damaged(model), values(2, 3, 4, 4), values(3, 3, 9, 7))
    assert_holds(bound)
    error = bound.layers[0].error
    # The smallest picture has 16 places, the largest 63: 1/√16 through the pooling, times √63 back to the picture.
    assert bound.outputs[0].bound == pytest.approx(error / 4)
    assert bound.outputs[1].bound == pytest.approx(error * (1 + math.sqrt(63) / 4))
    assert bound.outputs[2].bound == pytest.approx(error / 2)


def test_it_ends_at_control_flow_that_captures_an_error() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    branches = {}
    for branch, operator in (("then_branch", "Relu"), ("else_branch", "Abs")):
        outline = helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph([helper.make_node(operator, [x], [branch], branch)], branch, [], [outline])
    stop = net.add("If", net.constant(np.array(True)), **branches)
    assert str(ended(net, stop, ["N", 4], values(5, 4)).ends_at).startswith(f"{stop} (If)")


def test_a_discrete_value_ends_it() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 9), net.draw(9))
    best = net.add("ArgMax", x, axis=1, keepdims=0)
    kept = net.add("Cast", net.add("Cast", x, to=TensorProto.INT32), to=TensorProto.FLOAT)
    model = net.model(["N", 4], best, kept, net.add("Relu", x))
    first, second, third = bound_of(model, damaged(model), values(50, 4)).outputs
    assert (first.bound, math.isnan(first.measured)) == (None, True)
    assert first.ends_at == f"output {best!r} is discrete (int64)"
    assert second.bound is None
    assert "discrete" in str(second.ends_at)
    assert third.bound is not None
    assert third.measured <= third.bound * ROUNDING


def test_shapes_carry_no_error_past_an_end() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    lost = net.add("Mul", x, x)
    model = net.model(["N", 4], net.add("Reshape", x, net.add("Shape", lost)))
    assert_holds(bound_of(model, damaged(model), values(5, 4)))


def test_shapes_that_depend_on_compressed_values_are_not_taken_for_equal() -> None:
    net = Net()
    x = net.add("Relu", net.add("Gemm", "x", net.draw(4, 4), net.draw(4)))
    places = net.add("NonZero", x)
    counts = net.add("Cast", net.add("Shape", places), to=TensorProto.FLOAT)
    model = net.model(["N", 4], counts, net.add("Reshape", x, net.add("Shape", x)))
    counted, reshaped = bound_of(model, damaged(model), values(50, 4)).outputs
    assert counted.measured > 0
    assert counted.ends_at == f"{places} (NonZero): no Lipschitz constant is known for it"
    assert reshaped.bound is not None
