"""Trimming from end to end: what is asked for goes, the rest is corrected, and the function is proven to stand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.passes.dependencies.analysis import Dependencies
from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.pruning.layer_plan import Outcome, Solution
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.compression import steps
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.trimming import choose
from netsurgeon.pipeline.trimming.facts import TrimFacts
from netsurgeon.pipeline.trimming.trim_plan import Trimmed

Array = NDArray[Any]
ROOT = Path(__file__).parent.parent.parent.parent
DIGITS = ROOT / "models" / "digits"
FAST: dict[str, Any] = {"damping": 0.01, "values": "float32", "pack": False}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return np.asarray(scale * np.random.default_rng([seed, *shape]).standard_normal(shape), np.float32)


def built(nodes: list[onnx.NodeProto], weights: dict[str, Array], entry: list[int | str]) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, entry)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def residual_network() -> onnx.ModelProto:
    """Two residual blocks of 12 channels, 16 inside each, sigmoids (f(0) ≠ 0) and padding, then a classifier."""
    node = onnx.helper.make_node
    pads: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    nodes = [node("Conv", ["x", "stem"], ["s0"], "stem", **pads), node("Sigmoid", ["s0"], ["t0"])]
    weights = {"stem": normal(12, 3, 3, 3, scale=0.4)}
    for block in (1, 2):
        a, b, before = f"a{block}", f"b{block}", f"t{block - 1}"
        nodes += [
            node("Conv", [before, a], [f"h{block}"], a, **pads),
            node("Sigmoid", [f"h{block}"], [f"r{block}"]),
            node("Conv", [f"r{block}", b, f"{b}_bias"], [f"u{block}"], b, **pads),
            node("Add", [f"u{block}", before], [f"t{block}"]),
        ]
        weights |= {
            a: normal(16, 12, 3, 3, seed=block, scale=0.2),
            b: normal(12, 16, 3, 3, seed=block, scale=0.2),
            f"{b}_bias": normal(12),
        }
    nodes += [
        node("GlobalAveragePool", ["t2"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "head"], ["y"], "head"),
    ]
    return built(nodes, weights | {"head": normal(12, 5)}, ["N", 3, 6, 6])


def pictures(count: int = 96) -> Array:
    return normal(count, 3, 6, 6, seed=7)


def outputs(model: onnx.ModelProto | ir.Model, x: Array) -> Array:
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0], np.float64)


def run_all(model: ir.Model, feed: dict[str, Array]) -> list[Array]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value, np.float64) for value in session.run(None, feed)]


def trimmed(result: Compression) -> TrimFacts:
    assert result.report.trim is not None
    return result.report.trim


def elements(model: ir.Model) -> int:
    return sum(value.const_value.size for value in model.graph.initializers.values() if value.const_value is not None)


@pytest.mark.parametrize("round_to", [1, 8])
def test_what_is_asked_for_goes(round_to: int) -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, round_to=round_to, **FAST)
    trim, report = trimmed(result), result.report
    assert trim.saved >= 0.3
    assert report.compressed.parameters <= 0.7 * (report.dense.parameters + 2 * 16 + 12 + 5), "biases are created"
    assert report.compressed.parameters == elements(result.model)
    assert trim.proof is not None
    assert trim.proof.holds
    assert trim.proof.is_informative
    assert trim.macs < trim.macs_dense
    assert trim.groups
    assert not trim.failed
    for group in trim.groups:
        assert 0 < group.removed < group.units
        assert round_to == 1 or (group.units - group.removed) % 4 == 0


def digits_error(**options: Any) -> float:
    """Relative error of the digits network's scores on its test pictures, with 15 % of its parameters."""
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        **{"trim": 0.85, "round_to": 1, **FAST, **options},
    )
    error = result.report.validation.outputs[0].relative_error
    assert error is not None
    return error


@pytest.fixture(scope="module")
def corrected_error() -> float:
    """With the default importance and correction."""
    return digits_error()


