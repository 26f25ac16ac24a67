"""What a model's input looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class InputSpec:
    """One input of the model: its shape has None for a dynamic axis, and is None where the rank is unknown.

    A free axis 0 counts samples, unless `has_batch` is False: then one feed is one sample, whatever its length.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
    has_batch: bool = True


def plain_name(name: str) -> str:
    """What people call an input: in small letters, and without the numbers that exporters put behind (`ids_1:0`)."""
    return re.sub(r"([:._]\d+)+$", "", name.lower()).replace(".", "_")
