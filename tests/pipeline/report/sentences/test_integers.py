"""What runs on integers, in sentences: how many layers, on which bits, how fast, and why others stay on floats."""

import dataclasses
from typing import Any

import pytest

from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.profiling.model_profile import Cost, Profile, Timing
from netsurgeon.pipeline.profiling.timing import Ratio, Spread
from netsurgeon.pipeline.quantization import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.report.sentences.integers import form_name, integer_summary, stay_summary, weight_bits

LAYER = IntegerLayerFacts(
    name="conv", operator="Conv", bits=7, kernel="QLinearConv", error=0.001, floats_ms=0.2, integers_ms=0.1, reason=None
)
STAYING: dict[str, Any] = {"bits": None, "kernel": None, "error": None}
FLOAT = dataclasses.replace(LAYER, name="first", **STAYING, reason="its output is an output of the model")
FACTS = IntegerFacts(layers=(FLOAT, *[LAYER] * 25), nodes=4, values=30, kernel_difference=0.00123)


def test_the_first_sentence_tells_layers_bits_and_speed() -> None:
    facts = dataclasses.replace(FACTS, timed=Timed(dense=3.664, model=1.449, speedup=2.543, low=2.5, high=2.6))
    first, names, stays, kernels = integer_summary(facts)
    assert first == (
        "25 of 26 layers run on integers (7-bit weights, 8-bit activations): 2.54 times as fast as the dense model "
        "(3.66 ms → 1.45 ms)"
    )
    assert names == "On this machine ONNX Runtime runs 25 as QLinearConv"
    assert stays == "first stays on floats: its output is an output of the model"
    assert "by 0.12% of their size" in kernels


def test_layers_on_sparse_kernels_are_counted_with_their_times() -> None:
    sparse = dataclasses.replace(LAYER, kernel="NetsurgeonSparse", sparse_ms=0.025)
    facts = dataclasses.replace(FACTS, layers=(FLOAT, sparse, sparse, LAYER))
    assert integer_summary(facts)[2] == "sparse kernels run 2 of them, in 0.05 ms where dense ones take 0.2 ms"
    unknown = dataclasses.replace(facts, layers=(dataclasses.replace(sparse, integers_ms=None),))
    assert integer_summary(unknown)[2] == "sparse kernels run 1 of them"


def test_layers_count_by_what_they_run_as_and_not_by_what_was_meant() -> None:
    gemm, unfused = (dataclasses.replace(LAYER, name=name, kernel=name) for name in ("QGemm", "DequantizeLinear"))
    lost = dataclasses.replace(LAYER, name="lost", kernel=None)
    facts = dataclasses.replace(FACTS, layers=(LAYER, LAYER, gemm, unfused, lost))
    first, names, floats, _ = integer_summary(facts)
    assert first == "3 of 5 layers run on integers on this machine (7-bit weights, 8-bit activations)"
    assert names == "On this machine ONNX Runtime runs 2 as QLinearConv, 1 as QGemm"
    assert floats == "ONNX Runtime makes floats of the integers of DequantizeLinear, lost"


def test_float_activations_are_not_said_to_be_integers() -> None:
    stored = dataclasses.replace(LAYER, bits=4, kernel="MatMulNBits")
    facts = dataclasses.replace(FACTS, layers=(FLOAT, stored, stored), nodes=0, values=0)
    first, names, *_ = integer_summary(facts)
    assert first == "2 of 3 layers have integer weights (4-bit weights; activations are floats in the file)"
    assert names == "On this machine ONNX Runtime runs 2 as MatMulNBits"


def test_nothing_is_said_of_speed_that_was_not_timed_nor_of_a_model_on_floats() -> None:
    assert integer_summary(FACTS)[0] == "25 of 26 layers run on integers (7-bit weights, 8-bit activations)"
    assert integer_summary(None) == ()


def test_no_speed_is_claimed_where_the_interval_leaves_it_undecided() -> None:
    timed = Timed(dense=0.9, model=0.6, speedup=1.52, low=0.4, high=1.6)
    noisy = integer_summary(dataclasses.replace(FACTS, timed=timed))[0]
    assert noisy.endswith(
        ": no difference in speed from the dense model is shown (0.9 ms → 0.6 ms: 1.52 times as fast (0.40 to 1.60))"
    )


@pytest.mark.parametrize(
    ("ratio", "speed"),
    [
        (Ratio(1.82, 1.65, 2.01), "1.82 times as fast as the dense model (2 ms → 1.1 ms)"),
        (Ratio(1.1, 0.9, 1.3), "no difference in speed from the dense model is shown (2 ms → 1.1 ms)"),
    ],
)
def test_what_profile_has_measured_counts_before_what_was_timed_on_the_way(ratio: Ratio, speed: str) -> None:
    spreads = {"model": Spread(2.0, 1.9, 2.2), "other": Spread(1.1, 1.0, 1.2)}
    timing = Timing(batch=1, fed="the first of the data", rounds=15, speedup=ratio, **spreads)
    cost = Cost("model.onnx", 10, Spread(1.0, 1.0, 1.0), 1000, 2000, (), ())
    latency = Profile(
        versions={}, machine="", provider="cpu", threads=1, optimisation="all", model=cost, other=cost,
        timings=(timing,), notes=(),
    )  # fmt: skip
    facts = dataclasses.replace(FACTS, timed=Timed(dense=0.9, model=1.8, speedup=0.5, low=0.4, high=0.6))
    assert integer_summary(facts, latency)[0].endswith(f": {speed}")


def test_kernels_that_change_nothing_are_said_to() -> None:
    assert integer_summary(dataclasses.replace(FACTS, kernel_difference=0.0))[-1].endswith("to the last bit")


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        ([8, 8], "8-bit weights"),
        ([7, 4, 4, 4], "4-bit weights, 7-bit ones in 1 layer"),
        ([7, 4, 4, 7, 4], "4-bit weights, 7-bit ones in 2 layers"),
    ],
)
def test_mixed_bits_are_told_the_most_frequent_first(bits: list[int], sentence: str) -> None:
    assert weight_bits(bits) == sentence


def test_layers_with_one_reason_share_a_sentence() -> None:
    slower = [(f"conv {at}", f"it is faster on floats: 0.{at} ms on floats, 0.9 ms on integers") for at in range(1, 7)]
    assert stay_summary([*slower, ("last", "its input is transposed"), ("end", "its input is transposed")]) == (
        "conv 1, conv 2, conv 3, conv 4 and 2 more stay on floats: it is faster on floats",
        "last, end stay on floats: its input is transposed",
    )
    cause = "opset 11 cannot be raised to 13: Foo is not known"
    assert stay_summary([("a", cause), slower[0], slower[1]])[0] == f"a stays on floats: {cause}"
    assert stay_summary([("a", cause), ("b", f"{cause} there")])[1] == f"b stays on floats: {cause} there"
    assert stay_summary(slower[:1]) == (f"conv 1 stays on floats: {slower[0][1]}",)
    assert stay_summary([]) == ()


@pytest.mark.parametrize(
    ("form", "name"),
    [("int8", "integers"), ("w4a8", "integers (mixed bits)"), ("codebook", "floats (codebook)"),
     ("float16", "floats (float16)"), (None, "not rounded")],
)  # fmt: skip
def test_a_form_says_whether_weights_are_integers(form: str | None, name: str) -> None:
    assert form_name(form) == name
