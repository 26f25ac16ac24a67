"""Weights of 4 and 8 bits, and integers while the model runs, from a float model to what is delivered."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from quantized_models import in_float16

import netsurgeon
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import MultiplyIntegers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.quantization import IntegerChoice, Quantized, matrices, quantize_model, stand_in
from netsurgeon.pipeline.quantization.kernels import integer_kernels
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
TEXT = """<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 8, 8] x) => (float[N, 10] y) {
    pixels = Conv <kernel_shape = [4, 4], strides = [4, 4]> (x, patch)
    flat = Reshape(pixels, shape)
    tokens = Transpose <perm = [0, 2, 1]> (flat)
    hidden = MatMul(tokens, up)
    shifted = Add(hidden, bias)
    active = Relu(shifted)
    down = MatMul(active, narrow)
    mean = ReduceMean <axes = [1], keepdims = 0> (down)
    y = Gemm(mean, head, offset)
}"""
SHAPES = {
    "patch": (64, 3, 4, 4),
    "up": (64, 96),
    "bias": (96,),
    "narrow": (96, 40),
    "head": (40, 10),
    "offset": (10,),
}
MODES = [
    ("w4", "cpu"),
    ("w8", "cpu"),
    ("dynamic", "cpu"),
    ("w4", "onnx"),
    ("w8", "onnx"),
    ("dynamic", "cpu-vnni"),
    ("w4", "openvino"),
    ("w8", "tensorrt"),
    ("w4", "cuda"),
]
KERNELS = {"w4": "MatMulNBits", "w8": "MatMulNBits", "dynamic": "DynamicQuantizeMatMul"}
BITS = {"w4": 4, "w8": 8, "dynamic": 7}


def network() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    for name, shape in SHAPES.items():
        size = np.sqrt(np.prod(shape[1:]) if name == "patch" else shape[0]) if len(shape) > 1 else 3.0
        array = (rng.standard_normal(shape) / size).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 64, 4]), "shape"))
    return proto


def in_normal_form() -> ir.Model:
    model = ir.from_proto(network())
    normal_form()(model)
    return model


def inputs(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)


def calibration(model: ir.Model) -> Calibration:
    return Calibration(open_samples({"x": inputs(64, 1)}, input_specs(model)), Runtime(threads=1))


def quantized(mode: str, target: str = "cpu", stay: dict[str, str] | None = None) -> Quantized:
    model = in_normal_form()
    options = Options(quantize=mode, target=target)
    choice = IntegerChoice(stay=stay or {})
    return quantize_model(model, options, calibration(model), choice, lambda stage, done, count: None)


def outputs(model: ir.Model | onnx.ModelProto, x: Array) -> Array:
    return np.asarray(Runtime(threads=1).session(model).run({"x": x})["y"])


@pytest.mark.parametrize(("mode", "target"), MODES)
def test_matrix_products_have_integer_weights_and_convolutions_say_why_not(mode: str, target: str) -> None:
    result = quantized(mode, target)
    assert result.facts is not None
    by_name = {layer.name: layer for layer in result.facts.layers}
    bits = 8 if target == "cpu-vnni" else BITS[mode]
    for name in ("hidden", "down", "y"):
        layer = by_name[name]
        assert (layer.bits, layer.kernel, layer.reason) == (bits, KERNELS[mode], None)
        assert layer.error is not None
        assert 0.0 < layer.error < 0.02
    assert by_name["pixels"].bits is None
    assert "MatMul and Gemm" in (by_name["pixels"].reason or "")
    assert integer_kernels(result.model, Runtime())["down"] == KERNELS[mode]
    x = inputs(40, 2)
    dense = outputs(network(), x)
    share = np.linalg.norm(outputs(result.model, x) - dense) / np.linalg.norm(dense)
    assert share < (0.12 if mode == "w4" else 0.03)


@pytest.mark.parametrize("mode", ["w4", "dynamic"])
def test_a_float16_model_has_integer_weights_between_the_types_it_had(mode: str) -> None:
    model, x = in_float16(in_normal_form()), inputs(40, 2).astype(np.float16)
    samples = Calibration(open_samples({"x": x}, input_specs(model)), Runtime(threads=1))
    result = quantize_model(model, Options(quantize=mode), samples, IntegerChoice(stay={}), lambda *_: None)
    assert result.facts is not None
    assert result.facts.on_integers == 3
    assert "float16-widened" in [note.code for note in result.notes]
    dense = np.float32(outputs(model, x))
    assert outputs(result.model, x).dtype == np.float16
    assert np.linalg.norm(outputs(result.model, x) - dense) / np.linalg.norm(dense) < 0.12


def test_a_model_of_which_nothing_becomes_integers_is_the_one_that_came() -> None:
    model, stay = in_float16(in_normal_form()), dict.fromkeys(("hidden", "down", "y"), "it is to stay")
    x = inputs(8, 2).astype(np.float16)
    samples = Calibration(open_samples({"x": x}, input_specs(model)), Runtime(threads=1))
    result = quantize_model(model, Options(quantize="w4"), samples, IntegerChoice(stay=stay), lambda *_: None)
    assert (result.model, result.facts, [note.code for note in result.notes]) == (model, None, ["not-quantized"])


@pytest.mark.parametrize(
    ("mode", "target"), [("w4", "onnx"), ("w8", "onnx"), ("w4", "openvino"), ("w8", "qnn"), ("w4", "tensorrt")]
)
def test_what_is_not_onnx_runtime_alone_has_operators_of_the_standard(mode: str, target: str) -> None:
    result = quantized(mode, target)
    assert {node.domain for node in result.model.graph} == {""}
    assert set(result.model.graph.opset_imports) == {""}
    onnx.checker.check_model(ir.to_proto(result.model))
    raised = [note.code for note in result.notes]
    assert raised == (["opset-raised"] if mode == "w4" else [])


def test_a_model_whose_layers_stay_floats_for_several_reasons_names_them_all() -> None:
    result = quantized("w4", stay=dict.fromkeys(("hidden", "down", "y"), "excluded by the user"))
    assert result.facts is None
    assert str(result.notes[-1]) == (
        "the model stays on floats: only the weights of MatMul and Gemm become integers in this mode (pixels); "
        "excluded by the user (hidden and 2 more)"
    )


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_onnx_runtime_has_an_operator_of_its_own(target: str) -> None:
    assert {"MatMulNBits"} == {node.op_type for node in quantized("w4", target).model.graph if node.domain}


def test_the_second_order_and_the_bias_lose_less_than_the_nearest_integers() -> None:
    model, x = in_normal_form(), inputs(200, 2)
    forms = matrices.Matrices("w4", "cpu")
    nearest = forms.skeleton(model, forms.place(model.graph, find_layers(model.graph)[0], {}))
    dense = outputs(network(), x)
    errors = [np.square(outputs(variant, x) - dense).mean() for variant in (quantized("w4").model, nearest)]
    assert errors[0] < 0.7 * errors[1]


def test_kernels_that_give_other_outputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class WrongScales(MultiplyIntegers):
        """Stores scales that are not those of the weights, as a kernel that computes wrongly would show it."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            result = super().call(model)
            for value in model.graph.initializers.values():
                constant = value.const_value
                if constant is not None and constant.dtype == ir.DataType.FLOAT and constant.shape == ir.Shape([40]):
                    value.const_value = ir.tensor(constant.numpy() * 1.5, name=value.name)
            return result

    monkeypatch.setattr(matrices, "MultiplyIntegers", WrongScales)
    result = quantized("dynamic")
    assert result.facts is None
    assert [note.code for note in result.notes] == ["not-quantized"]
    assert "integer kernels of this machine make an error of" in str(result.notes[0])


