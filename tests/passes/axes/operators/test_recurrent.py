"""LSTM, GRU and RNN: the trimmed model is the masked one."""

from functools import partial
from typing import Any

import pytest
from trimming_networks import Case, Net, X, add_case, check_case

CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


@case(7, opset=14)
def lstm(net: Net) -> Any:
    return _read(net, _recurrent(net, "LSTM", 4)[0])


@case(7, opset=14)
def gru(net: Net) -> Any:
    return _read(net, _recurrent(net, "GRU", 3, linear_before_reset=1)[0])


@case(7, opset=14)
def rnn(net: Net) -> Any:
    return _read(net, _recurrent(net, "RNN", 1)[0])


@case(7, opset=14)
def lstm_with_peepholes(net: Net) -> Any:
    return _read(net, _recurrent(net, "LSTM", 4, "", "", "", net.weight(2, 21))[0])


@case(7, opset=14)
def lstm_from_given_states(net: Net) -> Any:
    return _read(net, _recurrent(net, "LSTM", 4, "", net.weight(2, 2, 7), net.weight(2, 2, 7))[0])


@case(7, opset=14)
def lstm_states(net: Net) -> Any:
    _, state, cell = _recurrent(net, "LSTM", 4)
    return net.op("Add", _read(net, state), _read(net, cell))


@case(7, opset=14)
def gru_with_its_state(net: Net) -> Any:
    steps, state = _recurrent(net, "GRU", 3)
    return net.op("Add", _read(net, steps), _read(net, state))


def _recurrent(net: Net, kind: str, gates: int, *more: str, **attributes: Any) -> list[str]:
    """All outputs of a bidirectional cell of 7 units; `more` are inputs after the bias."""
    steps = net.op("Transpose", net.op("Reshape", X, net.const([0, 4, 36])), perm=[1, 0, 2])
    weights = net.weight(2, gates * 7, 36), net.weight(2, gates * 7, 7), net.weight(2, 2 * gates * 7)
    settings = {"hidden_size": 7, "direction": "bidirectional", **attributes}
    return list(net.op(kind, steps, *weights, *more, outputs=3 if kind == "LSTM" else 2, **settings))


def _read(net: Net, output: str) -> Any:
    """A dense layer over both directions of Y, (steps, directions, batch, units), or of a state, without the steps."""
    every_step = output.endswith("_0")
    order, shape = ([0, 2, 1, 3], [0, 0, 14]) if every_step else ([1, 0, 2], [0, 14])
    return net.dense(net.op("Reshape", net.op("Transpose", output, perm=order), net.const(shape)), 14, 3)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)
