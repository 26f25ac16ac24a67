"""Heads and hidden units of a transformer go, and what is left of its products is integers, in one run."""

import functools
from typing import Any

import numpy as np
import pytest
from masked_models import encoder, padded, sentences

from netsurgeon import Compression, compress
from netsurgeon.passes.graph import present, tensor
from netsurgeon.passes.quantization import find_quantized_layers
from netsurgeon.pipeline.runtime import Runtime

WIDTH = 32
WAYS: dict[str, dict[str, Any]] = {
    "w4": {"quantize": "w4"},
    "w4 in standard operators": {"quantize": "w4", "target": "onnx"},
    "w8": {"quantize": "w8"},
    "int8": {"quantize": "int8", "target": "openvino"},
}


OPTIONS: dict[str, Any] = {"round_to": 1, "damping": 0.01, "effort": "fast"}


@functools.cache
def all_units_on_integers(way: str) -> Compression:
    """With all heads and hidden units."""
    return compress(encoder(width=WIDTH), padded(sentences(200)), **WAYS[way], **OPTIONS)


@pytest.mark.parametrize("trim", [0.3, "up-to:30%"])
@pytest.mark.parametrize("way", WAYS)
def test_both_are_done_and_the_smaller_layers_are_on_integers(way: str, trim: float | str) -> None:
    model, data = encoder(width=WIDTH), padded(sentences(200))
    whole = all_units_on_integers(way)
    result = compress(model, data, trim=trim, **WAYS[way], **OPTIONS)
    report = result.report
    assert report.trim is not None
    assert report.trim.groups
    assert report.integers is not None
    assert whole.report.integers is not None
    on_integers = {layer.name for layer in report.integers.layers}
    assert on_integers == {layer.name for layer in whole.report.integers.layers}
    assert {"up", "down", "to_q", "out"} <= on_integers
    quantized = {layer.name: layer.weights for layer in find_quantized_layers(result.model.graph)}
    dense = {node.name: node for node in model.graph}
    before = {name: tensor(present(dense[name].inputs[1])).size for name in quantized}
    assert sum(quantized.values()) < 0.8 * sum(before.values())
    feed = {name: array[:32] for name, array in padded(sentences(40)).items()}
    expected, given = (Runtime().session(one).run(feed)["embedding"] for one in (model, result.model))
    error = np.linalg.norm(given - expected) / np.linalg.norm(expected)
    assert error < 0.7
    assert report.compressed.bytes < whole.report.compressed.bytes
