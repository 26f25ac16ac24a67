"""Weights are removed as asked for: to the weight, by every method and pattern, and where inputs say little."""

import dataclasses
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest
from operation_counts import count_calls
from perceptron_models import (
    DIGITS,
    FAST,
    UNIFORM,
    Array,
    built,
    calibration_of,
    inputs,
    perceptron,
    random,
    run_model,
    weights_of,
)
from PIL import Image

from netsurgeon.passes import solvers
from netsurgeon.passes.graph import nodes as graph_nodes
from netsurgeon.passes.layers import layer_finder
from netsurgeon.passes.pruning import Solution
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.methods import METHODS
from netsurgeon.passes.solvers.statistics import Statistics
from netsurgeon.pipeline.calibration import select
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.pruning import make_plan, prune_segments


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("uniform", [False, True])
def test_sparsity_is_reached_to_the_weight(sparsity: float, uniform: bool) -> None:
    result = compress(perceptron(), inputs(), sparsity=sparsity, uniform=uniform, keep_unread=True, **FAST)
    weights = weights_of(result.model)
    kept = sum(int(np.count_nonzero(weights[name])) for name in ("w1", "w2"))
    total = 32 * 64 + 64 * 10
    assert abs(kept - (total - round(sparsity * total))) <= uniform
    assert result.report.sparsity == pytest.approx(1.0 - kept / total)


def test_uniform_gives_every_layer_the_same_sparsity() -> None:
    report = compress(perceptron(), inputs(), sparsity=0.75, **UNIFORM).report
    assert [layer.sparsity for layer in report.layers] == [0.75, 0.75]
    assert [layer.sensitivity for layer in report.layers] == [None, None]


def test_layers_have_the_sparsity_they_are_given() -> None:
    report = compress(perceptron(), inputs(), sparsity=0.5, layers={"sec*": 0.25}, **FAST).report
    assert report.layers[1].sparsity == 0.25
    total = sum(layer.weights for layer in report.layers)
    assert sum(layer.kept for layer in report.layers) == total - round(0.5 * total)


def test_excluded_weights_stay_as_they_are() -> None:
    result = compress(perceptron(), inputs(), sparsity=0.5, exclude=("sec*",), **FAST)
    dense = weights_of(ir.from_proto(perceptron()))
    assert weights_of(result.model)["w2"].tobytes() == dense["w2"].tobytes()
    assert [layer.name for layer in result.report.layers] == ["first"]
    assert [(node.node, node.reason) for node in result.report.declined] == [("second", "excluded by the user")]


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str) -> None:
    result = compress(perceptron(), inputs(), sparsity=0.6, method=method, damping=0.01)
    assert result.report.sparsity == pytest.approx(0.6, abs=1e-3)
    assert result.report.validation.outputs[0].relative_error < 1.0


def test_correction_beats_none() -> None:
    errors = {
        method: compress(perceptron(), inputs(400), sparsity=0.5, method=method, damping=0.01, uniform=True)
        .report.validation.outputs[0]
        .relative_error
        for method in ("magnitude", "obs")
    }
    assert errors["obs"] < errors["magnitude"]


def test_pattern() -> None:
    result = compress(perceptron(), inputs(), pattern="2:4", **FAST)
    for name in ("w1", "w2"):
        kept = np.count_nonzero(weights_of(result.model)[name].T.reshape(-1, 4), axis=1)
        assert kept.max() == 2
    assert result.report.sparsity == 0.5


def test_pattern_declines_layers_it_does_not_fit() -> None:
    report = compress(perceptron(), inputs(), pattern="12:64", **FAST).report
    assert [layer.name for layer in report.layers] == ["second"]
    assert "not a multiple of 64" in report.declined[0].reason


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_keep_their_type(dtype: Any) -> None:
    result = compress(perceptron(dtype), inputs(dtype=dtype), sparsity=0.8, keep_unread=True, **UNIFORM)
    weights = weights_of(result.model)
    assert {array.dtype for array in weights.values()} == {np.dtype(dtype)}
    assert result.report.sparsity == pytest.approx(0.8, abs=1e-3)
    assert run_model(result.model, inputs(3, dtype)).dtype == dtype


def sharing(biases: str = "") -> onnx.ModelProto:
    """Three layers in a row with one weight; each adds the bias of its letter, if it has one."""
    nodes, value = [], "x"
    for at, name in enumerate(("first", "second", "third")):
        nodes.append(onnx.helper.make_node("MatMul", [value, "w"], [f"h{at}"], name=name))
        value = f"h{at}"
        if biases[at : at + 1].strip():
            nodes.append(onnx.helper.make_node("Add", [value, biases[at]], [f"s{at}"]))
            value = f"s{at}"
        nodes.append(onnx.helper.make_node("Tanh" if at < 2 else "Identity", [value], ["y" if at == 2 else f"t{at}"]))
        value = f"t{at}"
    weights = {letter: random(32) for letter in set(biases.replace(" ", ""))}
    return built(nodes, {"w": 0.2 * random(32, 32), **weights}, end=("N", 32))


