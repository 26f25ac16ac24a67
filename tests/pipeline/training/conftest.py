"""A short training of a small network under surgery, for tests of several modules."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_runs import fitting

from netsurgeon.pipeline.training.training_run import Training

SETTINGS = """
[recipe]
batch_size = 30
learning_rate = 0.05
log_every = 10
shift = 1
[surgery]
gamma = 0.0
stop = 40
c = { "*" = 1.0 }
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def fit(mnist: Path, settings: Path) -> Callable[..., Training]:
    return fitting(mnist, settings, steps=50, surgery=True)
