"""Shapes of operands: trusted where they are inferred, else as recorded; what is broadcast counts once a copy."""

import onnx_ir as ir
import pytest
from bounded_nets import Net, bound_of, damaged, only_output, values

from netsurgeon.pipeline.error_bound.lipschitz.step import Extents, NoConstantError, constant_of


@pytest.mark.parametrize("names", [("N", "M"), ("?", "?"), (1, "N"), (None, None)])
def test_only_a_named_batch_is_taken_for_the_same(names: tuple[int | str | None, ...]) -> None:
    extents = Extents({"a": (names[0], 4), "b": (names[1], 4), "c": ("N", 8), "d": ("N", 2)})
    a, b, c, d = (ir.Value(name=name) for name in "abcd")
    assert extents.ratio(c, d) == 4
    assert not extents.wanted
    extents.ratio(b, a)
    assert set(extents.wanted) == {name for name, first in zip("ab", names, strict=True) if not isinstance(first, int)}
    extents.record({"a": [(2, 4), (1, 4)], "b": [(2, 4), (6, 4)]})
    assert extents.ratio(b, a) == 6
    with pytest.raises(NoConstantError, match="not known"):
        extents.cases(c)


def test_one_error_broadcast_over_a_batch_is_counted_once_a_sample() -> None:
    net = Net()
    row = net.add("Gemm", net.add("ReduceMean", "x", axes=[0], keepdims=1), net.draw(4, 4), net.draw(4))
    model = net.model(["N", 4], net.add("Add", "x", row), opset=13)
    output = only_output(bound_of(model, damaged(model), values(9, 4)))
    assert output.bound == pytest.approx(output.measured, rel=1e-4)


@pytest.mark.parametrize("attributes", [{}, {"value_float": 1.0, "value_int": 2}, {"other": 1.0}])
def test_a_constant_node_that_does_not_say_its_value_is_no_constant(attributes: dict[str, float]) -> None:
    assert constant_of(ir.node("Constant", [], attributes).outputs[0]) is None
    assert constant_of(ir.node("Constant", [], {"value_float": 1.5}).outputs[0]) == 1.5
