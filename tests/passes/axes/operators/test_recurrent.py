"""LSTM, GRU and RNN: the trimmed model is the masked one."""

from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from trimming_networks import Case, Family, Net, X, add_case, check_case, check_refusal

from netsurgeon.passes.axes import Observation
from netsurgeon.passes.dependencies.track import track

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


def _steps(net: Net) -> str:
    """The input as four steps, (steps, batch, 36)."""
    return str(net.op("Transpose", net.op("Reshape", X, net.const([0, 4, 36])), perm=[1, 0, 2]))


def _recurrent(net: Net, kind: str, gates: int, *more: str, **attributes: Any) -> list[str]:
    """All outputs of a bidirectional cell of 7 units; `more` are inputs after the bias."""
    weights = net.weight(2, gates * 7, 36), net.weight(2, gates * 7, 7), net.weight(2, 2 * gates * 7)
    settings = {"hidden_size": 7, "direction": "bidirectional", **attributes}
    return list(net.op(kind, _steps(net), *weights, *more, outputs=3 if kind == "LSTM" else 2, **settings))


def _read(net: Net, output: str) -> Any:
    """A dense layer over both directions of Y, (steps, directions, batch, units), or of a state, without the steps."""
    every_step = output.endswith("_0")
    order, shape = ([0, 2, 1, 3], [0, 0, 14]) if every_step else ([1, 0, 2], [0, 14])
    return net.dense(net.op("Reshape", net.op("Transpose", output, perm=order), net.const(shape)), 14, 3)


@case(7, opset=14)
def lstm_backwards_without_a_bias(net: Net) -> Any:
    steps = _steps(net)
    output = net.op(
        "LSTM", steps, net.weight(1, 28, 36), net.weight(1, 28, 7), hidden_size=7, direction="reverse", outputs=1
    )
    return net.dense(net.op("Squeeze", output, net.const([1])), 7, 3)


@case(5, 7, opset=14)
def gru_after_gru(net: Net) -> Any:
    first = net.op("GRU", _steps(net), net.weight(1, 21, 36), net.weight(1, 21, 7), net.weight(1, 42), hidden_size=7)
    between = net.op("Squeeze", first, net.const([1]))
    second = net.op("GRU", between, net.weight(1, 15, 7), net.weight(1, 15, 5), net.weight(1, 30), hidden_size=5)
    return net.dense(net.op("Squeeze", second, net.const([1])), 5, 3)


@case(7, opset=14)
def rnn_over_sequences_of_two_lengths(net: Net) -> Any:
    return _read(net, _recurrent(net, "RNN", 1, net.const([4, 2], np.int32))[0])


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


# ------------------------------------------------------------------------------------------------ refusals
def refuse_computed_weights(net: Net) -> Any:
    weight = net.op("Mul", net.weight(1, 28, 36), net.op("ReduceMax", X, keepdims=0))
    output = net.op("LSTM", _steps(net), weight, net.weight(1, 28, 7), hidden_size=7)
    return net.dense(net.op("Squeeze", output, net.const([1])), 7, 3)


def refuse_state_of_a_layer(net: Net) -> Any:
    """The output of the model is the state itself."""
    return _recurrent(net, "GRU", 3)[1]


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_computed_weights, "LSTM", "weights are computed while the model runs"),
        (refuse_state_of_a_layer, "output", "output of the model"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)


def test_a_cell_whose_batch_comes_first_is_left_alone() -> None:
    """ONNX Runtime cannot run it, so that the shapes are told here."""
    model = ir.from_onnx_text(
        """
        <ir_version: 8, opset_import: ["" : 14]>
        cell (float[2, 4, 3] x) => (float[2, 4, 1, 1] y)
        <float[1, 1, 3] w = {1, 2, 3}, float[1, 1, 1] r = {1}> { y = RNN <hidden_size = 1, layout = 1> (x, w, r) }
        """
    )
    tracks = track(model.graph, Observation({"x": (2, 4, 3), "y": (2, 4, 1, 1)}))
    assert "its batch comes first" in {reason.text for reason in tracks.reasons}
