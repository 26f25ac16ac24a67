"""A compressed model holds no more numbers than the dense one: biases that corrections add are paid for by weights."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from bounded_nets import random_net
from plain_models import DENSE, DIGITS

import netsurgeon
from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.model_files.fingerprint import model_facts

ZOO = Path(__file__).parents[3] / "shared" / "zoo"
WAYS: dict[str, dict[str, Any]] = {
    "half": {"sparsity": 0.5},
    "few weights": {"sparsity": 0.01},
    "units": {"trim": 0.2},
    "zeros kept": {"keep_zeros": True},
    "4 bits": {"quantize": "w4", "target": "onnx"},
    "8 bits": {"quantize": "w8", "target": "onnx"},
}
SAMPLES = np.random.default_rng(4).standard_normal((64, 3, 8, 8)).astype(np.float32)


def without_some_biases(seed: int) -> ir.Model:
    """A random network in which a layer has a bias or not."""
    model, rng = random_net(seed), np.random.default_rng(seed)
    for node in model.graph:
        if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2 and rng.random() < 0.7:
            node.replace_input_with(2, None)
    return model


def check(model: Any, data: Any, way: str) -> None:
    result = netsurgeon.compress(model, data, limit=64, damping=0.01, effort="fast", **WAYS[way])
    dense, compressed = result.report.dense, result.report.compressed
    assert compressed.nonzero <= dense.parameters
    if "trim" in WAYS[way]:
        assert compressed.parameters < dense.parameters
    assert compressed.nonzero == model_facts(result.model, None).nonzero


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed: int, way: str) -> None:
    model = without_some_biases(seed)
    assert any(layer.bias_slot() and not layer.has_bias for layer in find_layers(model.graph)[0])
    check(model, {"x": SAMPLES}, way)


@pytest.mark.parametrize("way", ["half", "units", "4 bits"])
def test_the_digits(way: str) -> None:
    check(DENSE, DIGITS / "calibration.npz", way)


@pytest.mark.parametrize("way", ["few weights", "8 bits"])
@pytest.mark.parametrize("name", ["keypoint_classifier", "mlperf_kws"])
def test_real_networks(name: str, way: str) -> None:
    path = ZOO / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    check(path, "random:64", way)


def test_scales_of_integers_are_no_parameters() -> None:
    options: dict[str, Any] = {"quantize": "w4", "target": "onnx", "effort": "fast", "limit": 64}
    result = netsurgeon.compress(DENSE, DIGITS / "calibration.npz", **options)
    assert result.report.compressed.parameters == result.report.dense.parameters
