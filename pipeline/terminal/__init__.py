"""Tables and files: what becomes of a command's result on a terminal."""

from netsurgeon.pipeline.terminal.console import (
    print_comparison,
    print_comparisons,
    print_inspection,
    print_report,
    print_sensitivity,
    print_units,
)
from netsurgeon.pipeline.terminal.console_integers import print_quantization
from netsurgeon.pipeline.terminal.console_latency import print_profile
from netsurgeon.pipeline.terminal.console_training import print_export, print_retraining, print_training
from netsurgeon.pipeline.terminal.results import check_files, check_page, show_result
from netsurgeon.pipeline.terminal.safe_text import Console, Formatter
from netsurgeon.pipeline.terminal.standard_output import STANDARD_OUTPUT, model_file

__all__ = [
    "STANDARD_OUTPUT",
    "Console",
    "Formatter",
    "check_files",
    "check_page",
    "model_file",
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
    "show_result",
]
