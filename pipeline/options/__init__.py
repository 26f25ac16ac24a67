"""Everything a user can choose."""

from netsurgeon.pipeline.options.effects import check_effects
from netsurgeon.pipeline.options.goals import DEFAULT_DROP, Goals
from netsurgeon.pipeline.options.groups import (
    DataOptions,
    GoalOptions,
    Metric,
    OptionValues,
    PruneOptions,
    QuantizeOptions,
    RepairOptions,
    ReportOptions,
    RuntimeOptions,
    StorageOptions,
    TrimOptions,
)
from netsurgeon.pipeline.options.options import OPTION_GROUPS, Options, finer_values
from netsurgeon.pipeline.options.recipe import Kind, read_recipe
from netsurgeon.pipeline.options.row_numbers import are_numbers, spans_of
from netsurgeon.pipeline.options.signature import attribute_texts, check_names, checks_names, takes_options
from netsurgeon.pipeline.options.type_checks import check_types

__all__ = [
    "DEFAULT_DROP",
    "OPTION_GROUPS",
    "DataOptions",
    "GoalOptions",
    "Goals",
    "Kind",
    "Metric",
    "OptionValues",
    "Options",
    "PruneOptions",
    "QuantizeOptions",
    "RepairOptions",
    "ReportOptions",
    "RuntimeOptions",
    "StorageOptions",
    "TrimOptions",
    "are_numbers",
    "attribute_texts",
    "check_effects",
    "check_names",
    "check_types",
    "checks_names",
    "finer_values",
    "read_recipe",
    "spans_of",
    "takes_options",
]
