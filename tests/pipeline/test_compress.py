"""compress from end to end: what it promises of the model it writes and of the report it gives."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.version_converter
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from PIL import Image

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.passes import solvers
from netsurgeon.passes.packing.pack_weights import PackWeights
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.methods import METHODS
from netsurgeon.pipeline import compress as compress_module
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.compression import packing
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import CheckFailedError, InputError, RunError
from netsurgeon.pipeline.model_files import loading
from netsurgeon.pipeline.runtime.session import Session
from netsurgeon.pipeline.verification.validation import Scores, Validation

Array: TypeAlias = NDArray[Any]
ROOT = Path(__file__).parent.parent.parent
DIGITS = ROOT / "models" / "digits"
FAST: dict[str, Any] = {"method": "obs", "damping": 0.01}
"""One solver and no search for its damping."""
UNIFORM: dict[str, Any] = {**FAST, "uniform": True}

# Small models and their data


def random(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def built(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    *,
    entry: tuple[int | str, ...] = ("N", 32),
    end: tuple[int | str, ...] = ("N", 10),
    dtype: Any = np.float32,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model from x to y."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", kind, entry)],
        [onnx.helper.make_tensor_value_info("y", kind, end)],
        [onnx.numpy_helper.from_array(array.astype(dtype), name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.helper.set_model_props(model, {"author": "somebody"})
    return model


def perceptron(dtype: Any = np.float32, opset: int = 17, batch: int | str = "N") -> onnx.ModelProto:
    """Gemm, Relu, Gemm: 32 inputs, 64 neurons, 10 outputs."""
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="second"),
    ]
    weights = {"w1": random(32, 64), "b1": random(64), "w2": random(64, 10, seed=1), "b2": random(10)}
    return built(nodes, weights, entry=(batch, 32), end=(batch, 10), dtype=dtype, opset=opset)


def inputs(count: int = 80, dtype: Any = np.float32) -> Array:
    return random(count, 32, seed=2, dtype=dtype)


def weights_of(model: Path | ir.Model) -> dict[str, Array]:
    """Initializers by name, packed ones unpacked."""
    plain = ir.load(model) if isinstance(model, Path) else model.clone()
    UnpackWeights()(plain)
    return {name: v.const_value.numpy() for name, v in plain.graph.initializers.items() if v.const_value is not None}


def run_model(model: Path | onnx.ModelProto | ir.Model, x: Array) -> Array:
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def proto_bytes(result: Compression) -> bytes:
    return bytes(ir.to_proto(result.model).SerializeToString())


def all_strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from all_strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from all_strings(each)
    elif isinstance(value, str):
        yield value


# The same in, the same out


def test_path_proto_and_model_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(perceptron(), path)
    for name, model in (("a", path), ("b", str(path)), ("c", onnx.load(path)), ("d", ir.load(path))):
        compress(model, inputs(), output=tmp_path / name, sparsity=0.7, **FAST)
    written = {(tmp_path / name).read_bytes() for name in "abcd"}
    assert len(written) == 1


def test_model_in_memory_is_the_model_on_disk(tmp_path: Path) -> None:
    result = compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.7, **FAST)
    np.testing.assert_array_equal(run_model(result.model, inputs()), run_model(tmp_path / "small.onnx", inputs()))


def test_every_process_writes_the_same_bytes(tmp_path: Path) -> None:
    onnx.save(perceptron(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=inputs())
    arguments = ["compress", f"{tmp_path}/model.onnx", "--data", f"{tmp_path}/data.npz", "--sparsity", "0.7"]
    for seed in ("1", "2"):
        command = [sys.executable, str(ROOT / "cli.py"), *arguments, "-o", f"{tmp_path}/{seed}.onnx"]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=60, capture_output=True)
    result = compress(tmp_path / "model.onnx", tmp_path / "data.npz", output=tmp_path / "3.onnx", sparsity=0.7)
    assert len({(tmp_path / f"{name}.onnx").read_bytes() for name in "123"}) == 1
    assert result.report.options["method"] == "auto"


def test_another_seed_may_give_another_model() -> None:
    found = {proto_bytes(compress(perceptron(), inputs(400), sparsity=0.7, seed=seed, **FAST)) for seed in (0, 1)}
    assert len(found) == 2


def test_inputs_are_never_written_to(tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    onnx.save(perceptron(), path)
    np.savez(data, x=inputs())
    files = (path.read_bytes(), data.read_bytes())
    proto, model, arrays = onnx.load(path), ir.load(path), inputs()
    before = ir.to_proto(model).SerializeToString()
    compress(path, data, sparsity=0.7, **FAST)
    compress(proto, arrays, sparsity=0.7, **FAST)
    compress(model, arrays, sparsity=0.7, **FAST)
    assert (path.read_bytes(), data.read_bytes()) == files
    assert proto.SerializeToString() == onnx.load(path).SerializeToString()
    assert ir.to_proto(model).SerializeToString() == before
    np.testing.assert_array_equal(arrays, inputs())


# Where inputs come from


def gives_feeds() -> Iterator[dict[str, Array]]:
    yield from ({"x": inputs()[at : at + 10]} for at in range(0, 80, 10))


def as_npz(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=inputs())
    return folder / "data.npz"


def as_module(folder: Path) -> str:
    (folder / "feeds_of_mine.py").write_text(
        "import numpy as np\ndef give():\n"
        f"    x = np.load({str(as_npz(folder))!r})['x']\n"
        "    for at in range(0, 80, 10):\n        yield {'x': x[at:at + 10]}\n"
    )
    return "feeds_of_mine:give"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (lambda folder: inputs(), "ndarray"),
        (lambda folder: {"x": inputs()}, "dict"),
        (lambda folder: list(gives_feeds()), "list"),
        (lambda folder: gives_feeds(), "generator"),
        (lambda folder: gives_feeds, "function"),
        (as_npz, "data.npz"),
        (as_module, "feeds_of_mine:give"),
    ],
)
def test_every_source_of_the_same_inputs_gives_the_same_model(
    source: Callable[[Path], Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    result = compress(perceptron(), source(tmp_path), sparsity=0.7, **FAST)
    sys.modules.pop("feeds_of_mine", None)
    assert proto_bytes(result) == proto_bytes(compress(perceptron(), inputs(), sparsity=0.7, **FAST))
    assert result.report.calibration.source == name


def test_random_inputs_only_by_name() -> None:
    result = compress(perceptron(), "random:96", sparsity=0.5, **FAST)
    assert result.report.calibration.source == "random:96"
    assert result.report.calibration.samples + result.report.validation.samples == 96


def test_limit() -> None:
    report = compress(perceptron(), inputs(), test=inputs(7), limit=20, sparsity=0.5, **UNIFORM).report
    assert (report.calibration.samples, report.validation.samples) == (20, 7)


# What is removed


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("uniform", [False, True])
def test_sparsity_is_reached_to_the_weight(sparsity: float, uniform: bool) -> None:
    result = compress(perceptron(), inputs(), sparsity=sparsity, uniform=uniform, keep_unread=True, **FAST)
    weights = weights_of(result.model)
    kept = sum(int(np.count_nonzero(weights[name])) for name in ("w1", "w2"))
    total = 32 * 64 + 64 * 10
    assert abs(kept - (total - round(sparsity * total))) <= uniform
    assert result.report.sparsity == pytest.approx(1.0 - kept / total)


def test_uniform_gives_every_layer_the_same_sparsity() -> None:
    report = compress(perceptron(), inputs(), sparsity=0.75, **UNIFORM).report
    assert [layer.sparsity for layer in report.layers] == [0.75, 0.75]
    assert [layer.sensitivity for layer in report.layers] == [None, None]


def test_layers_have_the_sparsity_they_are_given() -> None:
    report = compress(perceptron(), inputs(), sparsity=0.5, layers={"sec*": 0.25}, **FAST).report
    assert report.layers[1].sparsity == 0.25
    total = sum(layer.weights for layer in report.layers)
    assert sum(layer.kept for layer in report.layers) == total - round(0.5 * total)


@pytest.mark.parametrize(
    ("sparsity", "layers", "message"),
    [
        (0.9, {"first": 0.0}, "2,048 weights stay in the layer with a sparsity of its own, .* leaves only 269 for all"),
        (0.5, {"first": 0.75}, "1,536 weights go from the layer with a sparsity of its own, more than the 1,344 "),
        (0.9999, {}, "a sparsity of 0.9999 leaves none of 2,688 weights: give a smaller one"),
        (0.9999, {"first": 0.5}, "a sparsity of 0.9999 leaves none of 2,688 weights: give a smaller one"),
    ],
)
def test_sparsities_that_leave_no_room_are_refused(sparsity: float, layers: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compress(perceptron(), inputs(), sparsity=sparsity, layers=layers, **FAST)


def test_a_uniform_sparsity_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="leaves none of 2,688 weights"):
        compress(perceptron(), inputs(), sparsity=0.9999, **UNIFORM)


def test_excluded_weights_stay_as_they_are() -> None:
    result = compress(perceptron(), inputs(), sparsity=0.5, exclude=("sec*",), **FAST)
    dense = weights_of(ir.from_proto(perceptron()))
    assert weights_of(result.model)["w2"].tobytes() == dense["w2"].tobytes()
    assert [layer.name for layer in result.report.layers] == ["first"]
    assert [(each["node"], each["reason"]) for each in result.report.declined] == [("second", "excluded by the user")]


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str) -> None:
    result = compress(perceptron(), inputs(), sparsity=0.6, method=method, damping=0.01)
    assert result.report.sparsity == pytest.approx(0.6, abs=1e-3)
    assert result.report.validation.outputs[0].relative_error < 1.0


def test_correction_beats_none() -> None:
    errors = {
        method: compress(perceptron(), inputs(400), sparsity=0.5, method=method, damping=0.01, uniform=True)
        .report.validation.outputs[0]
        .relative_error
        for method in ("magnitude", "obs")
    }
    assert errors["obs"] < errors["magnitude"]


def test_pattern() -> None:
    result = compress(perceptron(), inputs(), pattern="2:4", **FAST)
    for name in ("w1", "w2"):
        kept = np.count_nonzero(weights_of(result.model)[name].T.reshape(-1, 4), axis=1)
        assert kept.max() == 2
    assert result.report.sparsity == 0.5


def test_pattern_declines_layers_it_does_not_fit() -> None:
    report = compress(perceptron(), inputs(), pattern="12:64", **FAST).report
    assert [layer.name for layer in report.layers] == ["second"]
    assert "not a multiple of 64" in report.declined[0]["reason"]


# How values are stored


def test_float16_values_are_exact_in_float16() -> None:
    weight = weights_of(compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM).model)["w1"]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, weight.astype(np.float16).astype(np.float32))


def test_float32_values_keep_all_digits() -> None:
    weight = weights_of(compress(perceptron(), inputs(), sparsity=0.5, values="float32", **UNIFORM).model)["w1"]
    assert (weight != weight.astype(np.float16)).any()


@pytest.mark.parametrize(
    ("dtype", "values"), [(np.float32, "float32"), (np.float32, "codebook"), (np.float16, "float16")]
)
def test_what_needs_no_rounding_is_not_noted(dtype: Any, values: str) -> None:
    report = compress(perceptron(dtype), inputs(dtype=dtype), values=values, sparsity=0.5, **UNIFORM).report
    assert not report.notes


def test_codebook_values_are_few() -> None:
    weight = weights_of(compress(perceptron(), inputs(), sparsity=0.2, values="codebook", **UNIFORM).model)["w1"]
    assert len(np.unique(weight)) <= 256


def test_without_packing_weights_stay_plain(tmp_path: Path) -> None:
    result = compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.9, pack=False, **UNIFORM)
    assert not packed_weights(result.model)
    assert {"w1", "w2"} <= set(result.model.graph.initializers)
    packed = compress(perceptron(), inputs(), output=tmp_path / "packed.onnx", sparsity=0.9, **UNIFORM)
    assert packed.report.compressed.bytes < result.report.compressed.bytes
    assert packed.report.compressed.parameters == result.report.compressed.parameters
    assert packed.report.compressed.nonzero == result.report.compressed.nonzero
    assert {layer.stored for layer in result.report.layers} == {"dense"}
    np.testing.assert_array_equal(run_model(result.model, inputs()), run_model(packed.model, inputs()))


# Models of every kind


@pytest.mark.parametrize("opset", [9, 10])
def test_old_opset_is_raised_for_packing(opset: int) -> None:
    result = compress(perceptron(opset=opset), inputs(), sparsity=0.9, **UNIFORM)
    assert packed_weights(result.model)
    assert result.model.graph.opset_imports[""] == 11
    assert any(f"opset raised from {opset} to 11" in note for note in result.report.notes)
    assert result.report.dense.opset == opset
    assert result.model.metadata_props["author"] == "somebody"


def test_an_output_without_a_shape_is_raised_as_well() -> None:
    model = perceptron(opset=9)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = compress(model, inputs(), sparsity=0.9, **UNIFORM)
    assert packed_weights(result.model)
    assert result.model.graph.outputs[0].shape is None


@pytest.mark.parametrize("failure", ["refuses", "changes the interface", "breaks"])
def test_old_opset_that_cannot_be_raised_stays_unpacked(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = onnx.version_converter.convert_version

    def fails(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        if failure == "refuses":
            raise RuntimeError("no adapter\nfor it")
        converted = convert(model, version)
        if failure == "breaks":
            converted.graph.node[0].op_type = "Nonsense"
        converted.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "M"
        return converted

    monkeypatch.setattr(packing.onnx.version_converter, "convert_version", fails)  # type: ignore[attr-defined]
    result = compress(perceptron(opset=10), inputs(), sparsity=0.9, **UNIFORM)
    assert not packed_weights(result.model)
    assert result.model.graph.opset_imports[""] == 10
    assert any(note.startswith("stored unpacked: opset 10") for note in result.report.notes)


@pytest.mark.parametrize("damage", ["other values", "does not load"])
def test_packing_that_changes_an_output_is_undone(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damages(PackWeights):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            bias = model.graph.initializers["b1"]
            bias.const_value = ir.tensor(np.ones(64 if damage == "other values" else 63, np.float32), name="b1")
            return super().call(model)

    monkeypatch.setattr(packing, "PackWeights", Damages)
    result = compress(perceptron(), inputs(), sparsity=0.9, **UNIFORM)
    assert not packed_weights(result.model)
    assert any(note.startswith("stored unpacked: ") for note in result.report.notes)
    assert result.report.validation.samples == 10


def test_interface_stands(tmp_path: Path) -> None:
    dense = perceptron()
    compress(dense, inputs(), output=tmp_path / "small.onnx", sparsity=0.9, **UNIFORM)
    small = onnx.load(tmp_path / "small.onnx")
    assert list(small.graph.input) == list(dense.graph.input)
    assert list(small.graph.output) == list(dense.graph.output)
    properties = {entry.key: entry.value for entry in small.metadata_props}
    assert properties["author"] == "somebody"
    assert json.loads(properties["netsurgeon"]) == {
        "version": netsurgeon.__version__,
        "method": "obs",
        "sparsity": 0.9,
    }
    assert [node.name for node in small.graph.node if node.name in ("first", "relu", "second")] == [
        "first",
        "relu",
        "second",
    ]
    assert small.opset_import[0].version == 17


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_keep_their_type(dtype: Any) -> None:
    result = compress(perceptron(dtype), inputs(dtype=dtype), sparsity=0.8, keep_unread=True, **UNIFORM)
    weights = weights_of(result.model)
    assert {array.dtype for array in weights.values()} == {np.dtype(dtype)}
    assert result.report.sparsity == pytest.approx(0.8, abs=1e-3)
    assert run_model(result.model, inputs(3, dtype)).dtype == dtype


def test_shared_weights_are_pruned_apart() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("MatMul", ["r", "w"], ["y"], name="second"),
    ]
    model = built(nodes, {"w": random(32, 32)}, end=("N", 32))
    result = compress(model, inputs(), sparsity=0.5, **UNIFORM)
    assert [layer.sparsity for layer in result.report.layers] == [0.5, 0.5]
    after = [array for array in weights_of(result.model).values() if array.shape == (32, 32)]
    assert len(after) == 2
    assert (after[0] != after[1]).any()
    assert all(np.count_nonzero(array) == 512 for array in after)
    assert not [each for each in result.report.warnings if "larger" in each]
    grown = compress(model, inputs(), sparsity=0.05, values="float32", **UNIFORM).report
    (warning,) = [each for each in grown.warnings if "larger" in each]
    assert f"{grown.dense.bytes:,} → {grown.compressed.bytes:,} bytes: 2 layers share their weights" in warning


def test_weight_used_elsewhere_as_well_stays_there() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("ReduceSum", ["w"], ["s"], name="sum", keepdims=0),
        onnx.helper.make_node("Sub", ["h", "s"], ["y"], name="subtract"),
    ]
    model = built(nodes, {"w": random(32, 10)})
    result = compress(model, inputs(), sparsity=0.5, **UNIFORM)
    assert random(32, 10).tobytes() in {array.tobytes() for array in weights_of(result.model).values()}


def test_fixed_batch_of_one() -> None:
    report = compress(perceptron(batch=1), inputs(), sparsity=0.8, keep_unread=True, **UNIFORM).report
    assert report.validation.samples == 10
    assert report.sparsity == pytest.approx(0.8, abs=1e-3)


def test_fixed_batch_too_large_to_hold_any_out() -> None:
    report = compress(perceptron(batch=40), inputs(), sparsity=0.8, **UNIFORM).report
    assert (report.validation.samples, report.validation.held_out) == (80, False)


def test_no_batch_axis() -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="first")]
    model = built(nodes, {"w": random(32, 10)}, entry=(32,), end=(10,))
    report = compress(model, [{"x": row} for row in inputs()], sparsity=0.5, **UNIFORM).report
    assert report.sparsity == 0.5
    assert report.validation.agreement is None


def test_weights_as_external_data(tmp_path: Path) -> None:
    onnx.save(perceptron(), tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    output = tmp_path / "elsewhere" / "small.onnx"
    result = compress(tmp_path / "model.onnx", inputs(), output=output, sparsity=0.8, exclude=("second",), **UNIFORM)
    assert [path.name for path in output.parent.iterdir()] == ["small.onnx"]
    assert result.report.dense.bytes == sum((tmp_path / name).stat().st_size for name in ("model.onnx", "w.bin"))
    np.testing.assert_array_equal(weights_of(output)["w2"], random(64, 10, seed=1))
    assert proto_bytes(result) == proto_bytes(
        compress(perceptron(), inputs(), sparsity=0.8, exclude=("second",), **UNIFORM)
    )


def test_nodes_without_names() -> None:
    model = perceptron()
    for node in model.graph.node:
        node.ClearField("name")
    report = compress(model, inputs(), sparsity=0.8, **FAST).report
    assert [layer.name for layer in report.layers] == ["h", "y"]


def test_batch_normalization_is_folded() -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"], name="norm"),
    ]
    parts = {"s": random(16), "b": random(16), "m": random(16), "v": np.abs(random(16)) + 0.1}
    model = built(nodes, {"w": random(16, 4, 3, 3), **parts}, entry=("N", 4, 8, 8), end=("N", 16, 8, 8))
    data = random(64, 4, 8, 8)
    result = compress(model, data, sparsity=0.0, values="float32", **UNIFORM)
    assert [node.op_type for node in result.model.graph if node.name == "conv"] == ["Conv"]
    assert "BatchNormalization" not in {node.op_type for node in result.model.graph}
    np.testing.assert_allclose(run_model(result.model, data), run_model(model, data), rtol=0, atol=1e-4)


def test_a_compressed_model_can_be_compressed_again(tmp_path: Path) -> None:
    compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    result = compress(tmp_path / "small.onnx", inputs(), sparsity=0.8, **UNIFORM)
    assert result.report.sparsity == pytest.approx(0.8, abs=1e-3)
    assert [layer.name for layer in result.report.layers] == ["first", "second"]
    assert result.report.dense.parameters == 32 * 64 + 64 + 64 * 10 + 10


@pytest.mark.parametrize("failure", ["raises", "changes an output", "does not load"])
def test_a_normal_form_that_fails_is_undone(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Damages(ir.passes.InPlacePass):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            if failure == "raises":
                raise ValueError("not foreseen")
            bias = model.graph.initializers["b1"]
            bias.const_value = ir.tensor(np.ones(64 if failure == "changes an output" else 63, np.float32), name="b1")
            return ir.passes.PassResult(model, True)

    monkeypatch.setattr(loading, "normal_form", lambda: ir.passes.Sequential(Damages()))
    model = perceptron()
    model.graph.node[0].ClearField("name")
    result = compress(model, inputs(), sparsity=0.0, values="float32", **UNIFORM)
    assert any(note.startswith("left as it is, ") for note in result.report.notes)
    assert ("not foreseen" in result.report.notes[0]) == (failure == "raises")
    np.testing.assert_allclose(run_model(result.model, inputs()), run_model(model, inputs()), rtol=0, atol=1e-2)


def test_model_that_cannot_run_on_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the values"):
        compress(looked_up(), np.array([7, 8, 9]), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def looked_up(at_the_end: bool = False) -> onnx.ModelProto:
    """x (N,) picks rows of a table of 5, for the only layer or beside its output."""
    nodes = [
        onnx.helper.make_node("Gather", ["table", "x"], ["h"], name="gather"),
        onnx.helper.make_node("MatMul", ["h", "w"], ["y"], name="first"),
    ]
    if at_the_end:
        nodes = [
            onnx.helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            onnx.helper.make_node("Unsqueeze", ["f", "one"], ["u"]),
            onnx.helper.make_node("MatMul", ["u", "v"], ["m"], name="first"),
            onnx.helper.make_node("Gather", ["table", "x"], ["h"], name="gather"),
            onnx.helper.make_node("Add", ["m", "h"], ["y"]),
        ]
    weights = {"table": random(5, 32), "w": random(32, 10), "v": random(1, 32)}
    model = built(nodes, weights, entry=("N",), end=("N", 32 if at_the_end else 10))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("where", ["calibration", "test", "split"])
def test_model_that_cannot_run_on_a_later_batch(tmp_path: Path, where: str, at_the_end: bool) -> None:
    good = np.arange(100) % 5
    bad = np.where(np.arange(100) == 95, 7, good)
    data, test = {"calibration": (bad, good), "test": (good, bad), "split": (bad, None)}[where]
    with pytest.raises(InputError, match=r"as given cannot run on batch \d \(sample \d+ of the array to .*idx=7"):
        compress(
            looked_up(at_the_end),
            data,
            test=test,
            output=tmp_path / "small.onnx",
            uniform=not at_the_end,
            sparsity=0.5,
            **FAST,
        )
    assert not list(tmp_path.iterdir())


def test_the_failing_batch_is_named() -> None:
    bad = np.where(np.arange(100) == 95, 7, 0)
    with pytest.raises(InputError, match=r"batch 2 \(sample 64 of the array to sample 95 of the array\)"):
        compress(looked_up(), bad, test=bad[:9], sparsity=0.5, **UNIFORM)
    with pytest.raises(InputError, match=r"cannot run on sample 95 of the array: "):
        compress(looked_up(), bad, test=bad[:9], batch_size=1, sparsity=0.5, **UNIFORM)


def test_a_changed_model_that_cannot_run_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise RunError("the model cannot run on this input")

    monkeypatch.setattr(compress_module, "validate", fails)
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def test_labels_that_are_no_classes_are_refused_before_the_work() -> None:
    stages: list[str] = []
    test = {"x": inputs(20), "labels": np.full(20, 10)}
    with pytest.raises(InputError, match=r"label 10 .* is no class of the model, which has 10"):
        compress(
            perceptron(), inputs(), test=test, progress=lambda stage, *_: stages.append(stage), sparsity=0.5, **UNIFORM
        )
    assert set(stages) == {"opening"}


def test_custom_operators_that_are_missing() -> None:
    with pytest.raises(InputError, match=r"no-such\.so"):
        compress(perceptron(), inputs(), custom_ops=("no-such.so",), sparsity=0.5, **UNIFORM)


# Verified or not delivered


def test_failed_validation_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise CheckFailedError("output 'y' of the compressed model is NaN")

    onnx.save(perceptron(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=inputs())
    monkeypatch.setattr(compress_module, "validate", fails)
    output, report = f"{tmp_path}/small.onnx", f"{tmp_path}/report.json"
    command = ["compress", f"{tmp_path}/model.onnx", "--data", f"{tmp_path}/data.npz", "-o", output, "--report", report]
    code = run([*command, "--sparsity", "0.5"])
    assert code == 1
    assert capsys.readouterr().err == "error: output 'y' of the compressed model is NaN\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "model.onnx"]


def test_a_written_file_that_does_not_run_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = ir.save

    def corrupt(model: ir.Model, path: Path, **options: Any) -> None:
        save(model, path, **options)
        Path(path).write_bytes(Path(path).read_bytes()[:-50])

    monkeypatch.setattr(ir, "save", corrupt)
    with pytest.raises(CheckFailedError, match="cannot load"):
        compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def test_a_written_file_that_loads_but_fails_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Session.run

    def fails(session: Session, *arguments: Any, **options: Any) -> dict[str, Any]:
        if list(tmp_path.iterdir()):
            raise CheckFailedError("the model cannot run on this input")
        return calls(session, *arguments, **options)

    monkeypatch.setattr(Session, "run", fails)
    with pytest.raises(CheckFailedError, match="cannot run"):
        compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def test_a_hessian_without_factor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise FactorizationError("layer 'first', damping 1e-09: no Cholesky factor")

    monkeypatch.setattr(compress_module, "apply_plan", fails)
    with pytest.raises(CheckFailedError, match=r"layer 'first'.*--damping"):
        compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM)


def test_temporary_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compress(perceptron(), inputs(), sparsity=0.5, **FAST)
    assert not list(tmp_path.iterdir())


# Held-out inputs


def test_a_part_is_held_out_where_there_is_no_test() -> None:
    report = compress(perceptron(), inputs(64), sparsity=0.5, **UNIFORM).report
    assert (report.calibration.samples, report.validation.samples) == (56, 8)
    assert report.validation.held_out
    assert report.test is None


def test_a_small_set_is_not_split() -> None:
    report = compress(perceptron(), inputs(63), sparsity=0.5, **UNIFORM).report
    assert (report.calibration.samples, report.validation.samples) == (63, 63)
    assert not report.validation.held_out


def test_test_inputs_are_held_out() -> None:
    report = compress(perceptron(), inputs(40), test=random(9, 32, seed=5), sparsity=0.5, **UNIFORM).report
    assert report.validation.held_out
    assert report.test is not None
    assert (report.test.samples, report.validation.samples) == (9, 9)


# The embedded network


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compression]:
    folder = tmp_path_factory.mktemp("digits")
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        output=folder / "small.onnx",
        report=folder / "report.json",
        sparsity=0.9,
        damping=0.01,
    )
    return folder, result


def top1(validation: Validation) -> tuple[float, float]:
    dense, compressed = validation.dense.top1, validation.compressed.top1
    assert dense is not None
    assert compressed is not None
    return dense, compressed


def test_digits_stay_accurate_without_nine_of_ten_weights(delivered: tuple[Path, Compression]) -> None:
    report = delivered[1].report
    dense, compressed = top1(report.validation)
    assert dense >= 0.99
    assert compressed >= dense - 0.02
    assert report.ratio > 5.0
    assert report.validation.compressed != Scores(None, None, None)
    assert report.validation.agreement is not None
    assert report.validation.agreement >= 0.97


def test_digits_stay_accurate_with_a_codebook() -> None:
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        sparsity=0.8,
        values="codebook",
        limit=100,
        **FAST,
    )
    dense, compressed = top1(result.report.validation)
    assert compressed >= dense - 0.02
    matrices = [array for array in weights_of(result.model).values() if array.ndim > 1]
    assert max(len(np.unique(array)) for array in matrices) <= 256


def test_a_small_network_can_be_made_smaller(delivered: tuple[Path, Compression]) -> None:
    folder, first = delivered
    result = compress(
        folder / "small.onnx", DIGITS / "calibration.npz", test=DIGITS / "test.npz", sparsity=0.93, **FAST
    )
    assert 0.93 <= result.report.sparsity < 0.95
    assert result.report.dense == first.report.compressed
    dense, compressed = top1(result.report.validation)
    assert compressed >= dense - 0.02


def test_report_is_strict_json(delivered: tuple[Path, Compression]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    report = json.loads((delivered[0] / "report.json").read_text("utf-8"), parse_constant=refuse)
    assert report["schema"] == 2
    assert report["options"]["sparsity"] == 0.9
    assert set(report["versions"]) >= {"netsurgeon", "python", "onnxruntime", "numpy", "onnx"}
    assert set(report["seconds"]) == {"open", "measure", "prune", "validate", "pack", "write"}
    assert report["ratio"] == report["dense"]["bytes"] / report["compressed"]["bytes"]
    assert report["peak_bytes"] > 0
    assert report["warnings"] == []


def test_report_hashes_and_sizes_are_those_of_the_files(delivered: tuple[Path, Compression]) -> None:
    folder, result = delivered
    for facts, path in (
        (result.report.dense, DIGITS / "digits.onnx"),
        (result.report.compressed, folder / "small.onnx"),
    ):
        assert facts.name == path.name
        assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert facts.bytes == path.stat().st_size
        assert facts.gzip_bytes < facts.bytes


def test_report_counts_logical_weights(delivered: tuple[Path, Compression]) -> None:
    folder, result = delivered
    plain = weights_of(folder / "small.onnx")
    floats = [array for array in plain.values() if array.dtype == np.float32]
    assert result.report.compressed.parameters == sum(array.size for array in floats)
    assert result.report.compressed.nonzero == sum(int(np.count_nonzero(array)) for array in floats)
    trim = result.report.trim
    assert trim is not None
    saved = 1 - result.report.compressed.parameters / result.report.dense.parameters
    assert saved == pytest.approx(trim.saved)


def test_report_of_layers_is_true_of_the_file(delivered: tuple[Path, Compression]) -> None:
    folder, result = delivered
    plain = ir.load(folder / "small.onnx")
    UnpackWeights()(plain)
    nodes = {node.name: node for node in plain.graph}
    dense = weights_of(DIGITS / "digits.onnx")
    for layer in result.report.layers:
        weight = nodes[layer.name].inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        array = weight.const_value.numpy()
        assert layer.weights == dense[weight.name or ""].size
        assert layer.kept == np.count_nonzero(array)
        assert layer.bytes_before == dense[weight.name or ""].nbytes
        assert layer.bytes_after <= layer.bytes_before
    total = sum(layer.weights for layer in result.report.layers)
    assert 0.9 * (total - round(0.9 * total)) < sum(layer.kept for layer in result.report.layers)
    assert sum(layer.kept for layer in result.report.layers) <= total - round(0.9 * total)


def test_report_and_model_name_no_absolute_path(delivered: tuple[Path, Compression]) -> None:
    folder, _ = delivered
    report = json.loads((folder / "report.json").read_text("utf-8"))
    for text in all_strings(report):
        assert not text.startswith("/")
        assert not any(str(place) in text for place in (folder, ROOT))
    content = (folder / "small.onnx").read_bytes()
    assert str(folder).encode() not in content
    assert str(ROOT).encode() not in content


def test_warnings_name_files_without_their_folder(tmp_path: Path) -> None:
    for number, picture in enumerate(np.load(DIGITS / "calibration.npz")["image"][:8]):
        Image.fromarray((255 * picture[0]).astype(np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    options = {**UNIFORM, "pictures": PictureOptions(channels="grey")}
    report = compress(DIGITS / "digits.onnx", tmp_path, sparsity=0.5, **options).report
    assert any(tmp_path.name in warning for warning in report.warnings)
    assert not any(str(tmp_path) in warning for warning in report.warnings)
    assert report.options["pictures"]["channels"] == "grey"


def test_weights_are_corrected_on_mirror_images_where_asked(tmp_path: Path) -> None:
    for number, picture in enumerate(np.load(DIGITS / "calibration.npz")["image"][:80]):
        Image.fromarray((255 * picture[0]).astype(np.uint8)).save(tmp_path / f"{number:02}.png")
    plain, mirrored = (
        compress(
            DIGITS / "digits.onnx",
            tmp_path,
            sparsity=0.5,
            **{**UNIFORM, "pictures": PictureOptions(channels="grey", mirror=mirror)},
        ).report
        for mirror in (False, True)
    )
    assert [layer.samples for layer in mirrored.layers] == [2 * layer.samples for layer in plain.layers]
    assert mirrored.validation.samples == plain.validation.samples
    assert mirrored.calibration.samples == plain.calibration.samples
    assert mirrored.validation.outputs != plain.validation.outputs, "other weights"
    assert mirrored.bound.samples == 2 * plain.bound.samples, "the bound is the mean over all that was run"


def test_dropped_inputs_are_reported() -> None:
    report = compress(perceptron(batch=3), inputs(), sparsity=0.5, **UNIFORM).report
    assert "2 of 80 samples dropped: the model's batch is fixed to 3" in report.warnings


def test_layers_that_lost_everything_are_named() -> None:
    report = compress(perceptron(), inputs(), layers={"first": 0.9999}, **UNIFORM).report
    assert [layer.kept for layer in report.layers] == [0, 320]
    assert any(text.startswith("no weight is left in first: ") for text in report.warnings)
    assert not any(
        "no weight is left" in text
        for text in compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM).report.warnings
    )


def alike(count: int) -> Array:
    return np.repeat(inputs(1), count, axis=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [inputs(1), alike(80), inputs(2)])
def test_few_or_equal_inputs_remove_no_more_than_was_asked_for(method: str, data: Array) -> None:
    """Nothing, or little, varies: that is no proof that nothing matters."""
    report = compress(perceptron(), data, test=inputs(), sparsity=0.25, method=method).report
    assert report.sparsity == pytest.approx(0.25, abs=1e-3)
    assert all(layer.kept for layer in report.layers)
    assert report.validation.outputs[0].relative_error < 0.5


@pytest.mark.parametrize("method", METHODS)
def test_inputs_of_zeros_leave_what_makes_the_output(method: str) -> None:
    """Weights that read zeros cost nothing; those behind the bias are all the output that there is."""
    zeros = np.zeros((80, 32), np.float32)
    report = compress(perceptron(), zeros, test=zeros[:8], sparsity=0.5, method=method).report
    assert any("output 'y' is the same for 8 of 8 inputs" in each for each in report.warnings)
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    assert report.layers[1].kept == report.layers[1].weights
    assert report.validation.outputs[0].relative_error < 1e-3


def test_more_weights_than_were_asked_for_are_mentioned() -> None:
    model = perceptron()
    dead = random(32, 64)
    dead[:, :16] = 0.0
    shift = random(64)
    shift[:16] = -1.0
    for number, array in ((0, dead), (1, shift)):
        name = model.graph.initializer[number].name
        model.graph.initializer[number].CopyFrom(onnx.numpy_helper.from_array(array, name))
    report = compress(model, inputs(), sparsity=0.0, **UNIFORM).report
    assert not any("is the same for" in each for each in report.warnings)
    notes = report.notes
    assert any("25.0% of the weights went where 0.0% were asked for: pruning left 16 units" in each for each in notes)
    kept = compress(model, inputs(), sparsity=0.0, keep_unread=True, **UNIFORM).report.notes
    assert not any("were asked for" in each for each in kept)
    layers = {"first": 0.9, "second": 0.5}
    own = compress(perceptron(), inputs(), sparsity=0.2, layers=layers, **UNIFORM).report
    assert own.sparsity > 0.8
    assert not any("were asked for" in each for each in own.notes)


def test_a_metric_without_a_number_is_a_warning() -> None:
    def metric(outputs: dict[str, Array], labels: object) -> float:
        return float("nan")

    result = compress(perceptron(), inputs(), sparsity=0.5, metric=metric, **UNIFORM)
    assert sum("the metric gives NaN" in each for each in result.report.warnings) == 2
    assert json.loads(result.report.to_json())["validation"]["dense"]["metric"] is None


def test_a_failed_factorisation_names_layer_and_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise FactorizationError("the damped Hessian is not positive definite")

    monkeypatch.setattr(solvers, "curve", fails)
    with pytest.raises(
        CheckFailedError, match=r"layer 'first', damping [0-9.e-]+: the damped Hessian .*: give a larger"
    ):
        compress(perceptron(), inputs(), sparsity=0.5)


def test_layers_whose_input_never_varied_are_named() -> None:
    text = "the same input in every sample was seen by 2 layers: first, second"
    for data in (inputs(1), alike(80)):
        warnings = compress(perceptron(), data, sparsity=0.5, **UNIFORM).report.warnings
        assert any(warning.startswith(text) for warning in warnings)
    assert not any(
        "the same input" in each for each in compress(perceptron(), inputs(2), sparsity=0.5, **UNIFORM).report.warnings
    )
    one = compress(perceptron(), inputs(40), sparsity=0.5, **UNIFORM).report.warnings
    assert any(each.startswith("fewer samples than inputs were seen by layer second: ") for each in one)


def test_measured_error_is_within_the_bound(delivered: tuple[Path, Compression]) -> None:
    (output,) = delivered[1].report.bound.outputs
    assert output.bound is not None
    assert 0.0 < output.measured <= output.bound
    assert {layer.node for layer in delivered[1].report.bound.layers} == {
        layer.name for layer in delivered[1].report.layers
    }


def test_public_names_are_there() -> None:
    module = importlib.import_module("netsurgeon")
    assert module.compress is compress
    with pytest.raises(AttributeError, match="shrink"):
        module.shrink  # noqa: B018


# Shortcuts


def residual() -> onnx.ModelProto:
    """A block with a stride whose shortcut is Slice and Pad, then pooling and classes."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], name="main", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Constant", [], ["starts"], value_ints=[0, 0]),
        node("Constant", [], ["ends"], value_ints=[2**31, 2**31]),
        node("Constant", [], ["axes"], value_ints=[2, 3]),
        node("Constant", [], ["steps"], value_ints=[2, 2]),
        node("Constant", [], ["pads"], value_ints=[0, 8, 0, 0, 0, 8, 0, 0]),
        node("Slice", ["r0", "starts", "ends", "axes", "steps"], ["s"]),
        node("Pad", ["s", "pads"], ["p"]),
        node("Add", ["c1", "p"], ["a"]),
        node("Relu", ["a"], ["r1"]),
        node("GlobalAveragePool", ["r1"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w2"], ["y"], name="classes"),
    ]
    weights = {
        "w0": random(16, 3, 3, 3),
        "w1": random(32, 16, 3, 3, seed=1) / np.float32(12.0),
        "w2": random(32, 10, seed=2),
    }
    return built(nodes, weights, entry=("N", 3, 12, 12), end=("N", 10))


@pytest.mark.parametrize("how", [{"sparsity": 0.3}, {"trim": 0.3, "round_to": 4}])
def test_shortcuts_become_convolutions(how: Any, tmp_path: Path) -> None:
    x = random(80, 3, 12, 12, seed=4)
    result = compress(residual(), x, output=tmp_path / "small.onnx", values="float32", **how)
    written = ir.load(tmp_path / "small.onnx")
    UnpackWeights()(written)
    operators = [node.op_type for node in written.graph]
    assert "Pad" not in operators
    assert "Slice" not in operators
    assert operators.count("Conv") == 3
    assert any("shortcuts" in note and "verified" in note for note in result.report.notes)
    assert result.report.validation.outputs[0].relative_error < 0.5
    assert {layer.name for layer in result.report.layers} == {"stem", "main", "classes"}
