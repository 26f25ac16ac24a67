"""Ranges of activations: those of all calibration inputs, weighted by what errors cost."""

import numpy as np
import pytest
from quantized_models import RUNTIME, calibration_of, conv_net, network_of, node, normal, pictures

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.quantization import ranges
from netsurgeon.pipeline.quantization.ranges import measure_ranges, measure_reach
from netsurgeon.pipeline.runtime import tapped

EVERYTHING = (-np.inf, np.inf)


def test_ends_are_the_least_and_largest_of_all_batches() -> None:
    model, x = conv_net(), pictures(50)
    calls: list[tuple[int, int]] = []
    statistics = measure_ranges(
        model, ["x", "r", "g"], calibration_of(model, x, batch_size=16), lambda *at: calls.append(at)
    )
    values = {"x": x, **RUNTIME.session(tapped(model, ["r", "g"])).run({"x": x}, ["r", "g"])}
    for name, value in values.items():
        assert statistics[name].low == pytest.approx(min(value.min(), 0.0), rel=1e-5)
        assert statistics[name].high == pytest.approx(value.max(), rel=1e-5)
    assert calls == [(0, 3)] * 4, "a tick a batch, with the values that are done and all"


def test_large_values_are_looked_at_in_parts_and_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = conv_net(), pictures(20)
    whole = measure_ranges(model, ["r", "s"], calibration_of(model, x), lambda *_: None)
    monkeypatch.setattr(ranges, "BYTES_AT_ONCE", 1)
    parts = measure_ranges(model, ["r", "s"], calibration_of(model, x), lambda *_: None)
    for name in ("r", "s"):
        assert parts[name].scale("error", EVERYTHING) == whole[name].scale("error", EVERYTHING)
    monkeypatch.setattr(ranges, "MOST_NUMBERS", 500)
    drawn = measure_ranges(model, ["r", "s"], calibration_of(model, x), lambda *_: None)
    for name in ("r", "s"):
        assert (drawn[name].low, drawn[name].high) == (whole[name].low, whole[name].high)
        assert drawn[name]._counts.sum() == pytest.approx(500, rel=0.3)


def test_nothing_is_computed_behind_the_last_value_that_is_looked_at() -> None:
    model = conv_net()
    assert [value.name for value in ranges._up_to(model, ["r"]).graph.outputs] == ["r"]
    assert {node.op_type for node in ranges._up_to(model, ["r"]).graph} == {"Conv", "Relu"}
    assert len(ranges._up_to(model, ["x"]).graph) == len(model.graph), "a model has to give something"


@pytest.mark.parametrize("number", [-1.0, 0.0])
def test_values_that_are_no_numbers_are_refused_in_a_sentence(number: float) -> None:
    """Log of -1 is NaN, that of 0 infinite."""
    nodes = [node("Log", ["x"], ["h"], "log"), node("Gemm", ["h", "w"], ["y"], "layer")]
    model = network_of(nodes, {"w": normal(4, 3)}, ("N", 4))
    x = np.abs(normal(8, 4))
    x[3, 1] = number
    with pytest.raises(InputError, match="the value 'h' is NaN or infinite on the calibration samples: check"):
        measure_ranges(model, ["h"], calibration_of(model, x), lambda *_: None)


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "MatMul"])
def test_channels_that_no_weight_reads_move_no_end(kind: str) -> None:
    """Channel 2 is a hundred times larger, and its weights are zero."""
    convolves = kind == "Conv"
    weight = normal(4, 3, 1, 1) if convolves else normal(3, 4)
    (weight if convolves else weight.T)[:, 2] = 0.0
    nodes = [node(kind, ["x", "w"], ["c"], "layer"), node("Relu", ["c"], ["y"])]
    entry = ("N", 3, 8, 8) if convolves else ("N", 3)
    model = network_of(nodes, {"w": weight}, entry)
    x = pictures(60) if convolves else normal(4000, 3)
    x[:, 2] *= 100.0
    statistics = measure_ranges(model, ["x"], calibration_of(model, x), lambda *_: None)["x"]
    assert statistics.high > 200.0
    assert statistics.scale("error", EVERYTHING).step < 0.5 * statistics.scale("min-max", EVERYTHING).step


def test_reach_is_the_largest_size_of_each_channel() -> None:
    model, x = conv_net("LeakyRelu"), pictures(50)
    reach = measure_reach(model, ["r", "f"], calibration_of(model, x, batch_size=16))
    values = RUNTIME.session(tapped(model, ["r", "f"])).run({"x": x}, ["r", "f"])
    np.testing.assert_allclose(reach["r"], np.abs(values["r"]).max(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(reach["f"], np.abs(values["f"]).max(axis=0), rtol=1e-5)
