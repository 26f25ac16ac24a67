"""What the process behind a trial does: it loads and runs, and answers whatever comes of it."""

import pickle
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.runtime.session import Runtime, Session
from netsurgeon.pipeline.runtime.trial_helper import answer

MODEL = ir.to_proto(
    ir.from_onnx_text('<ir_version: 8, opset_import: ["" : 17]> made (float[N,4] x) => (float[N,4] y) { y = Relu(x) }')
).SerializeToString()


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What sessions are run on."""
    feeds: list[Any] = []
    run = Session.run

    def noted(session: Session, feed: Any, *others: Any) -> Any:
        feeds.append(feed)
        return run(session, feed, *others)

    monkeypatch.setattr(Session, "run", noted)
    return feeds


def request(feed: dict[str, Any] | None, source: bytes = MODEL, **settings: Any) -> bytes:
    return pickle.dumps((source, {"provider": "cpu", "threads": 1, "optimise": True, **settings}, feed))


def test_a_model_is_run_where_there_is_a_feed(fed: list[Any]) -> None:
    x = np.ones((2, 4), np.float32)
    assert answer(request({"x": x})) == b""
    (feed,) = fed
    np.testing.assert_array_equal(feed["x"], x)


def test_without_a_feed_it_is_only_loaded(fed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[dict[str, Any]] = []
    session = Runtime.session

    def noted(runtime: Runtime, model: Any, **settings: Any) -> Session:
        loaded.append(settings)
        return session(runtime, model, **settings)

    monkeypatch.setattr(Runtime, "session", noted)
    assert answer(request(None, optimise=False)) == b""
    assert fed == []
    assert loaded == [{"optimise": False, "is_tried": True}], "it must not ask for a trial of its own"


@pytest.mark.parametrize("source", [b"no model", MODEL.replace(b"Relu", b"Rely")])
def test_an_error_is_an_answer_too(source: bytes) -> None:
    assert answer(request({"x": np.ones((2, 4), np.float32)}, source)) == b""
