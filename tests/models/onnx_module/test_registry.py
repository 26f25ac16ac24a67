"""The register of operators, and constants that are inputs in one version and attributes in another."""

import pytest
import torch

from netsurgeon.models.onnx_module.operators import operator
from netsurgeon.models.onnx_module.registry import given, number, together


def test_an_operator_is_registered_once() -> None:
    with pytest.raises(KeyError, match="Relu is registered twice"):
        operator("Relu")(lambda inputs, attributes: inputs[0])


@pytest.mark.parametrize(("place", "expected"), [(1, [3.0, 4.0]), (2, None), (3, None)])
def test_an_input_counts_before_the_attribute(place: int, expected: list[float] | None) -> None:
    inputs = [torch.zeros(1), torch.tensor([3.0, 4.0]), None]
    assert given(inputs, {}, place, "axes") == expected
    assert given(inputs, {"axes": [9]}, place, "axes") == (expected or [9])


def test_one_number_may_be_an_array_of_one() -> None:
    assert number([torch.tensor([2.5])], {}, 0, "alpha") == 2.5
    assert number([torch.tensor(2.5)], {}, 0, "alpha") == 2.5
    assert number([], {"alpha": 0.5}, 0, "alpha") == 0.5
    assert number([], {}, 0, "alpha") is None


def test_integers_that_wait_on_the_cpu_join_the_values() -> None:
    value, constant = torch.zeros(3, device="meta"), torch.arange(3)
    assert [x if x is None else x.device.type for x in together([constant, value, None])] == ["meta", "meta", None]
    assert together([constant])[0] is constant
