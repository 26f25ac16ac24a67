"""LSTMs on integers with `--quantize dynamic`, from a float model to what is delivered, and what stays floats."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

import netsurgeon
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.calibration import Calibration, select
from netsurgeon.pipeline.data import open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.model_files.fingerprint import model_facts
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import StructureTimer, Timed, TimingTable
from netsurgeon.pipeline.quantization import IntegerChoice, Quantized, matrices, quantize_model, stand_in, time_integers
from netsurgeon.pipeline.quantization.quantize import excluded
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
HIDDEN, COLUMNS, CLASSES = 32, 24, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def network(operator: str = "LSTM") -> onnx.ModelProto:
    """Two directions over ten steps, and classes from the last states."""
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]> net (float[N, 10, {COLUMNS}] x) => (float[N, {CLASSES}] y) {{
            steps = Transpose <perm = [1, 0, 2]> (x)
            all, last = {operator} <hidden_size = {HIDDEN}, direction = "bidirectional"> (steps, w, r, b)
            rows = Transpose <perm = [1, 0, 2]> (last)
            flat = Reshape(rows, shape)
            y = Gemm(flat, head, offset)
        }}"""
    )
    for node in proto.graph.node:
        node.name = {operator: "cell", "Gemm": "head"}.get(node.op_type, node.output[0])
    rng, rows = np.random.default_rng(0), GATES[operator] * HIDDEN
    shapes = {
        "w": (2, rows, COLUMNS),
        "r": (2, rows, HIDDEN),
        "b": (2, 2 * rows),
        "head": (2 * HIDDEN, CLASSES),
        "offset": (CLASSES,),
    }
    for name, shape in shapes.items():
        array = (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 2 * HIDDEN]), "shape"))
    return proto


def inputs(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 10, COLUMNS)).astype(np.float32)


def in_normal_form(proto: onnx.ModelProto) -> ir.Model:
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def calibration(model: ir.Model) -> Calibration:
    return Calibration(open_samples({"x": inputs(64, 1)}, input_specs(model)), Runtime(threads=1))


def quantized(
    proto: onnx.ModelProto, stay: dict[str, str] | None = None, quantize: str = "dynamic", target: str = "cpu"
) -> Quantized:
    model = in_normal_form(proto)
    choice, asked = IntegerChoice(stay=stay or {}), Options(quantize=quantize, target=target)
    return quantize_model(model, asked, calibration(model), choice, lambda stage, done, count: None)


def outputs(model: ir.Model | onnx.ModelProto, x: Array) -> Array:
    return np.asarray(Runtime(threads=1).session(model).run({"x": x})["y"])


@pytest.mark.parametrize(("target", "bits"), [("cpu", 7), ("cpu-vnni", 8)])
def test_an_lstm_runs_on_integers_and_the_report_names_its_kernel(target: str, bits: int) -> None:
    result = quantized(network(), target=target)
    assert result.facts is not None
    cell, head = result.facts.layers
    assert (cell.name, cell.operator, cell.bits, cell.kernel, cell.reason) == (
        "cell",
        "LSTM",
        bits,
        "DynamicQuantizeLSTM",
        None,
    )
    assert cell.error is not None
    assert 0.0 < cell.error < 1e-3
    assert (head.name, head.kernel) == ("head", "DynamicQuantizeMatMul")
    assert result.facts.values == 2
    x = inputs(40, 2)
    dense = outputs(network(), x)
    assert 0.0 < np.linalg.norm(outputs(result.model, x) - dense) < 0.03 * np.linalg.norm(dense)
    model = in_normal_form(network())
    timed = stand_in(model, Options(quantize="dynamic", target=target), {}, calibration(model))
    assert [node.op_type for node in timed.graph] == [node.op_type for node in result.model.graph]


def test_what_is_behind_an_lstm_is_corrected_for_its_integers() -> None:
    """With 4 bits the mean of what the cell gives moves, and the bias of the head takes that up."""

    class Coarse(matrices.Matrices):
        most = 7

    model, x = in_normal_form(network()), inputs(64, 1)
    forms, dense = Coarse("dynamic", "cpu"), outputs(network(), x)
    shifts = []
    for stay in ({}, {"head": "excluded by the user"}):
        placement = forms.place(model.graph, find_layers(model.graph)[0], stay)
        _, rounded = matrices.make_matrix_model(model, forms, placement, calibration(model), lambda *_: None)
        shifts.append(np.linalg.norm((outputs(rounded, x) - dense).mean(axis=0)))
    assert shifts[0] < 0.2 * shifts[1]


