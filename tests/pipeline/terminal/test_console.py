"""What the commands print: every fact where it belongs, names as they are, and lines that fit the terminal."""

import dataclasses
import math
import re
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from printed_text import cells, printed

from netsurgeon.passes.dependencies.analysis import Frozen
from netsurgeon.passes.layers import Declined
from netsurgeon.pipeline.compare import Comparison, Comparisons, compare
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.error_bound.bound import Bound, OutputBound
from netsurgeon.pipeline.inspect import Inspection, UnitInspection, inspect_model, inspect_units
from netsurgeon.pipeline.inspect_sensitivity import LayerSensitivity, SensitivityInspection
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files.fingerprint import ModelFacts
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.quantization import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.terminal.console import (
    LISTED,
    print_comparison,
    print_comparisons,
    print_fallbacks,
    print_inspection,
    print_report,
    print_sensitivity,
    print_units,
)
from netsurgeon.pipeline.verification.validation import Scores

FIRST, SECOND = "[red]first[/red]", "[/]second"
"""Names that rich would take for markup."""


def network() -> ir.Model:
    """Gemm, Relu, Gemm from 32 values to 10 classes, and an LSTM that nothing can prune."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32] x, float[32,64] v, float[64,10] w, '
        "float[1,8,32] a, float[1,8,2] b) => (float[N,10] y, float[M,K,N,2] z) "
        "{ h = Gemm(x, v) r = Relu(h) y = Gemm(r, w) p = Constant<value_ints = [0]>() u = Unsqueeze(x, p) "
        "z = LSTM<hidden_size = 2>(u, a, b) }"
    )
    rng = np.random.default_rng(0)
    shapes = ((32, 64), (64, 10), (1, 8, 32), (1, 8, 2))
    for value, shape in zip(list(model.graph.inputs)[1:], shapes, strict=True):
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    for index, name in ((0, FIRST), (2, SECOND), (5, "cell")):
        model.graph[index].name = name
    return model


def inputs(count: int, seed: int) -> dict[str, Any]:
    """Random inputs; of three of four the dense model's class is the right one."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 32)).astype(np.float32)
    classes = Runtime().session(network()).run({"x": x})["y"].argmax(axis=1)
    return {"x": x, "labels": np.where(np.arange(count) % 4, classes, (classes + 1) % 10)}


@pytest.fixture(scope="module")
def compressed() -> tuple[ir.Model, Report]:
    result = compress(
        network(), inputs(80, 1), test=inputs(40, 2), sparsity=0.5, trim=0.2, method="obs", damping=0.01, uniform=True
    )
    return result.model, result.report


@pytest.fixture(scope="module")
def report(compressed: tuple[ir.Model, Report]) -> Report:
    return compressed[1]


@pytest.fixture(scope="module")
def comparison(compressed: tuple[ir.Model, Report]) -> Comparison:
    return compare(network(), compressed[0], inputs(40, 2))


def test_a_report_tells_layers_units_and_both_models(report: Report) -> None:
    text = printed(print_report, report)
    for layer in report.layers:
        row = cells(text, layer.name)
        assert row[1:3] == [f"{layer.weights:,}", f"{layer.kept / layer.weights:.1%}"]
        assert row[-1] == f"{layer.bytes_after:,}"
    assert cells(text, "LSTM")[1] == "cell"
    assert report.trim is not None
    (group,) = report.trim.groups
    assert cells(text[text.index("units removed") :], group.node)[-2:] == [f"{group.units:,}", f"{group.removed:,}"]
    assert report.trim.summary("parameters") in text
    assert f"masked against trimmed model: {report.trim.proof}" in text
    dense, compressed = report.validation.dense.top1, report.validation.compressed.top1
    assert dense is not None
    assert compressed is not None
    points = f"{100 * (compressed - dense):+.2f} points"
    assert cells(text, "top-1")[1:] == [f"{dense:.2%}", f"{compressed:.2%}", points]
    sizes = [f"{facts.bytes:,}" for facts in (report.dense, report.compressed)]
    assert cells(text, "bytes")[1:] == [*sizes, f"÷ {report.ratio:.2f}"]
    assert f"measured on 40 inputs that calibration never saw; weights that are zero {report.sparsity:.1%}" in text
    assert f"output 'y' on {report.bound.samples} calibration inputs: error " in text


