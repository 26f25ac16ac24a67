"""Rows that are never used are stored once: the file is smaller, indices mean what they meant, and uses are refused."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from netsurgeon import compress
from netsurgeon.passes.dependencies import position_axes
from netsurgeon.passes.graph import tensor
from netsurgeon.pipeline.data import PositionMask, open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Runtime, observe
from netsurgeon.pipeline.tables import check_dropped_rows, rows_to_drop

ROWS, COLUMNS = 4096, 32
IDS = np.random.default_rng(1).integers(0, 2048, (64, 6))
DROPPED = np.setdiff1d(np.arange(1000, ROWS, 2), IDS)
LOOKUP = "rows = Gather(table, ids) y = MatMul(rows, head)"
TIED = "rows = Gather(table, ids) turned = Transpose<perm = [1, 0]>(table) y = MatMul(rows, turned)"
OPTIONS: dict[str, Any] = {"sparsity": 0.5, "damping": 0.01, "effort": "fast"}


def network(nodes: str = LOOKUP) -> onnx.ModelProto:
    text = f'<ir_version: 8, opset_import: ["": 17]> net (int64[N, 6] ids) => (float[N, 6, C] y) {{ {nodes} }}'
    rng, proto = np.random.default_rng(0), onnx.parser.parse_model(text)
    for name, shape in (("table", (ROWS, COLUMNS)), ("head", (COLUMNS, 12))):
        if name in nodes:
            array = rng.standard_normal(shape).astype(np.float32)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def outputs(model: Any, ids: Any) -> Any:
    return Runtime(threads=1).session(model).run({"ids": np.asarray(ids)})["y"]


@pytest.mark.parametrize("tables", ["float32", "float16", "int8", "int4"])
def test_the_file_is_smaller_and_other_rows_are_what_they_were(tables: str) -> None:
    whole, small = (
        compress(network(), {"ids": IDS}, tables=tables, drop_rows=rows, **OPTIONS) for rows in ({}, {"table": DROPPED})
    )
    used = np.setdiff1d(np.arange(ROWS), DROPPED)[None, : 6 * 400].reshape(-1, 6)
    np.testing.assert_array_equal(outputs(small.model, used), outputs(whole.model, used))
    np.testing.assert_array_equal(outputs(small.model, used - ROWS), outputs(whole.model, used), "counted from the end")
    (facts,), (before,) = small.report.tables, whole.report.tables
    assert (facts.rows, facts.rows_dropped, facts.stored) == (ROWS, len(DROPPED), tables)
    saved = whole.report.compressed.bytes - small.report.compressed.bytes
    assert saved > 0.8 * (before.bytes_after - facts.bytes_after) > 0
    shared = outputs(small.model, DROPPED[:6][None])
    np.testing.assert_array_equal(shared[0], np.broadcast_to(shared[0, :1], shared[0].shape))
    mean = outputs(whole.model, DROPPED[: len(DROPPED) // 6 * 6].reshape(-1, 6)).reshape(-1, 12).mean(axis=0)
    np.testing.assert_allclose(shared[0, 0], mean, atol=0.1)


def test_a_compressed_model_is_read_and_compressed_again(tmp_path: Path) -> None:
    """Rows that are one stay one, under their old numbers."""
    file = tmp_path / "rows.txt"
    file.write_text("\n".join(map(str, DROPPED)))
    first = compress(network(), {"ids": IDS}, drop_rows={"rows": file}, **OPTIONS)
    again = compress(first.model, {"ids": IDS}, **OPTIONS)
    assert again.report.tables[0].rows == ROWS - len(DROPPED) + 1
    assert again.report.compressed.bytes <= first.report.compressed.bytes * 1.01
    error = outputs(again.model, IDS) - outputs(first.model, IDS)
    assert np.linalg.norm(error) < np.linalg.norm(outputs(first.model, IDS))


def test_rows_that_were_merged_have_no_other_rows_dropped() -> None:
    """The user's numbers are those of the first model's rows, no longer those of the table's."""
    first = compress(network(), {"ids": IDS}, drop_rows={"table": DROPPED}, **OPTIONS)
    with pytest.raises(InputError, match="of which rows were merged before"):
        compress(first.model, {"ids": IDS}, drop_rows={"table": DROPPED[:9]}, **OPTIONS)


def test_a_table_that_is_small_once_it_is_trimmed_is_left_alone() -> None:
    model = ir.from_proto(network())
    options = Options(drop_rows={"table": DROPPED})
    table = model.graph.initializers["table"]
    table.const_value = ir.tensor(tensor(table).numpy()[:, :8], name="table")
    assert rows_to_drop(model.graph, options, missing_ok=True) == {}
    with pytest.raises(InputError, match="is not a large table"):
        rows_to_drop(model.graph, options)


