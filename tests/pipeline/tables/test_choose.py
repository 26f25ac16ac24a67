"""In how few bits tables are stored: by what is lost, what the user says, and which rows calibration has seen."""

import html
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from masked_models import encoder, padded, sentences, unpadded
from printed_text import printed

from netsurgeon import compress
from netsurgeon.passes.quantization import RoundTables
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import open_samples
from netsurgeon.pipeline.model_files import input_specs, open_model
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.tables import TableFacts, TablePlan, choose_tables, choose_within
from netsurgeon.pipeline.terminal.console import print_report
from netsurgeon.pipeline.verification.inputs import open_by_options

ROWS, COLUMNS = 2048, 32
TEXT = """<ir_version: 8, opset_import: ["": 17]> net (int64[N, 6] ids) => (float[N, 6, 12] y) {
    rows = Gather(table, ids)
    y = MatMul(rows, head)
}"""
IDS = np.random.default_rng(1).integers(0, ROWS // 2, (64, 6))


def quiet(stage: str, done: int, count: int) -> None:
    """No progress."""


def network(spread: float = 0.0) -> ir.Model:
    """Some rows have one number that is much larger than the others, which costs all others their digits."""
    rng, proto = np.random.default_rng(0), onnx.parser.parse_model(TEXT)
    table = rng.standard_normal((ROWS, COLUMNS))
    table[:, 0] *= 1.0 + spread
    for name, array in (
        ("table", table),
        ("head", rng.standard_normal((COLUMNS, 12)) * (np.arange(COLUMNS) > 0)[:, None]),
    ):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def calibration(model: ir.Model) -> Calibration:
    return Calibration(open_samples({"ids": IDS}, input_specs(model)), Runtime(threads=1))


def plan_of(model: ir.Model, **options: object) -> TablePlan:
    return choose_tables(model, Options(sparsity=0.5, **options), calibration(model), quiet)  # type: ignore[arg-type]


def test_eight_bits_where_they_cost_little_and_sixteen_where_not() -> None:
    (table,) = plan_of(network()).tables
    assert (table.name, table.nodes, table.tied, table.stored) == ("table", ("rows",), (), "int8")
    assert table.rows_seen == len(np.unique(IDS))
    assert table.loss is not None
    assert 1e-6 < table.loss < 1e-3
    assert table.bytes_before == 4 * ROWS * COLUMNS
    (table,) = plan_of(network(spread=500.0)).tables
    assert table.stored == "float16"
    assert table.loss is not None
    assert table.loss < 1e-6


@pytest.mark.parametrize("form", ["float16", "int8", "int4"])
def test_the_user_has_the_last_word(form: str) -> None:
    (table,) = plan_of(network(spread=500.0), tables=form).tables
    assert table.stored == form


def test_a_table_that_stays_says_why() -> None:
    for options, reason in (
        ({"tables": "float32"}, "values are to stay float32"),
        ({"values": "float32"}, "values are to stay float32"),
        ({"exclude": ("row*",)}, "excluded by the user"),
    ):
        (table,) = plan_of(network(), **options).tables
        assert (table.stored, table.reason, table.bytes_after) == ("float32", reason, table.bytes_before)
    (table,) = plan_of(network(), values="float32", tables="int8").tables
    assert (table.stored, table.reason) == ("int8", None)


def test_numbers_beyond_float16_stay_floats_unless_integers_are_asked_for() -> None:
    """Infinities were written, since the most exact form was taken in any case."""
    (table,) = plan_of(network(spread=1e5)).tables
    assert (table.stored, table.reason) == ("float32", "it holds numbers beyond float16")
    assert plan_of(network(spread=1e5), tables="float16").tables[0].stored == "float32"
    assert plan_of(network(spread=1e5), tables="int8").tables[0].stored == "int8"


def test_a_table_is_not_rounded_where_the_operator_set_has_no_rows_of_integers() -> None:
    model = network()
    model.graph.opset_imports[""] = 10
    (table,) = plan_of(model).tables
    assert (table.stored, table.reason) == ("float32", "rows of integers need operator set 11, and the model has 10")


def test_rows_of_an_odd_number_of_columns_have_eight_bits() -> None:
    proto = ir.to_proto(network())
    text = TEXT.replace("y = MatMul(rows, head)", "y = Identity(rows)").replace("6, 12", "6, 33")
    odd = onnx.parser.parse_model(text)
    odd.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((ROWS, 33), np.float32), "table"))
    model = ir.from_proto(odd)
    assert plan_of(model, tables="int4").tables[0].stored == "int8"
    assert plan_of(ir.from_proto(proto), tables="int4").tables[0].stored == "int4"


