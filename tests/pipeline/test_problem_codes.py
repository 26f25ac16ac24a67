"""What says why something was undone or left out carries a code and data, from where it is found to the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from netsurgeon.passes.dependencies import analyse
from netsurgeon.passes.trimming import TrimNeurons
from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.error_bound.bound import OutputBound, measure_bound
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.result import as_json
from netsurgeon.pipeline.runtime import Feed, Runtime, observe, same_bits, verify_same
from netsurgeon.pipeline.trimming.remove import remove_units
from netsurgeon.pipeline.trimming.trim_plan import TrimPlan
from netsurgeon.pipeline.verification import check_equivalence

HEAD = '<ir_version: 8, opset_import: ["" : 17]> network'
X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
FEED: Feed = {"x": X}
RUNTIME = Runtime()
Verify = Callable[[ir.Model, ir.Model, Feed, Runtime], Message | None]


def model(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f"{HEAD} {text}"))


def scaled(factor: float) -> ir.Model:
    return model(f"(float[N, 4] x) => (float[N, 4] y) <float[1] s = {{{factor}}}> {{ y = Mul(x, s) }}")


def failing() -> ir.Model:
    """Loads, but cannot run on six inputs of four."""
    return model("(float[N, M] x) => (float[N, M] y) <int64[2] s = {5, 5}> { a = Reshape(x, s) y = Identity(a) }")


@pytest.mark.parametrize(("verify", "tolerance"), [(verify_same, 1e-4), (same_bits, 0.0)])
def test_another_output_is_named_with_its_difference(verify: Verify, tolerance: float) -> None:
    problem = verify(scaled(2), scaled(3), FEED, RUNTIME)
    assert problem is not None
    assert problem.code == "outputs-differ"
    assert problem.data == {"output": "y", "difference": pytest.approx(0.5), "tolerance": tolerance}
    assert verify(scaled(2), scaled(2), FEED, RUNTIME) is None


@pytest.mark.parametrize("verify", [verify_same, same_bits])
def test_a_model_that_fails_says_so(verify: Verify) -> None:
    problem = verify(scaled(2), failing(), FEED, RUNTIME)
    assert problem is not None
    assert (problem.code, problem.data) == ("model-fails", {})
    assert "cannot run on this input" in problem


def test_a_proof_that_does_not_hold_names_the_worst_output() -> None:
    holds = check_equivalence(scaled(2), scaled(2), [FEED], RUNTIME)
    assert holds.problem is None
    differs = check_equivalence(scaled(2), scaled(3), [FEED], RUNTIME).problem
    assert differs is not None
    assert differs.code == "outputs-differ"
    assert differs.data == {"output": "y", "difference": pytest.approx(0.5), "tolerance": 1e-4}
    fails = check_equivalence(scaled(2), failing(), [FEED], RUNTIME).problem
    assert fails is not None
    assert (fails.code, fails.data) == ("model-fails", {})


def dense() -> ir.Model:
    """Two units between two Gemms, of which the second does nothing."""
    return model(
        "(float[N, 4] x) => (float[N, 2] y) <float[4, 2] v = {1, 0, 1, 0, 1, 0, 1, 0}, float[2, 2] w = {1, 2, 0, 0}> "
        "{ h = MatMul(x, v) r = Relu(h) y = MatMul(r, w) }"
    )


def damage(given: ir.Model) -> None:
    """Other outputs."""
    given.graph.initializers["w"].const_value = ir.tensor(np.full((1, 2), 7, np.float32), name="w")


def break_up(given: ir.Model) -> None:
    """Shapes that do not go together."""
    given.graph.initializers["w"].const_value = ir.tensor(np.zeros((3, 2), np.float32), name="w")


def refuse(given: ir.Model) -> None:
    raise ValueError("it cannot be")


@pytest.mark.parametrize(
    ("fault", "code", "data"),
    [
        (damage, "outputs-differ", {"output", "difference", "tolerance"}),
        (break_up, "model-fails", set()),
        (refuse, "removal-fails", set()),
    ],
)
def test_a_group_of_units_that_stays_says_why_also_after_a_restart(
    fault: Callable[[ir.Model], None], code: str, data: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call = TrimNeurons.call

    def faulty(self: TrimNeurons, given: ir.Model) -> ir.passes.PassResult:
        result = call(self, given)
        fault(given)
        return result

    monkeypatch.setattr(TrimNeurons, "call", faulty)
    dependencies = analyse(dense(), observe(dense(), FEED, RUNTIME))
    removed = np.array([1 in unit.parts[0].indices for unit in dependencies.units])
    trimmed = remove_units(dense(), dependencies, removed, [FEED], RUNTIME)
    ((group, reason),) = trimmed.failed
    assert (reason.code, {*reason.data}) == (code, data)
    assert not trimmed.removed.any()

    plan = TrimPlan(dependencies=dependencies, layers=(), candidates=np.flatnonzero(removed), removed=removed).after(
        trimmed
    )
    with RunFolder(tmp_path / "work", {}) as folder:
        folder.keep_facts("units", plan.described())
    with RunFolder(tmp_path / "work", {}) as folder:
        kept = folder.facts("units")
    ((same_group, same_reason),) = plan.with_choice(kept).failed
    assert same_group is group
    assert (same_reason, same_reason.to_json()) == (reason, reason.to_json())


def only_bound(tail: str, output: str, weight: float = 2.0) -> OutputBound:
    """The bound of one output behind a weight that another model has otherwise."""
    first, second = (
        model(f"(float[N, 4] x) => ({output}) <float[4, 1] w = {{{w}, 1, 1, 1}}> {{ h = MatMul(x, w)\n {tail} }}")
        for w in (1.0, weight)
    )
    (bound,) = measure_bound(first, second, [FEED], len(X), RUNTIME).outputs
    return bound


def test_where_a_bound_ends_is_told_by_node_and_reason() -> None:
    ends_at = only_bound("y = Mul(h, h)", "float[N, 1] y").ends_at
    assert ends_at is not None
    assert ends_at.code == "bound-ends"
    assert ends_at.data == {"node": "y", "operator": "Mul", "reason": "it is a product of two activations"}
    assert only_bound("y = Relu(h)", "float[N, 1] y").ends_at is None


def test_a_discrete_output_is_told_by_its_type() -> None:
    ends_at = only_bound("y = ArgMax<axis = 0>(h)", "int64[1, 1] y").ends_at
    assert ends_at is not None
    assert (ends_at.code, ends_at.data) == ("output-discrete", {"output": "y", "dtype": "int64"})


def test_a_comparison_has_the_code_in_its_json() -> None:
    first, second = (
        model(
            f"(float[N, 4] x) => (float[N, 1] y) <float[4, 1] w = {{{w}, 1, 1, 1}}> "
            "{ h = MatMul(x, w) y = Mul(h, h) }"
        )
        for w in (1, 2)
    )
    text: Any = as_json(compare(first, second, {"x": X}))
    assert '"ends_at": {\n          "code": "bound-ends",\n          "node": ' in text
