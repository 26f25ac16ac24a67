"""What a user can choose about training: the preset, then the file, then the options."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.training.training_options import (
    SURGERY_SHARE,
    Constants,
    TrainingOptions,
    TrainOptions,
    constants,
)
from netsurgeon.pipeline.training.training_run import Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[recipe]\nspeed = 3", "speed is not a constant of recipe"),
        ("[trimmings]", "unknown table trimmings"),
        ("[recipe", "cannot be read as settings"),
        ("[recipe]\nlearning_rate = 'fast'", "wrong type"),
    ],
)
def test_bad_settings_are_one_sentence(
    fit: Callable[..., Training], settings: Path, tmp_path: Path, text: str, message: str
) -> None:
    settings.write_text(text)
    with pytest.raises(InputError, match=message):
        fit(tmp_path / "run")


def constants_of(network: str = "lenet300", **options: Any) -> Constants:
    pytest.importorskip("torch")
    from netsurgeon.models.networks import NETWORKS

    return constants(NETWORKS[network], TrainOptions(**options))


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_options_go_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    preset = constants_of().recipe
    settings = written(tmp_path / "s.toml", "[recipe]\nsteps = 7\nmomentum = 0.5\nbatch_size = 3")
    from_file = constants_of(settings=settings).recipe
    assert (from_file.steps, from_file.momentum, from_file.batch_size) == (7, 0.5, 3)
    assert (from_file.learning_rate, from_file.schedule) == (preset.learning_rate, preset.schedule)
    both = constants_of(settings=settings, steps=9, learning_rate=0.25, bfloat16=True).recipe
    assert (both.steps, both.learning_rate, both.momentum, both.bfloat16) == (9, 0.25, 0.5, True)
    assert constants_of().recipe == preset, "the preset itself stays"


def test_surgery_and_trimming_have_constants_only_where_they_are_asked_for(tmp_path: Path) -> None:
    settings = written(tmp_path / "s.toml", "[surgery]\npower = 2.0\n[trimming]\nrounds = 3")
    neither = constants_of(settings=settings)
    assert (neither.surgery, neither.trimming) == (None, None)
    trimmed = constants_of(settings=settings, trimming=True)
    assert (trimmed.surgery, trimmed.trimming.rounds) == (None, 3)
    operated = constants_of(settings=settings, surgery=True)
    assert (operated.surgery.power, operated.surgery.ratio, operated.trimming) == (2.0, None, None)
    assert constants_of(surgery_ratio=12.5).surgery.ratio == 12.5, "a ratio asks for surgery by itself"


@pytest.mark.parametrize(("steps", "stop"), [(100_000, 20_000), (20_000, 20_000), (1000, 700), (1, 1)])
def test_surgery_ends_early_enough_for_the_rest_to_train(steps: int, stop: int) -> None:
    assert constants_of(surgery=True, steps=steps).surgery.stop == stop


def test_groups_take_turns_in_the_steps_there_are(tmp_path: Path) -> None:
    settings = written(tmp_path / "s.toml", '[surgery]\ngroups = [["ip1"], ["ip2", "ip3"]]')
    plan = constants_of(surgery=True, steps=1000, settings=settings).surgery
    assert plan.groups == (("ip1",), ("ip2", "ip3"))
    assert plan.stop == math.floor(SURGERY_SHARE * 1000 / 2)
    assert plan.end <= 1000


def test_a_stop_of_ones_own_is_not_shortened(tmp_path: Path) -> None:
    settings = written(tmp_path / "s.toml", "[surgery]\nstop = 50")
    assert constants_of(surgery=True, steps=50, settings=settings).surgery.stop == 50
    with pytest.raises(InputError, match="surgery would end after 50 steps, but there are 49: give more"):
        constants_of(surgery=True, steps=49, settings=settings)


@pytest.mark.parametrize("options", [{}, {"surgery": True}, {"trimming": True}])
def test_what_a_run_is_trained_with_can_be_written_down(options: dict[str, Any]) -> None:
    described = json.loads(json.dumps(constants_of(**options).described()))
    assert {name for name, values in described.items() if values} == {"recipe", *options}
    assert described["recipe"]["momentum"] == 0.9


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read as settings in TOML"):
        constants_of(settings=tmp_path / "none.toml")


def test_a_value_out_of_range_is_left_to_the_constants() -> None:
    with pytest.raises(ValueError, match="steps is 0, expected 1 or more"):
        constants_of(steps=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0.0}, "validation is 0.0, expected a share above 0 and below 1"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": math.nan}, "validation is nan"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"seed": 0.5}, "seed is 0.5, expected a whole number"),
        ({"device": 3}, "device is 3, expected a string"),
        ({"bfloat16": "yes"}, "bfloat16 is 'yes', expected True or False"),
        ({"pictures": {"crop": 28}}, "expected a netsurgeon.PictureOptions or None"),
    ],
)
def test_options_of_all_that_trains_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trimming": True, "surgery": True}, "surgery and trimming are two runs"),
        ({"trimming": True, "surgery_ratio": 2.0}, "surgery and trimming are two runs"),
        ({"settings": "s.toml"}, "settings is 's.toml', expected a pathlib.Path or None"),
        ({"steps": 1.5}, "steps is 1.5, expected a whole number or None"),
    ],
)
def test_options_of_train_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainOptions(**options)
