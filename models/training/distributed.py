"""One process, or the several that ``torchrun`` starts: who this one is, and what they do together."""

from __future__ import annotations

import datetime
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
PATIENCE = datetime.timedelta(days=1)
"""How long processes wait while one of them prunes or looks for idle units."""


@dataclass(frozen=True)
class Process:
    """One of the processes that train: this one.

    Attributes:
        rank: its number.
        world: how many there are.
        device: what it computes on.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network as it is called in training: its gradients are averaged over the processes."""
        if self.world == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def broadcast_from_main(self, decide: Callable[[], T]) -> T:
        """What the process that leads finds, in all processes: none goes a way of its own.

        Args:
            decide: called in that process only; what it gives holds no tensor that lies on a GPU.
        """
        if self.world == 1:
            return decide()
        decisions: list[T] = [decide()] if self.is_main_process else [None]  # type: ignore[list-item]
        distributed.broadcast_object_list(decisions, src=0, device=self.device)
        return decisions[0]


@contextmanager
def process_group(device: str) -> Iterator[Process]:
    """Give this process, in contact with the others that ``torchrun`` has started, if it has.

    Args:
        device: "cpu", "cuda", "cuda:1", or "auto" for CUDA where there is any.

    Raises:
        ValueError: the device is not there.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    process = Process(rank, world, find_device(device, int(os.environ.get("LOCAL_RANK", "0"))))
    if world == 1:
        yield process
        return
    importlib.import_module("torch.distributed.nn")  # its functions keep the group that they find now: none
    backend = "nccl" if process.device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield process
        process.wait()  # all leave together: what one takes down, others may still be listening to
    finally:
        distributed.destroy_process_group()


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name; "auto" is CUDA where there is any.

    Raises:
        ValueError: it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}, expected auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name} is not there: PyTorch sees {torch.cuda.device_count()} CUDA devices")
    return device
