"""Profiles of real models in ONNX Runtime: what was measured, on what inputs, and what is refused. Nothing is timed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.profiling.kernel_times import node_times
from netsurgeon.pipeline.profiling.memory import footprint
from netsurgeon.pipeline.profiling.model_profile import SITTINGS, by_operator, profile, time_models
from netsurgeon.pipeline.profiling.timing_inputs import timing_feeds, value_dependence
from netsurgeon.pipeline.report.report import as_json
from netsurgeon.pipeline.runtime.session import Runtime

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"


def graph(body: str, inputs: str = "float[N,4] x", outputs: str = "float[N,4] y") -> ir.Model:
    return ir.from_onnx_text(f"{HEAD} graph ({inputs}) => ({outputs}) {{ {body} }}")


def weighted(columns: int) -> ir.Model:
    """y = x w, a weight of 1000 rows."""
    model = graph("y = MatMul(x, w)", "float[N,1000] x, float[1000,M] w", "float[N,M] y")
    (value,) = (each for each in model.graph.inputs if each.name == "w")
    value.const_value = ir.tensor(np.ones((1000, columns), np.float32), name="w")
    model.graph.inputs.remove(value)
    model.graph.register_initializer(value)
    return model


# Whole profiles


def test_profile_of_two_models_in_turn() -> None:
    found = profile(
        DIGITS / "digits.onnx", DIGITS / "digits.onnx", batches=(1, 3), rounds=5, per_operator=True, threads=1
    )
    assert [each.batch for each in found.timings] == [1, 3]
    for each in found.timings:
        assert each.fed == "random numbers"
        assert each.rounds == SITTINGS
        assert each.other is not None
        assert each.speedup is not None
        assert each.speedup.low <= each.speedup.value <= each.speedup.high
        assert 0.0 < each.model.low <= each.model.median <= each.model.high
    assert found.other is not None
    assert found.model.bytes == (DIGITS / "digits.onnx").stat().st_size
    assert found.model.on_the_cpu == ()
    assert {node.provider for node in found.model.nodes} == {"CPUExecutionProvider"}
    both = by_operator([found.model, found.other])
    assert all(count == other for (_, count), (_, other) in both.values())
    total = sum(node.milliseconds for node in found.model.nodes)
    assert sum(cells[0][0] for cells in both.values()) == pytest.approx(total)
    assert json.loads(as_json(found))["timings"] == [dataclasses.asdict(each) for each in found.timings]


def test_models_in_memory_with_sizes_for_open_axes() -> None:
    model = graph("y = Relu(x)", "float[N,C,H] x", "float[N,C,H] y")
    found = profile(model, shapes={"x": (2, 3, 5)}, rounds=5)
    assert (found.model.name, found.other, found.timings[0].batch) == ("", None, 2)
    assert found.timings[0].speedup is None


def test_a_model_that_cannot_run_on_its_inputs() -> None:
    bad = graph("s = Constant<value_ints = [7, 7]>() y = Reshape(x, s)", outputs="float[7,7] y")
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        profile(bad, rounds=5)


def test_models_with_other_inputs_are_not_compared() -> None:
    with pytest.raises(InputError, match=r"differ in their inputs, x: float32 and z: float32"):
        profile(graph("y = Relu(x)"), graph("y = Relu(z)", "float[N,4] z"), rounds=5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batches": (0,)}, "batch is 0, expected sizes of 1 or more"),
        ({"rounds": 2}, "runs is 2, expected 3 or more"),
        ({"threads": 0}, "threads is 0, expected 1 or more"),
        ({"optimisation": "most"}, "optimisation is 'most', expected one of off, basic, extended, all"),
    ],
)
def test_numbers_out_of_range(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        profile(graph("y = Relu(x)"), **options)  # type: ignore[arg-type]


def test_loads_and_runs_of_every_sitting() -> None:
    models = [graph("y = Relu(x)"), graph("y = Abs(x)")]
    feeds = [{"x": np.ones((size, 4), np.float32)} for size in (1, 2)]
    loads, seconds = time_models(models, feeds, Runtime(), rounds=2 * SITTINGS)
    assert loads.shape == (SITTINGS, 2)
    assert [each.shape for each in seconds] == [(SITTINGS, 2, 2)] * 2


# Nodes


def test_node_times_sum_the_turns_of_a_loop() -> None:
    model = graph(
        """
        n = Constant<value_int = 5>()
        go = Constant<value = bool {1}>()
        h = Relu(x)
        y = Loop (n, go, h) <body = turn (int64 i, bool c, float[N,4] v) => (bool d, float[N,4] w) {
            d = Identity(c)
            w = Sin(v)
        }>
        """
    )
    nodes = node_times(model, {"x": np.ones((2, 4), np.float32)}, Runtime(deployed=True), runs=3)
    operators = [node.operator for node in nodes]
    assert operators.count("Sin") == 1  # five turns, one node
    assert {"Relu", "Loop"} <= set(operators)
    assert all(node.milliseconds >= 0.0 for node in nodes)


def test_the_graph_is_that_of_the_level_of_optimisation() -> None:
    model, feed = graph("h = Identity(x) y = Relu(h)"), {"x": np.ones((1, 4), np.float32)}
    plain, optimised = (node_times(model, feed, Runtime(optimisation=level), 2) for level in ("off", "all"))
    assert [node.operator for node in plain] == ["Identity", "Relu"]
    assert [node.operator for node in optimised] == ["Relu"]


# Memory


def test_memory_is_that_of_the_model_alone(tmp_path: Path) -> None:
    feed = {"x": np.ones((1, 1000), np.float32)}
    sizes = []
    for columns in (10, 10_000):
        ir.save(weighted(columns), tmp_path / "model.onnx")
        found = footprint(tmp_path / "model.onnx", feed, Runtime())
        sizes.append(found.peak - found.before)
        assert found.before > 10_000_000
    assert sizes[1] - sizes[0] > 35_000_000  # 40 MB of weights
    assert sizes[0] < 35_000_000


def test_a_process_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="a process that runs the model alone failed"):
        footprint(tmp_path / "missing.onnx", {}, Runtime())


# What is fed


def test_a_size_of_minus_one_is_an_open_axis() -> None:
    model = graph("y = Relu(x)")
    model.graph.inputs[0].shape = ir.Shape([-1, 4])
    assert timing_feeds(model, None, (3,), {}, 0)[0][0].feed["x"].shape == (3, 4)


def test_the_users_data_is_fed() -> None:
    rows = np.arange(20.0, dtype=np.float32).reshape(5, 4)
    (fed,), notes = timing_feeds(graph("y = Relu(x)"), {"x": rows}, (3,), {}, 0)
    np.testing.assert_array_equal(fed.feed["x"], rows[:3])
    assert (fed.batch, fed.source, notes) == (3, "the first of the data", ())
    with pytest.raises(InputError, match="the data holds 5 samples, batch 8 needs as many"):
        timing_feeds(graph("y = Relu(x)"), {"x": rows}, (8,), {}, 0)


def test_a_fixed_batch_is_respected() -> None:
    fixed = graph("y = Relu(x)", "float[2,4] x", "float[2,4] y")
    (fed,), notes = timing_feeds(fixed, None, (1, 2, 8), {}, 0)
    assert fed.batch == 2
    assert notes == tuple(f"batch {each} skipped: the model's batch is fixed to 2" for each in (1, 8))
    assert timing_feeds(fixed, None, None, {}, 0)[0][0].batch == 2
    with pytest.raises(InputError, match="batch 1: the model's batch is fixed to 2: leave --batch out"):
        timing_feeds(fixed, None, (1,), {}, 0)


def test_sizes_of_open_axes_must_be_given_and_fit() -> None:
    model = graph("y = Relu(x)", "float[N,3,H] x", "float[N,3,H] y")
    with pytest.raises(InputError, match=r"leaves more than its batch open: .*--shape x=1x3x224"):
        timing_feeds(model, "random", None, {}, 0)
    (fed,), _ = timing_feeds(model, None, None, {"x": (2, 3, 7)}, 0)
    assert fed.feed["x"].shape == (2, 3, 7)
    for shape in ((2, 4, 7), (2, 3), (2, 3, 0)):
        with pytest.raises(InputError, match=r"--shape gives .* the model takes any x 3 x any"):
            timing_feeds(model, None, None, {"x": shape}, 0)
    with pytest.raises(InputError, match="--shape names the input 'z', the model has 'x'"):
        timing_feeds(model, None, None, {"z": (1,)}, 0)
    with pytest.raises(InputError, match="leave --shape out"):
        timing_feeds(model, {"x": np.ones((1, 3, 3), np.float32)}, None, {"x": (1, 3, 3)}, 0)


DEPENDENT = {
    "NonZero": ("i = NonZero(x) y = Cast<to = 1>(i)", "float[N,4] x"),
    "Reshape by computed sizes": ("s = Cast<to = 7>(x) h = Reshape(x, s) y = Relu(h)", "float[4] x"),
    "If": (
        "c = Cast<to = 9>(x) "
        "y = If (c) <then_branch = a () => (float[N] t) {t = Relu(x)}, "
        "else_branch = b () => (float[N] e) {e = Abs(x)}>",
        "float[1] x",
    ),
    "Foreign": ("y = Relu(x)", "float[N,4] x"),
    "int64": ("h = Cast<to = 1>(x) y = Relu(h)", "int64[N,4] x"),
}
INDEPENDENT = {
    "plain": "y = Relu(x)",
    "Reshape by shapes": "s = Shape(x) h = Reshape(x, s) y = Relu(h)",
    "Loop of a fixed length": """n = Constant<value_int = 5>() go = Constant<value = bool {1}>()
        y = Loop (n, go, x) <body = turn (int64 i, bool c, float[N,4] v) => (bool d, float[N,4] w) {
            d = Identity(c) w = Sin(v) }>""",
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_nothing_is_made_up_where_time_may_depend_on_it(name: str) -> None:
    body, inputs = DEPENDENT[name]
    model = graph(body, inputs)
    if name == "Foreign":
        model.graph[0].domain = "other"
    assert value_dependence(model) is not None
    with pytest.raises(InputError, match="give inputs with --data, or --data random"):
        timing_feeds(model, None, None, {}, 0)
    assert timing_feeds(model, "random", None, {}, 0)[0][0].source == "random numbers"


@pytest.mark.parametrize("name", INDEPENDENT)
def test_made_up_inputs_serve_where_time_cannot_depend_on_them(name: str) -> None:
    model = graph(INDEPENDENT[name])
    assert value_dependence(model) is None
    assert timing_feeds(model, None, (2,), {}, 0)[0][0].feed["x"].shape == (2, 4)


def test_what_a_body_captures_counts() -> None:
    model = graph(
        """go = Constant<value = bool {1}>()
        h = If (go) <then_branch = a () => (float[N,4] t) {t = Relu(x)},
                     else_branch = b () => (float[N,4] e) {e = Abs(x)}>
        i = NonZero(h) y = Cast<to = 1>(i)"""
    )
    assert "NonZero" in str(value_dependence(model))


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    profile(graph("y = Relu(x)"), rounds=5, per_operator=True)
    assert not list(tmp_path.iterdir())
