"""Outputs where a mask excludes positions: 0 there, as they are elsewhere, and as they are without a mask."""

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import PositionAxes
from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.runtime import Runtime, counted

MODEL = ir.from_onnx_text(
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N,S] x, int64[N,S] mask) '
    "=> (float[N,S] y, float[N] total, int64[N,S] z) "
    "<int64[1] axes = {1}> { y = Exp(x) total = ReduceSum <keepdims = 0> (y, axes) z = Add(mask, mask) }"
)


def test_numbers_that_do_not_count_are_0() -> None:
    feed = {"x": np.array([[1.0, 1000.0], [2.0, 3.0]], np.float32), "mask": np.array([[1, 0], [1, 1]])}
    mask = PositionMask("mask", 1, {"y": PositionAxes(0, 1), "z": PositionAxes(0, 1)})
    session = Runtime().session(MODEL)
    assert counted(session, None) is session
    plain, masked = session.run(feed), counted(session, mask).run(feed)
    assert np.isinf(plain["y"][0, 1])
    assert masked["y"][0, 1] == 0.0
    np.testing.assert_array_equal(masked["y"][feed["mask"] == 1], plain["y"][feed["mask"] == 1])
    np.testing.assert_array_equal(masked["total"], plain["total"])
    assert masked["z"].tolist() == [[2, 0], [2, 2]]
    inverse = PositionMask("mask", 0, {"y": PositionAxes(0, 1)})
    assert np.count_nonzero(counted(session, inverse).run(feed, ["y"])["y"]) == 1
