"""What can be asked for of a model that came quantized."""

from __future__ import annotations

import dataclasses

from netsurgeon.passes.quantization import QDQ, summary
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import IntegerWeights
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import Options


def options_for_integers(integers: IntegerWeights, options: Options) -> Options:
    """The options for a model that came with integers: no goal makes further ones of it.

    Raises:
        InputError: something is asked for that is not done to integers.
    """
    if not integers.layers:
        return options
    is_so = quantized_already(integers)
    if options.integer_mode is not None:
        way_out = "--sparsity prunes its integers as they are, or give" if integers.grids else "give"
        raise InputError(
            f"{is_so}, and --quantize makes integers of floats: leave it out, or {way_out} the float model that it was "
            "made from"
        )
    if integers.grids and options.trim is not None:
        raise InputError(
            f"{is_so}, and units of it are not trimmed: --sparsity prunes its integers as they are, or trim the float "
            "model that it was made from, with --quantize int8 for integers"
        )
    if integers.grids and options.goals is not None and options.goals.is_structural:
        raise InputError(
            f"{is_so}, and units of it are not trimmed, which {options.goals} asks for: give the float model that it "
            "was made from, with --quantize int8 for integers"
        )
    return dataclasses.replace(options, quantize="none")


def quantized_already(integers: IntegerWeights) -> str:
    """That a model came with integers, and which: how a sentence begins that refuses to make further ones of it."""
    return f"the model is quantized already ({summary(integers.layers)})"


def integer_notes(integers: IntegerWeights) -> tuple[Message, ...]:
    """What the report says of a model that came with integers."""
    if not integers.layers:
        return ()
    pruned = [layer.name for layer in integers.layers if layer.name in integers.grids]
    rest = len(integers.layers) - len(pruned)
    parts = []
    if pruned:
        parts.append(f"{counted(len(pruned), 'weight')} pruned on them, with the same scales and zero points")
    if rest:
        parts.append(f"{counted(rest, 'weight')} left as before")
    text = f"the model came with integers ({summary(integers.layers)}): {', '.join(parts)}"
    return (Message(text, "came-quantized", pruned=pruned, left=rest),)


def check_trainable(integers: IntegerWeights) -> None:
    """Refuse to train integers, but those in front of which a DequantizeLinear makes floats.

    Raises:
        InputError: a model came with some.
    """
    if any(layer.form != QDQ for layer in integers.layers):
        raise InputError(
            f"{quantized_already(integers)}, and integers cannot be trained: retrain the float model that it was "
            "made from, then compress that with --quantize int8"
        )
