"""Whole models on integers: closer to the float model than ONNX Runtime's own, the same bytes each time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from plain_models import DIGITS
from quantized_models import (
    AS_FLOATS,
    Array,
    calibration_of,
    conv_net,
    distance,
    kernels,
    on_integers,
    pictures,
    run,
)

from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.quantization.integer_model import (
    IntegerModel,
    IntegerPlan,
    make_integer_models,
    rounding_errors,
)


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """What ONNX Runtime calibrates on."""

    def __init__(self, name: str, x: Array):
        self._feeds: Iterator[dict[str, Array]] = iter([{name: part} for part in np.array_split(x, 4)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def of_onnx_runtime(model: ir.Model, x: Array, folder: Path) -> ir.Model:
    """ONNX Runtime's static quantization, 7 bits a weight, a scale a channel."""
    ir.save(model, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "int8.onnx",
        Batches(model.graph.inputs[0].name or "", x),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return ir.load(folder / "int8.onnx")


def digits() -> tuple[ir.Model, Array, Array]:
    """The network, inputs to calibrate on, and others."""
    model = ir.load(DIGITS / "digits.onnx")
    normal_form()(model)
    return model, *(np.load(DIGITS / f"{part}.npz")["image"] for part in ("calibration", "test"))


@pytest.fixture(scope="module")
def integers() -> IntegerModel:
    model, x, _ = digits()
    return on_integers(model, x)


@pytest.mark.filterwarnings("ignore")
def test_digits_lose_less_than_by_onnx_runtime_s_own_quantization(integers: IntegerModel, tmp_path: Path) -> None:
    model, x, test = digits()
    ours, theirs = (
        distance(run(candidate, test), run(model, test))
        for candidate in (integers.model, of_onnx_runtime(model, x, tmp_path))
    )
    assert ours < 0.7 * theirs
    agreement = np.mean(run(integers.model, test).argmax(axis=1) == run(model, test).argmax(axis=1))
    assert agreement > 0.995


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("activation", ["Relu", "Clip", "LeakyRelu"])
def test_small_networks_lose_less_too(activation: str, tmp_path: Path) -> None:
    model = conv_net(activation)
    x, test = pictures(60), pictures(60, seed=8)
    ours, theirs = (
        distance(run(candidate, test), run(model, test))
        for candidate in (on_integers(model, x).model, of_onnx_runtime(model, x, tmp_path))
    )
    assert ours < 0.9 * theirs


def test_digits_run_on_integers_as_the_model_says(integers: IntegerModel) -> None:
    _, _, test = digits()
    operators = kernels(integers.model)
    assert not {"Conv", "FusedConv", "Gemm"} & set(operators)
    assert operators.count("QLinearConv") + operators.count("QGemm") == len(integers.placement.layers)
    assert distance(run(integers.model, test), run(integers.model, test, AS_FLOATS)) < 0.005
    onnx.checker.check_model(ir.to_proto(integers.model), full_check=True)


def test_the_same_inputs_give_the_same_bytes_and_leave_the_model_as_it_was() -> None:
    model = conv_net()
    before = ir.to_proto(model).SerializeToString()
    first, second = (on_integers(model, pictures()).model for _ in range(2))
    assert ir.to_proto(first).SerializeToString() == ir.to_proto(second).SerializeToString()
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("most", [7, 63, 127])
def test_more_bits_lose_less(most: int) -> None:
    model, x = conv_net(), pictures(60)
    error = distance(run(on_integers(model, x, most=most).model, x), run(model, x))
    assert error < {7: 0.1, 63: 0.02, 127: 0.015}[most]
    assert error > {7: 0.01, 63: 1e-4, 127: 1e-4}[most]


@pytest.mark.parametrize("ranges", ["error", "percentile", "min-max"])
def test_every_way_to_end_ranges_gives_a_model_that_runs(ranges: Any) -> None:
    model, x = conv_net(), pictures(60)
    result = on_integers(model, x, ranges=ranges)
    assert distance(run(result.model, x), run(model, x)) < 0.05
    assert result.scales["r"].zero == 0
    assert set(result.scales) == {"x_taken", "r", "s", "g", "f"}


def test_layers_that_are_not_named_stay_floats() -> None:
    result = on_integers(conv_net(), pictures(), only=("second",))
    assert result.placement.layers == ("second",)
    assert set(result.outcomes) == {"second"}
    assert result.placement.floats == dict.fromkeys(("first", "head"), "it was chosen to stay float")


def test_equalising_helps_where_channels_differ() -> None:
    sizes = 10.0 ** np.linspace(-1.5, 1, 16, dtype=np.float32)
    plain = conv_net()
    weights = {name: value.const_value.numpy() for name, value in plain.graph.initializers.items() if value.const_value}
    uneven = conv_net(
        first_w=weights["first_w"] * sizes.reshape(-1, 1, 1, 1),
        first_b=weights["first_b"] * sizes,
        second_w=weights["second_w"] / sizes.reshape(1, -1, 1, 1),
    )
    x = pictures(60)
    np.testing.assert_allclose(run(uneven, x), run(plain, x), rtol=1e-3, atol=1e-3)
    errors = [distance(run(on_integers(model, x).model, x), run(model, x)) for model in (uneven, plain)]
    assert errors[0] < 3.0 * errors[1]


def test_models_of_several_sizes_come_from_one_run_and_are_what_each_would_be_alone() -> None:
    model, x = conv_net(), pictures()
    apart = [on_integers(model, x, most=most) for most in (63, 7)]
    sizes = [dict.fromkeys(apart[0].outcomes, most) for most in (63, 7)]
    stages: list[str] = []
    together = make_integer_models(
        model, IntegerPlan(most=sizes[0]), sizes, calibration_of(model, x), lambda stage, *_: stages.append(stage)
    )
    assert [stage for stage, before in zip(stages, ["", *stages], strict=False) if stage != before] == [
        *("balancing channels", "measuring ranges", "quantizing layers")
    ]
    for alone, one in zip(apart, together, strict=True):
        assert ir.to_proto(one.model).SerializeToString() == ir.to_proto(alone.model).SerializeToString()
        assert one.outcomes.keys() == alone.outcomes.keys()
    assert ir.to_proto(together[0].model) != ir.to_proto(together[1].model)


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_errors_are_those_of_the_integers_that_a_model_has_now(layer: str) -> None:
    model, calibration = conv_net(), calibration_of(conv_net(), pictures())
    integers = on_integers(model, pictures())
    errors = rounding_errors(integers, integers.model, calibration)
    assert errors == pytest.approx({name: outcome.error for name, outcome in integers.outcomes.items()}, rel=0.25)
    coarser = integers.model.clone()
    codes = find_integer_weights(coarser.graph)[layer]
    halved = ir.Tensor((codes.codes // 8 * 8).astype(np.int8), name=codes.name)
    coarser.graph.initializers[codes.name].const_value = halved
    others = rounding_errors(integers, coarser, calibration)
    assert others[layer] > 10 * errors[layer]
    in_front = list(errors)[: list(errors).index(layer)]
    assert [others[name] for name in in_front] == [errors[name] for name in in_front]


def test_layers_that_cannot_be_factored_again_have_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = conv_net()
    integers = on_integers(model, pictures())

    def refuse(*_: Any) -> None:
        raise FactorizationError("not positive definite")

    monkeypatch.setattr("netsurgeon.pipeline.quantization.integer_model.Problem.of", refuse)
    assert rounding_errors(integers, integers.model, calibration_of(model, pictures())) == {}
