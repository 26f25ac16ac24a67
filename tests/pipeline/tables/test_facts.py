"""Tables are reported as they are in the file, also where units that they feed have taken columns with them."""

from typing import Any

import numpy as np
import onnx
import pytest
from printed_text import printed

from netsurgeon import Compression, compress
from netsurgeon.passes.graph import tensor
from netsurgeon.pipeline.report import render
from netsurgeon.pipeline.terminal.console import print_report

ROWS = 4096
IDS = np.random.default_rng(1).integers(0, 2048, (64, 6))
DROPPED = np.setdiff1d(np.arange(1000, ROWS, 2), IDS)
NODES = "rows = Gather(table, ids) h = MatMul(rows, first) b = Add(h, bias) r = Relu(b) y = MatMul(r, head)"


def trimmed(columns: int, **options: Any) -> Compression:
    """A network without half of its units, of which some are the columns of its table."""
    text = f'<ir_version: 8, opset_import: ["": 17]> net (int64[N, 6] ids) => (float[N, 6, 12] y) {{ {NODES} }}'
    rng, proto = np.random.default_rng(0), onnx.parser.parse_model(text)
    shapes = {"table": (ROWS, columns), "first": (columns, 24), "bias": (24,), "head": (24, 12)}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return compress(proto, {"ids": IDS}, trim=0.5, damping=0.01, effort="fast", **options)


@pytest.mark.parametrize(("tables", "of_a_row"), [("float32", 4 * 16), ("float16", 2 * 16), ("int8", 16 + 2)])
def test_bytes_are_those_of_the_columns_that_are_left(tables: str, of_a_row: int) -> None:
    result = trimmed(32, tables=tables, pack=False)
    (facts,) = result.report.tables
    assert tuple(tensor(result.model.graph.initializers["table"]).shape) == (ROWS, facts.columns_left)
    assert (facts.columns, facts.columns_removed, facts.stored) == (32, 16, tables)
    assert (facts.bytes_before, facts.bytes_after) == (4 * 32 * ROWS, of_a_row * ROWS)
    assert "16 columns removed" in render(result.report)
    assert "16 columns removed" in printed(print_report, result.report)


@pytest.mark.parametrize("tables", ["float32", "int8"])
def test_rows_of_a_table_that_became_too_small_to_merge_are_not_dropped(tables: str) -> None:
    result = trimmed(20, tables=tables, drop_rows={"table": DROPPED})
    (facts,) = result.report.tables
    assert tuple(tensor(result.model.graph.initializers["table"]).shape) == (ROWS, 8)
    assert (facts.rows_dropped, facts.rows_left, facts.stored) == (0, ROWS, "float32")
    assert facts.bytes_after == 4 * 8 * ROWS
    assert "rows dropped" not in render(result.report)


def test_rows_of_a_table_that_is_large_enough_are() -> None:
    (facts,) = trimmed(64, tables="float32", drop_rows={"table": DROPPED}).report.tables
    assert (facts.rows_dropped, facts.columns_left) == (len(DROPPED), 32)
    assert facts.bytes_after == 4 * 32 * (ROWS - len(DROPPED) + 1) + 2 * ROWS, "places are two bytes each"
