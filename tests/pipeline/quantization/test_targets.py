"""Each target gets the integers that it wants, whatever this machine has."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from quantized_models import RUNTIME, calibration_of, conv_net, distance, pictures, run

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