@pytest.mark.parametrize(
    ("operator", "quantize", "target", "reason"),
    [
        ("GRU", "dynamic", "cpu", "ONNX Runtime has no integer kernel for GRU"),
        ("RNN", "dynamic", "cpu", "ONNX Runtime has no integer kernel for RNN"),
        ("LSTM", "dynamic", "onnx", "the target onnx has no integer kernel for it"),
        ("LSTM", "dynamic", "openvino", "the target openvino has no integer kernel for it"),
        ("LSTM", "w8", "cpu", "recurrent cells have integers with --quantize dynamic alone"),
        ("LSTM", "int8", "cpu", "recurrent cells have integers with --quantize dynamic alone"),
    ],
)
def test_a_cell_that_stays_floats_says_why(operator: str, quantize: str, target: str, reason: str) -> None:
    result = quantized(network(operator), quantize=quantize, target=target)
    assert result.facts is not None
    cell, head = result.facts.layers
    assert (cell.name, cell.bits, cell.kernel, cell.reason) == ("cell", None, None, reason)
    assert head.bits is not None
    assert "DynamicQuantizeLSTM" not in {node.op_type for node in result.model.graph}


def test_lstms_alone_are_reason_enough_and_one_that_is_excluded_stays() -> None:
    result = quantized(network(), {"head": "excluded by the user"})
    assert result.facts is not None
    assert [layer.bits for layer in result.facts.layers] == [7, None]
    untouched = quantized(network(), {"head": "excluded by the user", "cell": "excluded by the user"})
    assert untouched.facts is None


def test_a_cell_is_excluded_by_its_name() -> None:
    model = in_normal_form(network())
    options = Options(quantize="dynamic", exclude=("cel*",))
    assert [layer.name for layer in select(model, options).layers] == ["head"]
    assert excluded(model, options) == {"cell": "excluded by the user"}
    with pytest.raises(InputError, match="'lstm' matches no layer"):
        select(model, Options(quantize="dynamic", exclude=("lstm",)))


def same_times(monkeypatch: pytest.MonkeyPatch, milliseconds: float) -> None:
    """Let each model on integers take so many milliseconds, and each on floats one."""
    speedup = 1.0 / milliseconds
    timed = Timed(dense=1.0, model=milliseconds, speedup=speedup, low=speedup, high=speedup)
    monkeypatch.setattr(StructureTimer, "time", lambda *_, **__: timed)
    monkeypatch.setattr(
        StructureTimer, "nodes_of", lambda _, name, __: {"cell": milliseconds if "int8" in name else 1.0}
    )


@pytest.mark.parametrize(("milliseconds", "gains"), [(0.5, True), (1.5, False)])
def test_an_lstm_is_put_on_integers_where_that_is_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, milliseconds: float, gains: bool
) -> None:
    same_times(monkeypatch, milliseconds)
    model = in_normal_form(network())
    timer = StructureTimer(TimingTable(), model, {}, Runtime(threads=1), lambda _: pytest.fail("nothing is measured"))
    asked = Options(quantize="dynamic")
    choice = time_integers(model, asked, calibration(model), timer, lambda stage, done, count: None)
    assert choice.gains is gains
    assert (choice.times["cell"].floats, choice.times["cell"].integers) == (1.0, milliseconds)
    reason = choice.stay.get("cell", "")
    assert (reason == "") if gains else ("not worth it" in reason)


def test_the_file_is_smaller_any_session_runs_it_and_inspect_knows_its_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_times(monkeypatch, 0.5)
    proto, packed, plain = network(), tmp_path / "packed.onnx", tmp_path / "plain.onnx"
    result = netsurgeon.compress(
        proto, {"x": inputs(64, 1)}, output=packed, quantize="dynamic", target="cpu", threads=1
    )
    integers = result.report.integers
    assert integers is not None
    x = inputs(30, 2)
    session = onnxruntime.InferenceSession(str(packed), providers=["CPUExecutionProvider"])
    output, dense = session.run(None, {"x": x})[0], outputs(proto, x)
    assert np.linalg.norm(output - dense) < 0.03 * np.linalg.norm(dense)
    assert packed.stat().st_size < 0.4 * proto.ByteSize()
    assert all(left.operator != "LSTM" for left in result.report.declined)
    netsurgeon.unpack(packed, plain)
    np.testing.assert_array_equal(outputs(onnx.load(plain), x), outputs(onnx.load(packed), x))
    quantized_layers = {layer.operator: layer for layer in netsurgeon.inspect_model(plain).quantized}
    listed = quantized_layers["DynamicQuantizeLSTM"]
    assert (listed.bits, listed.form, listed.weights) == (7, "dynamic", 2 * 4 * HIDDEN * (COLUMNS + HIDDEN))
    with pytest.raises(InputError, match=r"quantized already.*DynamicQuantizeLSTM"):
        netsurgeon.compress(plain, {"x": inputs(64, 1)}, sparsity=0.5)


def test_scales_of_cells_and_of_products_are_no_parameters() -> None:
    model = quantized(network()).model
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= {node.op_type for node in model.graph}
    assert model_facts(model, None).parameters == model_facts(in_normal_form(network()), None).parameters
