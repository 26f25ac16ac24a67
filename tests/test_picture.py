"""The picture and the sentences of README.md say what benchmarks/results holds."""

import json
from pathlib import Path
from typing import Any

import _cases
import picture
import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text("utf-8")
RESULTS_PAGE = (ROOT / "docs" / "results.md").read_text("utf-8")
WHEN_NOT = " ".join((ROOT / "docs" / "when-not.md").read_text("utf-8").split())


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def test_every_row_has_its_mark_and_every_rival_its_cross() -> None:
    ours, rivals = picture.size_marks(read("lobs")["rows"])
    assert len(ours) == len(_cases.GOALS)
    assert len(rivals) == sum(goal.rival is not None for goal in _cases.GOALS)
    assert min(mark.factor for mark in ours) > 1
    lenet5 = next(mark for mark in ours if mark.model == "lenet5_dense")
    assert round(lenet5.factor, 1) == 9.7, "of docs/results.md"
    assert round(lenet5.loss, 2) == 0.03


def test_the_guide_has_the_speeds_on_floats_that_were_measured() -> None:
    goals, trims = read("goals"), read("trim")
    plain = [goals[name]["latency"]["ratio"] for name in goals if name.split()[1:] == ["max_drop=1%"]]
    assert (len(plain), round(min(plain), 1), round(max(plain), 1)) == (6, 1.0, 1.2)
    assert "`--quantize none` six networks run 1.0 to 1.2 times as fast" in WHEN_NOT
    _, trimmed = picture.speed_marks(goals, trims)
    fast = [mark for mark in trimmed if mark.factor > 1.4 and mark.model != "lenet5_dense"]
    told = {(mark.model, f"{mark.factor:.1f}", f"{mark.loss:.0f}") for mark in fast}
    assert told == {("resnet56_cifar10", "1.4", "6"), ("squeezenet1_1_imagenet", "1.5", "28")}
    assert "1.4 to 1.5 times, for 6 points of accuracy (ResNet-56) or 28 (SqueezeNet)" in WHEN_NOT


QUANTIZED = {
    "lenet5_dense": "LeNet-5",
    "resnet20_cifar10": "ResNet-20, CIFAR-10",
    "resnet56_cifar10": "ResNet-56, CIFAR-10",
    "squeezenet1_1_imagenet": "SqueezeNet 1.1 (500 pictures)",
    "mobilenet_v1_025_imagenet": "MobileNet 0.25 (500 pictures)",
    "shufflenet_v2_imagenet": "ShuffleNet v2 (500 pictures)",
}


@pytest.mark.parametrize("model", QUANTIZED)
@pytest.mark.parametrize("run", ["--max-drop 1%", "int8"])
def test_the_readme_has_the_integers_that_were_measured(run: str, model: str) -> None:
    row = read("quantize")[f"{model}/{run}/0"]
    digits = 2 if row["test_samples"] > 500 else 1
    accuracy = f"{row['top1_dense']:.{digits}f} → {row['top1']:.{digits}f}"
    speed = f"{1 / row['latency'][0]['ratio']:.1f}"
    agreement = f"{row['agreement']:.{digits}f} %"
    error = f"{row['error']:.{3 if row['error'] >= 0.01 else 4 if row['error'] >= 0.0001 else 5}f}"
    assert f"| {QUANTIZED[model]} | {accuracy} | {agreement} | {error} | {speed} | {row['ratio']:.1f} |" in README


def test_the_pages_have_the_range_of_what_the_default_goal_gives() -> None:
    rows = [read("quantize")[f"{model}/--max-drop 1%/0"] for model in QUANTIZED]
    speeds = sorted(1 / row["latency"][0]["ratio"] for row in rows)
    sizes = sorted(row["ratio"] for row in rows)
    times = f"{speeds[0]:.1f} to {speeds[-1]:.1f} times"
    assert f"{times} as fast, {sizes[0]:.0f} to {sizes[-1]:.0f} times smaller" in " ".join(RESULTS_PAGE.split())
    assert f"{times} with VNNI" in " ".join(WHEN_NOT.split())


def test_the_picture_can_be_drawn(tmp_path: Path) -> None:
    place = tmp_path / "results.svg"
    picture.draw(RESULTS).savefig(place)
    assert "<svg" in place.read_text("utf-8")
    assert (ROOT / "docs" / "images" / "results.svg").exists()
