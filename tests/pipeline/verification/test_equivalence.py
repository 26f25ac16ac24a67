"""What a proof says: equal, different, nothing, and what it compares."""

import dataclasses
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.runtime.large_models import Feed
from netsurgeon.pipeline.runtime.session import Runtime, Session
from netsurgeon.pipeline.verification.equivalence import check_equivalence

HEAD = '<ir_version: 8, opset_import: ["" : 17]> network'
FEEDS: list[Feed] = [{"x": np.random.default_rng(seed).standard_normal((3, 4)).astype(np.float32)} for seed in range(2)]


def model(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f"{HEAD} {text}"))


def scaled(factor: float, tail: str = "y = Identity(h)", output: str = "float[N, 4] y") -> ir.Model:
    return model(f"(float[N, 4] x) => ({output}) <float[1] s = {{{factor}}}> {{ h = Mul(x, s)\n {tail} }}")


def test_equal_models() -> None:
    proof = check_equivalence(scaled(2), scaled(2), FEEDS, Runtime())
    assert proof.holds
    assert proof.is_informative
    assert [each.output for each in proof.outputs] == ["y"]
    assert "at most 0 of their scale" in str(proof)


@pytest.mark.parametrize(("factor", "holds"), [(2.0001, True), (2.001, False)])
def test_the_tolerance(factor: float, holds: bool) -> None:
    proof = check_equivalence(scaled(2), scaled(factor), FEEDS, Runtime())
    assert proof.holds is holds
    assert holds or "'y' by 0.0005" in str(proof)


def test_the_scale_is_that_of_all_inputs() -> None:
    """However the inputs are cut into feeds; an error that is large for all of them is found in the small one, too."""
    small = {"x": np.multiply(FEEDS[0]["x"], np.float32(1e-6))}
    joined = {"x": np.concatenate([small["x"], FEEDS[1]["x"]])}
    shifted = model(
        "(float[N, 4] x) => (float[N, 4] y) <float[1] s = {2}, float[1] b = {0.00001}> "
        "{ h = Mul(x, s)\n y = Add(h, b) }"
    )
    assert check_equivalence(scaled(2), shifted, [small, FEEDS[1]], Runtime()).holds
    assert check_equivalence(scaled(2), shifted, [joined], Runtime()).holds
    assert not check_equivalence(scaled(2), shifted, [small], Runtime()).holds


@dataclasses.dataclass(frozen=True)
class WrongAt(Runtime):
    """Runs another model in place of the trimmed one, with graph optimisation or without."""

    optimised: bool = False

    def session(self, model: Any, *, optimise: bool = True, **given: Any) -> Session:
        wrong = optimise is self.optimised and model.graph.name == "trimmed"
        return super().session(scaled(3) if wrong else model, optimise=optimise, **given)


@pytest.mark.parametrize("optimised", [False, True])
def test_models_have_to_agree_with_graph_optimisation_off_and_on(optimised: bool) -> None:
    trimmed = scaled(2)
    trimmed.graph.name = "trimmed"
    assert check_equivalence(scaled(2), trimmed, FEEDS, Runtime()).holds
    assert not check_equivalence(scaled(2), trimmed, FEEDS, WrongAt(optimised=optimised)).holds


@pytest.mark.parametrize(("difference", "holds"), [(1e-5, True), (1e-2, False)])
def test_what_a_sigmoid_makes_is_compared_at_what_enters_it(difference: float, holds: bool) -> None:
    """The result is around 1e-6, of which rounding is a large share; a hundredth more at its input is still seen."""

    def scores(shift: float) -> ir.Model:
        return model(
            f"(float[N, 4] x) => (float[N, 4] y) <float[1] b = {{{shift - 14}}}, int64[2] s = {{-1, 4}}> "
            "{ h = Add(x, b)\n a = Sigmoid(h)\n y = Reshape(a, s) }"
        )

    proof = check_equivalence(scores(0.0), scores(difference), FEEDS, Runtime())
    assert [each.output for each in proof.outputs] == ["y", "h"]
    assert proof.holds is holds


def test_half_precision_is_allowed_more() -> None:
    def half(factor: float) -> ir.Model:
        tail = "a = Cast<to = 10>(h)\n y = Cast<to = 1>(a)"
        return scaled(factor, tail)

    assert check_equivalence(half(2), half(2.004), FEEDS, Runtime()).holds
    assert not check_equivalence(half(2), half(2.1), FEEDS, Runtime()).holds


def test_what_does_not_vary_proves_nothing() -> None:
    proof = check_equivalence(scaled(0), scaled(0), FEEDS, Runtime())
    assert proof.holds
    assert not proof.is_informative
    assert "proves nothing" in str(proof)


def test_discrete_outputs_are_compared_at_what_enters_them() -> None:
    def classes(factor: float) -> ir.Model:
        tail = "a = ArgMax<axis = 1, keepdims = 0>(h)\n y = Cast<to = 6>(a)"
        return scaled(factor, tail, "int32[N] y")

    proof = check_equivalence(classes(2), classes(3), FEEDS, Runtime())
    assert [each.output for each in proof.outputs] == ["h"]
    assert not proof.holds


def test_a_trimmed_model_that_does_not_run() -> None:
    broken = scaled(2, "y = Gather<axis = 0>(h, x)")
    proof = check_equivalence(scaled(2), broken, FEEDS, Runtime())
    assert not proof.holds
    assert "the trimmed model does not run" in str(proof)


def test_a_masked_model_that_does_not_run() -> None:
    with pytest.raises(CheckFailedError):
        check_equivalence(scaled(2, "y = Gather<axis = 0>(h, x)"), scaled(2), FEEDS, Runtime())
