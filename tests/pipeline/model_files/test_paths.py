"""What a command reads is never written over, wherever it lies and however it is named."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.paths import check_outputs

AN_INPUT = "is an input: inputs are never written to, give another path"


@pytest.mark.parametrize("kind", ["itself", "relative", "symlink", "hardlink", "linked folder", "data"])
def test_the_output_is_no_input(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    model, data, other = tmp_path / "in" / "model.onnx", tmp_path / "samples.npz", tmp_path / "other.onnx"
    model.write_bytes(b"model")
    data.write_bytes(b"data")
    monkeypatch.chdir(tmp_path / "in")
    if kind == "symlink":
        other.symlink_to(model)
    elif kind == "hardlink":
        other.hardlink_to(model)
    elif kind == "linked folder":
        (tmp_path / "also").symlink_to(tmp_path / "in")
        other = tmp_path / "also" / "model.onnx"
    output = {"itself": model, "relative": Path("../in/model.onnx"), "data": data}.get(kind, other)
    with pytest.raises(InputError, match=AN_INPUT) as error:
        check_outputs([output], str(model), None, data)
    assert error.value.exit_code == 2
    assert model.read_bytes() == b"model"


@pytest.mark.parametrize("name", ["0.npz", "labels.npy", "cat/1.PNG", "train.zip", "train-labels-idx1-ubyte"])
def test_a_file_of_a_folder_of_data_is_an_input(name: str, tmp_path: Path) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"data")
    with pytest.raises(InputError, match=AN_INPUT):
        check_outputs([None, file], tmp_path / "data")


def test_a_file_that_a_folder_of_data_links_to_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pooled = tmp_path / "sha256-abc"
    pooled.write_bytes(b"data")
    (tmp_path / "data" / "0.jpg").symlink_to(pooled)
    (tmp_path / "data" / "1.jpg").symlink_to("nowhere")
    with pytest.raises(InputError, match=AN_INPUT):
        check_outputs([pooled], tmp_path / "data")


def test_what_lies_beside_data_may_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "0.npz").write_bytes(b"data")
    (tmp_path / "small.onnx").write_bytes(b"of the last run")
    check_outputs([tmp_path / "small.onnx", tmp_path / "1.npz"], tmp_path)


@pytest.mark.parametrize("name", ["mine:feeds", "package.inner:feeds", "package:feeds"])
def test_the_source_of_a_function_is_an_input(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    files = {"mine": Path("mine.py"), "package": Path("package/__init__.py"), "package.inner": Path("package/inner.py")}
    for file in files.values():
        file.write_text("raise SystemExit(1)", "utf-8")  # it is looked for, not run
    with pytest.raises(InputError, match=AN_INPUT):
        check_outputs([files[name.partition(":")[0]]], name)
    other = tmp_path / "other.py"
    other.touch()
    check_outputs([other], name, "missing:feeds", "package.missing:feeds", "random:16", 3, None)


@pytest.mark.parametrize("output", ["small.onnx", "small.onnx.data"])
@pytest.mark.parametrize("name", ["model.onnx", "MODEL.ONNX", "model.pb"])
def test_external_data_is_an_input(output: str, name: str, tmp_path: Path) -> None:
    """The model's weights lie where those of a large output would go."""
    weight = numpy_helper.from_array(np.ones((8, 256), np.float32), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight])
    model = tmp_path / name
    onnx.save_model(
        helper.make_model(graph), model, format="protobuf", save_as_external_data=True, location="small.onnx.data"
    )
    with pytest.raises(InputError, match=r"small\.onnx\.data.* is an input"):
        check_outputs([tmp_path / output], models=[model])


@pytest.mark.parametrize("other", ["model.onnx", "also/model.onnx", "model.onnx.data"])
def test_two_results_need_two_files(other: str, tmp_path: Path) -> None:
    (tmp_path / "also").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"two results would both go to .*model\.onnx.*: give two paths"):
        check_outputs([tmp_path / "model.onnx", None, tmp_path / other])
    check_outputs([tmp_path / "model.onnx", tmp_path / "model.json"])


@pytest.mark.parametrize("name", ["", ".", "..", "/", "folder", "folder/.."])
def test_the_output_is_no_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder: give the path of a file"):
        check_outputs([Path(name)])


def test_the_output_is_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InputError, match="is a device or a pipe: give the path of a file"):
            check_outputs([tmp_path / name])


@pytest.mark.parametrize("is_linked", [False, True])
def test_the_output_is_no_link_of_the_system_even_to_a_file(is_linked: bool, tmp_path: Path) -> None:
    """As /dev/stdout is where standard output goes to a file: a rename would take the link away."""
    with (tmp_path / "log").open("wb") as log:
        output = Path(f"/proc/self/fd/{log.fileno()}")
        if is_linked:
            (tmp_path / "out").symlink_to(output)
            output = tmp_path / "out"
        assert output.is_file()
        with pytest.raises(InputError, match="is a device or a pipe"):
            check_outputs([output])


@pytest.mark.parametrize(
    ("output", "work"),
    [
        ("work/small.onnx", "work"),
        ("work/deep/small.onnx", "work"),
        ("work", "work"),
        ("small", "small/work"),
        ("also/small.onnx", "work"),
    ],
)
def test_outputs_lie_outside_the_work_folder(output: str, work: str, tmp_path: Path) -> None:
    (tmp_path / "also").symlink_to(tmp_path / "work")
    with pytest.raises(InputError, match="lie in each other: the work folder holds nothing but what a run keeps"):
        check_outputs([None, tmp_path / output], work=tmp_path / work)
    check_outputs([tmp_path / "work.onnx", tmp_path / "small.onnx"], work=tmp_path / "work")


def test_a_folder_for_the_output_will_be_made(tmp_path: Path) -> None:
    check_outputs([tmp_path / "new" / "deep" / "out.onnx"], Path("missing.onnx"))
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written to: give an output path in a folder of yours"):
        check_outputs([tmp_path / "file" / "out.onnx"])


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written to"):
        check_outputs([tmp_path / "out.onnx"])
