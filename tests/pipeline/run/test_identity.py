"""What a run is told from others by: its model, options, data, steps, and the user's own code."""

import json
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
from perceptron_models import inputs, perceptron

from netsurgeon.pipeline.compression import STEPS, StepContext, StepDefaults
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.options import Options, options
from netsurgeon.pipeline.run.identity import are_own, open_run_folder
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.verification import open_inputs


class OwnStep(StepDefaults):
    """A step of the user's."""

    name, stage, options_type = "own step", "doing", Options

    def apply(self, model: ir.Model, context: StepContext) -> None:
        """Nothing."""


def opened(work: Path | None, count: int = 40, steps: Any = STEPS, **options: Any) -> RunFolder:
    settings = Options(work=work, sparsity=0.5, **options)
    source = open_model(perceptron(), Runtime())
    return open_run_folder(source, open_inputs(source, inputs(count), None, settings), settings, steps, {})


def test_the_same_run_is_let_in_again(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path / "work") as folder:
            folder.keep_facts("tables", [1])
    with opened(tmp_path / "work") as folder:
        assert folder.facts("tables") == [1]


@pytest.mark.parametrize(
    "changed", [{"count": 41}, {"seed": 1}, {"steps": (*STEPS, OwnStep())}], ids=["data", "options", "steps"]
)
def test_another_run_is_not(changed: dict[str, Any], tmp_path: Path) -> None:
    with opened(tmp_path / "work"):
        pass
    with pytest.raises(InputError), opened(tmp_path / "work", **changed):
        pass


def test_a_run_on_a_processor_that_takes_other_numbers_of_channels_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default units are removed so that what is left fills the processor's registers."""
    with opened(tmp_path / "work"):
        pass
    monkeypatch.setattr(options, "channel_block", lambda _: 4)
    with pytest.raises(InputError), opened(tmp_path / "work"):
        pass


def test_where_no_folder_is_named_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(None) as folder:
        folder.keep_facts("tables", [1])
        assert folder.facts("tables") is None
    assert list(tmp_path.iterdir()) == []


def test_the_users_code_is_part_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "work", steps=(*STEPS, OwnStep())):
        pass
    (identity,) = (json.loads(file.read_text()) for file in (tmp_path / "work").glob("*.json"))
    assert "step own step" in json.dumps(identity)


def test_whose_steps_they_are() -> None:
    assert are_own(STEPS)
    assert not are_own((*STEPS, OwnStep()))
