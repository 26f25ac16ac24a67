"""Relu and Clip go where the range of the integers does their work, and only there: outputs stay the same bits."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from quantized_models import AS_FLOATS, Array, network_of, node, normal, run

from netsurgeon.passes.quantization.clips import DropClips

STEP = 0.02
ZERO_TO_SIX: dict[str, Any] = {"least": 0.0, "most": 6.0}
HARD: dict[str, Any] = {"least": -1.0, "most": 1.0}


def clipped(
    *between: onnx.NodeProto,
    zero: int = 0,
    step: float | Array = STEP,
    dtype: type = np.uint8,
    outputs: tuple[str, ...] = ("y",),
    **numbers: float,
) -> ir.Model:
    """x → `between`, to the value r → QuantizeLinear → DequantizeLinear → y."""
    steps = np.asarray(step, np.float32)
    nodes = [
        *between,
        node("QuantizeLinear", ["r", "step", "zero"], ["q"], "quantize"),
        node("DequantizeLinear", ["q", "step", "zero"], ["y"], "floats"),
    ]
    weights = {"step": steps, "zero": np.full(steps.shape, zero, dtype)}
    return network_of(nodes, weights | {name: np.float32(number) for name, number in numbers.items()}, outputs=outputs)


def relu(source: str = "x", target: str = "r") -> onnx.NodeProto:
    return node("Relu", [source], [target], "relu")


def clip(source: str = "x", target: str = "r") -> onnx.NodeProto:
    return node("Clip", [source, "least", "most"], [target], "clip")


def operators(model: ir.Model) -> list[str]:
    return [part.op_type for part in model.graph]


def dropped(model: ir.Model) -> ir.Model:
    """The model without what can go; its outputs are the same bits on numbers that reach far beyond every range."""
    after = model.clone()
    modified = DropClips()(after).modified
    assert modified == (operators(after) != operators(model))
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    x = normal(6, 3, 8, 8, scale=10.0)
    x[0, 0, 0, :3] = (0.0, STEP / 2.0, -STEP / 2.0)
    assert run(after, x, AS_FLOATS).tobytes() == run(model, x, AS_FLOATS).tobytes()
    return after


@pytest.mark.parametrize(
    "model",
    [
        clipped(relu()),
        clipped(clip(), **ZERO_TO_SIX),
        clipped(clip(), zero=50, least=-2.0, most=6.0),
        clipped(relu(target="k"), clip("k"), **ZERO_TO_SIX),
    ],
    ids=["relu", "relu6", "wider than the integers", "two in a row"],
)
def test_what_the_integers_do_goes(model: ir.Model) -> None:
    assert operators(dropped(model)) == ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize(
    "model",
    [
        clipped(relu(), zero=10),
        clipped(clip(), least=0.0, most=5.0),
        clipped(clip(), zero=128, **HARD),
        clipped(relu(), zero=-128, dtype=np.int8),
        clipped(relu(), outputs=("y", "r")),
        clipped(relu(), node("Neg", ["r"], ["n"]), outputs=("y", "n")),
        clipped(relu(), step=np.full(3, STEP)),
        clipped(node("Abs", ["x"], ["r"], "abs")),
    ],
    ids=["below zero", "above six", "hard", "signed", "output", "read elsewhere", "many scales", "no clip"],
)
def test_what_the_integers_do_not_do_stays(model: ir.Model) -> None:
    assert operators(dropped(model)) == operators(model)


def test_only_the_clip_that_is_done_by_the_integers_goes() -> None:
    """The range ends at 5.1: the Clip at 6 behind the Relu at zero goes, the Relu stays, for -0.2 is an integer."""
    model = clipped(relu(target="k"), clip("k"), zero=10, least=-1.0, most=6.0)
    assert operators(dropped(model)) == ["Relu", "QuantizeLinear", "DequantizeLinear"]