def test_layers_that_are_excluded_and_models_without_matrix_products_stay_as_they_are() -> None:
    result = quantized("w4", stay={"down": "excluded by the user"})
    assert result.facts is not None
    assert {layer.name: layer.reason for layer in result.facts.layers}["down"] == "excluded by the user"
    everything = dict.fromkeys(("hidden", "down", "y", "pixels"), "excluded by the user")
    untouched = quantized("w8", stay=everything)
    assert untouched.facts is None
    assert [note.code for note in untouched.notes] == ["not-quantized"]


@pytest.mark.parametrize(("mode", "target"), MODES)
def test_a_stand_in_has_the_operators_of_the_model_that_is_delivered(mode: str, target: str) -> None:
    model = in_normal_form()
    options = Options(quantize=mode, target=target)
    timed = stand_in(model, options, {}, calibration(model))
    kinds = [node.op_type for node in quantized(mode, target).model.graph]
    assert sorted(node.op_type for node in timed.graph) == sorted(kinds)


def test_compressing_delivers_a_smaller_file_that_any_session_runs(tmp_path: Path) -> None:
    packed, plain = tmp_path / "packed.onnx", tmp_path / "plain.onnx"
    report = netsurgeon.compress(network(), {"x": inputs(64, 1)}, output=packed, quantize="w4", threads=1).report
    assert report.integers is not None
    assert report.integers.on_integers == 3
    layers = {layer.name: layer for layer in report.layers}
    assert layers["down"].weights == 96 * 40
    assert layers["down"].bytes_after == layers["down"].bytes_before / 8
    x = inputs(30, 2)
    session = onnxruntime.InferenceSession(str(packed), providers=["CPUExecutionProvider"])
    result, dense = session.run(None, {"x": x})[0], outputs(network(), x)
    assert np.linalg.norm(result - dense) < 0.12 * np.linalg.norm(dense)
    assert packed.stat().st_size < 0.5 * network().ByteSize()
    declined = find_layers(ir.from_proto(onnx.load(packed)).graph)[1]
    assert [line.operator for line in declined if "MatMulNBits" in line.operator] == ["MatMulNBits"] * 3
    netsurgeon.unpack(packed, plain)  # scales become float32 again, integers stay as they are
    kinds = [node.op_type for node in onnx.load(plain).graph.node]
    assert kinds.count("MatMulNBits") == 3
    assert "Cast" not in kinds
    np.testing.assert_array_equal(outputs(onnx.load(plain), x), outputs(onnx.load(packed), x))


