"""How values of options are written: names to choose among, numbers with their units, counts; light to import."""

from netsurgeon.pipeline.notation.choices import (
    AUGMENTATIONS,
    EFFORTS,
    IMPORTANCES,
    METHODS,
    NAMES,
    OPTIMISATIONS,
    PREFERENCES,
    QUANTIZE_MODES,
    RANGES,
    RETRAIN_MODES,
    SAVINGS,
    TABLES,
    TARGETS,
    VALIDATION,
    VALUES,
    augmentations,
)
from netsurgeon.pipeline.notation.counts import counted
from netsurgeon.pipeline.notation.quantities import (
    read_bytes,
    read_count,
    read_factor,
    read_milliseconds,
    read_share,
)

__all__ = [
    "AUGMENTATIONS",
    "EFFORTS",
    "IMPORTANCES",
    "METHODS",
    "NAMES",
    "OPTIMISATIONS",
    "PREFERENCES",
    "QUANTIZE_MODES",
    "RANGES",
    "RETRAIN_MODES",
    "SAVINGS",
    "TABLES",
    "TARGETS",
    "VALIDATION",
    "VALUES",
    "augmentations",
    "counted",
    "read_bytes",
    "read_count",
    "read_factor",
    "read_milliseconds",
    "read_share",
]
