"""Training runs on the digits, as the command makes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.training.training_run import Training, train


def fitting(data: Path, settings: Path, **defaults: Any) -> Callable[..., Training]:
    """Trains a network into a folder with these options, where a test gives no others."""

    def run(out: Path, network: str = "lenet300", **options: Any) -> Training:
        training = train(network, data, out, **{"settings": settings, **defaults, **options})
        assert training is not None
        return training

    return run
