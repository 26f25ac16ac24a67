"""Graphs that exporters make and that are opened, compressed and written with the interface they had."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hostile_models import DENSE, Array, model
from layer_files import RUNTIME, assert_a_sentence
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from rich.console import Console

from netsurgeon.passes.graph import native
from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect import inspect_model
from netsurgeon.pipeline.model_files import loading
from netsurgeon.pipeline.model_files.loading import open_model, verified
from netsurgeon.pipeline.report.page import render
from netsurgeon.pipeline.terminal.console import print_report

SAMPLES = np.random.default_rng(2).standard_normal((80, 8)).astype(np.float32)


def run(path: Path, feed: Array) -> list[Any]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(None, {"x": feed})
    return results


def zipmap(*, named: bool = False) -> onnx.ModelProto:
    """What a scikit-learn classifier is exported as: the class as a text, and a map from classes to probabilities.

    named: classes are texts in the map, too.
    """
    keys: Any = {"classlabels_strings": ["a", "b", "c", "d"]} if named else {"classlabels_int64s": [0, 1, 2, 3]}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"], "layer"),
        helper.make_node("Softmax", ["scores"], ["shares"], "soft"),
        helper.make_node("ZipMap", ["shares"], ["maps"], "zip", domain="ai.onnx.ml", **keys),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["names", "best"], ["row"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["row", "flat"], ["label"]),
    ]
    key_type = TensorProto.STRING if named else TensorProto.INT64
    map_type = helper.make_map_type_proto(key_type, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
        helper.make_value_info("maps", helper.make_sequence_type_proto(map_type)),
    ]
    names = numpy_helper.from_array(np.array(["a", "b", "c", "d"], object), "names")
    constants = [numpy_helper.from_array(DENSE["w"], "w"), names, numpy_helper.from_array(np.array([-1]), "flat")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_texts_and_maps_are_kept_and_what_is_measured_is_said(tmp_path: Path) -> None:
    onnx.save(zipmap(), tmp_path / "dense.onnx")
    result = compress(tmp_path / "dense.onnx", SAMPLES, sparsity=0.5, output=tmp_path / "small.onnx")
    assert onnx.load(tmp_path / "small.onnx").graph.output == zipmap().graph.output
    (_, before), (labels, after) = run(tmp_path / "dense.onnx", SAMPLES), run(tmp_path / "small.onnx", SAMPLES)
    gap = np.array([[a[key] - b[key] for key in range(4)] for a, b in zip(before, after, strict=True)])
    assert set(labels) <= set("abcd")
    assert 0.0 < np.abs(gap).max() < 0.9
    (fidelity,) = result.report.validation.outputs
    assert fidelity.output == "maps"
    assert fidelity.relative_error > 0.0
    assert result.report.validation.agreement is not None
    agreements = {(entry.output, entry.kind): entry for entry in result.report.validation.agreements}
    assert agreements.keys() == {("label", "texts"), ("maps", "keys")}
    assert agreements["maps", "keys"].agreement == 1.0
    samples = result.report.validation.samples
    assert agreements["label", "texts"].entries == samples
    assert agreements["label", "texts"].agreement == result.report.validation.agreement
    assert not [note for note in result.report.notes if note.code == "outputs-unmeasured"]
    console = Console(file=io.StringIO(), width=200)
    print_report(result.report, console)
    assert str(agreements["label", "texts"]) in console.file.getvalue()  # type: ignore[attr-defined]
    label = agreements["label", "texts"]
    assert f"<td>{samples}</td><td>{label.equal}</td>" in render(result.report)


def test_a_goal_on_maps_of_probabilities_counts_the_same_classes() -> None:
    report = compress(zipmap(), SAMPLES, max_drop="20%", quantize="none", method="obs", damping=0.01).report
    assert report.search is not None
    assert report.search.evidence.measure == "agreement"
    assert report.search.evidence.drop <= 0.2
    assert report.sparsity > 0.0


def test_a_goal_on_maps_from_texts_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="no float output to compare: give --sparsity or --trim") as error:
        compress(zipmap(named=True), SAMPLES, max_drop="20%", quantize="none", method="obs", damping=0.01)
    assert_a_sentence(error)


def test_a_sequence_output_opens(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "layer"),
        helper.make_node("SequenceConstruct", ["y", "x"], ["both"], "pair"),
    ]
    proto = model(nodes)
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", "m"]))
    proto.graph.output[0].CopyFrom(helper.make_value_info("both", kind))
    onnx.save(proto, tmp_path / "dense.onnx")
    result = compress(tmp_path / "dense.onnx", SAMPLES, sparsity=0.5, output=tmp_path / "small.onnx")
    (fidelity,) = result.report.validation.outputs
    assert (fidelity.output, fidelity.alike) == ("both", 1)
    assert 0.0 < fidelity.relative_error < 1.0
    (pair,) = run(tmp_path / "small.onnx", SAMPLES)
    np.testing.assert_array_equal(pair[1], SAMPLES)
    assert onnx.load(tmp_path / "small.onnx").graph.output == proto.graph.output


def test_an_input_of_maps_is_refused() -> None:
    proto = zipmap()
    proto.graph.input[0].type.CopyFrom(proto.graph.output[1].type.sequence_type.elem_type)
    with pytest.raises(InputError, match="input 'x' of the model takes a map of names to numbers") as error:
        open_model(proto, RUNTIME)
    assert_a_sentence(error)


def old(opset: int, batch: str | int | None = "n") -> onnx.ModelProto:
    """A layer, a BatchNormalization as it was, and a Softmax over all axes behind the first."""
    proto = model(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"], "layer"),
            helper.make_node("BatchNormalization", ["y", "one", "zero", "zero", "one"], ["b"], "norm"),
            helper.make_node("Softmax", ["b"], ["z"], "soft"),
        ],
        {**DENSE, "one": np.ones(4, np.float32), "zero": np.zeros(4, np.float32)},
        x=(batch, 8),  # type: ignore[arg-type]
        z=(batch, 4),  # type: ignore[arg-type]
    )
    proto.ir_version = 3
    del proto.opset_import[1:]
    proto.opset_import[0].version = opset
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    return proto


@pytest.mark.parametrize("opset", [7, 8])
@pytest.mark.parametrize("batch", ["n", None])
def test_an_old_opset_is_raised_and_verified(opset: int, batch: str | None, tmp_path: Path) -> None:
    onnx.save(old(opset, batch), tmp_path / "dense.onnx")
    result = compress(tmp_path / "dense.onnx", SAMPLES, sparsity=0.25, values="float32", output=tmp_path / "small.onnx")
    (note,) = [note for note in result.report.notes if note.code == "old-opset-raised"]
    assert note.data == {"before": opset, "after": 9}
    assert result.report.dense.opset == opset
    assert onnx.load(tmp_path / "small.onnx").graph.output == old(opset, batch).graph.output
    (before,), (after,) = run(tmp_path / "dense.onnx", SAMPLES), run(tmp_path / "small.onnx", SAMPLES)
    assert before.shape == after.shape == (80, 4)
    assert np.abs(before - after).max() < 0.5


def test_a_raised_model_that_gives_other_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    convert = native.convert_version

    def damaged(*arguments: Any) -> Any:
        converted = convert(*arguments)
        converted.graph[-1].attributes.clear()
        converted.graph[-1].op_type = "Relu"
        return converted

    monkeypatch.setattr(loading, "convert_version", damaged)
    source = open_model(old(8), RUNTIME)
    with pytest.raises(InputError, match="uses opset 8 and gives other outputs at opset 9") as error:
        verified(source, {"x": SAMPLES}, RUNTIME)
    assert_a_sentence(error)


def test_an_opset_that_cannot_be_raised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise native.NativeError("no adapter for it")

    monkeypatch.setattr(loading, "convert_version", refuses)
    with pytest.raises(InputError, match=r"uses opset 8, .* and it cannot be raised \(no adapter") as error:
        open_model(old(8), RUNTIME)
    assert_a_sentence(error)


def older(opset: int, batch: str | int | None, *more: onnx.NodeProto) -> onnx.ModelProto:
    """A layer, a bias along the last axis, and a shortcut, as they were written before operators broadcast."""
    proto = old(opset, batch)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "layer"),
        helper.make_node("Add", ["y", "one"], ["b"], "bias", axis=1, broadcast=1),
        helper.make_node("Relu", ["b"], ["r"], "relu"),
        helper.make_node("Add", ["r", "b"], ["s"], "shortcut"),
        *more,
        helper.make_node("Softmax", [more[-1].output[0] if more else "s"], ["z"], "soft"),
    ]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


@pytest.mark.parametrize(("opset", "batch"), [(1, "n"), (2, None), (3, "n"), (4, 16), (5, "n"), (6, "n"), (6, 16)])
def test_an_opset_that_only_the_reference_evaluator_runs_is_raised(
    opset: int, batch: str | int | None, tmp_path: Path
) -> None:
    given = older(opset, batch)
    onnx.save(given, tmp_path / "dense.onnx")
    source = open_model(tmp_path / "dense.onnx", RUNTIME)
    assert source.runs_as is source.original  # not the file, where models are timed
    result = compress(tmp_path / "dense.onnx", SAMPLES, sparsity=0.25, values="float32", output=tmp_path / "small.onnx")
    codes = [note.code for note in result.report.notes]
    assert {"old-opset-raised", "old-opset-checked"} <= set(codes)
    assert result.report.dense.opset == opset
    assert result.report.dense.bytes == (tmp_path / "dense.onnx").stat().st_size
    small = onnx.load(tmp_path / "small.onnx")
    assert (small.graph.input[0], small.graph.output) == (given.graph.input[0], given.graph.output)
    feed = SAMPLES[:16]
    outputs: Any = ReferenceEvaluator(given).run(None, {"x": feed})
    before = outputs[0]
    (after,) = run(tmp_path / "small.onnx", feed)
    assert before.shape == after.shape == (16, 4)
    assert 0 < np.abs(before - after).max() < 0.5
    comparison = compare(tmp_path / "dense.onnx", tmp_path / "small.onnx", SAMPLES)
    assert (comparison.dense.opset, comparison.compressed.opset) == (opset, small.opset_import[0].version)


def test_what_the_reference_evaluator_contradicts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    convert = native.convert_version

    def damaged(*arguments: Any) -> Any:
        converted = convert(*arguments)
        next(node for node in converted.graph if node.op_type == "Relu").op_type = "Neg"
        return converted

    monkeypatch.setattr(loading, "convert_version", damaged)
    source = open_model(older(6, "n"), RUNTIME)
    with pytest.raises(InputError, match="uses opset 6 and gives other outputs at opset 9") as error:
        verified(source, {"x": SAMPLES}, RUNTIME)
    assert_a_sentence(error)


def test_an_opset_that_nothing_runs_is_refused() -> None:
    dropout = helper.make_node("Dropout", ["s"], ["d"], "drop", is_test=1)
    source = open_model(older(6, "n", dropout), RUNTIME)
    with pytest.raises(InputError, match=r"opset 6, which ONNX Runtime does not run, .* cannot be checked \(.*Dropout"):
        verified(source, {"x": SAMPLES}, RUNTIME)


def test_an_opset_that_neither_runs_nor_can_be_raised_is_refused() -> None:
    unknown = helper.make_node("GRUUnit", ["s", "s", "s", "s"], ["d"], "unit")
    with pytest.raises(InputError, match=r"uses opset 6, expected 9 or newer, and it cannot be raised") as error:
        open_model(older(6, "n", unknown), RUNTIME)
    assert_a_sentence(error)


def test_a_model_of_trees_and_lines_is_named_as_what_it_is() -> None:
    line = helper.make_node("LinearRegressor", ["x"], ["z"], "line", domain="ai.onnx.ml", coefficients=[1.0] * 8)
    proto = model([line], {}, z=("n", 1))
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    with pytest.raises(
        InputError, match=r"no operators of the ONNX standard, only ai\.onnx\.ml\.LinearRegressor"
    ) as error:
        open_model(proto, RUNTIME)
    assert_a_sentence(error)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_a_quantised_weight_is_a_constant(operator: str, turned: bool) -> None:
    stored = np.arange(-16, 16, dtype=np.int8).reshape((4, 8) if turned else (8, 4))
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["v" if turned else "w"], "dequantize")]
    if turned:
        nodes.append(helper.make_node("Transpose", ["v"], ["w"], "turn"))
    nodes.append(helper.make_node(operator, ["x", "w"], ["z"], "layer"))
    proto = model(nodes, {"q": stored, "scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8)})
    inspection = inspect_model(proto)
    if not turned:
        (layer,) = inspection.layers
        assert (layer.name, layer.weights, layer.zeros, layer.dtype) == ("layer", 32, 1, "INT8")
        assert not inspection.declined
        return
    (declined,) = inspection.declined
    assert (declined.node, declined.parameters) == ("layer", 32)
    assert declined.reason == "its weight is a quantised constant (DequantizeLinear), which is not pruned"


def test_a_weight_that_is_quantised_from_an_input_is_computed() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "turn"),
        helper.make_node("DynamicQuantizeLinear", ["t"], ["q", "scale", "zero"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["v"], "dequantize"),
        helper.make_node("MatMul", ["x", "v"], ["z"], "layer"),
    ]
    assert inspect_model(model(nodes, {}, z=("n", "n"))).declined == ()
