"""Errors are shares of what the dense outputs vary by, over those that are floats."""

from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.repair.output_errors import output_losses, relative_error, worse_measure

RNG = np.random.default_rng(0)
DENSE = [{"y": RNG.standard_normal((8, 4)) * [1.0, 2.0, 3.0, 4.0] + 10.0, "class": np.arange(8)} for _ in range(3)]


def test_an_error_as_large_as_the_variance_is_one() -> None:
    joined = np.concatenate([feed["y"] for feed in DENSE])
    shift = np.sqrt(joined.var(axis=0).mean())
    moved = [{"y": feed["y"] + shift, "class": feed["class"] + 1} for feed in DENSE]
    assert relative_error(DENSE, moved) == pytest.approx(1.0)
    halfway = [{"y": feed["y"] + shift / 2, "class": feed["class"]} for feed in DENSE]
    assert relative_error(DENSE, halfway) == pytest.approx(0.25)
    assert relative_error(DENSE, DENSE) == 0.0


def test_outputs_that_are_not_finite_in_the_dense_model_do_not_count() -> None:
    def with_scores(feeds: list[dict[str, Any]], value: float, place: int) -> list[dict[str, Any]]:
        scores = [np.where(np.arange(8) == (place if at == 1 else -1), value, 1.0)[:, None] for at in range(3)]
        names = {"name": np.full(8, "a", object)}
        return [feed | {"scores": array} | names for feed, array in zip(feeds, scores, strict=True)]

    moved = [{"y": feed["y"] + 1.0, "class": feed["class"]} for feed in DENSE]
    masked, others = (with_scores(feeds, -np.inf, 3) for feeds in (DENSE, moved))
    without_class = [[{"y": feed["y"]} for feed in side] for side in (DENSE, moved)]
    assert output_losses(masked, others) == output_losses(*without_class)
    assert output_losses(masked, others)["relative error"] > 0.0
    finite = with_scores(DENSE, 2.0, 3)
    assert output_losses(finite, others) == {"relative error": np.inf, "divergence": np.inf}


def test_outputs_without_class_scores_are_compared_by_their_errors_alone() -> None:
    """Twice each number and five has all of the variance, and is far off; a little noise is near."""
    dense = [{"y": RNG.standard_normal((16, 3, 4))} for _ in range(2)]
    far = [{"y": 2.0 * feed["y"] + 5.0} for feed in dense]
    near = [{"y": feed["y"] + 0.1 * RNG.standard_normal((16, 3, 4))} for feed in dense]
    before, after = (output_losses(dense, other) for other in (far, near))
    assert before["relative error"] > 300.0 * after["relative error"]
    assert (before["divergence"], after["divergence"]) == (0.0, 0.0)
    assert worse_measure(before, after) is None
    scores = [{"y": 4.0 * np.eye(4)[np.arange(16) % 4]}]
    assert output_losses(scores, [{"y": -feed["y"]} for feed in scores])["divergence"] > 1.0


@pytest.mark.parametrize(
    ("error", "divergence", "measure"),
    [(0.1, 0.2, None), (0.2, 0.1, "relative error"), (0.1, 0.3, "divergence"), (float("nan"), 0.2, "relative error")],
)
def test_a_model_is_nearer_only_by_both_measures(error: float, divergence: float, measure: str | None) -> None:
    before = {"relative error": 0.2, "divergence": 0.2}
    assert worse_measure(before, {"relative error": error, "divergence": divergence}) == measure
