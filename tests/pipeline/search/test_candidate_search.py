"""Goals from end to end on a small network: kept, or refused with the nearest model."""

from pathlib import Path
from typing import Any

import pytest
from searched_models import FAST, Data

import netsurgeon
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.report.report import Report

DIGITS = Path(netsurgeon.__file__).parent / "models" / "digits"


def test_without_a_goal_one_point_may_be_lost(report: Report) -> None:
    assert report.search is not None
    assert report.search.goals.max_drop == 0.01
    assert report.search.evidence.drop <= 0.005  # half of it: so few inputs prove nothing
    assert report.ratio > 1.5
    (chosen,) = [each for each in report.search.points if each.chosen]
    assert chosen.drop == report.search.evidence.drop
    assert chosen.bytes == report.compressed.bytes
    # of so small a file bytes do not fall with every weight: those of the halves' models are not those of the delivered
    fewer = [point for point in report.search.points if point.bytes and (point.kept or 0.0) < (chosen.kept or 0.0)]
    assert fewer
    assert all(point.drop is not None and point.drop > 0.005 for point in fewer)
    assert {each.kind for each in report.search.points} == {"rehearsal", "candidate"}


def test_the_digits_become_five_times_smaller_for_a_point() -> None:
    """The test split is larger, so that it stands for a user's calibration set."""
    report = netsurgeon.compress(
        DIGITS / "digits.onnx", DIGITS / "test.npz", test=DIGITS / "calibration.npz", **FAST
    ).report
    assert report.search is not None
    assert report.search.evidence.drop <= 0.005  # half of the goal: so few inputs prove nothing
    assert report.search.folds == 2
    assert report.ratio > 5.0


def test_the_size_of_the_file(network: Path, guiding: Data, final: Data, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = netsurgeon.compress(network, guiding, test=final, max_size="2500B", output=output, **FAST).report
    assert 2_200 < output.stat().st_size <= 2_500
    assert output.stat().st_size == result.compressed.bytes
    assert result.search is not None
    assert result.search.proven is None


@pytest.mark.parametrize(
    ("goals", "nearest"),
    [
        ({"max_size": "500B"}, r"[\d,]+ bytes, with [\d.]+% of the weights kept, is the smallest model found"),
        (
            {"max_drop": "1%", "max_size": "2000B"},
            r"[\d,]+ bytes is the smallest model found whose drop is within 1.00%",
        ),
        ({"max_macs": 10}, r"with all units gone that may go the model is one of [\d,]+ of [\d,]+ multiply-adds"),
        (
            {"max_macs": 400, "max_drop": ".1%", "round_to": 8},
            r"with a drop of at most 0.10% the nearest model found is one of",
        ),
    ],
)
def test_what_cannot_be_met_names_the_nearest(
    goals: Any, nearest: str, network: Path, guiding: Data, final: Data, tmp_path: Path
) -> None:
    with pytest.raises(CheckFailedError, match=f"cannot be met.*{nearest}"):
        netsurgeon.compress(network, guiding, test=final, output=tmp_path / "small.onnx", uniform=True, **goals, **FAST)
    assert not list(tmp_path.iterdir())
