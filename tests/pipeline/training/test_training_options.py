"""What a user can choose about training: the preset, then the file, then the options."""

from collections.abc import Callable
from pathlib import Path

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.training.training_run import Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[recipe]\nspeed = 3", "speed is no constant of recipe"),
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
