"""Axes that run over samples and positions: known by the operators between, not by their sizes."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from masked_models import WIDTH, encoder

from netsurgeon.passes.dependencies.positions import PositionAxes, position_axes
from netsurgeon.pipeline.runtime import Runtime, observe

S = WIDTH
"""As many positions as numbers in each: sizes tell nothing apart."""


SAME = PositionAxes(0, 1)


def axes_of(model: ir.Model, batch: int = 2, name: str = "ids", **feeds: Any) -> dict[str, PositionAxes]:
    feed = feeds or {key: np.ones((batch, S), np.int64) for key in (name, "attention_mask")}
    return position_axes(model.graph, observe(model, feed, Runtime()), dict.fromkeys(feed, (1,)))


def text_model(body: str, constants: str = "") -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,S,{WIDTH}] x) => (float[A] y) {constants} {{ {body} }}'
    )


def x_feed(batch: int = 2) -> dict[str, Any]:
    return {"x": np.ones((batch, S, WIDTH), np.float32)}


def test_an_encoder_is_followed_from_the_tokens_to_the_mean() -> None:
    found = axes_of(encoder())
    for value in ("x", "q_flat", "mixed_flat", "h", "active", "states", "there"):
        assert found[value] == PositionAxes(0, 1), value
    assert found["q_heads"] == PositionAxes(0, 2)
    assert found["k_heads"] == PositionAxes(0, 3)
    assert found["scores"] == PositionAxes(0, 2)
    assert "embedding" not in found
    assert "count" not in found


@pytest.mark.parametrize(
    ("body", "constants", "axes"),
    [
        ("y = Transpose <perm = [1, 0, 2]> (x)", "", PositionAxes(1, 0)),
        ("y = Reshape (x, to)", "<int64[2] to = {-1, 8}>", PositionAxes(0, 0)),
        ("m = Reshape (x, to) y = Relu (m)", "<int64[2] to = {-1, 8}>", PositionAxes(0, 0)),
        ("m = Reshape (x, to) y = Reshape (m, back)", "<int64[2] to = {-1, 8}, int64[3] back = {2, 8, 8}>", SAME),
        ("m = Reshape (x, to) y = Reshape (m, back)", "<int64[2] to = {-1, 8}, int64[3] back = {4, 4, 8}>", None),
        ("y = Transpose <perm = [0, 2, 1]> (x)", "", PositionAxes(0, 2)),
        ("y = ReduceMean <axes = [1], keepdims = 0> (x)", "", None),
        ("y = ReduceMean <axes = [2], keepdims = 0> (x)", "", PositionAxes(0, 1)),
        ("m = Slice (x, one, far, one) y = Relu (m)", "<int64[1] one = {1}, int64[1] far = {99}>", None),
        (
            "m = Slice (x, one, far, one) n = Slice (x, none, one, one) y = Concat <axis = 1> (m, n)",
            "<int64[1] one = {1}, int64[1] none = {0}, int64[1] far = {99}>",
            None,
        ),
    ],
)
def test_what_becomes_of_positions(body: str, constants: str, axes: PositionAxes | None) -> None:
    assert axes_of(text_model(body, constants), **x_feed()).get("y") == axes


def test_which_entries_belong_to_positions_that_are_kept() -> None:
    kept = np.array([[True, True, False], [True, False, False]])
    entries = PositionAxes(0, 1).of(kept, (2, 3, 5))
    assert entries is not None
    assert entries[..., 0].tolist() == kept.tolist()
    turned = PositionAxes(2, 0).of(kept, (3, 5, 2))
    assert turned is not None
    assert turned[:, 0].tolist() == kept.T.tolist()
    flat = PositionAxes(0, 0).of(kept, (6, 5))
    assert flat is not None
    assert flat[:, 0].tolist() == kept.ravel().tolist()
    alone = PositionAxes(None, 1).of(kept[:1], (4, 3))
    assert alone is not None
    assert alone.tolist() == kept[:1].tolist()


@pytest.mark.parametrize(("axes", "shape"), [((None, 1), (4, 3)), ((0, 1), (4, 3)), ((0, 1), (2, 4)), ((0, 0), (5, 2))])
def test_values_of_another_batch_are_left_alone(axes: tuple[int | None, int], shape: tuple[int, ...]) -> None:
    assert PositionAxes(*axes).of(np.ones((2, 3), bool), shape) is None
