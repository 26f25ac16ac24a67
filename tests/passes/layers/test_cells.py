"""Recurrent cells: which there are, and their weights."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from netsurgeon.passes.layers import Cell, find_cells

TEXT = """<ir_version: 8, opset_import: ["": 17]> net (float[S, N, 4] x, float[1, 12, 3] r) => (y, z) {
    y = LSTM <hidden_size = 3> (x, w, r1)
    flag = Constant <value_int = 1> ()
    yes = Cast <to = 9> (flag)
    z = If (yes) <then_branch = g1 () => (a) { a = GRU <hidden_size = 3> (x, w2, r) },
                  else_branch = g2 () => (b) { b = GRU <hidden_size = 3> (x, w2, r) }>
}"""


def cells() -> list[Cell]:
    proto = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (1, 12, 4), "r1": (1, 12, 3), "w2": (1, 9, 4)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return find_cells(ir.from_proto(proto).graph)


def test_cells_are_found_in_the_graph_and_in_bodies_with_the_weights_that_are_constants() -> None:
    lstm, *grus = cells()
    assert (lstm.name, lstm.operator, lstm.input.name) == ("y", "LSTM", "x")
    assert [weight.name for weight in lstm.weights] == ["w", "r1"]
    assert [gru.operator for gru in grus] == ["GRU", "GRU"]
    assert [[weight.name for weight in gru.weights] for gru in grus] == [["w2"], ["w2"]]


def test_weights_are_read_and_written_in_their_own_type() -> None:
    lstm = cells()[0]
    first, second = lstm.matrices()
    assert [matrix.shape for matrix in (first, second)] == [(1, 12, 4), (1, 12, 3)]
    assert first.dtype == second.dtype == np.float64
    lstm.write(2.0 * first, second)
    assert [weight.dtype for weight in lstm.weights] == [ir.DataType.FLOAT] * 2
    np.testing.assert_allclose(lstm.matrices()[0], 2.0 * first)
    with pytest.raises(ValueError, match="shorter"):
        lstm.write(first)
