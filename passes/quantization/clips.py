"""Between which numbers a Relu or Clip leaves a value, and those that go: where the range of its integers ends there.

They do the work of the Relu or Clip then.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, present, tensor, traits_of

Bounds = tuple[float, float]
"""Least and largest number a value can be."""
EVERYTHING: Bounds = (-math.inf, math.inf)
LARGEST = 255
"""Of unsigned integers of 8 bits."""


def end_of_clips(value: ir.Value) -> tuple[ir.Value, Bounds]:
    """The value behind the Relu and Clip nodes that alone read a value, and between which numbers it lies then.

    Quantization does their work where its range ends where they clip. Those in bodies of If and Loop stay: a body may
    not run.
    """
    low, high = EVERYTHING
    while not value.is_graph_output() and len(value.uses()) == 1:
        (use,) = value.uses()
        node, producer = use.node, value.producer()
        is_beside = producer is not None and node.graph is producer.graph
        bounds = clipped_at(node) if is_beside and value is node.inputs[0] else None
        if bounds is None:
            break
        low, high = max(low, bounds[0]), min(high, bounds[1])
        value = node.outputs[0]
    return value, (low, high)


def clipped_at(node: ir.Node) -> Bounds | None:
    """Where a node clips; None for one that does anything else, or clips at a number that is computed."""
    if node.domain or traits_of(node).integer_role != "clips":
        return None
    if node.op_type == "Relu":
        return 0.0, math.inf
    ends = []
    for index, name, otherwise in ((1, "min", -math.inf), (2, "max", math.inf)):
        value = optional_input(node, index)
        if value is not None and not is_constant(value):
            return None
        number = node.attributes.get_float(name, otherwise) if value is None else float(tensor(value).numpy().item())
        ends.append(number)
    # a range of integers holds zero, and so must what it clips at
    return (ends[0], ends[1]) if ends[0] <= 0.0 < ends[1] else None


class DropClips(ir.passes.InPlacePass):
    """Give every QuantizeLinear what enters the Relu or Clip in front of it, where that changes no integer."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Leave out in place."""
        modified = False
        for node in [node for node in model.graph if node.op_type == "QuantizeLinear" and not node.domain]:
            while _is_done_by(node):
                clip = present(node.inputs[0]).producer()
                assert clip is not None
                ends = [value for value in clip.inputs[1:] if value is not None]
                node.replace_input_with(0, clip.inputs[0])
                model.graph.remove(clip, safe=True)
                for end in ends:
                    if is_constant(end) and not end.uses() and not end.is_graph_output():
                        del model.graph.initializers[end.name or ""]
                modified = True
        return ir.passes.PassResult(model, modified)


def _is_done_by(quantize: ir.Node) -> bool:
    """Whether what makes the input of a QuantizeLinear only clips it, no closer than the integers' own range."""
    value = present(quantize.inputs[0])
    clip = value.producer()
    if clip is None or len(value.uses()) != 1 or value.is_graph_output():
        return False
    bounds, ends = clipped_at(clip), _range(quantize)
    return bounds is not None and ends is not None and bounds[0] <= ends[0] and ends[1] <= bounds[1]


def _range(quantize: ir.Node) -> tuple[float, float] | None:
    """Least and largest number of a QuantizeLinear's integers; None where they are not of one scale and 8 bits."""
    if len(quantize.inputs) < 3 or not all(is_constant(value) for value in quantize.inputs[1:]):
        return None
    step, zero = (tensor(present(value)).numpy() for value in quantize.inputs[1:3])
    if step.size != 1 or zero.dtype != "uint8":
        return None
    return -float(zero.item()) * float(step.item()), (LARGEST - float(zero.item())) * float(step.item())
