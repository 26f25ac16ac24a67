"""Tables on the numbers of a form: how exact, and one tensor for all who take it."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.layers import find_tables
from netsurgeon.passes.packing import MOST, RowForm, blocks_of
from netsurgeon.passes.quantization import RoundTables, row_errors
from netsurgeon.passes.quantization.round_tables import round_rows

Array = NDArray[Any]
TIED = """<ir_version: 8, opset_import: ["": 17]> net (int64[N, S] x) => (float[N, S, 2048] y) {
    rows = Gather(table, x)
    turned = Transpose<perm=[1, 0]>(table)
    y = MatMul(rows, turned)
}"""


def embeddings(rows: int = 2048, columns: int = 48) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((rows, columns)) * np.exp(rng.normal(size=(rows, 1)))).astype(np.float32)


@pytest.mark.parametrize(
    ("form", "least", "most"), [("float16", 0.0, 1e-7), ("int8", 1e-6, 1e-4), ("int4", 1e-3, 0.02)]
)
def test_every_row_is_as_exact_for_its_size(form: RowForm, least: float, most: float) -> None:
    table = embeddings()
    errors = row_errors(table, round_rows(table, form))
    assert least < errors.mean() < most
    assert errors.max() < 10.0 * errors.mean()


def test_rows_of_few_bits_are_clipped_where_that_loses_less() -> None:
    table = embeddings()
    largest = np.abs(table).max(axis=1, keepdims=True)
    steps = largest / MOST["int4"]
    widest = np.rint(table / steps) * steps
    assert row_errors(table, round_rows(table, "int4")).mean() < 0.9 * row_errors(table, widest).mean()


def test_a_row_of_zeros_stays_zero_and_nothing_is_minus_zero() -> None:
    table = embeddings(64)
    table[3] = 0.0
    rounded = round_rows(table, "int8")
    assert not rounded[3].any()
    assert not np.signbit(rounded[rounded == 0.0]).any()
    assert row_errors(table, rounded)[3] == 0.0


def test_parts_of_a_large_table_are_rounded_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    table = embeddings(100, 10)
    whole = round_rows(table, "int4")
    monkeypatch.setattr("netsurgeon.passes.packing.table_rows.BLOCK", 70)
    assert len(blocks_of(table)) == 15
    np.testing.assert_array_equal(round_rows(table, "int4"), whole)


def test_a_tied_table_stays_one_tensor() -> None:
    proto = onnx.parser.parse_model(TIED)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(embeddings(), "table"))
    model = ir.from_proto(proto)
    (table,) = find_tables(model.graph)
    assert (table.names, [node.op_type for node in table.tied]) == (("rows",), ["Transpose"])
    RoundTables({"table": "int8"})(model)
    assert list(model.graph.initializers) == ["table"]
    (rounded,) = {value.const_value for node in model.graph for value in node.inputs if value and value.const_value}
    assert rounded is not None
    np.testing.assert_array_equal(rounded.numpy(), round_rows(embeddings(), "int8"))