def test_what_is_left_is_corrected(corrected_error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the same trimming where columns only vanish."""

    def only_removed(prune: PruneWeights, layer: Layer) -> Solution:
        removed_slices, dense = prune.plan[layer.name].removed_slices, layer.matrix()
        weight = dense if removed_slices is None else np.where(removed_slices.columns[:, None, :], 0.0, dense)
        layer.write(weight)
        return Solution(weight, None, Outcome(0.01, 1000, True, 0.0))

    monkeypatch.setattr(PruneWeights, "_prune", only_removed)
    assert corrected_error < 0.5 * digits_error()


def test_the_correction_aims_at_the_dense_model(corrected_error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns masked before would hide from the correction what it has to make up for."""
    monkeypatch.setattr(steps, "MaskUnits", lambda units, corrected=frozenset(): MaskUnits(units))
    assert corrected_error < 0.8 * digits_error()


def test_prices_after_correction_are_better_than_magnitude(corrected_error: float) -> None:
    assert corrected_error < digits_error(importance="magnitude")


@pytest.mark.parametrize("importance", ["magnitude", "apoz"])
def test_other_importances(importance: str) -> None:
    given = {"trim": "up-to:0.15", "importance": importance, "round_to": 8, **FAST}
    result = compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", **given)
    assert trimmed(result).saved > 0.1
    assert result.report.compressed.parameters < result.report.dense.parameters


def test_multiply_adds_can_be_what_is_saved() -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, save="macs", round_to=1, **FAST)
    trim = trimmed(result)
    assert 1 - trim.macs / trim.macs_dense == pytest.approx(trim.saved)
    assert trim.saved >= 0.3


def test_trim_first_then_prune_what_is_left() -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, sparsity=0.5, round_to=1, **FAST)
    kept = sum(layer.kept for layer in result.report.layers)
    left = elements(result.model) - sum(
        value.const_value.size
        for value in result.model.graph.initializers.values()
        if value.const_value is not None and len(value.const_value.shape) < 2
    )
    assert kept == pytest.approx(0.5 * left, rel=0.05)


def test_units_that_pruning_leaves_unread_go() -> None:
    given = {"trim": 0.1, "sparsity": 0.95, "round_to": 1, **FAST}
    result = compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", **given)
    trim = trimmed(result)
    assert trim.unread > 0
    assert trim.proof is not None
    assert trim.proof.holds
    assert result.report.compressed.parameters < 0.8 * result.report.dense.parameters


@pytest.fixture(scope="module")
def pruned() -> tuple[Compression, Compression]:
    """The digits network, its units that nothing reads removed after pruning, and left in place."""
    given: dict[str, Any] = {"sparsity": 0.95, "round_to": 1, "uniform": True, **FAST}
    first, second = (
        compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", keep_unread=keep, **given)
        for keep in (False, True)
    )
    return first, second


def test_pruning_alone_removes_units_that_nothing_reads_any_more(pruned: tuple[Compression, Compression]) -> None:
    removed, left = pruned
    trim, report = trimmed(removed), removed.report
    assert trim.asked is None
    assert trim.unread == sum(group.removed for group in trim.groups) > 0
    assert trim.proof is not None
    assert trim.proof.holds
    assert trim.proof.is_informative
    assert trim.saved == pytest.approx(1 - report.compressed.parameters / left.report.compressed.parameters)
    assert report.sparsity >= left.report.sparsity == pytest.approx(0.95, abs=1e-3)
    assert [layer.weights for layer in report.layers] == [layer.weights for layer in left.report.layers]
    with np.load(DIGITS / "test.npz") as test:
        feed = {name: test[name] for name in test.files if name != "labels"}
    scores = [np.concatenate([np.ravel(each) for each in run_all(result.model, feed)]) for result in pruned]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4 * np.abs(scores[1]).max())
    assert report.bound == left.report.bound, "that of the pruned model before its unread units go"


def test_units_that_nothing_reads_can_stay(pruned: tuple[Compression, Compression]) -> None:
    left = pruned[1]
    assert left.report.trim is None
    shapes = {name: value.shape for name, value in left.model.graph.initializers.items()}
    for initializer in onnx.load(DIGITS / "digits.onnx").graph.initializer:
        assert shapes[initializer.name] == tuple(initializer.dims)


