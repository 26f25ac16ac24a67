"""Weights of 4 bits: all of them where that costs little, else finer ones where they cost least and help most."""

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from quantized_models import Array, calibration_of, conv_net, distance, on_integers, pictures, run

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization.quantized_layers import find_integer_weights
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.quantization import (
    IntegerChoice,
    IntegerFacts,
    IntegerLayerFacts,
    IntegerPlan,
    integers_of_a_weight,
    make_integer_model,
    quantize,
)
from netsurgeon.pipeline.quantization.quantize import FINER_SHARE, _lost, _with_fewer_bits, bits_of

SIZES = {"first": 16 * 3 * 9, "second": 16 * 16 * 9, "head": 16 * 5}


def mixed(model: ir.Model, x: Array, most: int = 63) -> dict[str, int]:
    """The largest integer of each layer, of a plan whose fine ones have `most`."""
    plan = IntegerPlan(most=dict.fromkeys(SIZES, most))
    result = _with_fewer_bits(model, plan, calibration_of(model, x), lambda *_: None)
    assert dataclasses.replace(result, most=plan.most) == plan, "nothing else is changed"
    return dict(result.most)


def test_sizes_are_those_of_the_network() -> None:
    assert {layer.name: layer.size for layer in find_layers(conv_net().graph)[0]} == SIZES


def test_all_have_4_bits_where_the_outputs_lose_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "ENOUGH", 1.0)
    assert mixed(conv_net(), pictures(60)) == dict.fromkeys(SIZES, 7)


@pytest.mark.parametrize("most", [63, 127])
def test_small_layers_are_finer_where_the_outputs_lose_more(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "ENOUGH", 0.0)
    plan = mixed(conv_net(), pictures(60), most)
    assert plan == {"first": most, "second": 7, "head": most}
    assert sum(SIZES[name] for name in plan if plan[name] == most) <= FINER_SHARE * sum(SIZES.values())


def test_layers_without_room_stay_at_4_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "ENOUGH", 0.0)
    monkeypatch.setattr(quantize, "FINER_SHARE", 0.0)
    assert mixed(conv_net(), pictures(60)) == dict.fromkeys(SIZES, 7)


def test_mixed_bits_lose_less_than_4_bits_and_what_is_lost_is_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "ENOUGH", 0.0)
    model, x = conv_net(), pictures(60)
    calibration = calibration_of(model, x)
    coarse = on_integers(model, x, most=7).model
    finer = make_integer_model(model, IntegerPlan(most=mixed(model, x)), calibration, lambda *_: None).model
    lost = [_lost(model, candidate, {"x": x}, calibration.runtime) for candidate in (model, finer, coarse)]
    assert lost[0] == 0.0
    assert lost[1] < 0.8 * lost[2]
    assert lost[2] == pytest.approx(distance(run(coarse, x), run(model, x)) ** 2, rel=1e-3)


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
    assert (facts.timed, facts.timings) == (None, None), "nothing was timed unless somebody says so"


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
