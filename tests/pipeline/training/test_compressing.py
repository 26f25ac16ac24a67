"""Retraining on integers: the answers get better, the graph and its zeros stay, what cannot be is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from integer_models import float_net, integer_net, pictures
from onnx import numpy_helper

from netsurgeon import cli
from netsurgeon.models.onnx_module import OnnxModule
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.quantization.choose import IntegerChoice
from netsurgeon.pipeline.quantization.kernels import integer_kernels
from netsurgeon.pipeline.repair import integer_patterns
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.training import Retraining, retrain
from netsurgeon.pipeline.training.compressing import on_integers
from netsurgeon.pipeline.training.scores import check_same

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS: dict[str, Any] = {"steps": 8, "batch_size": 32, "learning_rate": 0.002, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse float model, the same on weights of 4 and of 2 bits, and pictures without labels."""
    path = tmp_path_factory.mktemp("integers")
    dense = float_net(zeros=0.5)
    ir.save(dense, path / "dense.onnx")
    ir.save(integer_net(dense), path / "integers.onnx")
    ir.save(integer_net(dense, most=1), path / "coarse.onnx")
    np.savez(path / "pictures.npz", x=pictures(256, seed=2))
    return path


@pytest.fixture
def all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer that can runs on integers, whatever this machine's clock says of so small a model."""
    module = __import__("netsurgeon.pipeline.quantization.quantize", fromlist=["quantize"])
    monkeypatch.setattr(module, "choose_integer_layers", lambda model, stay, *_, **__: IntegerChoice(stay=stay))


def retrained(folder: Path, model: str, output: Path, **options: Any) -> Retraining:
    how = {**STEPS, **options}
    result = retrain(folder / model, folder / "pictures.npz", output, dense=folder / "dense.onnx", **how)
    assert result is not None
    return result


def form(path: Path) -> list[Any]:
    """All of a graph but the numbers in it and the names of values, which stand in the order they are met."""
    graph = onnx.load(path).graph
    tensors = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    met: dict[str, int] = {}
    nodes = []
    for node in graph.node:
        name = "" if node.op_type in ("QuantizeLinear", "DequantizeLinear") else node.name
        values = [(met.setdefault(value, len(met)), tensors.get(value)) for value in (*node.input, *node.output)]
        nodes.append((node.op_type, name, values))
    return nodes


def codes(path: Path) -> dict[str, Any]:
    return {name: weight.codes for name, weight in find_integer_weights(ir.load(path).graph).items()}


def test_an_integer_model_learns_and_keeps_its_graph_and_zeros(folder: Path, tmp_path: Path) -> None:
    result = retrained(folder, "coarse.onnx", tmp_path / "better.onnx", steps=60)
    assert result.before.distance is not None
    assert result.after.distance is not None
    assert result.after.distance < 0.95 * result.before.distance
    assert form(tmp_path / "better.onnx") == form(folder / "coarse.onnx")
    before, after = codes(folder / "coarse.onnx"), codes(tmp_path / "better.onnx")
    assert before.keys() == after.keys()
    for layer in before:
        assert not after[layer][before[layer] == 0].any()
        assert np.abs(after[layer]).max() <= 1
    kernels = integer_kernels(ir.load(tmp_path / "better.onnx"), Runtime())
    assert set(kernels.values()) <= {"QLinearConv", "QGemm"}
    assert len(kernels) == len(before)


@pytest.mark.usefixtures("all_layers")
def test_a_float_model_is_put_on_integers_and_retrained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [folder / "dense.onnx", "--data", folder / "pictures.npz", "--dense", folder / "dense.onnx"]
    options = ["--quantize", "w4a8", "--steps", "8", "--batch-size", "32", "--learning-rate", "0.001"]
    assert cli.run(["retrain", *map(str, paths), *options, "--device", "cpu", "-o", str(tmp_path / "better.onnx")]) == 0
    assert "retrained" in capsys.readouterr().out
    model, dense = ir.load(tmp_path / "better.onnx"), ir.load(folder / "dense.onnx")
    allowed, learnt = integer_patterns(dense, model), find_integer_weights(model.graph)
    assert len(learnt) == 4
    for weight in learnt.values():
        assert not weight.codes[~allowed[weight.name]].any()
    assert form(tmp_path / "better.onnx") == form(folder / "integers.onnx")


