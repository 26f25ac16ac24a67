"""Outputs where a mask excludes positions: 0 there; and a model that is run once on each feed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.dependencies import PositionAxes
from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.runtime import Remembering, Runtime, Session, counted, session_wrappers

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


class Counting(Session):
    """A session that counts its runs."""

    def __init__(self) -> None:
        super().__init__(Runtime().session(MODEL)._inference)
        self.runs = 0

    def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.runs += 1
        return super().run(feed, outputs)


def feed_of(value: float, samples: int = 2) -> dict[str, Any]:
    return {"x": np.full((samples, 2), value, np.float32), "mask": np.ones((samples, 2), np.int64)}


def test_a_model_is_run_once_on_each_feed() -> None:
    session = Counting()
    remembering = Remembering(session)
    for feed in (feed_of(1.0), feed_of(2.0), feed_of(1.0, samples=1), feed_of(1.0), feed_of(2.0)):
        expected, outputs = Runtime().session(MODEL).run(feed), remembering.run(feed)
        assert outputs.keys() == expected.keys()
        for name, value in outputs.items():
            np.testing.assert_array_equal(value, expected[name])
    assert session.runs == 3
    assert list(remembering.run(feed_of(1.0), ["y"])) == ["y"]
    assert session.runs == 4, "other outputs of it were asked for"


def test_what_finds_no_room_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_wrappers, "MOST_REMEMBERED_BYTES", 100)
    session = Counting()
    remembering = Remembering(session)
    for value in (1.0, 2.0, 1.0, 2.0):
        remembering.run(feed_of(value))
    assert session.runs == 3, "two feeds of 56 bytes do not fit into 100"


def test_what_is_done_to_outputs_does_not_change_what_is_remembered() -> None:
    remembering = Remembering(Runtime().session(MODEL))
    for _ in range(3):
        outputs = remembering.run(feed_of(0.0))
        np.testing.assert_array_equal(outputs["y"], 1.0)
        outputs["y"] *= 2.0


def test_outputs_of_texts_are_not_remembered() -> None:
    """What they take is not known: an array of them counts as addresses."""

    class Texts(Counting):
        def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
            return {**super().run(feed, outputs), "y": np.array(["a" * 1000] * 2, object)}

    session = Texts()
    remembering = Remembering(session)
    for _ in range(2):
        remembering.run(feed_of(1.0))
    assert session.runs == 2
