"""Weights beside the model: found from anywhere, mapped into memory, and refused outside the model's folder."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from layer_files import (
    RUNTIME,
    assert_a_sentence,
    assert_runs,
    external,
    proto,
    weights,
)
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.model_files.paths import model_files
from netsurgeon.pipeline.model_files.save import save_model


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


def cached(folder: Path) -> Path:
    """Model and data as links into one folder under other names, as the cache of huggingface_hub has them."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "1" / "onnx"
    external(blobs)
    (blobs / "model.onnx").rename(blobs / "a")
    (blobs / "weights.bin").rename(blobs / "b")
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").symlink_to("../../../blobs/a")
    (snapshot / "weights.bin").symlink_to("../../../blobs/b")
    return snapshot / "model.onnx"


def test_model_and_data_may_be_links_into_one_folder(tmp_path: Path) -> None:
    opened = open_model(cached(tmp_path), RUNTIME)
    assert opened.bytes == (tmp_path / "blobs" / "a").stat().st_size + 8 * 4 * 4
    assert_runs(opened.model)
    assert list(model_files(cached(tmp_path / "other")))[1:] == [tmp_path / "other" / "blobs" / "b"]


def cached_outside(folder: Path) -> Path:
    (folder / "secret.bin").write_bytes(bytes(128))
    path = cached(folder)
    path.with_name("weights.bin").unlink()
    path.with_name("weights.bin").symlink_to(folder / "secret.bin")
    return path


def test_data_with_a_second_hard_link(tmp_path: Path) -> None:
    path = external(tmp_path)
    os.link(tmp_path / "weights.bin", tmp_path / "copy.bin")
    assert_runs(open_model(path, RUNTIME).model)


def test_a_file_of_many_tensors_holds_few_file_descriptors(tmp_path: Path) -> None:
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for at in range(100):
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(model.graph.initializer[0])
        tensor.name = f"w{at}"
    path.write_bytes(model.SerializeToString())
    before = len(list(Path("/proc/self/fd").iterdir()))
    opened = open_model(path, RUNTIME)
    assert len(opened.given.graph.initializers) == 102
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10


def test_a_model_in_memory_reads_nothing_outside_its_folder(tmp_path: Path) -> None:
    for make in (outside, linked):
        with pytest.raises(InputError, match=r"cannot be read .*outside the model's folder") as error:
            open_model(ir.load(make(tmp_path / make.__name__)), RUNTIME)
        assert_a_sentence(error)


def test_a_length_may_be_left_out(tmp_path: Path) -> None:
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    del model.graph.initializer[0].external_data[1:]
    path.write_bytes(model.SerializeToString())
    assert_runs(open_model(path, RUNTIME).model)
    (tmp_path / "weights.bin").write_bytes(bytes(60))
    with pytest.raises(InputError, match=r"weights\.bin holds 60 bytes, tensor 'w' needs 128") as error:
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
    model_in_file = ir.load("model.onnx")
    assert_runs(open_model(model_in_file, RUNTIME).model)
    assert isinstance(model_in_file.graph.initializers["w"].const_value, ir.ExternalTensor)


def outside(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "secret.bin").write_bytes(bytes(128))
    return external(folder / "in", location="../secret.bin")


def absolute(folder: Path) -> Path:
    (folder / "secret.bin").write_bytes(bytes(128))
    return external(folder / "in", location=str(folder / "secret.bin"))


def linked(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
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


def link_loop(folder: Path) -> Path:
    path = external(folder, location="one.bin")
    (folder / "one.bin").symlink_to(folder / "other.bin")
    (folder / "other.bin").symlink_to(folder / "one.bin")
    return path


def long_dims(folder: Path) -> Path:
    path = external(folder)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[0] = 2**40
    path.write_bytes(model.SerializeToString())
    return path


BAD_DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (missing, r"tensor 'w' has its data in 'gone\.bin', which is missing beside"),
    "a folder": (lambda f: external(f, location="."), "outside the model's folder|which is missing"),
    "no location": (lambda f: external(f, location=""), "outside the model's folder"),
    "above": (outside, r"at '\.\./secret\.bin', outside the model's folder: move it beside the model"),
    "absolute": (absolute, "outside the model's folder"),
    "behind a link": (linked, r"at 'link\.bin', outside the model's folder"),
    "in a linked folder": (linked_folder, "outside the model's folder"),
    "behind a link beside a link": (cached_outside, r"at 'weights\.bin', outside the model's folder"),
    "in a body": (hidden_in("body"), "tensor 'secret' .*outside the model's folder"),
    "in a function": (hidden_in("function"), "tensor 'secret' .*outside the model's folder"),
    "too short": (short, "holds 100 bytes, tensor 'w' needs 128"),
    "offset too large": (lambda f: external(f, offset=64), "holds 128 bytes, tensor 'w' needs 192"),
    "negative offset": (lambda f: external(f, offset=-4), "tensor 'w' has its data at '-4' in a file"),
    "offset no number": (lambda f: external(f, offset="far"), "at 'far' in a file, expected a number of bytes"),
    "offset of 5,000 digits": (lambda f: external(f, offset="9" * 5000), "at '9{40}' in a file, expected a number"),
    "length too small": (lambda f: external(f, length=64), "tensor 'w' has 64 bytes in .*, its dimensions need 128"),
    "dims over the file": (long_dims, "tensor 'w' has 128 bytes in .*, its dimensions need 17592186044416"),
    "a loop of links": (link_loop, r"at 'one\.bin', which leads nowhere|which is missing|outside"),
    "a long name": (lambda f: external(f, location="a" * 4000), "at 'a{100}', which leads nowhere"),
    "zero byte": (lambda f: external(f, location="a\0b"), "outside the model's folder"),
}


@pytest.mark.parametrize("kind", list(BAD_DATA))
def test_bad_external_data_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    make, message = BAD_DATA[kind]
    with pytest.raises(InputError, match=message) as error:
        open_model(make(tmp_path), RUNTIME)
    assert_a_sentence(error)
