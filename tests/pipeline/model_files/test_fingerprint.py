"""Facts that identify a model and its inputs: the same for the same bytes, and counts of what is stored."""

import dataclasses
import gzip
import hashlib
import importlib.metadata
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from layer_files import external, model_in_memory, proto
from onnx import helper, numpy_helper

import netsurgeon
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files import fingerprint
from netsurgeon.pipeline.model_files.fingerprint import (
    bytes_on_disk,
    data_facts,
    model_digest,
    model_facts,
    model_size,
    versions,
)
from netsurgeon.pipeline.runtime import large_models

SPECS = (InputSpec("x", np.dtype(np.float32), (None, 8)),)


def test_facts_of_a_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    content, path = proto().SerializeToString(), tmp_path / "model.onnx"
    path.write_bytes(content)
    facts = model_facts(ir.load(path), path)
    assert (facts.name, facts.bytes, facts.opset) == ("model.onnx", len(content), 17)
    assert facts.sha256 == hashlib.sha256(content).hexdigest() == model_digest(ir.load(path), path)
    assert facts.gzip_bytes is not None
    assert abs(facts.gzip_bytes - len(gzip.compress(content, 6))) < 20
    assert (facts.parameters, facts.nonzero) == (8 * 4 + 4, 8 * 4 + 4)
    assert bytes_on_disk(path) == len(content)


def test_external_data_belongs_to_the_model(tmp_path: Path) -> None:
    path = external(tmp_path)
    content, weights = path.read_bytes(), (tmp_path / "weights.bin").read_bytes()
    facts = model_facts(ir.load(path), path)
    assert facts.bytes == bytes_on_disk(path) == len(content) + len(weights)
    assert facts.sha256 == hashlib.sha256(content + weights).hexdigest()
    assert facts.parameters == 8 * 4 + 4
    (tmp_path / "weights.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert model_digest(ir.load(path), path) != facts.sha256


@pytest.mark.parametrize("is_quantized", [False, True])
def test_a_shortcut_that_only_hands_channels_on_has_no_parameters(is_quantized: bool) -> None:
    """It stands for a Pad: ResNet-20 seemed to have 2,560 parameters more once it was compressed."""
    selection, weight = np.zeros((2, 6, 3, 1, 1), np.float32)
    selection[1:4, :, 0, 0] = np.eye(3)
    weight[:] = selection
    weight[1, 0] = 0.5
    counts = []
    for array in (selection, weight):
        integers = [numpy_helper.from_array(np.rint(127 * array).astype(np.int8), "q")]
        scale = [numpy_helper.from_array(np.full((), 1 / 127, np.float32), "s")]
        nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"])] if is_quantized else []
        nodes.append(helper.make_node("Conv", ["x", "w"], ["y"]))
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", 1, ["N", 3, 4, 4])],
            [helper.make_tensor_value_info("y", 1, ["N", 6, 4, 4])],
            integers + scale if is_quantized else [numpy_helper.from_array(array, "w")],
        )
        facts = model_facts(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])), None)
        counts.append((facts.parameters, facts.nonzero))
    assert counts == [(0, 0), (18, 3)], "nor is a scale of integers one"


def test_a_model_in_memory_is_known_by_what_would_be_written() -> None:
    model = model_in_memory()
    facts = model_facts(model, None)
    content = ir.to_proto(model).SerializeToString()
    assert (facts.name, facts.bytes, facts.sha256) == ("", len(content), hashlib.sha256(content).hexdigest())
    assert model_digest(model, None) == facts.sha256 == model_facts(model_in_memory(), None).sha256
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * (np.arange(32).reshape(8, 4) % 2), name="w")
    pruned = model_facts(model, None)
    assert (pruned.parameters, pruned.nonzero) == (36, 20)
    assert pruned.sha256 != facts.sha256


def test_of_a_large_model_nothing_is_one_message_or_zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = model_in_memory(), external(tmp_path)
    small, file = model_facts(model, None), model_facts(ir.load(path), path)
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 100)
    monkeypatch.setattr(large_models, "EXTERNAL_BYTES", 100)
    monkeypatch.setattr(fingerprint, "MOST_ZIPPED", 100)
    large = model_facts(model, None)
    assert large.gzip_bytes is None
    assert abs(large.bytes - small.bytes) < 100
    assert model_size(model, None) == large.bytes
    assert (large.parameters, large.nonzero) == (small.parameters, small.nonzero)
    assert model_digest(model, None) == large.sha256
    assert dataclasses.replace(file, gzip_bytes=None) == model_facts(ir.load(path), path)
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() + np.float32(1.0), name="w")
    assert model_digest(model, None) != large.sha256


def test_floats_count_wherever_they_are_and_integers_do_not() -> None:
    inner = numpy_helper.from_array(np.array([1, 0, 2], np.float16), "inner")
    outline = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT16, None)
    node = helper.make_node("Identity", ["inner"], ["z"])
    branch = helper.make_graph([node], "branch", [], [outline], [inner])
    constant = numpy_helper.from_array(np.array([0.5, 0.0]), "constant")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Constant", [], ["unused"], value=constant),
        helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch),
    ]
    integers = numpy_helper.from_array(np.arange(7), "integers")
    graph = helper.make_graph(nodes, "graph", [], [outline], [integers])
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    facts = model_facts(model, None)
    assert (facts.parameters, facts.nonzero) == (2 * 3 + 2, 2 * 2 + 1)


def test_inputs_in_the_folder_that_one_is_in_have_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "feeds"
    (folder / "below").mkdir(parents=True)
    samples = open_samples("random:3", SPECS)
    monkeypatch.chdir(folder)
    assert data_facts(".", samples).source == data_facts(Path(), samples).source == "feeds"
    monkeypatch.chdir(folder / "below")
    assert data_facts("..", samples).source == data_facts("../../feeds", samples).source == "feeds"


def test_inputs_are_called_by_their_file_or_their_kind(tmp_path: Path) -> None:
    rows = np.arange(40, dtype=np.float32).reshape(5, 8)
    np.save(tmp_path / "rows.npy", rows)
    path = tmp_path / "rows.npy"
    from_file = data_facts(path, open_samples(path, SPECS))
    in_memory = data_facts(rows, open_samples(rows, SPECS, batch_size=2))
    assert (from_file.source, from_file.samples) == ("rows.npy", 5)
    assert data_facts(str(path), open_samples(str(path), SPECS)) == from_file
    assert in_memory == dataclasses.replace(from_file, source="ndarray")
    assert data_facts("random:3", open_samples("random:3", SPECS)).source == "random:3"


def test_versions_are_those_that_are_installed() -> None:
    installed = versions()
    assert installed["netsurgeon"] == netsurgeon.__version__
    assert installed["numpy"] == np.__version__
    assert installed["onnx-ir"] == importlib.metadata.version("onnx-ir")
    assert {"python", "onnxruntime", "scipy", "onnx", "onnxscript"} <= set(installed)
