"""What a model's input looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class InputSpec:
    """One input of the model: its shape has None for a dynamic axis, and is None where the rank is unknown."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
