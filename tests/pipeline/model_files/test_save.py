"""What is written is whole or not there, whatever fails on the way."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from layer_files import (
    RUNTIME,
    X,
    assert_a_sentence,
    assert_runs,
    expected,
    model_in_memory,
    weights,
)

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.model_files.paths import check_outputs
from netsurgeon.pipeline.model_files.save import forget_inferred, save_model, write_text
from netsurgeon.pipeline.runtime import large_models


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shapes_that_were_inferred_on_the_way_are_not_written() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y) {} '
    text += "{{ a = Relu(x) b = Neg(a) y = Abs(b) }}"
    original = ir.from_onnx_text(text.format("<float[N, 4] a>"))
    changed = original.clone()
    changed.graph[1].outputs[0].shape, changed.graph[1].outputs[0].type = (
        ir.Shape(["N", 4]),
        ir.TensorType(ir.DataType.FLOAT),
    )
    assert [info.name for info in ir.to_proto(changed).graph.value_info] == ["a", "b"]
    forget_inferred(changed, original)
    proto = ir.to_proto(changed)
    assert [info.name for info in proto.graph.value_info] == ["a"]
    assert proto.graph.output == ir.to_proto(original).graph.output


def test_names_that_nodes_were_given_and_shapes_of_weights_are_not_written() -> None:
    original = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 4] y) '
        "<float[4] w = {1, 2, 3, 4}> { a = Add(x, w) [kept] b = Neg(a) y = Abs(b) }"
    )
    changed = original.clone()
    for node in (changed.graph[0], changed.graph[2]):
        node.name = node.outputs[0].name
    changed.graph.initializers["w"].shape = ir.Shape([4])
    forget_inferred(changed, original)
    proto = ir.to_proto(changed)
    assert [node.name for node in proto.graph.node] == ["", "kept", ""]
    assert not proto.graph.value_info
    assert [tensor.name for tensor in proto.graph.initializer] == ["w"]


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
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 1000)
    monkeypatch.setattr(large_models, "EXTERNAL_BYTES", 256)
    size = save_model(model, tmp_path / "large.onnx")
    assert names(tmp_path) == ["large.onnx", "large.onnx.data", "small.onnx"]
    assert size == sum((tmp_path / name).stat().st_size for name in ("large.onnx", "large.onnx.data"))
    assert abs(size - small) < 500
    for name in ("small.onnx", "large.onnx"):
        opened = open_model(tmp_path / name, RUNTIME)
        session = ort.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"x": x})[0], expected(), rtol=1e-4, atol=1e-5)
        result = RUNTIME.session(opened.model).run({"x": x})["z"]
        np.testing.assert_allclose(result, expected(), rtol=1e-4, atol=1e-5)
    assert not isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("before", [None, b"the old model"])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, before: bytes | None
) -> None:
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", limit)
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


def test_old_nodes_never_stand_beside_new_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 0)
    monkeypatch.setattr(large_models, "EXTERNAL_BYTES", 1)
    output, replace, done = tmp_path / "out.onnx", Path.replace, list[Path]()
    save_model(model_in_memory(), output)
    assert names(tmp_path) == ["out.onnx", "out.onnx.data"]

    def fail_second(file: Path, goal: Path) -> Path:
        done.append(goal)
        if len(done) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return replace(file, goal)

    monkeypatch.setattr(Path, "replace", fail_second)
    with pytest.raises(InputError, match="cannot be written"):
        save_model(model_in_memory(), output)
    assert [goal.name for goal in done] == ["out.onnx.data", "out.onnx"]
    assert names(tmp_path) == ["out.onnx.data"]


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
