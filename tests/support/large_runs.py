"""Small models that count as large: processes that are forked find this module by its name."""

from types import ModuleType
from typing import Any

import netsurgeon
from netsurgeon.pipeline.execution import weight_file
from netsurgeon.pipeline.runtime import large_models

LIMITS: tuple[tuple[ModuleType, str, int], ...] = (
    (large_models, "IN_MEMORY_LIMIT", 1000),
    (large_models, "EXTERNAL_BYTES", 256),
    (weight_file, "EXTERNAL_BYTES", 256),
)
"""With them a model of a thousand bytes is a large one."""


def compress_as_large(*arguments: Any, **keywords: Any) -> None:
    """`compress`, in a process of its own, in which every model is large."""
    for module, name, limit in LIMITS:
        setattr(module, name, limit)
    netsurgeon.compress(*arguments, **keywords)
