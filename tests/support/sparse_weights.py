"""Random weights most of which are zero."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sparse(shape: tuple[int, ...], sparsity: float = 0.8, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * (rng.random(shape) >= sparsity)).astype(np.float32)