def idle_network() -> onnx.ModelProto:
    """32 hidden units, of which 12 are read by nothing."""
    read = normal(32, 5)
    read[:12] = 0
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"),
        node("Sigmoid", ["h"], ["s"]),
        node("Gemm", ["s", "v", "c"], ["y"], "second"),
    ]
    return built(nodes, {"w": normal(16, 32), "b": normal(32), "v": read, "c": normal(5)}, ["N", 16])


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"round_to": 1}, 20),
        ({"round_to": 8}, 24),
        ({"round_to": 1, "exclude": ("first",)}, 32),
        ({"round_to": 1, "exclude": ("second",)}, 32),
        ({"round_to": 1, "keep_unread": True}, 32),
        ({"round_to": 1, "sparsity": None, "pattern": "2:4"}, 32),
    ],
)
def test_which_unread_units_go(options: dict[str, Any], left: int) -> None:
    """Counts are rounded, excluded layers keep their shape, and a pattern its places."""
    result = compress(
        idle_network(),
        {"x": normal(80, 16)},
        **{"sparsity": 0.4, "method": "magnitude", "uniform": True, **FAST, **options},
    )
    weight = result.model.graph.initializers["w"].const_value
    assert weight is not None
    assert weight.shape.numpy() == (16, left)


def test_units_that_are_constant_become_a_part_of_the_next_bias() -> None:
    """Six of 32 units read only an input that never varies: they go first, and nothing changes."""
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"),
        node("Sigmoid", ["h"], ["s"]),
        node("Gemm", ["s", "v", "c"], ["y"], "second"),
    ]
    x, first = normal(80, 16), normal(16, 32)
    x[:, 0] = 0.5
    first[1:, 4:10] = 0
    model = built(nodes, {"w": first, "b": normal(32), "v": normal(32, 5), "c": normal(5)}, ["N", 16])
    result = compress(model, {"x": x}, trim=6 / 32 - 0.01, round_to=1, **FAST)
    assert sum(group.removed for group in trimmed(result).groups) == 6
    before = outputs(model, x)
    np.testing.assert_allclose(outputs(result.model, x), before, atol=1e-4 * np.abs(before).max())


def test_a_cell_of_which_only_the_last_cell_state_is_read() -> None:
    """No output shows the hidden state that its recurrent weights read."""
    node = onnx.helper.make_node
    nodes = [
        node("LSTM", ["x", "w", "r"], ["", "", "c"], "cell", hidden_size=12),
        node("Squeeze", ["c", "axis"], ["z"]),
        node("Gemm", ["z", "v", "b"], ["y"], "head"),
    ]
    weights = {"w": normal(1, 48, 3), "r": normal(1, 48, 12, scale=0.3), "v": normal(12, 5), "b": normal(5)}
    model = built(nodes, weights | {"axis": np.array([0], np.int64)}, [6, "N", 3])
    result = compress(model, {"x": normal(6, 80, 3)}, trim=0.3, round_to=1, **FAST)
    assert trimmed(result).saved >= 0.3


@pytest.mark.parametrize("alike", [True, False])
def test_a_proof_that_says_nothing_is_a_warning(alike: bool) -> None:
    x = normal(80, 16)
    given: dict[str, Any] = {"sparsity": 0.4, "method": "magnitude", "uniform": True, "round_to": 1, **FAST}
    result = compress(idle_network(), {"x": np.repeat(x[:1], 80, axis=0) if alike else x}, **given)
    proof = trimmed(result).proof
    assert proof is not None
    assert proof.is_informative is not alike
    assert any("no output varies" in warning for warning in result.report.warnings) is alike


def test_what_cannot_be_analysed_is_pruned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise CheckFailedError("the values of it cannot be shown")

    monkeypatch.setattr(choose, "find_units", fail)
    report = compress(idle_network(), {"x": normal(80, 16)}, sparsity=0.5, **FAST).report
    assert report.trim is None
    assert "units that nothing reads any more stay: the values of it cannot be shown" in report.warnings
    with pytest.raises(CheckFailedError, match="cannot be shown"):
        compress(idle_network(), {"x": normal(80, 16)}, trim=0.3, **FAST)