def test_rows_of_a_table_by_two_names_are_joined() -> None:
    model = ir.from_proto(network(LOOKUP.replace("rows = Gather", "[lookup] rows = Gather")))
    rows = rows_to_drop(model.graph, Options(drop_rows={"table": "1-3", "lookup": "2,9"}))
    assert {name: of_table.tolist() for name, of_table in rows.items()} == {"table": [1, 2, 3, 9]}


def test_a_goal_takes_them_into_account() -> None:
    options: dict[str, Any] = {"max_drop": 0.4, "quantize": "none", "effort": "fast"}
    result = compress(network(), {"ids": IDS}, drop_rows={"table": DROPPED}, **options)
    assert result.report.tables[0].rows_dropped == len(DROPPED)
    shared = outputs(result.model, DROPPED[:6][None])
    np.testing.assert_array_equal(shared[0], np.broadcast_to(shared[0, :1], shared[0].shape))


def test_rows_stay_where_the_file_would_not_get_smaller() -> None:
    result = compress(network(), {"ids": IDS}, drop_rows={"table": DROPPED[:20]}, **OPTIONS)
    assert result.report.tables[0].rows_dropped == 0
    whole = compress(network(), {"ids": IDS}, **OPTIONS)
    np.testing.assert_array_equal(outputs(result.model, DROPPED[:6][None]), outputs(whole.model, DROPPED[:6][None]))


@pytest.mark.parametrize("place", ["data", "test"])
def test_an_input_that_uses_a_dropped_row_is_refused(place: str) -> None:
    used = IDS.copy()
    used[40, 3] = DROPPED[5]
    sources = {"data": {"ids": IDS}, "test": {"ids": IDS}, place: {"ids": used}}
    with pytest.raises(InputError, match=rf"looks up row {DROPPED[5]} of 'table', which drop-rows drops"):
        compress(network(), sources["data"], test=sources["test"], drop_rows={"table": DROPPED}, **OPTIONS)


@pytest.mark.parametrize(
    ("nodes", "rows", "sentence"),
    [
        (
            LOOKUP,
            {"tables": "1"},
            "drop-rows names 'tables', which is not a large table that rows are looked up in: 'table'",
        ),
        (LOOKUP, {"table": "4000-4096"}, "names row 4096 of 'table', which has rows 0 to 4095"),
        (LOOKUP, {"table": "0-4095"}, "names all rows of 'table'"),
        (TIED, {"table": "4000-4095"}, "whose rows 'turned' takes as well"),
    ],
)
def test_what_cannot_be_dropped_is_a_sentence(nodes: str, rows: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compress(network(nodes), {"ids": IDS}, drop_rows=rows, **OPTIONS)


def test_padding_may_use_them() -> None:
    """Positions that a mask excludes count nowhere."""
    nodes = (
        "rows = Gather(table, ids) kept = Cast<to = 1>(attention_mask) wide = Unsqueeze(kept, last)"
        "there = Mul(rows, wide) y = MatMul(there, head)"
    )
    proto = network(nodes)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("attention_mask", onnx.TensorProto.INT64, ["N", 6]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "last"))
    mask = np.ones_like(IDS)
    mask[::2, 4:] = 0
    ids = np.where(mask == 1, IDS, DROPPED[0])
    data = {"ids": ids, "attention_mask": mask}
    result = compress(proto, data, drop_rows={"table": DROPPED}, **OPTIONS)
    assert result.report.tables[0].rows_dropped == len(DROPPED)
    assert isinstance(result.model, ir.Model)


@pytest.mark.parametrize("is_proven", [False, True])
def test_what_is_not_proven_to_be_padding_may_not_use_them(is_proven: bool) -> None:
    model = ir.from_proto(network())
    ids, mask = np.full((4, 6), 5), np.ones((4, 6), np.int64)
    ids[:, 4:], mask[:, 4:] = DROPPED[0], 0
    model.graph.inputs.append(ir.val("mask", ir.DataType.INT64, ["N", 6]))
    feed, runtime = {"ids": ids, "mask": mask}, Runtime(threads=1)
    axes = position_axes(model.graph, observe(model, feed, runtime), {"ids": (1,)})
    positions = PositionMask("mask", 1, axes, is_proven=is_proven)
    samples = open_samples(feed, input_specs(model)).counting(positions)
    options = Options(drop_rows={"table": str(DROPPED[0])})
    refused = pytest.raises(InputError, match=f"looks up row {DROPPED[0]}")
    with contextlib.nullcontext() if is_proven else refused:
        check_dropped_rows(model, options, [samples], runtime)
