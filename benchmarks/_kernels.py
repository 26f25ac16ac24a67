"""What ONNX Runtime runs of a quantized model: the operators of its optimised graph, counted, beside what was meant."""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

from netsurgeon.pipeline.runtime import onnxruntime

INTEGER_LAYERS = (
    "QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "MatMulNBits", "QAttention", "DynamicQuantizeLSTM",
)  # fmt: skip
"""Layers with weights that run in integers; a model may hold them as they are, or get them by fusion."""
FLOAT_LAYERS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
LAYERS = ("Conv", "Gemm", "MatMul")
VIEWS = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "MaxPool")
"""Operators that choose and move values: behind them a dequantized value is still one."""


def kernels(model: Path) -> dict[str, int]:
    """Operators that ONNX Runtime's CPU provider runs once it has optimised the model, and how many of each."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath, load_external_data=False)
    counts = collections.Counter(node.op_type for node in _nodes(optimised.graph))
    return dict(counts.most_common())


def intended_layers(model: Path) -> int:
    """Layers that a file means to run in integers: with dequantized data and weight, or integer operators as such."""
    loaded = onnx.load(model, load_external_data=False)
    nodes = list(_nodes(loaded.graph))
    makers = {name: node for node in nodes for name in node.output}
    between = (node for node in nodes if node.op_type in LAYERS and len(node.input) > 1)
    dequantized = sum(all(_is_dequantized(name, makers) for name in node.input[:2]) for node in between)
    return dequantized + sum(node.op_type in INTEGER_LAYERS for node in nodes)


def integer_layers(counts: dict[str, int]) -> int:
    """Of what runs, layers in integers."""
    return sum(counts.get(operator, 0) for operator in INTEGER_LAYERS)


def float_layers(counts: dict[str, int]) -> int:
    """Of what runs, layers in floating point; products of two activations are among them."""
    return sum(counts.get(operator, 0) for operator in FLOAT_LAYERS)


def conversions(counts: dict[str, int]) -> int:
    """Of what runs, steps between floats and integers."""
    return sum(counts.get(operator, 0) for operator in CONVERSIONS)


def _is_dequantized(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    maker = makers.get(name)
    while maker is not None and maker.op_type in VIEWS:
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type == "DequantizeLinear"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the bodies of its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)
