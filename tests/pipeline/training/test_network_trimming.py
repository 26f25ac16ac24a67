"""Trimming while training: idle units go, the rest is retrained, and what comes out is a narrower network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_runs import fitting

from netsurgeon import cli
from netsurgeon.models.networks.resnet import CifarResNet
from netsurgeon.models.runs import load_network
from netsurgeon.models.training import loop
from netsurgeon.models.training.checkpoints import load_checkpoint
from netsurgeon.models.training.distributed import Process
from netsurgeon.models.trimming import TrimmingPlan
from netsurgeon.pipeline.data.training_data import Arrays
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.training.exporting import export
from netsurgeon.pipeline.training.network_trimming import Width, trim_and_retrain
from netsurgeon.pipeline.training.training_run import TRIMMING, Training

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = """
[recipe]
batch_size = 30
learning_rate = 0.05
log_every = 10
[trimming]
tolerance = 0.5
rounds = 1
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def fit(mnist: Path, settings: Path) -> Callable[..., Training]:
    return fitting(mnist, settings, steps=60, trimming=True)


def test_idle_units_go_and_the_rest_is_retrained(
    fit: Callable[..., Training], mnist: Path, settings: Path, tmp_path: Path
) -> None:
    settings.write_text(SETTINGS.replace("rounds = 1", "rounds = 2"))
    result = fit(tmp_path / "run", network="lenet5", steps=40)
    assert [width.round for width in result.widths] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [width.layer for width in result.widths[:3]] == ["conv1", "conv2", "ip1"]
    units = np.array([width.units for width in result.widths]).reshape(3, 3)
    assert units[0].tolist() == [20, 50, 500]
    assert (units[2] < units[1]).all()
    assert result.widths == tuple(loop.read_rows(tmp_path / "run" / TRIMMING, Width))
    conv1, conv2, ip1 = units[2].tolist()
    left = 26 * conv1 + (25 * conv1 + 1) * conv2 + (16 * conv2 + 1) * ip1 + 10 * (ip1 + 1)
    assert result.parameters == result.nonzero == left
    assert result.steps == 120
    assert result.test_error is not None
    assert result.test_error < 0.3

    export(tmp_path / "run", tmp_path / "model.onnx")
    with np.load(mnist / "test.npz") as archive:
        inputs, labels = archive["x"][:, None] / np.float32(256), archive["y"]
    logits = Runtime().session(tmp_path / "model.onnx").run({"image": inputs})["logits"]
    assert result.test_error == pytest.approx(np.mean(logits.argmax(1) != labels), abs=1e-9)


def test_a_trimmed_run_goes_on_with_surgery(fit: Callable[..., Training], tmp_path: Path) -> None:
    trimmed = fit(tmp_path / "trimmed")
    result = fit(tmp_path / "run", init=tmp_path / "trimmed", trimming=False, surgery_ratio=5.0)
    assert result.parameters == trimmed.parameters < 266_610
    assert result.nonzero <= result.parameters / 5
    assert sum(p.numel() for p in load_network(tmp_path / "run")[1].parameters()) == trimmed.parameters
    with pytest.raises(InputError, match="holds another network"):
        fit(tmp_path / "five", network="lenet5", init=tmp_path / "trimmed")


def test_two_processes_trim_what_one_of_them_finds(
    fit: Callable[..., Training], mnist: Path, two_processes: Callable[..., str], tmp_path: Path
) -> None:
    alone = fit(tmp_path / "one", steps=20)
    main = tmp_path / "main.py"
    main.write_text(
        "import os\n"
        "from netsurgeon import cli\n"
        "from netsurgeon.pipeline.training import network_trimming\n"
        "if os.environ['RANK'] != '0':\n"
        "    network_trimming.count_zeros = None  # only the process that leads looks for idle units\n"
        "cli.main()\n"
    )
    arguments = ["train", "lenet300", "--data", mnist, "--out", tmp_path / "two", "--trimming", "--device", "cpu"]
    arguments += ["--settings", tmp_path / "settings.toml", "--steps", "20"]
    assert two_processes(main, *arguments).count("lenet300 after 40 steps") == 1  # only one process speaks
    widths = loop.read_rows(tmp_path / "two" / TRIMMING, Width)
    units = [width.units for width in widths]
    assert units[:2] == [300, 100]
    assert units == pytest.approx([width.units for width in alone.widths], rel=0.05)  # sums in another order
    _, network = load_network(tmp_path / "two")
    assert sum(p.numel() for p in network.parameters()) == widths[-1].parameters < 266_610


class KilledError(Exception):
    pass


