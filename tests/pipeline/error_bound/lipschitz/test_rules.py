"""Every operator has one rule; those without any end the bound."""

import pytest
from bounded_nets import FLAT, Case, Net, constant_and_norm, ended, values

from netsurgeon.pipeline.error_bound.lipschitz import rules
from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError


def test_every_operator_has_one_rule() -> None:
    assert sum(len(family) for family in rules._FAMILIES) == len(rules.RULES)


def test_it_ends_at_layer_normalization() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 6), net.draw(6))
    stop = net.add("LayerNormalization", x, net.draw(6))
    output = ended(net, net.add("Relu", stop), ["N", 4], values(5, 4))
    assert output.ends_at == f"{stop} (LayerNormalization): no Lipschitz constant is known for it"


def test_it_ends_at_a_recurrent_cell() -> None:
    net = Net()
    x = net.add("MatMul", "x", net.draw(4, 4))
    stop = net.add("LSTM", x, net.draw(1, 12, 4), net.draw(1, 12, 3), hidden_size=3)
    assert str(ended(net, stop, [6, "N", 4], values(6, 2, 4)).ends_at).startswith(f"{stop} (LSTM)")


@pytest.mark.parametrize(
    "case",
    [
        Case("Round", FLAT),
        Case("Exp", FLAT),
    ],
    ids=str,
)
def test_operators_without_a_constant_say_so(case: Case) -> None:
    with pytest.raises(NoConstantError, match=r"\w"):
        constant_and_norm(case)
