"""Whatever is wrong with a model is said in one sentence; what opens is left as it was."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from layer_files import (
    RUNTIME,
    assert_a_sentence,
    assert_runs,
    expected,
    external,
    proto,
    run,
    weights,
)
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.loading import open_model, read_model
from netsurgeon.pipeline.model_files.save import save_model


def test_a_model_opens(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(proto().SerializeToString())
    opened = open_model(path, RUNTIME)
    assert (opened.path, opened.bytes, opened.opset, opened.notes) == (path, path.stat().st_size, 17, ())
    assert opened.model is not opened.original
    assert_runs(opened.model)
    assert_runs(opened.original)


@pytest.mark.parametrize("kind", ["text", "proto", "ir"])
def test_every_kind_of_model_opens(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(proto().SerializeToString())
    model: Any = {"text": str(path), "proto": proto(), "ir": ir.from_proto(proto())}[kind]
    opened = open_model(model, RUNTIME)
    assert_runs(opened.model)
    assert 0 <= opened.bytes - len(proto().SerializeToString()) < 100
    assert (opened.path is None) == (kind != "text")


def test_surgery_leaves_the_model_as_given_alone() -> None:
    original = ir.from_proto(proto())
    opened = open_model(original, RUNTIME)
    opened.model.graph.initializers["w"].const_value = ir.tensor(np.zeros((8, 4), np.float32), name="w")
    for untouched in (original, opened.original):
        assert_runs(untouched)
    assert np.abs(run(opened.model) - expected()).max() > 0.1


@pytest.mark.parametrize("kind", ["text", "proto", "ir"])
def test_the_long_name_of_the_standard_operators(kind: str, tmp_path: Path) -> None:
    model = proto()
    for named in (*model.opset_import, *model.graph.node):
        named.domain = "ai.onnx"
    onnx.save(model, tmp_path / "model.onnx")
    models: dict[str, Any] = {"text": str(tmp_path / "model.onnx"), "proto": model, "ir": ir.from_proto(model)}
    opened = open_model(models[kind], RUNTIME)
    assert opened.opset == 17
    assert opened.model.graph.opset_imports == {"": 17}
    assert_runs(opened.model)


def test_initializers_that_are_inputs_are_noted(tmp_path: Path) -> None:
    model = proto(ir_version=3, opset=9)
    for name, array in weights().items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    opened = open_model(model, RUNTIME)
    assert [(note.code, note.data) for note in opened.notes] == [("initializers-fixed", {"count": 2})]
    assert opened.model.ir_version == 4
    assert opened.original.ir_version == 3
    save_model(opened.model, tmp_path / "out.onnx")
    assert_runs(tmp_path / "out.onnx")


def no_file(folder: Path) -> Path:
    return folder / "nowhere.onnx"


def a_folder(folder: Path) -> Path:
    return folder


def a_broken_link(folder: Path) -> Path:
    (folder / "model.onnx").symlink_to(folder / "nowhere.onnx")
    return folder / "model.onnx"


def written(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "model.onnx").write_bytes(data)
        return folder / "model.onnx"

    return write


def unknown(domain: str) -> bytes:
    nodes = [helper.make_node("Frobnicate", ["x", "w", "b"], ["z"], "odd", domain=domain)]
    return bytes(proto(nodes, domain=domain).SerializeToString())


def missing_value() -> bytes:
    return bytes(proto([helper.make_node("Gemm", ["x", "v"], ["z"], "layer")]).SerializeToString())


def sparse() -> bytes:
    model = proto()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    dense = numpy_helper.to_array(weight).ravel()
    model.graph.initializer.remove(weight)
    places = numpy_helper.from_array(np.arange(dense.size), "w_places")
    values = numpy_helper.from_array(dense, "w")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, list(weight.dims)))
    return bytes(model.SerializeToString())


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (no_file, "is not a file: give the path of an ONNX model"),
    "a folder": (a_folder, "is a folder without an ONNX file, not an ONNX model"),
    "a broken link": (a_broken_link, "is not a file"),
    "empty": (written(b""), "is not an ONNX model with nodes in its graph, or it is truncated"),
    "text": (written(b"This is no model at all.\n" * 40), "is not an ONNX file, or it is truncated"),
    "garbage": (written(bytes(range(255, 0, -1)) * 9), "is not an ONNX file, or it is truncated"),
    "zip": (written(b"PK\x03\x04" + bytes(300)), "is an archive, not an ONNX model"),
    "truncated": (written(proto().SerializeToString()[:-60]), "is not an ONNX file, or it is truncated"),
    "unknown operator": (written(unknown("")), "ONNX Runtime cannot load the model: .*Frobnicate.*--custom-ops"),
    "own operator": (written(unknown("mine")), "ONNX Runtime cannot load the model: .*Frobnicate.*--custom-ops"),
    "sparse initializer": (written(sparse()), "holds 'w' as a sparse initializer, which is not read"),
    "missing value": (written(missing_value()), "ONNX Runtime cannot load the model"),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_model_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    make, message = BAD[kind]
    with pytest.raises(InputError, match=message) as error:
        open_model(make(tmp_path), RUNTIME)
    assert_a_sentence(error)


def test_wherever_a_file_is_cut_off_it_is_refused(tmp_path: Path) -> None:
    data, path = proto().SerializeToString(), tmp_path / "model.onnx"
    for end in range(0, len(data), 3):
        path.write_bytes(data[:end])
        with pytest.raises(InputError) as error:
            open_model(path, RUNTIME)
        assert_a_sentence(error)


def test_a_damaged_file_opens_or_is_refused(tmp_path: Path) -> None:
    """Any other exception is a bug."""
    data, path = proto().SerializeToString(), tmp_path / "model.onnx"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            open_model(path, RUNTIME)
        except InputError:
            refused += 1
    assert 20 < refused < 300


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(onnx, "load", denied)
    with pytest.raises(InputError, match=r"model\.onnx cannot be read: Permission denied"):
        open_model(written(b"x")(tmp_path), RUNTIME)


def test_read_model_says_what_it_read(tmp_path: Path) -> None:
    path = external(tmp_path)
    model, file, size = read_model(path)
    assert file == path
    assert size == path.stat().st_size + 128
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), weights()["w"])


def test_a_model_of_the_wrong_type() -> None:
    model: Any = 3
    with pytest.raises(
        InputError, match=r"the model is of type int, expected a path, a ModelProto or an onnx_ir\.Model"
    ):
        open_model(model, RUNTIME)