def test_shared_weights_that_lose_nothing_stay_shared() -> None:
    node = onnx.helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "one"),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "w"], ["g"], "two"),
        node("Gemm", ["g", "u", "b"], ["k"], "three"),
        node("Relu", ["k"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["y"], "four"),
    ]
    weights = {"w": normal(16, 16, scale=0.3), "u": normal(16, 64), "b": normal(64), "v": normal(64, 5), "c": normal(5)}
    result = compress(built(nodes, weights, ["N", 16]), {"x": normal(80, 16)}, trim=0.4, round_to=1, **FAST)
    report = result.report
    assert report.compressed.parameters <= 0.6 * report.dense.parameters
    assert [each["node"] for each in report.declined if "shares" in each["reason"]] == ["one", "two"]
    held_out = result.model.graph.initializers["w"].const_value
    assert held_out is not None
    np.testing.assert_array_equal(held_out.numpy(), weights["w"])


def test_few_inputs_are_enough_for_what_goes_to_go() -> None:
    """What a layer loses is zero in it even where samples are too few to call an input dead."""
    trim = trimmed(compress(residual_network(), {"x": pictures(8)}, trim=0.3, round_to=1, **FAST))
    assert not trim.failed
    assert trim.saved >= 0.3


def test_excluded_layers_stay_as_they_are() -> None:
    model = residual_network()
    result = compress(model, {"x": pictures()}, trim="up-to:0.5", exclude=("a1", "b1"), round_to=1, **FAST)
    after = {name: value.const_value for name, value in result.model.graph.initializers.items()}
    for initializer in model.graph.initializer:
        if initializer.name in ("a1", "b1"):
            held_out = after[initializer.name]
            assert held_out is not None
            np.testing.assert_array_equal(held_out.numpy(), onnx.numpy_helper.to_array(initializer))
    assert trimmed(result).groups


def test_more_than_can_go_is_an_error_unless_it_was_a_wish() -> None:
    with pytest.raises(CheckFailedError, match=r"trim is 0.99, but .* is all that units can save .* up-to:0.99"):
        compress(residual_network(), {"x": pictures()}, trim=0.99, round_to=1, **FAST)
    result = compress(residual_network(), {"x": pictures()}, trim="up-to:0.99", round_to=1, **FAST)
    assert 0.5 < trimmed(result).saved < 0.99
    assert outputs(result.model, pictures(2)).shape == (2, 5)