@pytest.mark.parametrize("biases", ["", "abc", "aaa", "ab"], ids=["no biases", "own biases", "one bias", "some biases"])
def test_layers_that_share_a_weight_are_solved_together(biases: str) -> None:
    model = sharing(biases)
    result = compress(model, inputs(400), sparsity=0.5, damping=0.01)
    report = result.report
    assert [layer.name for layer in report.layers] == ["first", "second", "third"]
    assert {layer.kept for layer in report.layers} == {512}
    after = weights_of(result.model)
    assert sorted(after) == sorted({"w", *biases})
    assert {np.count_nonzero(array) for array in after.values() if array.ndim == 2} == {512}
    assert report.compressed.parameters == report.dense.parameters
    assert not [warning for warning in report.warnings if warning.code == "file-grew"]


@pytest.mark.parametrize("biases", ["abc", "aaa", "aba"], ids=["own biases", "one bias", "two biases"])
def test_biases_of_layers_that_share_a_weight_are_rounded_as_it_is(biases: str) -> None:
    result = compress(sharing(biases), inputs(400), sparsity=0.5, damping=0.01, pack=False)
    for array in weights_of(result.model).values():
        np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32))


def test_solved_together_is_better_than_taking_the_weight_of_the_first() -> None:
    model, x = sharing(), inputs(400)
    together = compress(model, x, sparsity=0.5, damping=0.01, values="float32", pack=False)
    alone = compress(model, x, sparsity=0.5, damping=0.01, values="float32", pack=False, method="magnitude")
    errors = [result.report.validation.outputs[0].relative_error for result in (together, alone)]
    assert errors[0] < 0.9 * errors[1]


def test_layers_that_cannot_be_solved_together_are_left_together() -> None:
    """One of them is excluded, or reads the weight the other way round."""
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("Gemm", ["h", "w"], ["g"], name="turned", transB=1),
        onnx.helper.make_node("MatMul", ["g", "v"], ["y"], name="other"),
    ]
    model = built(nodes, {"w": random(32, 32), "v": random(32, 10)})
    report = compress(model, inputs(), sparsity=0.5, **UNIFORM).report
    assert [layer.name for layer in report.layers] == ["other"]
    assert [left.node for left in report.declined] == ["first", "turned"]
    assert all("shares its weight" in left.reason for left in report.declined)
    with pytest.raises(InputError, match="shares its weight with 'second'"):
        compress(sharing(), inputs(), sparsity=0.5, exclude=("second",), **UNIFORM)


def test_weight_used_elsewhere_as_well_stays_there() -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("ReduceSum", ["w"], ["s"], name="sum", keepdims=0),
        onnx.helper.make_node("Sub", ["h", "s"], ["y"], name="subtract"),
    ]
    model = built(nodes, {"w": random(32, 7)}, end=("N", 7))
    result = compress(model, inputs(), sparsity=0.5, **UNIFORM)
    assert random(32, 7).tobytes() in {array.tobytes() for array in weights_of(result.model).values()}


def test_weights_are_corrected_on_mirror_images_where_asked(tmp_path: Path) -> None:
    for number, picture in enumerate(np.load(DIGITS / "calibration.npz")["image"][:80]):
        Image.fromarray((255 * picture[0]).astype(np.uint8)).save(tmp_path / f"{number:02}.png")
    plain, mirrored = (
        compress(
            DIGITS / "digits.onnx",
            tmp_path,
            sparsity=0.5,
            **{**UNIFORM, "pictures": PictureOptions(channels="grey", mirror=mirror)},
        ).report
        for mirror in (False, True)
    )
    assert [layer.samples for layer in mirrored.layers] == [2 * layer.samples for layer in plain.layers]
    assert mirrored.validation.samples == plain.validation.samples
    assert mirrored.calibration.samples == plain.calibration.samples
    assert mirrored.validation.outputs != plain.validation.outputs, "other weights"
    assert mirrored.bound.samples == 2 * plain.bound.samples, "the bound is the mean over all that was run"


def alike(count: int) -> Array:
    return np.repeat(inputs(1), count, axis=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [inputs(1), alike(80), inputs(2)])
def test_few_or_equal_inputs_remove_no_more_than_was_asked_for(method: str, data: Array) -> None:
    """Nothing, or little, varies: that is no proof that nothing matters."""
    report = compress(perceptron(), data, test=inputs(), sparsity=0.25, method=method).report
    assert report.sparsity == pytest.approx(0.25, abs=1e-3)
    assert all(layer.kept for layer in report.layers)
    assert report.validation.outputs[0].relative_error < 0.5


@pytest.mark.parametrize("method", METHODS)
def test_inputs_of_zeros_leave_what_makes_the_output(method: str) -> None:
    """Weights that read zeros cost nothing; those behind the bias are all the output that there is."""
    zeros = np.zeros((80, 32), np.float32)
    report = compress(perceptron(), zeros, test=zeros[:8], sparsity=0.5, method=method).report
    same = [warning.data for warning in report.warnings if warning.code == "outputs-alike"]
    assert same == [{"output": "y", "alike": 8, "samples": 8}]
    assert report.sparsity == pytest.approx(0.5, abs=1e-3)
    assert report.layers[1].kept == report.layers[1].weights
    assert report.validation.outputs[0].relative_error < 1e-3