@pytest.mark.usefixtures("all_layers")
def test_labels_are_enough_to_retrain_on_integers(folder: Path, tmp_path: Path) -> None:
    x = pictures(256, seed=2)
    answers = Runtime().session(folder / "dense.onnx").run({"x": x})["y"].argmax(axis=1)
    np.savez(tmp_path / "labelled.npz", x=x, labels=answers)
    how = {**STEPS, "quantize": "int8"}
    result = retrain(folder / "dense.onnx", tmp_path / "labelled.npz", tmp_path / "better.onnx", **how)
    assert result is not None
    assert [training_round.quantize for training_round in result.rounds] == ["int8"]
    assert result.after.distance is None, "no dense model to compare with"
    assert result.after.error is not None
    assert result.after.error < 0.1
    assert len(codes(tmp_path / "better.onnx")) == 4


@pytest.mark.usefixtures("all_layers")
def test_integers_come_after_the_rounds_of_pruning(folder: Path, tmp_path: Path) -> None:
    result = retrained(folder, "dense.onnx", tmp_path / "small.onnx", sparsity=0.7, quantize="int8")
    assert [(each.sparsity, each.quantize) for each in result.rounds] == [(pytest.approx(0.7), None), (None, "int8")]
    weights = codes(tmp_path / "small.onnx")
    assert (
        sum(int((weight == 0).sum()) for weight in weights.values()) >= 0.7 * sum(w.size for w in weights.values()) - 4
    )
    assert max(np.abs(weight).max() for weight in weights.values()) <= 63
    assert result.steps == 16


def test_a_module_that_rounds_otherwise_is_not_trained(folder: Path) -> None:
    model = ir.load(folder / "integers.onnx")
    module = OnnxModule(ir.to_proto(model))
    check_same(model, module, pictures(32), Runtime())
    other = onnx.load(folder / "integers.onnx")
    maker = [node for node in other.graph.node if node.op_type == "DequantizeLinear"][-2]  # of the last weight
    for tensor in other.graph.initializer:
        if tensor.name == maker.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(np.float32(1.1) * numpy_helper.to_array(tensor), tensor.name))
    with pytest.raises(CheckFailedError, match="PyTorch and ONNX Runtime differ by"):
        check_same(ir.from_proto(other), module, pictures(32), Runtime())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "integers.onnx",
            {"quantize": "int8"},
            "runs on integers already, and is retrained as such: leave --quantize out",
        ),
        (
            "integers.onnx",
            {"sparsity": 0.5},
            "runs on integers already, and is retrained as such: leave --sparsity out",
        ),
        ("dense.onnx", {"quantize": "w2a2"}, "quantize is 'w2a2', expected one of int8, w4a8"),
        ("dense.onnx", {"quantize": "int8", "target": "gpu"}, "target is 'gpu', expected one of cpu, cpu-vnni"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    folder: Path, tmp_path: Path, model: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retrained(folder, model, tmp_path / "better.onnx", **options)
    assert not (tmp_path / "better.onnx").exists()


def test_a_model_that_stays_on_floats_is_not_retrained_as_if_it_were_on_integers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = __import__("netsurgeon.pipeline.quantization.quantize", fromlist=["quantize"])
    slow = "integers make the model 0.70 times as fast on this machine, which is not worth it"
    layers = ("Conv_0", "Conv_2", "Gemm_6", "Gemm_8")
    monkeypatch.setattr(
        module, "choose_integer_layers", lambda *_, **__: IntegerChoice(stay=dict.fromkeys(layers, slow))
    )
    from netsurgeon.pipeline.data import Arrays

    with pytest.raises(InputError, match=r"stays on floats: integers make the model 0\.70 .*: leave --quantize out"):
        on_integers(ir.load(folder / "dense.onnx"), "x", Arrays(pictures(64)), "int8", "cpu", None, 0)