def test_a_run_that_is_stopped_and_started_again_ends_the_same(
    fit: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(stage: str, done: int, count: int) -> None:
        if (stage, done) == ("round 1", 37):
            raise KilledError

    whole = fit(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", progress=die)
    again = fit(tmp_path / "killed")
    assert again.widths == whole.widths
    one, two = (load_checkpoint(tmp_path / name / loop.CHECKPOINT)[0]["network"] for name in ("whole", "killed"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_round_that_is_not_good_enough_is_thrown_away(
    fit: Callable[..., Training], settings: Path, tmp_path: Path
) -> None:
    dense = fit(tmp_path / "dense", trimming=False, steps=150)
    frozen = SETTINGS.replace("learning_rate = 0.05", "learning_rate = 3e-9")  # no retraining to speak of
    settings.write_text(frozen.replace("0.5", "0.0").replace("rounds = 1", "rounds = 9") + "deviations = 0.0\n")
    result = fit(tmp_path / "run", init=tmp_path / "dense")
    assert result.widths[-1].error > dense.validation_error
    assert result.validation_error <= dense.validation_error
    assert result.parameters > result.widths[-1].parameters


def test_the_loop_ends_at_the_ratio(fit: Callable[..., Training], settings: Path, tmp_path: Path) -> None:
    settings.write_text(SETTINGS + "ratio = 1.1\n")
    result = fit(tmp_path / "run", steps=20)
    assert {width.round for width in result.widths} == {0, 1}
    assert result.parameters <= 266_610 / 1.1


def test_normalisation_goes_along_and_widths_that_the_code_fixes_stay() -> None:
    network = CifarResNet(blocks=1)
    pictures = Arrays(np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32))
    trimmed, widths = trim_and_retrain(
        network, TrimmingPlan(rounds=1), pictures, lambda network, number: 0.0, Process()
    )
    blocks = [stage[0] for stage in (trimmed.layer1, trimmed.layer2, trimmed.layer3)]
    assert all(block.conv1.out_channels == block.bn1.num_features == block.conv2.in_channels for block in blocks)
    assert any(block.conv1.out_channels < block.conv2.out_channels for block in blocks)
    padded = {width.layer: width.units for width in widths if width.round}
    assert (padded["layer2.0.conv2"], padded["layer3.0.conv2"]) == (16, 32)  # the code says how many are padded
    assert {width.parameters for width in widths if width.round} == {sum(p.numel() for p in trimmed.parameters())}
    assert trimmed(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


class Linear(nn.Module):
    """Two layers without a Relu, of which the first has a unit that is nearly silent."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(16, 8), nn.Linear(8, 3)
        with torch.no_grad():
            self.one.weight[2] *= 1e-3
            self.one.bias[2] = 0.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.two(self.one(image.flatten(1)))
        return logits


@pytest.mark.parametrize(("epsilon", "left"), [(0.0, 8), (0.05, 7)])
def test_without_relu_small_activations_count_as_zeros(epsilon: float, left: int) -> None:
    torch.manual_seed(0)
    network = Linear()
    pictures = Arrays(np.random.default_rng(0).standard_normal((64, 1, 4, 4)).astype(np.float32))
    plan = TrimmingPlan(rounds=1, epsilon=epsilon, deviations=2.0)
    trimmed, _ = trim_and_retrain(network, plan, pictures, lambda network, number: 0.0, Process())
    assert trimmed.one.out_features == trimmed.two.in_features == left
    if left < 8:
        kept = [0, 1, 3, 4, 5, 6, 7]
        assert torch.equal(trimmed.one.weight, network.one.weight[kept])
        assert torch.equal(trimmed.two.weight, network.two.weight[:, kept])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surgery": True}, "surgery and trimming are two runs"),
        ({"surgery_ratio": 10.0}, "surgery and trimming are two runs"),
    ],
)
def test_bad_options_are_one_sentence(
    fit: Callable[..., Training], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("share = 0.0", "share is 0.0"),
        ("ratio = 1.0", "ratio is 1.0"),
        ("deviations = -1.0", "expected deviations of 0 or more"),
        ("mean = 0", "mean is not a constant of trimming"),
    ],
)
def test_bad_settings_are_one_sentence(
    fit: Callable[..., Training], settings: Path, tmp_path: Path, text: str, message: str
) -> None:
    settings.write_text(f"{SETTINGS}\n{text}\n")
    with pytest.raises(InputError, match=message):
        fit(tmp_path / "run")


def test_the_command_shows_every_round(
    mnist: Path, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "lenet300", "--data", mnist, "--out", tmp_path / "run", "--trimming", "--settings", settings]
    assert cli.run([*map(str, arguments), "--steps", "10"]) == 0
    shown = capsys.readouterr().out
    assert "266,610" in shown
    assert "lenet300 after 20 steps" in shown
