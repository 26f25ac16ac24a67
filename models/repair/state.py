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
        best_error: the same of the best one.
        best_step: of its try; 0 = the start.
        number: of the try, from 0.
        step: of the try.
        optimizer: moments by parameter and name.
    """

    network: dict[str, Tensor]
    best: dict[str, Tensor]
    start_error: float
    best_error: float
    best_step: int = 0
    number: int = 0
    step: int = 0
    optimizer: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def new(cls, network: OnnxModule, error: float) -> RepairState:
        """At the start."""
        return cls(_copied(network), _copied(network), error, error)

    @classmethod
    def of(cls, arrays: Arrays) -> RepairState:
        """What `arrays` gave."""
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
        for place, array in arrays.items():
            group, _, name = place.partition("/")
            if group in groups:
                groups[group][name] = torch.from_numpy(np.array(array))
        start, best = (float(error) for error in arrays["errors"])
        best_step, number, step = (int(number) for number in arrays["numbers"])
        return cls(
            network=groups["network"],
            best=groups["best"],
            start_error=start,
            best_error=best,
            best_step=best_step,
            number=number,
            step=step,
            optimizer=groups["optimizer"],
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
            "errors": np.array([self.start_error, self.best_error]),
            "numbers": np.array([self.best_step, self.number, self.step]),
        }

    def load_into(self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> None:
        """Give an optimizer the moments that were kept."""
        for place, value in self.optimizer.items():
            name, _, key = place.rpartition("/")
            optimizer.state[parameters[name]][key] = value.to(parameters[name].device if value.ndim else "cpu")

    def look(self, network: OnnxModule, error: float) -> None:
        """Keep the network where it is better than all before; NaN is not."""
        if error < self.best_error:
            self.best_error, self.best_step, self.best = error, self.step, _copied(network)

    def next_try(self) -> None:
        """Back to the start."""
        self.number, self.step, self.optimizer = self.number + 1, 0, {}
        self.network = self.best


def _copied(network: OnnxModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
