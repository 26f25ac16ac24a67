"""What a file or folder is that is no ONNX model, and how an ONNX model is had from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from netsurgeon.pipeline.data import open_regular

HEAD_BYTES = 512
"""What is read to recognise a file."""


class OtherFormat(NamedTuple):
    """What a file is, and how an ONNX model is had from it; {path} stands for its path."""

    what: str
    advice: str


_BY_THE_CODE = "load it with the code that made it, then run torch.onnx.export(model, (inputs,), 'model.onnx')"
_NO_WAY_BACK = "there is no way back, give the ONNX file that it was made from"
_PYTORCH = OtherFormat("a PyTorch file", _BY_THE_CODE)
_TORCHSCRIPT = OtherFormat(
    "a TorchScript program",
    "run torch.onnx.export(torch.jit.load('{path}'), (inputs,), 'model.onnx', dynamo=False)",
)
_EXPORTED_PROGRAM = OtherFormat(
    "an exported PyTorch program", "run torch.onnx.export(torch.export.load('{path}'), dynamo=True).save('model.onnx')"
)
_SAFETENSORS = OtherFormat("a file of weights without the network (safetensors)", _BY_THE_CODE)
_TFLITE = OtherFormat("a TensorFlow Lite model", "run python -m tf2onnx.convert --tflite {path} --output model.onnx")
_FROZEN_GRAPH = OtherFormat(
    "a TensorFlow graph",
    "run python -m tf2onnx.convert --graphdef {path} --inputs X:0 --outputs Y:0 --output model.onnx, with the names "
    "of its inputs and outputs",
)
_SAVED_MODEL = OtherFormat(
    "a TensorFlow SavedModel", "run python -m tf2onnx.convert --saved-model {path} --output model.onnx"
)
_KERAS = OtherFormat("a Keras model", "run keras.models.load_model('{path}').export('model.onnx', format='onnx')")
_HUGGING_FACE = OtherFormat("a Hugging Face model", "run optimum-cli export onnx --model {path} onnx/")
_PADDLE = OtherFormat("a PaddlePaddle model", "convert its folder with paddle2onnx")
_PICKLE = OtherFormat(
    "a pickled Python object", "where it is a scikit-learn model, write it by skl2onnx.to_onnx(model, inputs)"
)
_ORT = OtherFormat("a model in ONNX Runtime's own format (ORT)", _NO_WAY_BACK)
_TENSORRT = OtherFormat("a TensorRT engine, compiled for one kind of GPU", _NO_WAY_BACK)
_COREML = OtherFormat("a Core ML model", _NO_WAY_BACK)
_OPENVINO = OtherFormat("an OpenVINO model", _NO_WAY_BACK)
_GGUF = OtherFormat("a file of weights for llama.cpp (GGUF)", "export the model that it was made from")
_LFS = OtherFormat("a pointer of Git LFS in place of the file", "run git lfs pull")
_WEB_PAGE = OtherFormat("a web page, saved in place of the file", "download the file itself")
_ARCHIVE = OtherFormat("an archive", "unpack it, and give the ONNX file in it")
_ADDRESS = OtherFormat("an address, which is never fetched", "download the file, and give its path")

_SIGNATURES = (
    (rb"version https://git-lfs", _LFS),
    (rb"(?i)\s*<(!doctype html|html)", _WEB_PAGE),
    (rb"(?s)..\x00\x00TFL3", _TFLITE),
    (rb"(?s)..\x00\x00ORTM", _ORT),
    (rb"(?s).{4}\x00{4}\{\"", _SAFETENSORS),
    (rb"[fp]trt", _TENSORRT),
    (rb"\x89HDF\r\n", _KERAS),
    (rb"GGUF", _GGUF),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", _ARCHIVE),
)
"""How files begin, none of them as an ONNX model can: that starts with a field of protobuf, in its lowest bytes."""
_MEMBERS = (
    (r"(.*/)?constants\.pkl", _TORCHSCRIPT),
    (r"(.*/)?(serialized_exported_program\.json|models/[^/]+\.json)", _EXPORTED_PROGRAM),
    (r"(.*/)?data\.pkl", _PYTORCH),
    (r"model\.weights\.h5", _KERAS),
)
"""Names in a zip, and what it is."""
_ENDINGS = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _PYTORCH),
    ".tflite": _TFLITE,
    ".ort": _ORT,
    **dict.fromkeys((".engine", ".plan", ".trt"), _TENSORRT),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), _KERAS),
    **dict.fromkeys((".pb", ".pbtxt"), _FROZEN_GRAPH),
    **dict.fromkeys((".mlmodel", ".mlpackage"), _COREML),
    ".xml": _OPENVINO,
    **dict.fromkeys((".pdmodel", ".pdiparams"), _PADDLE),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
}
"""What a file is by the end of its name, where its bytes say nothing."""
_IN_FOLDERS = (("saved_model.pb", _SAVED_MODEL), ("config.json", _HUGGING_FACE))
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/+\S", re.IGNORECASE)  # Path joins the two slashes


def by_path(path: Path) -> str | None:
    """What a path is that is no file: one sentence; None where there is nothing."""
    if _URL.match(str(path)):
        return _sentence(re.sub(":/+", "://", str(path), count=1), _ADDRESS)
    return _sentence(path, _folder(path)) if path.is_dir() else None


def by_content(path: Path) -> str | None:
    """What a file is whose first bytes are never those of an ONNX model: one sentence, None where they may be."""
    try:
        with open_regular(path) as handle:
            head = handle.read(HEAD_BYTES)
    except (OSError, ValueError):  # who opens the model tells what is wrong with it
        return None
    if head.startswith(b"PK\x03\x04"):
        return _sentence(path, _zip(path))
    if re.match(rb"\x80[\x02-\x05]", head):
        return _sentence(path, _ENDINGS.get(path.suffix.lower(), _PICKLE))
    return next((_sentence(path, other) for sign, other in _SIGNATURES if re.match(sign, head)), None)


def by_name(path: Path) -> str | None:
    """What a file is, which cannot be read as an ONNX model, by the end of its name: one sentence, or None."""
    other = _ENDINGS.get(path.suffix.lower())
    return None if other is None else _sentence(path, other)


def _sentence(path: Path | str, other: OtherFormat) -> str:
    return f"{path} is {other.what}, not an ONNX model: {other.advice.replace('{path}', str(path))}"


def _zip(path: Path) -> OtherFormat:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, OSError, ValueError):
        return _ENDINGS.get(path.suffix.lower(), _ARCHIVE)
    return next((other for name, other in _MEMBERS if any(re.fullmatch(name, member) for member in names)), _ARCHIVE)


def _folder(path: Path) -> OtherFormat:
    if path.suffix.lower() in _ENDINGS:
        return _ENDINGS[path.suffix.lower()]
    try:
        names = sorted(child.name for child in path.iterdir())
    except OSError:
        names = []
    model = next((name for name in names if name.lower().endswith(".onnx")), None)
    if model is not None:
        return OtherFormat("a folder", f"give the file in it, such as {path / model}")
    nothing = OtherFormat("a folder without an ONNX file", "give the path of an ONNX model")
    return next((other for name, other in _IN_FOLDERS if name in names), nothing)
