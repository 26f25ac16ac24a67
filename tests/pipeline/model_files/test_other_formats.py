"""Files and folders that are no ONNX model: the sentence says what they are, and how an ONNX model is had from them."""

import gzip
import importlib.util
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import onnx
import pytest
from onnx import TensorProto, helper

from netsurgeon.cli import run
from netsurgeon.pipeline.model_files.loading import read_model
from netsurgeon.pipeline.model_files.other_formats import by_content, by_name, by_path

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def small_model(producer: str = "") -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    return helper.make_model(graph, producer_name=producer)


def a_zip(folder: Path, name: str, *members: str) -> Path:
    with ZipFile(folder / name, "w") as archive:
        for member in members:
            archive.writestr(member, b"x")
    return folder / name


def a_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def a_folder(name: str, *names: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).mkdir()
        for child in names:
            (folder / name / child).touch()
        return folder / name

    return write


FLATBUFFER = b"\x1c\x00\x00\x00"
CASES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "pt": (
        lambda folder: a_zip(folder, "m.pt", "m/data.pkl", "m/version"),
        "a PyTorch file",
        "torch.onnx.export(model",
    ),
    "old pt": (a_file("m.pth", b"\x80\x02\x8a\nl\xfc"), "a PyTorch file", "torch.onnx.export(model"),
    "cut pt": (a_file("m.pt", b"PK\x03\x04cut off"), "a PyTorch file", "torch.onnx.export(model"),
    "unknown pt": (a_file("m.pt", b"what is this"), "a PyTorch file", "torch.onnx.export(model"),
    "torchscript": (
        lambda folder: a_zip(folder, "m.pt", "m/data.pkl", "m/constants.pkl"),
        "a TorchScript program",
        "torch.onnx.export(torch.jit.load('PATH')",
    ),
    "pt2": (lambda folder: a_zip(folder, "m.pt2", "m/models/model.json"), "an exported PyTorch program", "export.load"),
    "safetensors": (a_file("m.safetensors", b'\x40\0\0\0\0\0\0\0{"a":'), "weights without the network", "torch.onnx"),
    "tflite": (a_file("m.tflite", FLATBUFFER + b"TFL3"), "a TensorFlow Lite model", "tf2onnx.convert --tflite PATH"),
    "ort": (a_file("m.ort", FLATBUFFER + b"ORTM"), "ONNX Runtime's own format", "the ONNX file that it was made from"),
    "pb": (a_file("m.pb", b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder"), "a TensorFlow graph", "--graphdef PATH --inputs"),
    "engine": (a_file("m.engine", b"ftrt\x00\x00"), "a TensorRT engine", "the ONNX file that it was made from"),
    "unknown engine": (a_file("m.engine", b"\xff\xfe"), "a TensorRT engine", "the ONNX file that it was made from"),
    "keras": (lambda folder: a_zip(folder, "m.keras", "model.weights.h5"), "a Keras model", ".export('model.onnx'"),
    "h5": (a_file("m.h5", b"\x89HDF\r\n\x1a\n"), "a Keras model", "keras.models.load_model('PATH')"),
    "pickle": (a_file("m.pkl", pickle.dumps({"a": 1})), "a pickled Python object", "skl2onnx.to_onnx"),
    "gzip": (a_file("m.onnx.gz", gzip.compress(b"x")), "an archive", "unpack it"),
    "lfs": (a_file("m.onnx", b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS", "git lfs pull"),
    "page": (a_file("m.onnx", b"\n<!DOCTYPE html><html>"), "a web page", "download the file itself"),
    "gguf": (a_file("m.gguf", b"GGUF\x03"), "GGUF", "export the model"),
    "saved model": (a_folder("m", "saved_model.pb"), "a TensorFlow SavedModel", "--saved-model PATH --output"),
    "hugging face": (a_folder("m", "config.json", "x.safetensors"), "a Hugging Face model", "optimum-cli export onnx"),
    "core ml": (a_folder("m.mlpackage", "Manifest.json"), "a Core ML model", "there is no way back"),
    "onnx folder": (a_folder("m", "b.onnx", "c.bin"), "a folder", "such as PATH/b.onnx"),
    "folder": (a_folder("m"), "a folder without an ONNX file", "give the path of an ONNX model"),
    "url": (lambda _: Path("https://host.org/m.onnx"), "https://host.org/m.onnx is an address", "download the file"),
    "bucket": (lambda _: Path("s3://bucket/m.onnx"), "s3://bucket/m.onnx is an address", "download the file"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sentence_says_what_it_is_and_how_to_get_an_onnx_file(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, what, advice = CASES[name]
    path = make(tmp_path)
    assert run(["inspect", str(path)]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert what in sentence
    assert ", not an ONNX model: " in sentence
    assert advice.replace("PATH", str(path)) in sentence


@pytest.mark.parametrize("command", ["compress", "compare", "profile", "unpack", "retrain"])
def test_every_command_says_so(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(a_file("m.tflite", FLATBUFFER + b"TFL3")(tmp_path))
    more = {
        "compress": ["--data", "random", "-o", str(tmp_path / "out.onnx")],
        "compare": [path, "--data", "random"],
        "unpack": ["-o", str(tmp_path / "out.onnx")],
        "retrain": ["--data", "data.npz", "-o", str(tmp_path / "out.onnx")],
    }
    if command == "retrain" and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    assert run([command, path, *more.get(command, [])]) == 2
    assert "a TensorFlow Lite model, not an ONNX model" in capsys.readouterr().err


@needs_torch
def test_what_pytorch_writes_is_recognised(tmp_path: Path) -> None:
    torch: Any = importlib.import_module("torch")
    layer = torch.nn.Linear(3, 2)
    torch.save(layer.state_dict(), tmp_path / "new.pt")
    torch.save(layer.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(layer, torch.zeros(1, 3)), tmp_path / "script.pt")
        torch.export.save(torch.export.export(layer, (torch.zeros(1, 3),)), tmp_path / "program.pt2")
    kinds = {"new.pt": "PyTorch file", "old.pt": "PyTorch file", "script.pt": "TorchScript", "program.pt2": "exported"}
    for name, kind in kinds.items():
        assert kind in (by_content(tmp_path / name) or ""), name


@pytest.mark.parametrize("producer", ["", "TFL3", "ORTM", "PK\x03\x04", '{"a": 1}', "pytorch", "<html>", "GGUF"])
@pytest.mark.parametrize("name", ["m.onnx", "m.pb", "m.pt", "m"])
def test_an_onnx_model_is_read_whatever_its_name(tmp_path: Path, producer: str, name: str) -> None:
    (tmp_path / name).write_bytes(small_model(producer).SerializeToString())
    assert by_content(tmp_path / name) is None
    assert len(read_model(tmp_path / name)[0].graph) == 1


def test_what_nobody_knows_is_nothing(tmp_path: Path) -> None:
    assert by_path(tmp_path / "missing.pt") is None
    assert by_content(tmp_path / "missing.pt") is None
    assert by_name(tmp_path / "model.bin") is None
