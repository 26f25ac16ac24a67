"""A short training of a small network under surgery, for tests of several modules."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.pipeline.training.training_run import Training, train

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
    def run(out: Path, network: str = "lenet300", **options: Any) -> Training:
        found = train(network, mnist, out, **{"settings": settings, "steps": 50, "surgery": True, **options})
        assert found is not None
        return found

    return run
