"""The steps that remove units: what goes, what is said of it, and what stays where it does not hold."""

from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from trimmable_models import FAST, elements, idle_network, network_of, normal, pictures, residual_network, trimmed

from netsurgeon.passes.dependencies.analysis import Dependencies
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.compression import trim_units
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.trimming import unit_finder
from netsurgeon.pipeline.trimming.trim_plan import Trimmed


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

    monkeypatch.setattr(trim_units, "remove_units", fail)
    with pytest.raises(CheckFailedError, match=r"but 0.0% .* stay: it does not hold.* up-to:0.3"):
        compress(residual_network(), {"x": pictures()}, trim=0.3, round_to=1, **FAST)
    trim = trimmed(compress(residual_network(), {"x": pictures()}, trim="up-to:0.3", round_to=1, **FAST))
    assert (trim.saved, trim.macs) == (0.0, trim.macs_dense)
