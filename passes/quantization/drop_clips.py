"""Leave out Relu and Clip where making integers does the same: the range of the integers ends where they clip."""

from __future__ import annotations

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, present, tensor
from netsurgeon.passes.quantization.clips import clipped_at

LARGEST = 255
"""Of unsigned integers of 8 bits."""


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
