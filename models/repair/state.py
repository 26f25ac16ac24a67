"""Where a repair stands, and what of it is kept for a run that goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netsurgeon.models.onnx_module import OnnxModule

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass
class RepairState:
    """Where a repair stands.

    Attributes:
        network: as it is when the try goes on.
        best: the best one so far.
        start_error: on the held-out inputs.
        start_divergence: likewise; no state with a greater one is better.
        best_error: the error of the best one.
        best_step: of its try; 0 = the start.
        number: of the try, from 0.
        step: of the try.
        optimizer: moments by parameter and name.
        seconds: that it has taken so far, in all runs.
    """

    network: dict[str, Tensor]
    best: dict[str, Tensor]
    start_error: float
    start_divergence: float
    best_error: float
    best_step: int = 0
    number: int = 0
    step: int = 0
    optimizer: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def new(cls, network: OnnxModule, losses: tuple[float, float]) -> RepairState:
        """At the start, with its error and divergence."""
        error, divergence = losses
        return cls(_copied(network), _copied(network), error, divergence, error)

    @classmethod
    def of(cls, arrays: Arrays) -> RepairState:
        """What `arrays` gave."""
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
        for place, array in arrays.items():
            group, _, name = place.partition("/")
            if group in groups:
                groups[group][name] = torch.from_numpy(np.array(array))
        start, divergence, best, seconds = (float(figure) for figure in arrays["figures"])
        best_step, number, step = (int(number) for number in arrays["numbers"])
        return cls(
            network=groups["network"],
            best=groups["best"],
            start_error=start,
            start_divergence=divergence,
            best_error=best,
            best_step=best_step,
            number=number,
            step=step,
            optimizer=groups["optimizer"],
            seconds=seconds,
        )

    def arrays(
        self, network: OnnxModule, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
    ) -> dict[str, npt.NDArray[Any]]:
        """All that a run needs to go on."""
        moments = {
            f"{name}/{key}": value
            for name, parameter in parameters.items()
            for key, value in optimizer.state[parameter].items()
        }
        groups = {"network": network.state_dict(), "best": self.best, "optimizer": moments}
        tensors = {
            f"{group}/{name}": value for group, tensors_of in groups.items() for name, value in tensors_of.items()
        }
        return {
            **{place: value.detach().cpu().numpy() for place, value in tensors.items()},
            "figures": np.array([self.start_error, self.start_divergence, self.best_error, self.seconds]),
            "numbers": np.array([self.best_step, self.number, self.step]),
        }

    def load_into(self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> None:
        """Give an optimizer the moments that were kept."""
        for place, value in self.optimizer.items():
            name, _, key = place.rpartition("/")
            optimizer.state[parameters[name]][key] = value.to(parameters[name].device if value.ndim else "cpu")

    def look(self, network: OnnxModule, losses: tuple[float, float]) -> None:
        """Keep the network where its error is below all before and its divergence not above the start's; NaN is not."""
        error, divergence = losses
        if error < self.best_error and divergence <= self.start_divergence:
            self.best_error, self.best_step, self.best = error, self.step, _copied(network)

    def next_try(self) -> None:
        """Back to the start."""
        self.number, self.step, self.optimizer = self.number + 1, 0, {}
        self.network = self.best


def _copied(network: OnnxModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
