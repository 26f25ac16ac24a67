"""Options that would change nothing, or what others make: said before anything runs."""

from __future__ import annotations

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.groups import QuantizeOptions
from netsurgeon.pipeline.options.options import Options

WITH_RANGES = ("int8", "w4a8")
"""Modes whose activations have ranges that are measured."""


def check_effects(options: Options) -> None:
    """Refuse what the user gives and `compress` would not heed.

    Not a check of `Options` themselves: a search makes options of its own from them, with integers and without.

    Raises:
        InputError: an option would have no effect beside the others.
    """
    mode, values = options.integer_mode, options.values
    if mode is not None and values not in (None, "float32"):
        raise InputError(
            f"quantize {mode} makes integers of the weights, and values {values} would round them before: leave one of "
            "the two out"
        )
    has_ranges = mode in WITH_RANGES or (mode is None and options.may_choose_integers)
    if options.ranges != QuantizeOptions.ranges and not has_ranges:
        raise InputError(
            f"ranges {options.ranges} says how ranges of activations are measured, and none are measured here: leave "
            f"it out, or give it with quantize {' or '.join(WITH_RANGES)}"
        )
