"""From a PyTorch network to an ONNX model with a dynamic batch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
OPSET = 20
"""The newest that torch.onnx.export itself writes."""


def export(network: nn.Module, example: Tensor, opset: int = OPSET) -> onnx.ModelProto:
    """Export a network, in evaluation mode, checked by ``onnx.checker`` and free of metadata.

    Args:
        network: takes one tensor and gives one.
        example: two inputs or more.
        opset: version of the operators.
    """
    proto: onnx.ModelProto = ir.to_proto(_graph(network, example, opset, optimise=True))
    del proto.graph.value_info[:]  # shapes of inner values follow from the rest, and count in a small file
    onnx.checker.check_model(proto, full_check=True)
    return proto


def export_layers(network: nn.Module, example: npt.NDArray[np.float32]) -> ir.Model:
    """The graph of a network, in evaluation mode, layer by layer: nothing is folded into anything else.

    Every parameter and every running statistic is an initializer of its own name.

    Args:
        network: takes one tensor and gives one.
        example: two inputs or more.
    """
    model = _graph(network, torch.from_numpy(example), OPSET, optimise=False)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold_constants(model, onnx_shape_inference=True)
    return model


def _graph(network: nn.Module, example: Tensor, opset: int, optimise: bool) -> ir.Model:
    with _quiet_exporter():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
            optimize=optimise,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    strip_metadata(program.model)
    return program.model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what the exporter tells about its own code, and about torchvision, which nothing here needs."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def strip_metadata(model: ir.Model) -> None:
    """Remove, in place, what the exporter notes about where the graph came from (stack traces, paths)."""
    for graph in model.graphs():
        graph.doc_string = None
        graph.metadata_props.clear()
        for node in graph:
            node.doc_string = None
            node.metadata_props.clear()
        computed = [value for node in graph for value in node.outputs]
        for value in (*graph.inputs, *graph.initializers.values(), *computed):
            value.doc_string = None
            value.metadata_props.clear()
    model.doc_string = None
    model.metadata_props.clear()