def test_modes_and_targets_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match="int8, w4a8, dynamic, w8, w4, none"):
        Options(quantize="w3")
    with pytest.raises(InputError, match="cpu, cpu-vnni, cpu-sparse, onnx"):
        Options(target="gpu")


@pytest.mark.parametrize(
    ("mode", "target", "sparsity", "warned"),
    [("w4", "cpu", 0.5, True), ("w8", "cpu", 0.5, True), ("w8", "onnx", 0.5, False), ("w4", "cpu", 0.0, False)],
)
def test_zeros_that_save_nothing_are_a_warning(
    mode: str, target: str, sparsity: float, warned: bool, tmp_path: Path
) -> None:
    def compressed(share: float) -> Any:
        options: Any = {"quantize": mode, "target": target, "sparsity": share, "uniform": True, "effort": "fast"}
        return netsurgeon.compress(network(), {"x": inputs(64, 1)}, output=tmp_path / "y.onnx", **options).report

    report, names = compressed(sparsity), {"hidden", "down", "y"}
    warnings = [warning for warning in report.warnings if warning.code == "zeros-in-vain"]
    assert [set(warning.data["layers"]) for warning in warnings] == ([names] if warned else [])
    if sparsity:
        sizes = [
            sum(layer.bytes_after for layer in of_share.layers if layer.name in names)
            for of_share in (report, compressed(0.0))
        ]
        assert (sizes[0] == sizes[1]) == warned, "once zeros are packed the warning is wrong"
