"""What a run shows of a model: the shape of every value and small integers; the model stays as it is."""

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.runtime import observations
from netsurgeon.pipeline.runtime.observations import MOST_INTEGERS, SMALL_RUN, VALUES_AT_ONCE, observe, tapped
from netsurgeon.pipeline.runtime.session import Runtime, Session

FEED = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
EXPONENTIAL = "(float[N, 4] x) => (float[N, 4] y) { n = Shape(x)\n h = Exp(x)\n y = Reshape(h, n) }"


def network(text: str) -> ir.Model:
    return ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> network {text}')


def outputs_of(model: ir.Model) -> list[str | None]:
    return [value.name for value in model.graph.outputs]


def test_shapes_and_small_integers_are_noted() -> None:
    model = network(EXPONENTIAL)
    observation = observe(model, FEED, Runtime())
    assert observation.shapes == {"x": (3, 4), "n": (2,), "h": (3, 4), "y": (3, 4)}
    assert {name: array.tolist() for name, array in observation.integers.items()} == {"n": [3, 4]}
    assert outputs_of(model) == ["y"]


@pytest.mark.parametrize(("length", "is_noted"), [(MOST_INTEGERS, True), (MOST_INTEGERS + 1, False)])
def test_many_integers_are_data(length: int, is_noted: bool) -> None:
    model = network("(float[N] x) => (int32[N] y) { y = Cast<to = 6>(x) }")
    observation = observe(model, {"x": np.ones(length, np.float32)}, Runtime())
    assert observation.shapes["y"] == (length,)
    assert ("y" in observation.integers) == is_noted
    if is_noted:
        assert observation.integers["y"].dtype == np.int64


def test_deep_graphs_are_seen_a_part_at_a_time() -> None:
    depth = VALUES_AT_ONCE + 5
    nodes = "\n".join(f"h{index + 1} = Neg(h{index})" for index in range(depth))
    model = network(f"(float[N] x) => (float[N] h{depth}) {{ h0 = Abs(x)\n {nodes} }}")
    observation = observe(model, {"x": np.ones(2, np.float32)}, Runtime())
    assert set(observation.shapes) == {"x", *(f"h{index}" for index in range(depth + 1))}
    assert set(observation.shapes.values()) == {(2,)}


@dataclasses.dataclass(frozen=True)
class CountingRuntime(Runtime):
    """Notes how many sessions were made."""

    sessions: list[object] = dataclasses.field(default_factory=list)

    def session(self, *arguments: Any, **options: Any) -> Session:
        self.sessions.append(arguments)
        return super().session(*arguments, **options)


@pytest.mark.parametrize(("small", "sessions"), [(SMALL_RUN, 3), (0, 6)])
def test_runs_of_small_values_grow(small: int, sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "SMALL_RUN", small)
    depth = 6 * VALUES_AT_ONCE - 1
    nodes = "\n".join(f"h{index + 1} = Neg(h{index})" for index in range(depth))
    model = network(f"(float[N] x) => (float[N] h{depth}) {{ h0 = Abs(x)\n {nodes} }}")
    runtime = CountingRuntime()
    assert len(observe(model, {"x": np.ones(2, np.float32)}, runtime).shapes) == depth + 2
    assert len(runtime.sessions) == sessions


def test_a_sequence_has_no_shape() -> None:
    model = network(
        "(float[4] x) => (float[4] y) { s = SequenceConstruct(x, x)\n y = ConcatFromSequence<axis = 0>(s) }"
    )
    observation = observe(model, {"x": np.ones(4, np.float32)}, Runtime())
    assert observation.shapes == {"x": (4,), "y": (8,)}


def test_a_shape_that_the_exporter_noted_wrongly_does_not_count() -> None:
    model = network(EXPONENTIAL)
    model.graph[1].outputs[0].shape = ir.Shape((7,))
    assert observe(model, FEED, Runtime()).shapes["h"] == (3, 4)
    assert tapped(model, ["h"]).graph.outputs[1].shape is None
    assert model.graph[1].outputs[0].shape == (7,)


def test_a_model_that_cannot_run_is_a_failed_check() -> None:
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        observe(network(EXPONENTIAL), {"x": np.ones((3, 5), np.float32)}, Runtime())


def test_inner_values_become_outputs_of_a_clone() -> None:
    model = network(EXPONENTIAL)
    clone = tapped(model, ["h", "y", "nowhere"])
    assert outputs_of(clone) == ["y", "h"]
    assert outputs_of(model) == ["y"]
    results = Runtime().session(clone).run(FEED)
    np.testing.assert_array_equal(results["h"], results["y"])
    np.testing.assert_allclose(results["h"], np.exp(FEED["x"]), rtol=1e-6)