def test_several_models_are_a_column_each(compressed: tuple[ir.Model, Report], comparison: Comparison) -> None:
    fallen = dataclasses.replace(comparison, on_the_cpu=("Gemm [a]",))
    text = printed(print_comparisons, Comparisons(comparisons=(comparison, fallen)))
    size = f"{comparison.compressed.bytes:,}"
    assert cells(text, "bytes") == ["bytes", size, size]
    assert cells(text, "model 1") == ["model 1", "model 2"]
    assert cells(text, "relative error")[1] == cells(text, "relative error")[2]
    assert f"the dense model has {comparison.dense.bytes:,} bytes, top-1" in text
    assert "measured on 40 inputs" in text
    assert text[text.index("model 2:") :].splitlines()[1] == "1 node fell back to the CPU: Gemm [a]"


def test_what_holds_for_other_inputs_is_printed_with_what_it_rests_on(report: Report, comparison: Comparison) -> None:
    share = report.validation.promise.agreement
    assert share is not None
    for show, result, basis in (
        (print_report, report, "rests on 40 inputs that calibration never saw"),
        (print_comparison, comparison, "rests on 40 inputs, with which neither model may have been made"),
    ):
        text = printed(show, result)
        assert re.search(r"^At least \d+\.\d% of inputs like these keep their top class$", text, re.MULTILINE)
        assert basis in text
        assert "No limit for other inputs: 40 inputs are too few" in text


def test_every_line_fits_a_terminal_of_80_columns(report: Report, comparison: Comparison) -> None:
    for show, result in ((print_report, report), (print_comparison, comparison)):
        assert max(map(len, printed(show, result, width=80).splitlines())) <= 80


def test_a_doubt_about_all_figures_comes_first_and_once(report: Report, comparison: Comparison) -> None:
    doubt, warning = Message("answers alike", "answers-alike"), Message("a layer lost everything", "layers-emptied")
    text = printed(print_report, dataclasses.replace(report, warnings=(warning, doubt)))
    assert text.startswith("warning: answers alike\n")
    assert text.count("warning: ") == 2
    assert text.rindex("warning: a layer lost everything") > text.index("measured on 40 inputs")
    assert printed(print_comparison, dataclasses.replace(comparison, warnings=(doubt,))).startswith("warning: answers")


def test_notes_and_warnings_are_printed_as_they_are(report: Report) -> None:
    note = Message("step [bold]prune[/] undone", "step-undone")
    warning = Message("layers lost everything: [/x]", "layers-emptied")
    text = printed(print_report, dataclasses.replace(report, notes=(note,), warnings=(warning,)))
    assert f"note: {note}\n" in text
    assert f"warning: {warning}\n" in text


def test_a_report_says_what_runs_on_integers_and_that_the_bound_is_not_about_them(report: Report) -> None:
    first = IntegerLayerFacts(
        name=FIRST, operator="Gemm", bits=7, kernel="QGemm", error=0.01, floats_ms=0.2, integers_ms=0.1, reason=None
    )
    second = dataclasses.replace(first, name=SECOND, bits=None, kernel=None, error=None, reason="it is [bold]slow[/]")
    facts = IntegerFacts(
        layers=(first, second),
        nodes=1,
        values=3,
        kernel_difference=0.01,
        timed=Timed(dense=2.0, model=1.6, speedup=1.25, low=1.2, high=1.3),
    )
    text = printed(print_report, dataclasses.replace(report, integers=facts))
    speed = "1.25 times as fast as the dense model (2 ms → 1.6 ms)"
    assert f"1 of 2 layers run on integers (7-bit weights, 8-bit activations): {speed}\n" in text
    assert f"{SECOND} stays on floats: it is [bold]slow[/]\n" in text
    assert "integer kernels changed the outputs of the same file in float arithmetic by 1.00% of their size" in text
    assert "The bound and the error beside it are those of pruning alone" in text
    on_floats = printed(print_report, report)
    assert "integers" not in on_floats
    assert "pruning alone" not in on_floats


def test_why_a_model_stays_on_floats_is_a_note_like_others(report: Report) -> None:
    note = Message("the model stays on floats: integers make it 0.9 times as fast", "not-quantized")
    assert f"note: {note}\n" in printed(print_report, dataclasses.replace(report, notes=(note,)))