def test_a_failed_factorisation_names_layer_and_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FactorizationError("the damped Hessian is not positive definite")

    monkeypatch.setattr(solvers, "curve", fails)
    with pytest.raises(
        CheckFailedError, match=r"layer 'first', damping [0-9.e-]+: the damped Hessian .*: give a larger"
    ):
        compress(perceptron(), inputs(), sparsity=0.5)


def test_a_layer_that_cannot_be_measured_is_left_alone_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Statistics, "is_finite", property(lambda statistics: statistics.gram.shape[-1] != 64))
    result = compress(perceptron(), inputs(), sparsity=0.5, keep_unread=True, values="float32", **UNIFORM)
    weights, dense = weights_of(result.model), weights_of(ir.from_proto(perceptron()))
    np.testing.assert_array_equal(weights["w2"], dense["w2"])
    assert np.count_nonzero(weights["w1"]) == weights["w1"].size // 2
    (warning,) = (warning for warning in result.report.warnings if warning.code == "layers-unmeasured")
    assert warning.data == {"layers": ["second"]}
    assert "no weight was removed from layer second: the inputs overflow" in warning
    assert [layer.sparsity for layer in result.report.layers] == [0.5, 0.0]


def test_layers_whose_input_never_varied_are_named() -> None:
    for data in (inputs(1), alike(80)):
        warnings = compress(perceptron(), data, sparsity=0.5, **UNIFORM).report.warnings
        same = [warning.data for warning in warnings if warning.code == "same-input"]
        assert same == [{"layers": ["first", "second"]}]
    assert not any(
        warning.code == "same-input"
        for warning in compress(perceptron(), inputs(2), sparsity=0.5, **UNIFORM).report.warnings
    )
    one = compress(perceptron(), inputs(40), sparsity=0.5, **UNIFORM).report.warnings
    assert [warning.data for warning in one if warning.code == "few-samples"] == [{"layers": ["second"]}]


# ------------------------------------------------------------------------------------------------ how much is done


def deep_network(layers: int) -> onnx.ModelProto:
    """Layers one behind the other, none with a bias."""
    nodes = []
    for at in range(layers):
        output = "y" if at == layers - 1 else f"h{at + 1}"
        nodes.append(onnx.helper.make_node("Gemm", [f"h{at}" if at else "x", f"w{at}"], [f"a{at}"], f"layer {at}"))
        nodes.append(onnx.helper.make_node("Tanh", [f"a{at}"], [output]))
    weights = {f"w{at}": random(4, 4, seed=at) for at in range(layers)}
    return built(nodes, weights, entry=("N", 4), end=("N", 4))


@pytest.mark.parametrize(
    ("owner", "function", "growth"),
    [(layer_finder, "_view", 2.1), (graph_nodes, "_names", 1.1)],
    ids=["layers", "names"],
)
def test_the_whole_graph_is_not_read_for_each_layer(
    owner: Any, function: str, growth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the layers: twice the nodes are looked at for layers, and names are read as often."""
    data, counts = {"x": random(64, 4, seed=99)}, []
    for layers in (12, 24):
        with monkeypatch.context() as patch:
            calls = count_calls(patch, owner, function)
            compress(deep_network(layers), data, sparsity=0.5, **FAST)
            counts.append(calls[0])
    assert counts[1] <= growth * counts[0]


class Kept(dict[str, Solution]):
    """Solutions as a folder keeps them: a new one each time that it is asked for; counts those in memory."""

    def __init__(self, solutions: dict[str, Solution]):
        super().__init__(solutions)
        self._alive: list[weakref.ref[Solution]] = []
        self.most = 0

    def __getitem__(self, name: str) -> Solution:
        solution = dataclasses.replace(super().__getitem__(name))
        self._alive.append(weakref.ref(solution))
        self.most = max(self.most, sum(reference() is not None for reference in self._alive))
        return solution


def test_solutions_that_are_kept_are_never_held_all_at_once() -> None:
    nodes, weights = [], {}
    for at in range(6):
        weights[f"w{at}"] = random(32, 32, seed=at) / 6.0
        nodes.append(onnx.helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"], name=f"l{at}"))
        nodes.append(onnx.helper.make_node("Tanh", [f"m{at}"], ["y" if at == 5 else f"h{at + 1}"]))
    model = ir.from_proto(built(nodes, weights, end=("N", 32)))
    options = Options(sparsity=0.5, method="obs", damping=0.01, uniform=True)
    selection, calibration = select(model, options), calibration_of(model, inputs(200))
    plan = make_plan(model, selection, calibration, options, lambda *_: None)
    made: dict[str, Solution] = {}
    first, second = model.clone(), model.clone()
    prune_segments(model, first, selection, plan, calibration, options, lambda *_: None, made)
    assert len(made) == 6
    kept = Kept(made)
    prune_segments(model, second, selection, plan, calibration, options, lambda *_: None, kept)
    assert 1 <= kept.most <= 2
    for name, weight in weights_of(first).items():
        np.testing.assert_array_equal(weights_of(second)[name], weight)
