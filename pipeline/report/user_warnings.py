"""What a user of `compress` should know of the result: each a sentence for the report's warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.quantization import IntegerFacts, zeros_save_bytes
from netsurgeon.pipeline.report.record import LayerFacts
from netsurgeon.pipeline.trimming import TrimFacts
from netsurgeon.pipeline.verification import Validation

FEWEST_INPUTS = 16
"""Inputs below which a measured error is called unreliable."""


def unmeasured(validation: Validation) -> Iterator[Message]:
    """Scores of the user's metric that are no number."""
    for name, scores in (("dense", validation.dense), ("compressed", validation.compressed)):
        if scores.metric is not None and np.isnan(scores.metric):
            title = "the metric" if validation.measure == "metric" else validation.scale.title
            text = f"{title} gives NaN for the {name} model: it says nothing, check it or the inputs"
            yield Message(text, "metric-nan", model=name)


def not_finite(validation: Validation) -> Iterator[Message]:
    """Outputs of the dense model that overflow for some inputs: with other weights, they do for other inputs."""
    for output in validation.outputs:
        if 0 < output.not_finite < validation.samples:
            first = f" (the first is {output.first_not_finite})" if output.first_not_finite else ""
            yield Message(
                f"the dense model's output {output.output!r} is NaN or infinite for {output.not_finite} of "
                f"{validation.samples} inputs{first}: there it is left out of what is compared, and for others the "
                "compressed model's may be so, too; look for inputs that are empty, or inputs or weights that are too "
                "large",
                "outputs-not-finite",
                output=output.output,
                inputs=output.not_finite,
                first=output.first_not_finite,
                samples=validation.samples,
            )


def alike(validation: Validation) -> Iterator[Message]:
    """Outputs that most inputs of the measurement share."""
    for output in filter(validation.is_alike, validation.outputs):
        yield Message(
            f"the dense model's output {output.output!r} is the same for {output.alike} of {validation.samples} "
            "inputs of the final measurement: what matters to it can hardly be told; give inputs for which it differs",
            "outputs-alike",
            output=output.output,
            alike=output.alike,
            samples=validation.samples,
        )


def few_inputs(validation: Validation) -> Iterator[Message]:
    """Figures that rest on hardly any inputs, or on those that the corrections were made on."""
    if validation.samples < FEWEST_INPUTS:
        yield Message(
            f"accuracy and errors rest on {counted(validation.samples, 'input')}: on others they may be many times as "
            f"large; give {FEWEST_INPUTS} or more, better a few hundred",
            "few-inputs",
            samples=validation.samples,
        )
    if not validation.held_out:
        yield Message(
            "the error was measured on the inputs that the weights were corrected on, which flatters it: give more "
            "inputs, or others with --test",
            "not-held-out",
            samples=validation.samples,
        )


def not_measured(validation: Validation) -> Iterator[Message]:
    """Outputs of which nothing could be compared."""
    empty = [agreement.output for agreement in validation.agreements if not agreement.entries]
    if empty:
        listed = ", ".join(empty[:3]) + (", …" if len(empty) > 3 else "")
        yield Message(
            f"{listed}: empty for all inputs of the final measurement, so that nothing is compared there; what the "
            "compressed model gives for others may differ",
            "outputs-unmeasured",
            outputs=empty,
        )


def emptied(layers: Sequence[LayerFacts]) -> Iterator[Message]:
    """Layers that have lost every weight."""
    empty = [layer.name for layer in layers if not layer.kept]
    if empty:
        listed = ", ".join(empty[:3]) + (", …" if len(empty) > 3 else "")
        yield Message(
            f"no weight is left in {listed}: the input never varied on the calibration inputs, or the sparsity asks "
            "for it; more calibration inputs, or another sparsity for the layer, would keep it alive",
            "layers-emptied",
            layers=empty,
        )


def scarce(trim: TrimFacts | None) -> Iterator[Message]:
    """Groups of units of which hardly any are left."""
    groups = trim.scarce if trim else ()
    if groups:
        named = (f"{group.removed:,} of {group.units:,} of {group.node}" for group in groups[:3])
        listed = ", ".join(named) + (", …" if len(groups) > 3 else "")
        yield Message(
            f"hardly any units are left of some layers ({listed} went): nothing else could save as much; ask for a "
            "smaller --trim",
            "units-scarce",
            groups={group.node: [group.removed, group.units] for group in groups},
        )


def hasty(options: Options) -> Iterator[Message]:
    """What a first look leaves undone."""
    if options.is_hasty:
        text = (
            "made with --effort fast: fewer rows, quicker solvers, few tries. What is measured holds for this model; "
            "without that option a smaller or more accurate one is likely to be found"
        )
        yield Message(text, "fast-effort")


def zeros_in_vain(
    keep: Mapping[str, int], sizes: Mapping[str, int], integers: IntegerFacts | None, options: Options
) -> Iterator[Message]:
    """Weights that were removed from layers whose form takes as many bytes with zeros as without.

    Rounding makes zeros, too: those are none of them.
    """
    in_blocks = [layer.name for layer in (integers.layers if integers else ()) if layer.bits is not None]
    pruned = [name for name in in_blocks if name in keep and keep[name] < sizes[name]]
    if pruned and not zeros_save_bytes(options):
        mode = options.integer_mode
        onnx = ", or --target onnx, whose integers are packed" if mode == "w8" else ""
        yield Message(
            f"the zeros of {counted(len(pruned), 'layer')} save neither bytes nor time, they only cost accuracy: with "
            f"--quantize {mode} every weight takes {4 if mode == 'w4' else 8} bits, zero or not; remove none, or give "
            f"--quantize int8 or w4a8{onnx}",
            "zeros-in-vain",
            layers=pruned,
        )


def grown(dense: int, compressed: int, selection: Selection, options: Options) -> Iterator[Message]:
    """A file that has become larger."""
    if compressed > dense:
        sharing = sum(len(layer.weight.uses()) > 1 for layer in selection.layers)
        why = f": {counted(sharing, 'layer')} got weights of their own in place of shared ones" if sharing else ""
        larger = "--trim" if options.trim is not None and not options.pruned_share else "--sparsity"
        advice = "leave layers out with --exclude" + ("" if options.goals else f", or give a larger {larger}")
        advice += "" if options.pack else ", or let weights be packed (without --no-pack)"
        yield Message(
            f"the file has become larger, {dense:,} → {compressed:,} bytes{why}; {advice}",
            "file-grew",
            dense=dense,
            compressed=compressed,
            sharing=sharing,
        )
