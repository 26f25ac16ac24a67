"""Whole heads against width inside heads: what is idle goes, whichever of the two it is."""

from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from trimmable_models import FAST, Array, network_of, normal, outputs, trimmed

from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs, open_model
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.structures import find_structures

HEADS, WIDTH = 4, 8


def attention(idle: Array) -> onnx.ModelProto:
    """Tokens of 16 numbers and four heads of eight; `idle` (heads, width) hardly counts, wherever it is read."""
    node = onnx.helper.make_node
    flat = HEADS * WIDTH
    nodes = [node("MatMul", ["x", name], [name + "x"], name) for name in ("q", "k", "v")]
    nodes += [
        node("MultiHeadAttention", ["qx", "kx", "vx"], ["m"], "heads", domain="com.microsoft", num_heads=HEADS),
        node("MatMul", ["m", "o"], ["u"], "out"),
        node("ReduceMean", ["u"], ["z"], "mean", axes=[1], keepdims=0),
        node("Gemm", ["z", "w"], ["y"], "last"),
    ]
    faint = np.where(idle.ravel(), 0.01, 1.0).astype(np.float32)
    weights = {name: 0.4 * normal(16, flat, seed=at) * faint for at, name in enumerate(("q", "k", "v"))}
    weights |= {"o": normal(flat, 16, seed=4) * faint[:, None], "w": normal(16, 5)}
    proto = network_of(nodes, weights, ["N", 6, 16])
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return proto


def tokens() -> Array:
    return normal(96, 6, 16, seed=9)


IDLE_HEADS = np.arange(HEADS)[:, None] % 2 + np.zeros((HEADS, WIDTH)) > 0
IDLE_WIDTH = np.arange(WIDTH) % 2 + np.zeros((HEADS, WIDTH)) > 0


@pytest.mark.parametrize(("idle", "units"), [(IDLE_HEADS, [HEADS]), (IDLE_WIDTH, [WIDTH, WIDTH])])
def test_what_is_idle_goes(idle: Array, units: list[int]) -> None:
    model = attention(idle)
    result = compress(model, {"x": tokens()}, trim=0.4, round_to=1, **FAST)
    trim = trimmed(result)
    assert sorted(group.units for group in trim.groups if group.node != "out") == units
    dense, small = outputs(model, tokens()), outputs(result.model, tokens())
    assert np.linalg.norm(small - dense) < 0.02 * np.linalg.norm(dense)


def test_without_prices_the_factor_that_lets_more_vanish_has_the_units() -> None:
    result = compress(attention(IDLE_HEADS), {"x": tokens()}, trim=0.4, round_to=1, importance="magnitude", **FAST)
    assert {group.units for group in trimmed(result).groups if group.node != "out"} == {WIDTH}


class _Folder:
    """A work folder in memory."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def arrays(self, name: str) -> Any:
        return self.held.get(name)

    def keep_arrays(self, name: str, arrays: Any) -> None:
        self.held[name] = arrays


def test_the_order_of_structures_is_of_the_cheaper_units_and_is_kept() -> None:
    runtime, options = Runtime(), Options(trim=0.5, round_to=1)
    source = open_model(attention(IDLE_HEADS), runtime)
    calibration = Calibration(open_samples({"x": tokens()}, input_specs(source.original)), runtime)
    selection, folder = select(source.model, options), _Folder()
    keywords: dict[str, Any] = {"progress": lambda *_: None, "milliseconds": None, "work": folder}
    first, again = (find_structures(source.model, selection, calibration, options, **keywords) for _ in range(2))
    sizes = [sorted(len(group.units) for group in found.base.dependencies.groups) for found in (first, again)]
    assert sizes[0] == sizes[1]
    assert HEADS in sizes[0]
    assert WIDTH not in sizes[0]


def test_a_run_that_goes_on_has_the_same_units(tmp_path: Any) -> None:
    """The plan is found again by what it kept, without prices."""
    keywords: dict[str, Any] = {"trim": 0.4, "round_to": 1, "work": tmp_path, **FAST}
    first = compress(attention(IDLE_HEADS), {"x": tokens()}, **keywords)
    again = compress(attention(IDLE_HEADS), {"x": tokens()}, **keywords)
    assert trimmed(first).groups == trimmed(again).groups
    np.testing.assert_array_equal(outputs(first.model, tokens()), outputs(again.model, tokens()))
