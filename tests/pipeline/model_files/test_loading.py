"""Whatever is wrong with a model or an output path is said in one sentence; what is written is whole."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import save
from netsurgeon.pipeline.model_files.loading import open_model, read_model
from netsurgeon.pipeline.model_files.paths import check_outputs
from netsurgeon.pipeline.model_files.save import save_model, write_text
from netsurgeon.pipeline.runtime import session as session_module
from netsurgeon.pipeline.runtime.same_outputs import relative_difference, verify_same
from netsurgeon.pipeline.runtime.session import Runtime

Array = NDArray[Any]
RUNTIME = Runtime()
X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def weights() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {"w": rng.standard_normal((8, 4)).astype(np.float32), "b": rng.standard_normal(4).astype(np.float32)}


def proto(
    nodes: Sequence[onnx.NodeProto] | None = None, *, opset: int = 17, domain: str = "", ir_version: int = 8
) -> onnx.ModelProto:
    """``z = Relu(x w + b)``."""
    nodes = nodes or [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], "layer"),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
    ]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights().items()],
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def external(folder: Path, location: str = "weights.bin", **entries: str | int) -> Path:
    """The model with `w` in a file of its own; `entries` replace those of the tensor."""
    model = proto()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": location, "offset": 0, "length": len(data)} | entries).items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def expected() -> Array:
    return np.asarray(np.maximum(X @ weights()["w"] + weights()["b"], 0))


def run(model: Path | ir.Model) -> Array:
    """What ONNX Runtime makes of a file as it lies there, or of a model in memory."""
    if isinstance(model, ir.Model):
        return np.asarray(RUNTIME.session(model).run({"x": X})["z"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


def assert_runs(model: Path | ir.Model) -> None:
    np.testing.assert_allclose(run(model), expected(), rtol=1e-5, atol=1e-6)


def assert_a_sentence(error: pytest.ExceptionInfo[InputError]) -> None:
    """One line, no traceback, not too long to be read."""
    text = str(error.value)
    assert "\n" not in text
    assert 20 < len(text) < 700
    assert error.value.exit_code == 2


# ------------------------------------------------------------------------------------------------ opening


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
    given = ir.from_proto(proto())
    opened = open_model(given, RUNTIME)
    opened.model.graph.initializers["w"].const_value = ir.tensor(np.zeros((8, 4), np.float32), name="w")
    for untouched in (given, opened.original):
        assert_runs(untouched)
    assert np.abs(run(opened.model) - expected()).max() > 0.1


@pytest.mark.parametrize("kind", ["text", "proto", "ir"])
def test_the_long_name_of_the_standard_operators(kind: str, tmp_path: Path) -> None:
    model = proto()
    for named in (*model.opset_import, *model.graph.node):
        named.domain = "ai.onnx"
    onnx.save(model, tmp_path / "model.onnx")
    given: dict[str, Any] = {"text": str(tmp_path / "model.onnx"), "proto": model, "ir": ir.from_proto(model)}
    opened = open_model(given[kind], RUNTIME)
    assert opened.opset == 17
    assert opened.model.graph.opset_imports == {"": 17}
    assert_runs(opened.model)


def test_initializers_that_are_inputs_are_noted(tmp_path: Path) -> None:
    model = proto(ir_version=3, opset=9)
    for name, array in weights().items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    opened = open_model(model, RUNTIME)
    assert opened.notes == ("initializers also listed as graph inputs are constants now: 2",)
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
    weight = next(each for each in model.graph.initializer if each.name == "w")
    dense = numpy_helper.to_array(weight).ravel()
    model.graph.initializer.remove(weight)
    places = numpy_helper.from_array(np.arange(dense.size), "w_places")
    values = numpy_helper.from_array(dense, "w")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, list(weight.dims)))
    return bytes(model.SerializeToString())


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (no_file, "is not a file: give the path of an ONNX model"),
    "a folder": (a_folder, "is not a file"),
    "a broken link": (a_broken_link, "is not a file"),
    "empty": (written(b""), "is not an ONNX model with nodes in its graph, or it is truncated"),
    "text": (written(b"This is no model at all.\n" * 40), "is not an ONNX file, or it is truncated"),
    "garbage": (written(bytes(range(255, 0, -1)) * 9), "is not an ONNX file, or it is truncated"),
    "zip": (written(b"PK\x03\x04" + bytes(300)), "is not an ONNX file, or it is truncated"),
    "truncated": (written(proto().SerializeToString()[:-60]), "is not an ONNX file, or it is truncated"),
    "opset 8": (written(proto(opset=8).SerializeToString()), "uses opset 8, expected 9 or newer: upgrade it"),
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


# ------------------------------------------------------------------------------------------------ external data


def test_external_data_opens_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = external(tmp_path / "in")
    opened = open_model(path, RUNTIME)
    assert opened.bytes == path.stat().st_size + 8 * 4 * 4
    for model in (opened.original, opened.model):
        assert_runs(model)
    monkeypatch.chdir(tmp_path / "in")
    assert_runs(open_model("model.onnx", RUNTIME).model)


def test_what_is_saved_does_not_lean_on_the_input(tmp_path: Path) -> None:
    opened = open_model(external(tmp_path / "in"), RUNTIME)
    (tmp_path / "out").mkdir()
    save_model(opened.model, tmp_path / "out" / "model.onnx")
    del opened
    shutil.rmtree(tmp_path / "in")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.onnx"]
    assert_runs(tmp_path / "out" / "model.onnx")


def test_external_data_in_a_folder_below(tmp_path: Path) -> None:
    path = external(tmp_path, location="data/weights.bin")
    (tmp_path / "data").mkdir()
    (tmp_path / "weights.bin").rename(tmp_path / "data" / "weights.bin")
    assert_runs(open_model(path, RUNTIME).model)


def test_external_data_beside_the_model_a_link_leads_to(tmp_path: Path) -> None:
    path = external(tmp_path / "real")
    (tmp_path / "link.onnx").symlink_to(path)
    assert_runs(open_model(tmp_path / "link.onnx", RUNTIME).model)


def test_a_length_may_be_left_out(tmp_path: Path) -> None:
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    del model.graph.initializer[0].external_data[1:]
    path.write_bytes(model.SerializeToString())
    assert_runs(open_model(path, RUNTIME).model)
    (tmp_path / "weights.bin").write_bytes(bytes(60))
    with pytest.raises(InputError, match=r"tensor 'w' cannot be read from 'weights\.bin'") as error:
        open_model(path, RUNTIME)
    assert_a_sentence(error)


def test_a_proto_with_external_data_is_read_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(InputError, match="missing beside the model"):
        open_model(model, RUNTIME)
    monkeypatch.chdir(tmp_path)
    assert_runs(open_model(model, RUNTIME).model)
    given = ir.load("model.onnx")
    assert_runs(open_model(given, RUNTIME).model)
    assert isinstance(given.graph.initializers["w"].const_value, ir.ExternalTensor)


def outside(folder: Path) -> Path:
    (folder / "secret.bin").write_bytes(bytes(128))
    return external(folder / "in", location="../secret.bin")


def absolute(folder: Path) -> Path:
    (folder / "secret.bin").write_bytes(bytes(128))
    return external(folder / "in", location=str(folder / "secret.bin"))


def linked(folder: Path) -> Path:
    (folder / "secret.bin").write_bytes(bytes(128))
    path = external(folder / "in", location="link.bin")
    (folder / "in" / "link.bin").symlink_to(folder / "secret.bin")
    return path


def linked_folder(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "secret.bin").write_bytes(bytes(128))
    path = external(folder / "in", location="link/secret.bin")
    (folder / "in" / "link").symlink_to(folder / "elsewhere")
    return path


def hidden_in(kind: str) -> Callable[[Path], Path]:
    """A Constant node of a body or of a function, with data outside the folder."""

    def make(folder: Path) -> Path:
        tensor = numpy_helper.from_array(weights()["w"], "secret")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret.bin")
        make = helper.make_node("Constant", [], ["v"], value=tensor)
        product = helper.make_node("MatMul", ["x", "v"], ["z"])
        if kind == "function":
            model = proto([helper.make_node("F", ["x"], ["z"], "f", domain="own")], domain="own")
            function = helper.make_function("own", "F", ["x"], ["z"], [make, product], [helper.make_opsetid("", 17)])
            model.functions.append(function)
        else:
            value = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
            body = helper.make_graph([make, product], "body", [], [value])
            choice = helper.make_node("If", ["c"], ["z"], "if", then_branch=body, else_branch=body)
            true = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
            model = proto([true, choice])
        (folder / "secret.bin").write_bytes(bytes(128))
        (folder / "in").mkdir()
        (folder / "in" / "model.onnx").write_bytes(model.SerializeToString())
        return folder / "in" / "model.onnx"

    return make


def missing(folder: Path) -> Path:
    return external(folder, location="gone.bin")


def short(folder: Path) -> Path:
    path = external(folder)
    (folder / "weights.bin").write_bytes(bytes(100))
    return path


BAD_DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (missing, r"tensor 'w' has its data in 'gone\.bin', which is missing beside"),
    "a folder": (lambda f: external(f, location="."), "outside the model's folder|which is missing"),
    "no location": (lambda f: external(f, location=""), "outside the model's folder"),
    "above": (outside, r"at '\.\./secret\.bin', outside the model's folder: move it beside the model"),
    "absolute": (absolute, "outside the model's folder"),
    "behind a link": (linked, r"at 'link\.bin', outside the model's folder"),
    "in a linked folder": (linked_folder, "outside the model's folder"),
    "in a body": (hidden_in("body"), "tensor 'secret' .*outside the model's folder"),
    "in a function": (hidden_in("function"), "tensor 'secret' .*outside the model's folder"),
    "too short": (short, "holds 100 bytes, tensor 'w' needs 128"),
    "offset too large": (lambda f: external(f, offset=64), "holds 128 bytes, tensor 'w' needs 192"),
    "negative offset": (lambda f: external(f, offset=-4), "tensor 'w' has its data at '-4' in a file"),
    "offset no number": (lambda f: external(f, offset="far"), "at 'far' in a file, expected a number of bytes"),
    "zero byte": (lambda f: external(f, location="a\0b"), "outside the model's folder"),
}


@pytest.mark.parametrize("kind", list(BAD_DATA))
def test_bad_external_data_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    make, message = BAD_DATA[kind]
    with pytest.raises(InputError, match=message) as error:
        open_model(make(tmp_path), RUNTIME)
    assert_a_sentence(error)


# ------------------------------------------------------------------------------------------------ writing


def model_in_memory() -> ir.Model:
    return ir.from_proto(proto())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_loads(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    assert save_model(model_in_memory(), output) == output.stat().st_size
    assert names(tmp_path) == ["out.onnx"]
    assert_runs(output)


@pytest.mark.parametrize("name", ["model", "model.json", "model.txt", "model.onnx.textproto"])
def test_every_name_holds_an_onnx_file(name: str, tmp_path: Path) -> None:
    save_model(model_in_memory(), tmp_path / name)
    assert_runs(tmp_path / name)
    assert_runs(open_model(tmp_path / name, RUNTIME).model)


def test_a_large_model_has_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_in_memory()
    model.graph.initializers["w"].const_value = ir.tensor(np.tile(weights()["w"], (8, 1)), name="w")
    model.graph.initializers["w"].shape = ir.Shape((64, 4))
    model.graph.inputs[0].shape = ir.Shape(("n", 64))
    x = np.tile(X, (1, 8)) / np.float32(8)
    small = save_model(model, tmp_path / "small.onnx")
    for module in (save, session_module):
        monkeypatch.setattr(module, "IN_MEMORY_LIMIT", 1000)
    size = save_model(model, tmp_path / "large.onnx")
    assert names(tmp_path) == ["large.onnx", "large.onnx.data", "small.onnx"]
    assert size == sum((tmp_path / name).stat().st_size for name in ("large.onnx", "large.onnx.data"))
    assert abs(size - small) < 500
    for name in ("small.onnx", "large.onnx"):
        opened = open_model(tmp_path / name, RUNTIME)
        session = ort.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"x": x})[0], expected(), rtol=1e-4, atol=1e-5)
        found = RUNTIME.session(opened.model).run({"x": x})["z"]
        np.testing.assert_allclose(found, expected(), rtol=1e-4, atol=1e-5)
    assert not isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("before", [None, b"the old model"])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, before: bytes | None
) -> None:
    monkeypatch.setattr(save, "IN_MEMORY_LIMIT", limit)
    output = tmp_path / "out.onnx"
    if before is not None:
        output.write_bytes(before)

    def full(model: ir.Model, path: Path, **_: object) -> None:
        Path(path).write_bytes(ir.to_proto(model).SerializeToString()[:50])
        Path(f"{path}.data").write_bytes(bytes(50))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ir, "save", full)
    with pytest.raises(InputError, match=r"out\.onnx cannot be written: No space left on device") as error:
        save_model(model_in_memory(), output)
    assert_a_sentence(error)
    assert names(tmp_path) == ([] if before is None else ["out.onnx"])
    assert before is None or output.read_bytes() == before


@pytest.mark.parametrize("step", ["replace", "mkdtemp", "fsync", "interrupt"])
def test_a_failure_at_any_step_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        if step == "interrupt":
            raise KeyboardInterrupt
        raise OSError(errno.EIO, "Input/output error")

    owner, name = {
        "replace": (Path, "replace"),
        "mkdtemp": (tempfile, "mkdtemp"),
        "fsync": (os, "fsync"),
        "interrupt": (os, "fsync"),
    }[step]
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(KeyboardInterrupt if step == "interrupt" else InputError):
        save_model(model_in_memory(), tmp_path / "out.onnx")
    assert names(tmp_path) == []


def test_until_it_is_whole_the_file_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.onnx"
    output.write_bytes(b"the old model")
    save = ir.save

    def spy(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        assert output.read_bytes() == b"the old model"

    monkeypatch.setattr(ir, "save", spy)
    save_model(model_in_memory(), output)
    assert_runs(output)


def test_what_fails_the_check_is_not_delivered(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"

    def check(file: Path) -> None:
        assert_runs(file)
        assert not output.exists()
        raise InputError("it is no good")

    with pytest.raises(InputError, match="it is no good"):
        save_model(model_in_memory(), output, check)
    assert names(tmp_path) == []
    save_model(model_in_memory(), output, assert_runs)
    assert_runs(output)


def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "precious.onnx", tmp_path / "link.onnx"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    check_outputs([link])
    save_model(model_in_memory(), link)
    assert target.read_bytes() == b"precious"
    assert names(tmp_path / "there") == ["precious.onnx"]
    assert_runs(link)


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "report.json"
    write_text("äöü\n", output)
    assert output.read_text(encoding="utf-8") == "äöü\n"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"report\.json cannot be written: No space left on device"):
        write_text("other", output)
    assert names(tmp_path) == ["report.json"]
    assert output.read_bytes() == "äöü\n".encode()


def test_a_folder_for_the_output_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(model_in_memory(), tmp_path / "new" / "deep" / "out.onnx")
    monkeypatch.chdir(tmp_path / "new")
    save_model(model_in_memory(), Path("out.onnx"))
    assert_runs(tmp_path / "new" / "out.onnx")


# ------------------------------------------------------------------------------------------------ comparing

NAN, INF = np.nan, np.inf
F = np.float32


@pytest.mark.parametrize(
    ("wanted", "found", "difference"),
    [
        (np.array([1.0, -4.0]), np.array([1.0, -4.0]), 0.0),
        (np.array([1.0, -4.0]), np.array([1.5, -4.0]), 0.125),
        (np.array([1.0, 1000.0]), np.array([2.0, 1000.0]), 0.001),
        (np.array(2.0), np.array(1.0), 0.5),
        (np.zeros(3), np.zeros(3), 0.0),
        (np.zeros(3), np.array([0.0, 1e-30, 0.0]), INF),
        (np.array([2.0, 0.0], F), np.array([1.0, 0.0], F), 0.5),
        (np.array([6e4], np.float16), np.array([-6e4], np.float16), 2.0),
        (np.array([NAN, 2.0]), np.array([NAN, 2.0]), 0.0),
        (np.array([NAN, 2.0]), np.array([NAN, 1.0]), 0.5),
        (np.array([NAN]), np.array([NAN]), 0.0),
        (np.array([NAN, 2.0]), np.array([0.0, 2.0]), INF),
        (np.array([0.0, 2.0]), np.array([NAN, 2.0]), INF),
        (np.array([INF, 2.0]), np.array([INF, 1.0]), 0.5),
        (np.array([INF]), np.array([INF]), 0.0),
        (np.array([INF]), np.array([-INF]), INF),
        (np.array([INF, 1.0]), np.array([5.0, 1.0]), INF),
        (np.array([5.0, 1.0]), np.array([INF, 1.0]), INF),
        (np.array([INF, 1.0]), np.array([NAN, 1.0]), INF),
        (np.array([1, 2]), np.array([1, 2]), 0.0),
        (np.array([1, 2_000_000_000]), np.array([1, 1_999_999_999]), INF),
        (np.array([True]), np.array([False]), INF),
        (np.array(["a", "b"], object), np.array(["a", "b"], object), 0.0),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), INF),
        (np.array([1 + 1j]), np.array([1 + 1j]), 0.0),
        (np.array([3 + 4j]), np.array([3 - 4j]), 1.6),
        (np.zeros((2, 3)), np.zeros((3, 2)), INF),
        (np.zeros((1, 3)), np.zeros(3), INF),
        (np.zeros(3), np.zeros(3, F), INF),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0.0),
        (np.zeros((0, 3)), np.zeros((0, 2)), INF),
        ([np.ones(2), np.array([4.0])], [np.ones(2), np.array([3.0])], 0.25),
        ([np.ones(2)], [np.ones(2), np.ones(2)], INF),
        ([], [], 0.0),
        ([np.ones(2)], np.ones(2), INF),
        (None, None, 0.0),
        (None, np.ones(2), INF),
        ("a", "a", 0.0),
        ("a", "b", INF),
        ([{1: 0.5, 2: 0.25}], [{2: 0.25, 1: 0.5}], 0.0),
        ([{1: 0.5, 2: 0.25}], [{1: 0.5, 2: 0.3}], 0.1),
        ([{1: 0.5}], [{2: 0.5}], INF),
    ],
)
def test_relative_difference(wanted: Any, found: Any, difference: float) -> None:
    assert relative_difference(wanted, found) == pytest.approx(difference)


def test_the_largest_finite_numbers_do_not_overflow_into_agreement() -> None:
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        assert relative_difference(np.array([largest]), np.array([-largest])) > 1


def test_models_that_differ_are_told_apart() -> None:
    first, second = model_in_memory(), model_in_memory()
    assert verify_same(first, second, {"x": X}, RUNTIME) is None
    second.graph.initializers["w"].const_value = ir.tensor(weights()["w"] * np.float32(1.01), name="w")
    found = verify_same(first, second, {"x": X}, RUNTIME)
    assert found is not None
    assert found.startswith("output 'z' differs by 0.0")
    assert found.endswith("of its scale, allowed 0.0001")
    assert verify_same(first, second, {"x": X}, RUNTIME, tolerance=0.1) is None


def test_read_model_says_what_it_read(tmp_path: Path) -> None:
    path = external(tmp_path)
    model, found, size = read_model(path)
    assert found == path
    assert size == path.stat().st_size + 128
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), weights()["w"])
