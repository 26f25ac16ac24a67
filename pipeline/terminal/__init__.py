"""Tables, progress, options and exit codes of the command line."""

from netsurgeon.pipeline.terminal.command_options import (
    Data,
    FilePath,
    batch_sizes,
    classes_option,
    data_options,
    layer_sparsities,
    output_options,
    picture_options,
    recipe_option,
    run_options,
    shapes,
    verbose_option,
    with_pictures,
)
from netsurgeon.pipeline.terminal.console import (
    print_comparison,
    print_comparisons,
    print_inspection,
    print_report,
    print_sensitivity,
    print_units,
    progress,
)
from netsurgeon.pipeline.terminal.console_integers import print_quantization
from netsurgeon.pipeline.terminal.console_latency import print_profile
from netsurgeon.pipeline.terminal.console_training import print_export, print_retraining, print_training
from netsurgeon.pipeline.terminal.exits import explain, stop_at_signals
from netsurgeon.pipeline.terminal.results import check_files, check_page, show_result
from netsurgeon.pipeline.terminal.safe_text import Console
from netsurgeon.pipeline.terminal.standard_output import STANDARD_OUTPUT, model_file

__all__ = [
    "STANDARD_OUTPUT",
    "Console",
    "Data",
    "FilePath",
    "batch_sizes",
    "check_files",
    "check_page",
    "classes_option",
    "data_options",
    "explain",
    "layer_sparsities",
    "model_file",
    "output_options",
    "picture_options",
    "print_comparison",
    "print_comparisons",
    "print_export",
    "print_inspection",
    "print_profile",
    "print_quantization",
    "print_report",
    "print_retraining",
    "print_sensitivity",
    "print_training",
    "print_units",
    "progress",
    "recipe_option",
    "run_options",
    "shapes",
    "show_result",
    "stop_at_signals",
    "verbose_option",
    "with_pictures",
]
