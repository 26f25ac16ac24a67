"""Large models in ONNX Runtime: the same outputs, from weights that are read where they lie."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.graph import tensor
from netsurgeon.pipeline.runtime import Runtime, large_models, session
from netsurgeon.pipeline.runtime.large_models import (
    has_large_data,
    is_large,
    weight_bytes,
    without_shared_weights,
    write_model,
)

TEXT = """<ir_version: 8, opset_import: ["" : 18]> g (float[n, 64] x, int64[n] i) => (float[n, 32] y) {
    t = Gather (table, i)
    h = MatMul (x, w)
    s = Add (h, t)
    r = Mul (s, gain)
    y = Gemm (r, v, b)
}"""
SHAPES = {"table": (50, 48), "w": (64, 48), "gain": (48,), "v": (48, 32), "b": (32,)}
RUNTIME = Runtime(threads=1)


@pytest.fixture
def model() -> ir.Model:
    rng = np.random.default_rng(0)
    model = ir.from_onnx_text(TEXT)
    values = {value.name: value for node in model.graph for value in node.inputs if value is not None}
    for name, shape in SHAPES.items():
        array = rng.standard_normal(shape).astype(np.float32)
        values[name].const_value = ir.tensor(array, name=name)
        values[name].shape, values[name].dtype = ir.Shape(shape), ir.DataType.FLOAT
        model.graph.register_initializer(values[name])
    return model


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 1000)
    monkeypatch.setattr(large_models, "EXTERNAL_BYTES", 256)


def feed() -> dict[str, Any]:
    return {"x": np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32), "i": np.arange(5)}


def test_a_large_model_runs_on_its_weights_where_they_lie(
    model: ir.Model, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    expected = RUNTIME.session(model).run(feed())
    assert not is_large(model)
    request.getfixturevalue("large")
    assert is_large(model)
    monkeypatch.setattr(session, "_named_in_utf8", None)  # no file is written for it
    monkeypatch.setattr(large_models, "write_model", None)
    shared = RUNTIME.session(model)
    assert sorted(shared.inputs) == ["i", "x"]
    np.testing.assert_allclose(shared.run(feed())["y"], expected["y"], rtol=1e-5, atol=1e-5)
    assert set(model.graph.initializers) == set(SHAPES), "the model itself is as it was"
    assert [value.name for value in model.graph.inputs] == ["x", "i"]


@pytest.mark.usefixtures("large")
def test_weights_are_shared_not_copied(model: ir.Model) -> None:
    light, weights = without_shared_weights(model)
    assert sorted(weights) == ["table", "v", "w"], "the gain is read by another operator, the bias is small"
    for name, array in weights.items():
        assert array is tensor(model.graph.initializers[name]).numpy()
        assert name not in light.graph.initializers
    changed = model.clone()
    changed.graph.initializers["w"].const_value = ir.tensor(np.zeros((64, 48), np.float32), name="w")
    other = {**feed(), "w": np.zeros((64, 48), np.float32)}
    found, expected = RUNTIME.session(model).run(other)["y"], RUNTIME.session(changed).run(feed())["y"]
    np.testing.assert_array_equal(found, expected, "a feed may replace a weight")


@pytest.mark.usefixtures("large")
def test_a_file_of_two_is_known_and_its_tensors_begin_at_pages(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_model(model, path)
    assert has_large_data(path)
    outside = [value.const_value for value in ir.load(path).graph.initializers.values()]
    offsets = [constant.offset for constant in outside if isinstance(constant, ir.ExternalTensor)]
    assert len(offsets) == 3
    assert all(offset is not None and offset % 4096 == 0 for offset in offsets)
    found, expected = (RUNTIME.session(each).run(feed())["y"] for each in (path, model))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.usefixtures("large")
def test_weights_in_bodies_count_and_lie_beside_the_file_too(tmp_path: Path) -> None:
    matrix = f"<float[64, 48] w = {{{', '.join(map(str, range(64 * 48)))}}}>"
    bodies = (f"{{ {name} () => (float[n, 48] {name}_y) {matrix} {{ {name}_y = MatMul(x, w) }} }}" for name in "ab")
    then_branch, else_branch = (body.strip("{} ") + " }" for body in bodies)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[n, 64] x, bool c) => (float[n, 48] y) '
        f"{{ y = If (c) <then_branch = {then_branch}, else_branch = {else_branch}> }}"
    )
    assert weight_bytes(model) == 2 * 64 * 48 * 4
    path = tmp_path / "m.onnx"
    write_model(model, path)
    assert path.stat().st_size < 2000 < (tmp_path / "m.onnx.data").stat().st_size
    assert has_large_data(path)
    values = {"x": feed()["x"], "c": np.array(True)}
    results = [RUNTIME.session(entry).run(values)["y"] for entry in (path, model)]
    np.testing.assert_allclose(results[0], values["x"] @ np.arange(64.0 * 48).reshape(64, 48), rtol=1e-4, atol=0.1)
    np.testing.assert_array_equal(*results)


def test_other_files_are_not_large(model: ir.Model, tmp_path: Path) -> None:
    write_model(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx.data").exists()
    assert not has_large_data(tmp_path / "m.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"x")
    assert not has_large_data(tmp_path / "broken.onnx")


def test_a_part_of_a_large_model_shares_its_weights_which_a_feed_may_replace(
    model: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.graph.inputs.append(model.graph.initializers["w"])
    monkeypatch.setattr(large_models, "EXTERNAL_BYTES", 256)
    plain, shared = (RUNTIME.session(model, is_of_large=is_of_large) for is_of_large in (False, True))
    assert shared._weights.keys() >= {"w"}
    assert not plain._weights
    for values in (feed(), {**feed(), "w": np.full((64, 48), 0.5, np.float32)}):
        np.testing.assert_allclose(shared.run(values)["y"], plain.run(values)["y"], rtol=1e-5, atol=1e-5)
