"""Tables stored as what stands for their rows: equal to the last bit, small, and back again."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.packing import PackWeights, RowForm, StoreTables, UnpackWeights, packed_weights
from netsurgeon.passes.packing.table_rows import stored_rows
from netsurgeon.passes.quantization import RoundTables
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
ROWS, COLUMNS = 2048, 48
GRAPHS = {
    "one lookup": "y = Gather(table, x)",
    "two lookups": "a = Gather(table, x) n = Neg(x) b = Gather(table, n) y = Add(a, b)",
    "tied head": "a = Gather(table, x) t = Transpose<perm = [1, 0]>(table) h = MatMul(a, t)"
    "s = ReduceSum<keepdims = 0>(h) y = Add(a, s)",
    "tied Gemm": "a = Gather(table, x) f = Flatten<axis = 2>(a) h = Gemm<transB = 1>(f, table)"
    "s = ReduceSum<keepdims = 0>(h) y = Add(a, s)",
}
SIZES = {"float16": 2.0, "int8": 1.05, "int4": 0.6}
"""Most bytes a number, with scales, names and nodes."""


def network(nodes: str, opset: int = 17) -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["": {opset}]> net (int64[N, S] x) => (float[N, S, C] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((ROWS, COLUMNS)) * np.exp(rng.normal(size=(ROWS, 1)))
    table[7] = 0.0
    proto.graph.initializer.append(onnx.numpy_helper.from_array(table.astype(np.float32), "table"))
    model = ir.from_proto(proto)
    normal_form()(model)  # nodes are named
    return model


def run(model: ir.Model) -> Array:
    ids = np.array([[0, 5, ROWS - 1, 7], [5, 7, 1, 1]])
    return np.asarray(Runtime(threads=1).session(model).run({"x": ids})["y"])


def reread(model: ir.Model) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(ir.to_proto(model).SerializeToString()))


@pytest.mark.parametrize("form", SIZES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_rows_are_equal_to_the_last_bit_and_unpacked_again(graph: str, form: RowForm) -> None:
    rounded = network(GRAPHS[graph])
    RoundTables({"table": form})(rounded)
    stored = rounded.clone()
    storing = StoreTables()
    storing(stored)
    assert storing.stored["table"].form == form
    onnx.checker.check_model(ir.to_proto(stored))
    np.testing.assert_array_equal(run(stored), run(rounded))
    assert len(ir.to_proto(stored).SerializeToString()) < SIZES[form] * ROWS * COLUMNS + 2000
    names = packed_weights(reread(stored))
    assert names == ["table"]
    plain = reread(stored)
    UnpackWeights()(plain)
    assert [node.op_type for node in plain.graph] == [node.op_type for node in rounded.graph]
    assert [node.name for node in plain.graph if node.op_type == "Gather"] == [
        node.name for node in rounded.graph if node.op_type == "Gather"
    ]
    (table,) = plain.graph.initializers.values()
    assert table.name == "table"
    assert table.const_value is not None
    np.testing.assert_array_equal(table.const_value.numpy(), rounded.graph.initializers["table"].const_value.numpy())  # type: ignore[union-attr]
    assert not packed_weights(plain)


def test_codes_may_be_packed_besides() -> None:
    """Where half of the rows are zero, codes with a bitmap or gaps are smaller than codes alone."""
    rounded = network(GRAPHS["one lookup"])
    table = rounded.graph.initializers["table"].const_value
    assert table is not None
    numbers = table.numpy().copy()
    numbers[::2] = 0.0
    rounded.graph.initializers["table"].const_value = ir.tensor(numbers, name="table")
    RoundTables({"table": "int8"})(rounded)
    stored = rounded.clone()
    StoreTables()(stored)
    PackWeights()(stored)
    assert len(ir.to_proto(stored).SerializeToString()) < 0.75 * ROWS * COLUMNS
    np.testing.assert_array_equal(run(stored), run(rounded))
    plain = reread(stored)
    UnpackWeights()(plain)
    np.testing.assert_array_equal(plain.graph.initializers["table"].const_value.numpy(), round_of(rounded))  # type: ignore[union-attr]
    assert [node.op_type for node in plain.graph] == ["Gather"]


def round_of(model: ir.Model) -> Array:
    constant = model.graph.initializers["table"].const_value
    assert constant is not None
    return constant.numpy()


def test_a_table_on_no_grid_stays() -> None:
    model = network(GRAPHS["one lookup"])
    storing = StoreTables()
    assert not storing(model).modified
    assert not storing.stored


def test_a_single_number_off_the_grid_keeps_all_of_it_as_it_is() -> None:
    model = network(GRAPHS["one lookup"])
    RoundTables({"table": "int8"})(model)
    table = round_of(model).copy()
    assert stored_rows(table) is not None
    table[1001, 17] *= np.float32(1.0 + 2.0**-20)
    assert stored_rows(table) is None


def test_scales_are_found_where_the_largest_number_of_a_row_has_gone() -> None:
    """As they have where units were removed: the rest lies on the same integers still."""
    model = network(GRAPHS["one lookup"])
    RoundTables({"table": "int8"})(model)
    table = round_of(model)
    fewer = np.take_along_axis(table, np.sort(np.argsort(np.abs(table), axis=1)[:, :-8], axis=1), axis=1)
    rows = stored_rows(fewer)
    assert rows is not None
    assert rows.form == "int8"
    assert rows.scales is not None
    np.testing.assert_array_equal(rows.codes * rows.scales.astype(np.float32), fewer)


def test_minus_zero_and_nan_are_not_lost() -> None:
    for number in (-0.0, np.nan):
        table = np.zeros((256, 256), np.float32)
        table[3, 3] = number
        assert stored_rows(table) is None


def test_a_lookup_of_the_users_own_is_not_taken_for_one() -> None:
    nodes = "g = Gather(codes, x) f = Cast<to = 1>(g) y = Mul(f, two)"
    text = f'<ir_version: 8, opset_import: ["": 17]> net (int64[N, S] x) => (float[N, S, 4] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    for name, array in (("codes", np.ones((8, 4), np.int8)), ("two", np.array(2.0, np.float32))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for name in ("", "unpack_rows0"):
        model = ir.from_proto(proto)
        model.graph[-1].name = name
        assert not packed_weights(model) or name
    model.graph[-1].op_type = "Sub"
    assert not packed_weights(model)
    assert not UnpackWeights()(model).modified
