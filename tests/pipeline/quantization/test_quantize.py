"""A model is put on integers, or stays as it was and says why."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from quantized_models import (
    RUNTIME,
    calibration_of,
    classifier,
    conv_net,
    distance,
    in_float16,
    kernels,
    network_of,
    node,
    normal,
    pictures,
    run,
)

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization.placement import place
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling.timing_table import StructureTimer, Timed, TimingTable
from netsurgeon.pipeline.progress import Ticks, no_ticks
from netsurgeon.pipeline.quantization import IntegerModel, IntegerPlan, make_integer_model, quantize
from netsurgeon.pipeline.quantization.choose import skeleton
from netsurgeon.pipeline.quantization.kernels import (
    KernelErrors,
    integer_kernels,
    unfused,
)
from netsurgeon.pipeline.quantization.quantize import (
    Quantized,
    quantize_model,
    structure_name,
    time_integers,
    unless_slower,
)
from netsurgeon.pipeline.report.sentences.integers import integer_summary

WRONG = KernelErrors(difference=0.3, on_kernels=0.3, allowed=0.01)


class SameTimes(StructureTimer):
    """Every model is so many times as fast as the dense one."""

    def __init__(self, speedup: float):
        super().__init__(TimingTable(), conv_net(), {}, RUNTIME, lambda _: None)
        self.speedup, self.names = speedup, list[str]()

    def against(self, model: ir.Model) -> StructureTimer:
        return self

    def without_package(self) -> StructureTimer:
        return self

    def nodes_of(self, name: str, model: Callable[[], ir.Model]) -> dict[str, float]:
        return {"second": 1.0 if name.endswith("float32") else 0.5}

    def time(self, name: str, model: Callable[[], ir.Model], ticks: Ticks = no_ticks, *, least: float = 0.0) -> Timed:
        self.names.append(name)
        return Timed(self.speedup, 1.0, self.speedup, self.speedup, self.speedup)


def quantized(model: ir.Model, speedup: float = 2.0, x: Any = None, **options: Any) -> Quantized:
    options = {"quantize": "int8", **options}
    x = pictures() if x is None else x
    wishes, calibration = Options(**options), calibration_of(model, x)
    choice = time_integers(model, wishes, calibration, SameTimes(speedup), lambda *_: None)
    return quantize_model(model, wishes, calibration, choice, lambda *_: None)


@pytest.mark.parametrize(
    ("options", "bits"),
    [({}, 7), ({"target": "cpu-vnni"}, 8), ({"quantize": "w4a8"}, 7), ({"ranges": "min-max"}, 7)],
)
def test_what_gains_runs_on_integers_of_the_target_s_bits_without_a_plan(options: dict[str, Any], bits: int) -> None:
    model = conv_net()
    result = quantized(model, **options)
    assert result.facts is not None
    assert [layer.bits for layer in result.facts.layers] == [bits] * 3
    assert [layer.kernel for layer in result.facts.layers] == ["QLinearConv", "QLinearConv", "QGemm"]
    assert all(layer.reason is None and (layer.error or 0.0) > 0.0 for layer in result.facts.layers)
    assert result.facts.on_integers == 3
    assert (result.facts.nodes, result.facts.values) == (2, 5)
    assert result.facts.timed is None, "what is delivered is timed, not what decided"
    assert (result.facts.layers[1].floats_ms, result.facts.layers[1].integers_ms) == (1.0, 0.5)
    assert 0.0 < result.facts.kernel_difference < 0.01
    assert result.notes == ()
    assert distance(run(result.model, pictures()), run(model, pictures())) < 0.1


@pytest.mark.parametrize(("effort", "is_quick"), [("fast", True), ("full", False)])
def test_a_first_look_rounds_quickly(effort: str, is_quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def make(model: ir.Model, plan: IntegerPlan, *others: Any) -> IntegerModel:
        seen.append(plan.is_quick)
        return make_integer_model(model, plan, *others)

    monkeypatch.setattr(quantize, "make_integer_model", make)
    quantized(conv_net(), effort=effort)
    assert seen == [is_quick]


def test_layers_that_are_excluded_stay_floats() -> None:
    result = quantized(conv_net(), exclude=("sec*",))
    assert result.facts is not None
    assert [layer.reason for layer in result.facts.layers] == [None, "excluded by the user", None]
    assert (result.facts.layers[1].bits, result.facts.layers[1].kernel) == (None, None)
    assert {"Conv", "FusedConv"} & set(kernels(result.model))


def test_a_float16_model_runs_on_integers_between_the_types_it_had() -> None:
    model, x = in_float16(conv_net()), pictures().astype(np.float16)
    result = quantized(model, x=x)
    assert result.facts is not None
    assert [layer.kernel for layer in result.facts.layers] == ["QLinearConv", "QLinearConv", "QGemm"]
    assert [note.code for note in result.notes] == ["float16-widened"]
    for value in (*result.model.graph.inputs, *result.model.graph.outputs):
        assert value.dtype == ir.DataType.FLOAT16
    assert distance(run(result.model, x), run(model, x)) < 0.1


def test_a_float16_model_that_is_another_one_in_float32_stays_and_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantize, "verify_same", lambda *_: Message("output 'y' differs", "outputs-differ"))
    model, x = in_float16(conv_net()), pictures().astype(np.float16)
    result = quantized(model, x=x)
    (note,) = result.notes
    assert (result.model, result.facts, note.code) == (model, None, "not-quantized")
    assert "it is in float16, and in float32 output 'y' differs: export it in float32" in note


@pytest.mark.parametrize("opset", [11, 12])
def test_an_older_operator_set_is_raised(opset: int) -> None:
    model = conv_net()
    model.graph.opset_imports[""] = opset
    result = quantized(model)
    assert result.facts is not None
    assert result.model.graph.opset_imports[""] == 13
    (note,) = result.notes
    assert (note.code, note.data["before"], note.data["after"]) == ("opset-raised", opset, 13)
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert kernels(result.model).count("QLinearConv") == 2


CASES = (
    "not worth it",
    "excluded",
    "one is excluded",
    "no layer",
    "kernels differ",
    "never can",
    "several",
    "old opset",
)


@pytest.mark.parametrize("case", CASES)
def test_a_model_that_stays_is_the_one_that_came_and_says_why(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, speedup = conv_net(), pictures(), 2.0
    options: dict[str, Any] = {}
    reason = "integers make the model 1.00 times as fast (1.00 to 1.00) on this machine, which is not worth it"
    if case in ("not worth it", "one is excluded", "never can", "old opset"):
        speedup = 1.0
    if case == "excluded":
        options, reason = {"exclude": ("*",)}, "excluded by the user"
    if case == "one is excluded":
        options = {"exclude": ("first",)}
    if case == "several":
        options = {"exclude": ("first", "head"), "target": "openvino"}
        branch = node("Conv", ["r", "w"], ["d"], "last")
        model = classifier(node("Relu", ["c"], ["r"]), branch, last="r", w=normal(4, 16, 1, 1), outputs=("y", "d"))
        reason = "excluded by the user (first and 1 more); its output is an output of the model (last)"
    if case == "no layer":
        model, reason = network_of([node("Relu", ["x"], ["y"])], {}), "it has no layer that can"
    if case == "never can":  # what of it can is not worth it
        model = classifier(node("Relu", ["c"], ["r"]), last="r", outputs=("y", "c"))
    if case == "old opset":
        model.graph.opset_imports[""] = 11
    if case == "kernels differ":
        monkeypatch.setitem(quantize_model.__globals__, "errors_of_integers", lambda *_: WRONG)
        reason = "integer kernels of this machine make an error of 0.3, allowed 0.01"
    before = ir.to_proto(model).SerializeToString()
    result = quantized(model, speedup, x, **options)
    assert result.facts is None
    assert ir.to_proto(result.model).SerializeToString() == before
    (note,) = result.notes
    assert note.code == "not-quantized"
    assert str(note) == f"the model stays on floats: {reason}"


def test_products_with_an_added_bias_run_as_gemms_on_integers() -> None:
    nodes = [
        node("MatMul", ["x", "v"], ["h"], "one"),
        node("Add", ["h", "b"], ["k"], "adds"),
        node("Relu", ["k"], ["r"], "relu"),
        node("MatMul", ["r", "w"], ["y"], "two"),
    ]
    model = network_of(nodes, {"v": normal(12, 16), "b": normal(16), "w": normal(16, 5)}, ("N", 12))
    result = quantized(model, x=normal(60, 12))
    assert result.facts is not None
    assert [(layer.name, layer.kernel) for layer in result.facts.layers] == [("one", "QGemm"), ("two", "QGemm")]
    assert [part.op_type for part in model.graph] == ["MatMul", "Add", "Relu", "MatMul"], "the model that came stays"


@pytest.mark.parametrize("join", ["Add", "Sum"])
def test_shortcuts_are_joined_on_integers(join: str) -> None:
    nodes = [
        node("Relu", ["c"], ["r"], "act"),
        node("Conv", ["r", "second_w"], ["d"], "second", pads=[1, 1, 1, 1]),
        node(join, ["d", "r"], ["j"], "join"),
        node("Relu", ["j"], ["s"], "act2"),
    ]
    result = quantized(classifier(*nodes, last="s", second_w=normal(16, 16, 3, 3, scale=0.1)))
    assert result.facts is not None
    assert "QLinearAdd" in kernels(result.model)


def with_a_tanh(model: ir.Model) -> ir.Model:
    """The model, in place, with a Tanh before the quantizer behind `second`, which keeps both from being fused."""
    (convolution,) = [part for part in model.graph if part.name == "second"]
    tanh = ir.node("Tanh", [convolution.outputs[0]], name="tanh")
    model.graph.insert_after(convolution, tanh)
    for use in list(convolution.outputs[0].uses()):
        if use.node is not tanh:
            use.node.replace_input_with(use.idx, tanh.outputs[0])
    return model


def test_layers_whose_integers_are_made_floats_while_the_model_runs_are_named() -> None:
    model = conv_net()
    placement = place(model.graph, find_layers(model.graph)[0], {})
    made = with_a_tanh(skeleton(model, placement))
    assert unfused(made, placement.layers, RUNTIME) == {
        "second": "ONNX Runtime makes floats of its integers while the model runs"
    }
    assert integer_kernels(made, RUNTIME)["first"] == "QLinearConv"


def test_a_plan_that_onnx_runtime_does_not_keep_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    make = quantize_model.__globals__["make_integer_model"]

    def make_unfused(*arguments: Any) -> Any:
        integers = make(*arguments)
        with_a_tanh(integers.model)
        return integers

    monkeypatch.setitem(quantize_model.__globals__, "make_integer_model", make_unfused)
    result = quantized(conv_net())
    assert result.facts is not None
    assert [layer.runs_on_integers for layer in result.facts.layers] == [True, False, True]
    (note,) = result.notes
    assert (note.code, note.data["layers"]) == ("integers-unfused", ["second"])
    sentences = integer_summary(result.facts)
    assert sentences[0].startswith("2 of 3 layers run on integers on this machine (7-bit weights")
    assert "On this machine ONNX Runtime runs 1 as QLinearConv, 1 as QGemm" in sentences
    assert "ONNX Runtime makes floats of the integers of second" in sentences


def test_a_structure_s_name_tells_shapes_and_nodes_apart_but_not_values() -> None:
    other_values = conv_net(second_w=normal(16, 16, 3, 3, seed=9))
    other_shape = conv_net(second_w=normal(16, 16, 5, 5))
    assert structure_name(conv_net()) == structure_name(other_values)
    assert len({structure_name(conv_net()), structure_name(other_shape), structure_name(conv_net("LeakyRelu"))}) == 3
    assert np.all([len(structure_name(model)) == 12 for model in (other_values, other_shape)])


@pytest.mark.parametrize(
    ("interval", "stays"),
    [((0.7, 0.95), False), ((0.7, 1.05), True), ((1.5, 2.0), True), ((float("nan"), float("nan")), True)],
)
def test_a_model_that_is_slower_once_it_is_made_goes_back_to_floats(interval: tuple[float, float], stays: bool) -> None:
    model = conv_net()
    result, timer = quantized(model), SameTimes(0.9)
    timer.time = lambda *_, **__: Timed(0.9, 1.0, 0.9, *interval)  # type: ignore[method-assign]
    kept = unless_slower(result, model, timer, lambda *_: None)
    assert (kept.facts is not None) == stays
    if not stays:
        assert kept.model is model
        assert [note.code for note in kept.notes] == ["not-quantized"]
        assert "on integers it is only 0.90 times as fast (0.70 to 0.95)" in kept.notes[0]


def test_of_sparse_kernels_each_share_of_zeros_is_timed() -> None:
    model, names = conv_net(), list[str]()
    for has_package in (True, False):
        for mask in (0.0, 0.5):
            weights = normal(16, 16, 3, 3)
            other = conv_net(second_w=np.where(abs(weights) < mask * abs(weights).max(), 0.0, weights))
            timer = SameTimes(2.0)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(SameTimes, "has_package", has_package)
                unless_slower(quantized(other), model, timer, lambda *_: None)
            names += timer.names
    assert len(set(names[:2])) == 2, "by their zeros"
    assert len(set(names[2:])) == 1
    assert set(names[:2]).isdisjoint(names[2:]), "times of dense kernels are others"


def test_what_is_on_floats_anyway_is_not_timed() -> None:
    on_floats = quantized(conv_net(), 1.0)
    timer = SameTimes(1.0)
    assert unless_slower(on_floats, conv_net(), timer, lambda *_: None) is on_floats
    assert timer.names == []
