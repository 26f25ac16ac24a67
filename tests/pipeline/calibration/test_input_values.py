"""Inputs of another size than the test inputs have, or than the model's own scaling and normalisation have seen."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.calibration.input_values import examine_values
from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data import Samples, open_samples
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.runtime import Runtime

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (16, 3, 6, 6)).astype(np.float32)
NORMALISED = (PIXELS / 255 - 0.45) / 0.225


def network(body: str, **constants: Any) -> ir.Model:
    """From x (N, 3, 6, 6) to y, which a body writes in ONNX's text form, w (4, 3, 3, 3) and constants given by name."""
    arrays = {"w": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32) / 5, **constants}
    given = "".join(
        f", float{list(np.shape(array))} {name}".replace("float[]", "float") for name, array in arrays.items()
    )
    model = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,6,6] x{given}) => (float[N,C,H,W] y) {{ {body} }}'
    )
    for value in list(model.graph.inputs)[1:]:
        value.const_value = ir.tensor(np.asarray(arrays[str(value.name)], np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    return ir.from_proto(ir.to_proto(model))


def normalised_by_batch(trained: bool = True) -> ir.Model:
    """Conv and a BatchNormalization that has seen what the convolution makes of NORMALISED."""
    plain = network("y = Conv(x, w)")
    values = Runtime().session(plain).run({"x": NORMALISED.astype(np.float32)})["y"]
    mean, variance = (values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))) if trained else (np.zeros(4), np.ones(4))
    model = network(
        "h = Conv(x, w) y = BatchNormalization(h, s, b, m, v)", s=np.ones(4), b=np.zeros(4), m=mean, v=variance
    )
    model.graph.initializers["w"].const_value = plain.graph.initializers["w"].const_value
    return model


def samples_of(model: ir.Model, x: np.ndarray) -> Samples:
    return open_samples({"x": x.astype(np.float32)}, input_specs(model))


def examined(model: ir.Model, x: np.ndarray, test: np.ndarray | None = None) -> tuple[Message, ...]:
    measured = None if test is None else samples_of(model, test)
    return examine_values(model, samples_of(model, x), measured, Runtime())


@pytest.mark.parametrize(
    ("x", "test", "differ"),
    [
        (PIXELS, PIXELS[::-1], False),
        (PIXELS, PIXELS / 255, True),
        (PIXELS / 255, PIXELS, True),
        (NORMALISED, PIXELS / 255, True),
        (PIXELS, PIXELS + 1000, True),
        (PIXELS, PIXELS * 1.5, False),
        (np.zeros_like(PIXELS), PIXELS, False),
    ],
    ids=["alike", "scaled test", "scaled data", "not normalised", "apart", "a little more", "constant"],
)
def test_data_and_test_are_prepared_in_the_same_way(x: np.ndarray, test: np.ndarray, differ: bool) -> None:
    warnings = examined(network("y = Conv(x, w)"), x, test)
    assert [warning.code for warning in warnings] == ["inputs-unlike-test"] * differ
    if differ:
        assert warnings[0].data["input"] == "x"
        assert "prepare both in the same way" in warnings[0]


@pytest.mark.parametrize(
    ("x", "differ"),
    [(NORMALISED, False), (1.5 * NORMALISED, False), (PIXELS, True), (PIXELS / 255, True), (NORMALISED + 99, True)],
    ids=["as trained", "a little more", "pixels", "scaled pixels", "shifted"],
)
def test_the_first_batch_normalisation_tells_what_inputs_were(x: np.ndarray, differ: bool) -> None:
    warnings = examined(normalised_by_batch(), x)
    assert [warning.code for warning in warnings] == ["inputs-not-normalised"] * differ
    assert examined(normalised_by_batch(trained=False), x) == ()


@pytest.mark.parametrize(
    ("x", "differ"), [(PIXELS, False), (PIXELS / 255, True), (300 * PIXELS, True)], ids=["right", "scaled", "too large"]
)
@pytest.mark.parametrize(
    "body",
    [
        "c = Sub(x, m) d = Div(c, s) y = Conv(d, w)",
        "i = Identity(x) c = Div(i, s) t = Transpose<perm = [0, 1, 3, 2]>(c) d = Add(t, o) y = Conv(d, w)",
        "h = Constant<value = float {127.5}>() c = Sub(x, h) d = Div(c, h) y = Conv(d, w)",
    ],
)
def test_a_model_that_scales_its_inputs_itself_tells_what_they_are(body: str, x: np.ndarray, differ: bool) -> None:
    constants = {"m": np.full((1, 3, 1, 1), 120.0), "s": np.full((3, 1, 1), 60.0), "o": np.full(1, -2.0)}
    warnings = examined(network(body, **{name: value for name, value in constants.items() if f" {name})" in body}), x)
    assert [warning.code for warning in warnings] == ["inputs-not-normalised"] * differ
    if differ:
        assert set(warnings[0].data) == {"scaled"}


@pytest.mark.parametrize("body", ["c = Mul(x, s) y = Conv(c, w)", "c = Relu(x) d = Sub(c, s) y = Conv(d, w)"])
def test_what_is_no_normalisation_tells_nothing(body: str) -> None:
    assert examined(network(body, s=np.float32(1e4)), PIXELS) == ()


def test_the_report_and_the_comparison_carry_the_warnings() -> None:
    model = normalised_by_batch()
    options: Any = {"sparsity": 0.5, "method": "magnitude", "uniform": True}
    report = compress(model, PIXELS.astype(np.uint8), test=PIXELS / 255, **options).report
    codes = {warning.code for warning in report.warnings}
    assert {"integers-for-floats", "inputs-unlike-test", "inputs-not-normalised"} <= codes
    codes = {warning.code for warning in compare(model, model, PIXELS.astype(np.uint8)).warnings}
    assert {"integers-for-floats", "inputs-not-normalised"} <= codes
    clean = compress(model, NORMALISED.astype(np.float32), **options).report
    assert not codes.intersection(warning.code for warning in clean.warnings)