def test_rows_that_were_never_seen_count_by_their_own_size() -> None:
    """A few bits cost rows beyond those that calibration looks up several times more, which no output has shown."""

    def loss_of(change: float, size: float) -> float:
        model = network()
        table = model.graph.initializers["table"].const_value
        assert table is not None
        numbers = table.numpy().copy()
        numbers[ROWS // 2 :, 0] += change
        numbers[ROWS // 2 :] *= size
        model.graph.initializers["table"].const_value = ir.tensor(numbers, name="table")
        options = Options(max_drop="1%", tables="int4")
        (facts,) = choose_within(model, options, calibration(model), lambda _: 0.01, 1.0, quiet).tables
        assert facts.loss is not None
        return facts.loss

    assert loss_of(0.0, 1.0) == pytest.approx(0.01, rel=0.1)
    assert loss_of(0.0, 1e-3) == pytest.approx(0.01, rel=0.1), "small rows are as exact as large ones, for their size"
    assert loss_of(10.0, 1.0) > 0.02


def test_a_table_on_few_bits_stays_there_where_no_goal_asks_for_fewer() -> None:
    """Four bits became eight, which lost as much again."""
    model = network()
    RoundTables({"table": "int4"})(model)
    for options in ({}, {"tables": "int8"}, {"tables": "float16"}):
        (table,) = plan_of(model, **options).tables
        assert (table.stored, table.loss, table.row_error) == ("int4", 0.0, 0.0)
    assert plan_of(model, tables="float32").tables[0].stored == "float32"


def test_what_was_compressed_does_not_grow_when_it_is_compressed_again() -> None:
    model = ir.to_proto(network())
    options: dict[str, Any] = {"sparsity": 0.5, "damping": 0.01}
    first = compress(model, {"ids": IDS}, tables="int4", **options)
    again = compress(first.model, {"ids": IDS}, **options)
    assert [table.stored for table in again.report.tables] == ["int4"]
    assert [table.loss for table in again.report.tables] == [0.0]
    assert again.report.compressed.bytes <= first.report.compressed.bytes


@pytest.mark.parametrize("name", ["attention_mask", "padding_mask"])
def test_positions_that_a_mask_excludes_look_no_rows_up_and_lose_nothing(name: str) -> None:
    """On a model of fixed length padding made up most of the loss, and its token counted as seen."""
    rows = sentences()
    planned: list[TableFacts] = []
    for length, data in ((16, padded(rows, name=name)), ("sequence", unpadded(rows, name=name))):
        source = open_model(encoder(name=name, length=length, tokens=1 << 13), Runtime())
        options = Options(sparsity=0.5, tables="int4")
        samples = open_by_options(source, data, options, None)
        assert (samples.mask is None) == (length != 16)
        planned += choose_tables(source.model, options, Calibration(samples, Runtime()), quiet).tables
    fixed, free = planned
    assert fixed.rows_seen == free.rows_seen == len(np.unique(np.concatenate(rows)))
    assert fixed.loss == pytest.approx(free.loss, rel=1e-3)


def test_tables_share_what_may_be_lost() -> None:
    """Of two tables that cost alike only the larger one gets four bits where the limit has room for one."""
    text = """<ir_version: 8, opset_import: ["": 17]> net (int64[N, 6] ids) => (float[N, 6, 64] y) {
        a = Gather(large, ids)
        b = Gather(small, ids)
        y = Concat <axis = -1> (a, b)
    }"""
    rng, proto = np.random.default_rng(0), onnx.parser.parse_model(text)
    for name, rows in (("large", 4096), ("small", 2048)):
        array = rng.standard_normal((rows, 32)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = ir.from_proto(proto)
    normal_form()(model)

    def judge(candidate: ir.Model) -> float:
        feed = {"ids": IDS}
        dense, now = (Runtime(threads=1).session(one).run(feed)["y"] for one in (model, candidate))
        return float(np.sum(np.square(now - dense)) / np.sum(np.square(dense)))

    options = Options(max_drop="1%")
    least = choose_within(model, options, calibration(model), judge, 0.0, quiet)
    one = choose_within(model, options, calibration(model), judge, 0.007, quiet)
    both = choose_within(model, options, calibration(model), judge, 0.1, quiet)
    assert list(least.forms.values()) == ["float16", "float16"]
    assert one.forms == {"large": "int4", "small": "int8"}
    assert both.forms == {"large": "int4", "small": "int4"}
    assert TablePlan.of(both.described()) == both


def test_in_a_compression_layers_make_up_for_it_and_the_file_is_small() -> None:
    model = ir.to_proto(network())
    result = compress(model, {"ids": IDS}, sparsity=0.5, damping=0.01)
    (table,) = result.report.tables
    assert table.stored == "int8"
    assert 0.8 * ROWS * COLUMNS < table.bytes_after <= ROWS * (COLUMNS + 2)
    assert not [node for node in result.report.declined if node.operator == "Gather"]
    assert result.report.ratio > 3.5
    assert [record.applied for record in result.report.steps if record.name in ("tables", "store tables")] == [
        True,
        True,
    ]
    assert result.report.compressed.parameters <= result.report.dense.parameters
    left = compress(model, {"ids": IDS}, sparsity=0.5, damping=0.01, tables="float32").report
    assert left.ratio < 1.1


@pytest.mark.parametrize("mode", ["w4", "w8"])
def test_beside_integer_products(mode: str) -> None:
    model = ir.to_proto(network())
    report = compress(model, {"ids": IDS}, quantize=mode).report
    assert [table.stored for table in report.tables] == ["int8"]
    assert report.integers is not None
    assert [layer.operator for layer in report.integers.layers] == ["MatMul"]
    assert report.ratio > 3.0


def test_a_goal_gives_tables_a_part_of_what_may_be_lost() -> None:
    model = ir.to_proto(network())
    loose, strict = (
        compress(model, {"ids": IDS}, max_drop=drop, quantize="none", effort="fast").report.tables[0]
        for drop in (0.4, 0.001)
    )
    assert (loose.stored, strict.stored) == ("int4", "int8")
    assert loose.loss is not None
    assert loose.loss <= 0.1


@pytest.mark.parametrize(
    ("options", "title"), [({"sparsity": 0.5}, "outputs lose"), ({"max_drop": 0.4}, "goal's measure loses")]
)
def test_the_title_of_a_loss_says_what_it_is_a_share_of(options: dict[str, Any], title: str) -> None:
    """With a goal it is the goal's measure, so that 0 need not mean that the outputs are the same."""
    report = compress(ir.to_proto(network()), {"ids": IDS}, quantize="none", effort="fast", **options).report
    assert title in html.unescape(report.to_html())
    assert title in printed(partial(print_report, report))


@pytest.mark.parametrize(
    "options", [{"sparsity": 0.5}, {"max_drop": 0.1, "quantize": "none"}], ids=["by hand", "a goal"]
)
def test_a_run_that_was_stopped_goes_on_with_the_same_tables(options: dict[str, Any], tmp_path: Path) -> None:
    model = ir.to_proto(network())
    first, again = (compress(model, {"ids": IDS}, effort="fast", work=tmp_path / "work", **options) for _ in range(2))
    assert json.loads((tmp_path / "work" / "tables.json").read_text())
    assert again.report.tables == first.report.tables
    assert ir.to_proto(again.model).SerializeToString() == ir.to_proto(first.model).SerializeToString()