def test_where_nothing_can_go_a_wish_leaves_the_model_alone(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    model = built([node("Gemm", ["x", "w", "b"], ["y"], "only")], {"w": normal(32, 5), "b": normal(5)}, ["N", 32])
    data = {"x": normal(80, 32)}
    with pytest.raises(CheckFailedError, match="0 units may go; frozen: "):
        compress(model, data, trim=0.3, **FAST)
    output = tmp_path / "small.onnx"
    result = compress(model, data, trim="up-to:0.3", output=output, **FAST)
    assert trimmed(result).saved == 0.0
    assert trimmed(result).proof is None
    np.testing.assert_allclose(outputs(onnx.load(output), data["x"]), outputs(model, data["x"]), rtol=1e-5, atol=1e-5)


def test_a_wish_that_nothing_meets_neither_rounds_nor_packs_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = onnx.helper.make_node
    weights = {"w": normal(32, 5), "b": normal(5)}
    onnx.save(built([node("Gemm", ["x", "w", "b"], ["y"], "only")], weights, ["N", 32]), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", normal(80, 32))
    given = [str(tmp_path / "model.onnx"), "--data", str(tmp_path / "x.npy"), "-o", str(tmp_path / "small.onnx")]
    assert run(["compress", *given, "--trim", "up-to:0.3"]) == 0
    stored = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "small.onnx").graph.initializer
    }
    np.testing.assert_array_equal(stored["w"], weights["w"])
    np.testing.assert_array_equal(stored["b"], weights["b"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "nothing was removed, the weights are left as they were: 0 units may go; frozen: output" in printed
    assert "units saved 0.0% of the parameters, 30.0% were asked for" in printed


def damage(monkeypatch: pytest.MonkeyPatch, *made_by: str) -> None:
    """Let every removal of units made by these nodes change the function."""
    real = TrimNeurons.call

    def damaged(self: TrimNeurons, given: ir.Model) -> ir.passes.PassResult:
        result = real(self, given)
        groups = self.dependencies.groups
        if any(groups[unit.group].node in made_by for unit in self.units):
            value = given.graph.initializers["head"]
            assert value.const_value is not None
            value.const_value = ir.tensor(1.01 * value.const_value.numpy(), name="head")
        return result

    monkeypatch.setattr(TrimNeurons, "call", damaged)


@pytest.mark.parametrize("goal", [0.3, "up-to:0.3"])
def test_a_group_that_does_not_hold_stays_and_others_go(goal: float | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by the proof, named, and left out; the goal is met without it."""
    damage(monkeypatch, "a1")
    result = compress(residual_network(), {"x": pictures()}, trim=goal, round_to=1, **FAST)
    trim = trimmed(result)
    assert [name for name, _ in trim.failed] == ["a1"]
    assert "of their scale" in trim.failed[0][1]
    assert "a1" not in [group.node for group in trim.groups]
    assert "a2" in [group.node for group in trim.groups]
    assert trim.saved >= 0.3
    with_biases = result.report.dense.parameters + 2 * 16 + 12 + 5
    assert trim.saved == pytest.approx(1 - result.report.compressed.parameters / with_biases), (
        "what stays saves nothing"
    )
    assert trim.proof is not None
    assert trim.proof.holds


def test_too_many_groups_that_do_not_hold_are_an_error_unless_it_was_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    damage(monkeypatch, "stem", "a1")
    given: dict[str, Any] = {"round_to": 1, **FAST}
    with pytest.raises(CheckFailedError, match=r"trim is 0.6, but .* units may go; those of '(stem|a1)' stay: outputs"):
        compress(residual_network(), {"x": pictures()}, trim=0.6, **given)
    trim = trimmed(compress(residual_network(), {"x": pictures()}, trim="up-to:0.6", **given))
    assert sorted(name for name, _ in trim.failed) == ["a1", "stem"]
    assert 0.0 < trim.saved < 0.6


def test_what_does_not_hold_after_pruning_is_an_error_unless_it_was_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(masked: ir.Model, dependencies: Dependencies, removed: NDArray[np.bool_], *_: Any) -> Trimmed:
        return Trimmed(masked, np.zeros_like(removed), ((dependencies.groups[0], "it does not hold"),), None)

    monkeypatch.setattr(steps, "remove_units", fail)
    with pytest.raises(CheckFailedError, match=r"but 0.0% .* stay: it does not hold.* up-to:0.3"):
        compress(residual_network(), {"x": pictures()}, trim=0.3, round_to=1, **FAST)
    trim = trimmed(compress(residual_network(), {"x": pictures()}, trim="up-to:0.3", round_to=1, **FAST))
    assert (trim.saved, trim.macs) == (0.0, trim.macs_dense)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trim": 1.0}, "expected a share above 0 and below 1"),
        ({"trim": 0.0}, "expected a share above 0 and below 1"),
        ({"trim": "much"}, "expected a share such as 0.3, or up-to:0.3"),
        ({"trim": 0.3, "importance": "luck"}, "importance is 'luck'"),
        ({"trim": 0.3, "save": "time"}, "save is 'time'"),
        ({"trim": 0.3, "round_to": 0}, "round-to is 0"),
        ({"trim": 0.3, "pattern": "2:4"}, "trim first, then give the trimmed model the pattern"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        netsurgeon.Options(**options)


def test_sparsity_is_half_unless_units_are_trimmed() -> None:
    assert netsurgeon.Options().pruned_share == 0.5
    assert netsurgeon.Options(trim=0.3).pruned_share == 0.0
    assert netsurgeon.Options(trim=0.3, sparsity=0.8).pruned_share == 0.8


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "small.onnx"
    given = [str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz"), "-o", str(output)]
    assert run(["compress", *given, "--trim", "0.4", "--damping", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert "units removed" in shown
    assert "masked against trimmed model: outputs differ by at most" in shown
    assert run(["compare", given[0], str(output), "--data", given[2]]) == 0
    assert "no error bound: the graphs differ in more than their weights" in capsys.readouterr().out
    output.unlink()
    assert run(["compress", *given, "--trim", "0.999"]) == 1
    assert "is all that units can save" in capsys.readouterr().err
    assert not output.exists()
    assert run(["compress", *given, "--trim", "some"]) == 2
