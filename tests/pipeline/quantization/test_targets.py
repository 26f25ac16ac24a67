"""Each target gets the integers that it wants, whatever this machine has."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from quantized_models import RUNTIME, calibration_of, classifier, conv_net, distance, node, normal, pictures, run

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import choices
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling.timing_table import StructureTimer, TimingTable
from netsurgeon.pipeline.quantization import TARGETS, quantize_model, time_integers


def quantized_for(target: str, model: ir.Model) -> ir.Model:
    """The model on integers; nothing is timed, so that this holds for targets that this machine does not measure."""
    wishes, calibration = Options(quantize="int8", target=target), calibration_of(model, pictures())
    timer = StructureTimer(TimingTable(), model, {}, RUNTIME, lambda _: pytest.fail("nothing is to be measured"))
    choice = time_integers(model, wishes, calibration, timer, lambda *_: None)
    assert (choice.stay, choice.timed) == ({}, None)
    result = quantize_model(model, wishes, calibration, choice, lambda *_: None)
    assert result.facts is not None
    assert result.facts.on_integers == 3
    return result.model


def zero_points_of_activations(model: ir.Model) -> list[np.ndarray]:
    graph = ir.to_proto(model).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [arrays[part.input[2]] for part in graph.node if part.op_type == "QuantizeLinear"]


def test_names_that_users_give_are_those_of_the_targets() -> None:
    assert tuple(TARGETS) == choices.TARGETS


@pytest.mark.parametrize("target", ["cuda", "tensorrt"])
@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_targets_on_a_gpu_have_signed_activations_around_zero(target: str, activation: str) -> None:
    model = conv_net(activation)
    result = quantized_for(target, model)
    zero_points = zero_points_of_activations(result)
    assert zero_points
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zero_points)
    onnx.checker.check_model(ir.to_proto(result), full_check=True)
    assert distance(run(result, pictures()), run(model, pictures())) < 0.05, "it runs on the CPU provider, too"


def refusals_of_tensorrt(model: ir.Model) -> set[str]:
    """What TensorRT's parser would say of Quantize- and DequantizeLinear, by its source (QuantDequantLinearHelper)."""
    graph = ir.to_proto(model).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    refusals = set()
    for part in graph.node:
        if part.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        if part.input[0] in arrays and arrays[part.input[0]].dtype != np.int8:
            refusals.add("only activation types allowed as input")
        if len(part.input) < 3:
            refusals.add("this version requires 3 inputs")
        elif arrays[part.input[2]].any() or arrays[part.input[2]].dtype != np.int8:
            refusals.add("zero point")
        if part.input[0] not in arrays and arrays[part.input[1]].size > 1:
            refusals.add("activations have one scale")
    return refusals


def pooled_net() -> ir.Model:
    """A MaxPool in front of a convolution, and one that takes floats and stays on them: a transposed one."""
    nodes = [
        node("Relu", ["c"], ["r"], "act"),
        node("MaxPool", ["r"], ["p"], "pool2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "second_w", "second_b"], ["d"], "second", pads=[1, 1, 1, 1]),
        node("ConvTranspose", ["d", "up_w"], ["u"], "up", kernel_shape=[2, 2]),
        node("Tanh", ["u"], ["t"], "tanh"),
    ]
    weights: dict[str, Any] = {"second_w": normal(16, 16, 3, 3, scale=0.1), "second_b": normal(16, seed=2)}
    return classifier(*nodes, last="t", up_w=normal(16, 16, 2, 2, scale=0.1), **weights)


@pytest.mark.parametrize("make", [conv_net, pooled_net])
def test_tensorrt_takes_every_pair_and_biases_as_floats(make: Callable[[], ir.Model]) -> None:
    result = quantized_for("tensorrt", make())
    assert refusals_of_tensorrt(result) == set()
    onnx.checker.check_model(ir.to_proto(result), full_check=True)
    (gemm,) = [part for part in result.graph if part.op_type == "Gemm"]
    assert gemm.inputs[2] is not None
    assert gemm.inputs[2].const_value is not None, "not behind a DequantizeLinear"
    assert {"only activation types allowed as input", "this version requires 3 inputs"} <= refusals_of_tensorrt(
        quantized_for("openvino", make())
    )


def test_integers_whose_scales_are_found_in_each_run_are_not_for_tensorrt() -> None:
    with pytest.raises(InputError, match=r"no DynamicQuantizeLinear .* for target tensorrt give int8, w4a8, w8 or w4"):
        Options(quantize="dynamic", target="tensorrt")


@pytest.mark.parametrize("target", ["openvino", "qnn"])
def test_other_targets_have_unsigned_activations(target: str) -> None:
    model = conv_net("LeakyRelu")
    result = quantized_for(target, model)
    zero_points = zero_points_of_activations(result)
    assert all(zero.dtype == np.uint8 for zero in zero_points)
    assert any(zero.any() for zero in zero_points), "LeakyRelu leaves numbers below zero"
    assert distance(run(result, pictures()), run(model, pictures())) < 0.05


def test_weights_for_processors_without_vnni_leave_room_for_sums_of_two() -> None:
    assert 2 * 255 * TARGETS["cpu"].most <= np.iinfo(np.int16).max < 2 * 255 * TARGETS["cpu-vnni"].most
