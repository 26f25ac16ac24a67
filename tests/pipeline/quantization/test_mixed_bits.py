"""Weights of 4 bits: all of them where that costs little, else finer ones where they save most for their bytes."""

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from quantized_models import Array, calibration_of, conv_net, distance, on_integers, pictures, run

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization.quantized_layers import find_integer_weights
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.compression import PruneLayers, QuantizeLayers, StepContext
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning import Plan, plan
from netsurgeon.pipeline.quantization import (
    IntegerChoice,
    IntegerFacts,
    IntegerLayerFacts,
    IntegerPlan,
    integers_of_a_weight,
    integers_without_goal,
    make_integer_model,
    quantize,
)
from netsurgeon.pipeline.quantization.targets import bits_of

SIZES = {"first": 16 * 3 * 9, "second": 16 * 16 * 9, "head": 16 * 5}


def planned(model: ir.Model, x: Array) -> dict[str, int]:
    """The largest integer of each layer, as the plan of a compression has it."""
    return dict(made_plan(model, x).most)


def made_plan(model: ir.Model, x: Array, **options: Any) -> Plan:
    """The plan of a compression all of whose layers run on integers."""
    chosen = Options(quantize="w4a8", target="qnn", **options)
    context = StepContext(
        dense=model,
        selection=select(model, chosen),
        calibration=calibration_of(model, x),
        options=chosen,
        progress=lambda *_: None,
        timer=None,
    )
    context.measured[QuantizeLayers.name] = IntegerChoice(stay={})
    made: Plan = PruneLayers().plan(context)
    return made


def test_sizes_are_those_of_the_network() -> None:
    assert {layer.name: layer.size for layer in find_layers(conv_net().graph)[0]} == SIZES


def test_all_have_4_bits_where_little_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "ENOUGH", 1e3)
    assert planned(conv_net(), pictures(60)) == dict.fromkeys(SIZES, 7)


def test_with_zeros_there_is_one_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "ENOUGH", 1e-6)
    made = made_plan(conv_net(), pictures(60), sparsity=0.5)
    assert sum(made.keep.values()) == pytest.approx(0.5 * sum(SIZES.values()), abs=1)
    assert set(made.most) == set(SIZES)
    assert max(made.most.values()) > 7


def test_bytes_are_spent_where_they_save_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "ENOUGH", 1e-6)
    model, x = conv_net(), pictures(60)
    most = planned(model, x)
    assert set(most.values()) <= {127, 31, 15, 7}, "4 bits or more, as the mode's name says"
    calibration = calibration_of(model, x)
    finer = make_integer_model(model, IntegerPlan(most=most), calibration, lambda *_: None).model
    coarse = on_integers(model, x, most=7).model
    lost = [distance(run(candidate, x), run(model, x)) for candidate in (finer, coarse)]
    assert lost[0] < 0.8 * lost[1]


def test_what_the_plan_says_is_what_the_model_has() -> None:
    model, x = conv_net(), pictures(60)
    result = compress(ir.to_proto(model), {"x": x}, test={"x": x}, quantize="w4a8", target="qnn", pack=False)
    assert result.report.integers is not None
    bits = {layer.name: layer.bits for layer in result.report.integers.layers}
    assert bits == {name: bits_of(most) for name, most in planned(model, x).items()}


@pytest.mark.parametrize(("most", "bits"), [(7, 4), (63, 7), (127, 8)])
def test_bits_are_those_of_the_largest_integer_and_a_sign(most: int, bits: int) -> None:
    assert bits_of(most) == bits


def test_facts_count_the_layers_that_have_bits() -> None:
    layer = IntegerLayerFacts(
        name="one",
        operator="Conv",
        bits=4,
        kernel="QLinearConv",
        error=0.1,
        floats_ms=None,
        integers_ms=None,
        reason=None,
    )
    floats = dataclasses.replace(layer, bits=None, kernel=None, error=None, reason="excluded by the user")
    facts = IntegerFacts(layers=(layer, floats, layer), nodes=2, values=5, kernel_difference=0.001)
    assert facts.on_integers == 2
    assert facts.timed is None, "nothing was timed unless somebody says so"


def test_a_budget_of_bytes_says_the_bits_of_each_layer() -> None:
    model, x = conv_net(), pictures(60)
    most = {"first": 31, "second": 3, "head": 1}
    options = Options(quantize="w4a8", target="onnx")
    choice = IntegerChoice(stay={})
    result = quantize.quantize_model(model, options, calibration_of(model, x), choice, lambda *_: None, most)
    assert result.facts is not None
    assert {layer.name: layer.bits for layer in result.facts.layers} == {"first": 6, "second": 3, "head": 2}
    codes = {name: stored.codes for name, stored in find_integer_weights(result.model.graph).items()}
    assert {name: int(np.abs(code).max()) for name, code in codes.items()} == most


def test_without_a_goal_no_layer_has_less_than_4_bits() -> None:
    assert integers_without_goal(Options(quantize="w4a8")) == (63, 31, 15, 7)
    assert integers_without_goal(Options(quantize="int8")) == (63,)
    assert integers_without_goal(Options(quantize="w4")) == ()


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"quantize": "int8"}, (63,)),
        ({"quantize": "int8", "target": "cpu-vnni"}, (127,)),
        ({"quantize": "w4a8"}, (63, 31, 15, 7, 3, 1)),
        ({"quantize": "dynamic"}, ()),
        ({"quantize": "none"}, ()),
    ],
)
def test_which_integers_a_budget_may_give(options: Any, sizes: tuple[int, ...]) -> None:
    assert integers_of_a_weight(Options(**options)) == sizes