def test_a_report_without_trimming_or_held_out_inputs(report: Report) -> None:
    validation = dataclasses.replace(report.validation, held_out=False)
    text = printed(print_report, dataclasses.replace(report, trim=None, validation=validation, declined=()))
    assert "measured on 40 calibration inputs: none were held out" in text
    for title in ("units removed", "masked against", "left alone"):
        assert title not in text


def test_the_largest_layers_are_listed_in_the_order_of_the_graph(report: Report) -> None:
    sizes = np.random.default_rng(0).permutation(LISTED + 6) + 1
    layers = [
        dataclasses.replace(report.layers[0], name=f"conv {size}", weights=int(size) * 100, kept=50) for size in sizes
    ]
    text = printed(print_report, dataclasses.replace(report, layers=tuple(layers)))
    named = [line.split("  ")[1].strip() for line in text.splitlines() if line.startswith("  conv ")]
    assert named == [layer.name for layer in layers if layer.weights > 600]
    assert "… and 6 smaller, listed in the report" in text


def test_of_much_that_is_left_alone_the_first_is_listed(report: Report) -> None:
    declined = tuple(
        Declined(node=f"cell {index}", operator="LSTM", reason="it recurs", parameters=1) for index in range(LISTED + 3)
    )
    text = printed(print_report, dataclasses.replace(report, declined=declined))
    assert f"cell {LISTED - 1} " in text
    assert f"cell {LISTED} " not in text
    assert "… and 3 more" in text


def test_of_many_groups_those_that_lost_most_are_listed(report: Report) -> None:
    assert report.trim is not None
    groups = [
        dataclasses.replace(report.trim.groups[0], node=f"group {index}", removed=index) for index in range(LISTED + 2)
    ]
    trim = dataclasses.replace(
        report.trim, groups=tuple(groups), failed=(("cell[0]", Message("the outputs differ", "outputs-differ")),)
    )
    text = printed(print_report, dataclasses.replace(report, trim=trim))
    named = [line.split("  ")[1].strip() for line in text.splitlines() if line.startswith("  group ")]
    assert named == [f"group {index}" for index in range(LISTED + 1, 1, -1)]
    assert "… and 2 more groups, listed in the report" in text
    assert "units of cell[0] stay: the outputs differ" in text


def test_scores_of_a_metric_and_outputs_without_labels(report: Report) -> None:
    dense, compressed = Scores(None, None, 0.5), Scores(None, None, 0.25)
    validation = dataclasses.replace(
        report.validation, measure="metric", dense=dense, compressed=compressed, agreement=None
    )
    text = printed(print_report, dataclasses.replace(report, validation=validation))
    assert cells(text, "metric")[1:] == ["0.5", "0.25", "-0.25"]
    named = dataclasses.replace(validation, measure="psnr")
    text = printed(print_report, dataclasses.replace(report, validation=named))
    assert "0.5 dB" in text
    assert "-0.25 dB (-50.00%)" in text
    assert "top-" not in text
    assert "same top class" not in text


def test_outputs_that_are_alike_for_most_inputs_are_told(report: Report) -> None:
    output = dataclasses.replace(report.validation.outputs[0], output="[y]", alike=39)
    validation = dataclasses.replace(report.validation, outputs=(output,))
    text = printed(print_report, dataclasses.replace(report, validation=validation))
    assert f"output '[y]': relative error {output.relative_error:.3g}, SNR {output.snr_db:.1f} dB; the same" in text
    assert "; the same for 39 of 40 inputs\n" in text


def test_a_bound_that_ends_says_where(comparison: Comparison) -> None:
    outputs = (
        OutputBound(output="y", bound=2.5, measured=0.125, ends_at=None),
        OutputBound(output="[z]", bound=None, measured=0.5, ends_at=Message("cell (LSTM): it recurs", "bound-ends")),
        OutputBound(
            output="i",
            bound=None,
            measured=math.nan,
            ends_at=Message("output 'i' is discrete (int64)", "output-discrete"),
        ),
    )
    text = printed(print_comparison, dataclasses.replace(comparison, bound=Bound(40, (), outputs)))
    assert "output 'y' on 40 inputs: error 0.125, L-OBS bound 2.5 (proven, for the worst case)\n" in text
    assert "output '[z]' on 40 inputs: error 0.5, not bounded: it ends at cell (LSTM): it recurs\n" in text
    assert "output 'i' is discrete (int64): it has no error bound\n" in text
    assert "nan" not in text


