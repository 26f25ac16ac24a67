"""A run folder: what was asked for, the network that came out, and a few real inputs to check exports with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from netsurgeon.models.atomic_write import replaced
from netsurgeon.models.networks import NETWORKS
from netsurgeon.models.training import CHECKPOINT, load_checkpoint, load_state, save_checkpoint
from netsurgeon.models.trimming import is_narrower, shrink

RUN = "run.json"
SAMPLES = "samples.safetensors"
SAMPLE_COUNT = 64


@dataclass(frozen=True)
class Run:
    """What `RUN` holds.

    Attributes:
        network: its name.
        classes: how many it tells apart.
        asked: settings of the run; only a run with the same ones is gone on with.
        found: what the run has found by itself.
    """

    network: str
    classes: int
    asked: Mapping[str, Any]
    found: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Write it at once or not at all."""
        with replaced(folder / RUN) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


def load_run(folder: Path) -> Run:
    """What a folder says about its run.

    Raises:
        ValueError: it is not a run folder.
    """
    try:
        values = json.loads((folder / RUN).read_text("utf-8"))
        return Run(**values)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{folder} is not the folder of a run, which `train --out` makes ({error})") from error


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network with its masks multiplied in."""
    plain = {}
    for name, value in state.items():
        layer, _, rest = name.partition(".parametrizations.")
        if not rest:
            plain[name] = value
        elif rest.endswith(".original"):
            which = rest.removesuffix(".original")
            mask = state[f"{layer}.parametrizations.{which}.0.mask"]
            plain[f"{layer}.{which}"] = torch.where(mask, value, torch.zeros_like(value))
    return plain


def load_network(folder: Path) -> tuple[Run, nn.Module]:
    """A trained network in evaluation mode, its masks multiplied in.

    Raises:
        ValueError: it is not a run folder, or nothing has been trained yet.
    """
    run = load_run(folder)
    network = NETWORKS[run.network].build(run.classes)
    load_weights(network, folder / CHECKPOINT)
    return run, network.eval()


def load_weights(network: nn.Module, checkpoint: Path) -> None:
    """Fill a network from a checkpoint, its masks multiplied in; of a trimmed network it takes the widths as well.

    Raises:
        ValueError: there is none, or it is of another network.
    """
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint} is not there: nothing has been trained yet, run `train` again")
    groups, _ = load_checkpoint(checkpoint)
    state = plain_state(groups["network"])
    if is_narrower(state, network):
        shrink(network, state)
    load_state(network, state, checkpoint)


def save_samples(folder: Path, inputs: npt.NDArray[np.float32]) -> None:
    """Keep some real inputs."""
    save_checkpoint(folder / SAMPLES, {"samples": {"inputs": torch.from_numpy(inputs)}}, {})


def load_samples(folder: Path) -> Tensor:
    """The inputs that were kept."""
    return load_checkpoint(folder / SAMPLES)[0]["samples"]["inputs"]
