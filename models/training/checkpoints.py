"""Tensors and a few facts in one safetensors file, written at once or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from netsurgeon.models.atomic_write import replaced

FACTS = "netsurgeon"


def save_checkpoint(path: Path, tensors: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Write groups of tensors, and facts as JSON, beside the goal and rename."""
    flat = {
        f"{group}/{name}": tensor.detach().cpu().clone().contiguous()
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    with replaced(path) as temporary:
        save_file(flat, temporary, {FACTS: json.dumps(facts)})


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The groups of tensors, on the CPU, and the facts.

    Raises:
        ValueError: the file is none that `save_checkpoint` wrote.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            for key in file.keys():  # noqa: SIM118 - the file is no mapping
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a checkpoint of netsurgeon ({error})") from error
    return groups, facts


def load_state(module: torch.nn.Module, state: Mapping[str, Tensor], origin: Path) -> None:
    """Fill a module with a group of tensors.

    Raises:
        ValueError: they are those of another network.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{origin} holds another network: {str(error).splitlines()[1].strip()}") from error