def test_a_share_of_few_of_the_parameters_says_of_how_many(report: Report) -> None:
    weights = sum(layer.weights for layer in report.layers)
    assert " that took part" not in printed(
        print_report, dataclasses.replace(report, dense=with_parameters(report, weights))
    )
    text = printed(print_report, dataclasses.replace(report, dense=with_parameters(report, 100 * weights)))
    assert f"of the {weights:,} that took part, out of {100 * weights:,} parameters" in " ".join(text.split())


def with_parameters(report: Report, count: int) -> ModelFacts:
    return dataclasses.replace(report.dense, parameters=count)


def test_a_comparison_of_other_graphs_says_that_there_is_no_bound(comparison: Comparison) -> None:
    assert comparison.bound is None
    text = printed(print_comparison, comparison)
    assert "measured on 40 inputs" in text
    assert "no error bound: the graphs differ in more than their weights" in text
    assert "output 'y': relative error " in text


@pytest.mark.parametrize(("count", "end"), [(1, "node 0"), (LISTED, f"node {LISTED - 1}"), (LISTED + 1, ", …")])
def test_nodes_on_the_cpu_are_named(count: int, end: str) -> None:
    text = printed(print_fallbacks, [f"node {index}" for index in range(count)], width=1000)
    assert text.startswith(f"{counted(count, 'node')} fell back to the CPU: node 0")
    assert text.endswith(f"{end}\n")


def test_where_nothing_fell_back_nothing_is_said() -> None:
    assert printed(print_fallbacks, ()) == ""


def test_an_inspection_lists_layers_their_sum_and_what_is_left_alone() -> None:
    inspection: Inspection = inspect_model(network())
    text = printed(print_inspection, dataclasses.replace(inspection, name="[net].onnx"))
    assert text.startswith(f"[net].onnx: {inspection.bytes:,} bytes, opset 17\n")
    assert cells(text, FIRST)[1:] == ["Gemm", "1 x 64 x 32", "2,048", "0.0%", "FLOAT"]
    assert cells(text, SECOND)[1:] == ["Gemm", "1 x 10 x 64", "640", "0.0%", "FLOAT"]
    assert cells(text, "all")[1:] == ["2,688"]
    assert cells(text, "LSTM")[1] == "cell"
    assert f"inputs  {inspection.inputs[0]}\n" in text
    assert f"outputs {'; '.join(inspection.outputs)}\n" in text


def test_units_are_listed_with_what_is_frozen() -> None:
    units: UnitInspection = inspect_units(network())
    frozen = Frozen(
        value="v[0]", axis=1, indices=3, parameters=12, node="[odd]", operator="Cast", reason="it is read elsewhere"
    )
    text = printed(print_units, dataclasses.replace(units, name="net.onnx", frozen=(frozen,)))
    assert text.startswith(f"net.onnx: {units.parameters:,} parameters\n")
    (group,) = units.groups
    assert cells(text, group.node)[-2:] == ["64", f"{group.parameters:,}"]
    assert cells(text, "v[0]")[1:] == ["3 of axis 1", "it is read elsewhere (Cast [odd])"]
    assert "frozen" not in printed(print_units, dataclasses.replace(units, frozen=()))


def test_the_layer_that_costs_most_comes_first() -> None:
    layers = [
        LayerSensitivity(name=name, operator="Conv", weights=1200, sensitivity=0.5, errors=(0.01, 0.02), losses=losses)
        for name, losses in (("cheap", (0.001, 0.5)), ("[dear]", (0.25, 0.3)), ("middling", (0.01, 1.0)))
    ]
    text = printed(
        print_sensitivity,
        SensitivityInspection(name="net.onnx", samples=1234, sparsities=(0.5, 0.9), layers=tuple(layers)),
    )
    assert text.startswith("net.onnx: measured on 1,234 inputs")
    assert cells(text, "layer")[-2:] == ["at 50%", "at 90%"]
    assert cells(text, "[dear]")[1:] == ["Conv", "1,200", "0.5", "25%", "30%"]
    assert [text.index(name) for name in ("[dear]", "middling", "cheap")] == sorted(
        text.index(layer.name) for layer in layers
    )
