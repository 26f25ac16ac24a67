"""The steps of a compression: shortcuts become convolutions, units go, and what does not hold is undone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from perceptron_models import built, random
from trimmable_models import FAST, elements, idle_network, network_of, normal, pictures, residual_network, trimmed

from netsurgeon.passes.dependencies.analysis import Dependencies
from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.compression import steps
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.profiling import StructureTimer, Timed
from netsurgeon.pipeline.trimming import unit_finder
from netsurgeon.pipeline.trimming.trim_plan import Trimmed


def residual() -> onnx.ModelProto:
    """A block with a stride whose shortcut is Slice and Pad, then pooling and classes."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], name="main", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Constant", [], ["starts"], value_ints=[0, 0]),
        node("Constant", [], ["ends"], value_ints=[2**31, 2**31]),
        node("Constant", [], ["axes"], value_ints=[2, 3]),
        node("Constant", [], ["steps"], value_ints=[2, 2]),
        node("Constant", [], ["pads"], value_ints=[0, 8, 0, 0, 0, 8, 0, 0]),
        node("Slice", ["r0", "starts", "ends", "axes", "steps"], ["s"]),
        node("Pad", ["s", "pads"], ["p"]),
        node("Add", ["c1", "p"], ["a"]),
        node("Relu", ["a"], ["r1"]),
        node("GlobalAveragePool", ["r1"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w2"], ["y"], name="classes"),
    ]
    weights = {
        "w0": random(16, 3, 3, 3),
        "w1": random(32, 16, 3, 3, seed=1) / np.float32(12.0),
        "w2": random(32, 10, seed=2),
    }
    return built(nodes, weights, entry=("N", 3, 12, 12), end=("N", 10))


@pytest.mark.parametrize("how", [{"sparsity": 0.3}, {"trim": 0.3, "round_to": 4}])
def test_shortcuts_become_convolutions(how: Any, tmp_path: Path) -> None:
    x = random(80, 3, 12, 12, seed=4)
    result = compress(residual(), x, output=tmp_path / "small.onnx", values="float32", **how)
    written = ir.load(tmp_path / "small.onnx")
    UnpackWeights()(written)
    operators = [node.op_type for node in written.graph]
    assert "Pad" not in operators
    assert "Slice" not in operators
    assert operators.count("Conv") == 3
    assert "shortcuts-convolved" in [note.code for note in result.report.notes]
    assert result.report.validation.outputs[0].relative_error < 0.5
    assert {layer.name for layer in result.report.layers} == {"stem", "main", "classes"}


def test_trim_first_then_prune_what_is_left() -> None:
    result = compress(residual_network(), {"x": pictures()}, trim=0.3, sparsity=0.5, round_to=1, **FAST)
    kept = sum(layer.kept for layer in result.report.layers)
    left = elements(result.model) - sum(
        value.const_value.size
        for value in result.model.graph.initializers.values()
        if value.const_value is not None and len(value.const_value.shape) < 2
    )
    assert kept == pytest.approx(0.5 * left, rel=0.05)


@pytest.mark.parametrize("alike", [True, False])
def test_a_proof_that_says_nothing_is_a_warning(alike: bool) -> None:
    x = normal(80, 16)
    given: dict[str, Any] = {"sparsity": 0.4, "method": "magnitude", "uniform": True, "round_to": 1, **FAST}
    result = compress(idle_network(), {"x": np.repeat(x[:1], 80, axis=0) if alike else x}, **given)
    proof = trimmed(result).proof
    assert proof is not None
    assert proof.is_informative is not alike
    assert ("proof-uninformative" in [warning.code for warning in result.report.warnings]) is alike


def test_what_cannot_be_analysed_is_pruned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise CheckFailedError("the values of it cannot be shown")

    monkeypatch.setattr(unit_finder, "find_units", fail)
    report = compress(idle_network(), {"x": normal(80, 16)}, sparsity=0.5, **FAST).report
    assert report.trim is None
    (stay,) = [warning.data for warning in report.warnings if warning.code == "unread-units-stay"]
    assert stay == {"reason": "the values of it cannot be shown", "cause": "check-failed"}
    with pytest.raises(CheckFailedError, match="cannot be shown"):
        compress(idle_network(), {"x": normal(80, 16)}, trim=0.3, **FAST)


def test_shared_weights_are_corrected_for_units_before_them_and_stay_one_tensor() -> None:
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "u", "b"], ["k"], "first"),
        node("Relu", ["k"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["z"], "second"),
        node("Relu", ["z"], ["s"]),
        node("MatMul", ["s", "w"], ["h"], "one"),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "w"], ["g"], "two"),
        node("Tanh", ["g"], ["f"]),
        node("Gemm", ["f", "o", "d"], ["y"], "last"),
    ]
    weights = {
        "u": normal(16, 96, seed=1),
        "b": normal(96, seed=2),
        "v": normal(96, 32, scale=0.1, seed=3),
        "c": normal(32, seed=4),
        "w": normal(32, 32, scale=0.2),
        "o": normal(32, 8, seed=5),
        "d": normal(8, seed=6),
    }
    x = normal(400, 16, seed=9)
    result = compress(network_of(nodes, weights, ["N", 16]), {"x": x}, trim=0.2, round_to=1, **FAST)
    report = result.report
    assert report.compressed.parameters < 0.9 * report.dense.parameters
    assert not report.declined
    one, two = (next(layer for layer in result.model.graph if layer.name == name) for name in ("one", "two"))
    assert one.inputs[1] is two.inputs[1]
    held = one.inputs[1]
    assert held is not None
    assert held.const_value is not None
    change = np.linalg.norm(held.const_value.numpy() - weights["w"]) / np.linalg.norm(weights["w"])
    assert 0.001 < change < 0.2


def test_what_does_not_hold_after_pruning_is_an_error_unless_it_was_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(masked: ir.Model, dependencies: Dependencies, removed: NDArray[np.bool_], **_: Any) -> Trimmed:
        return Trimmed(
            model=masked,
            removed=np.zeros_like(removed),
            failed=((dependencies.groups[0], Message("it does not hold", "outputs-differ")),),
            proof=None,
        )

    monkeypatch.setattr(steps, "remove_units", fail)
    with pytest.raises(CheckFailedError, match=r"but 0.0% .* stay: it does not hold.* up-to:0.3"):
        compress(residual_network(), {"x": pictures()}, trim=0.3, round_to=1, **FAST)
    trim = trimmed(compress(residual_network(), {"x": pictures()}, trim="up-to:0.3", round_to=1, **FAST))
    assert (trim.saved, trim.macs) == (0.0, trim.macs_dense)


def test_a_model_that_integers_have_made_slower_is_delivered_on_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    def time(timer: StructureTimer, name: str, *_: object, **__: object) -> Timed:
        speedup = 0.8 if "on integers beside" in name else 2.0
        return Timed(speedup, 1.0, *[speedup] * 3)

    monkeypatch.setattr(StructureTimer, "time", time)
    report = compress(residual(), random(80, 3, 12, 12, seed=4), quantize="int8").report
    assert report.integers is None
    (note,) = (note for note in report.notes if note.code == "not-quantized")
    assert "only 0.80 times as fast" in note
