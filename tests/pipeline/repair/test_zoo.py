"""Graphs of every kind, as far as they are tuned at once: ONNX Runtime's values, and a gradient for each weight."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from netsurgeon.models.onnx_module import OPERATORS, OnnxModule
from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.repair.known_part import known_part

ZOO = Path(__file__).resolve().parents[4] / "shared" / "zoo"
BEYOND = {"gtcrn_simple": ("GRU", "ScatterND"), "silero_vad_16k": ("If",)}
"""Operators that PyTorch lacks; it has all those of the others."""
LARGEST = 1e-4
"""Difference, as a share of the largest number, or of 1 where all are smaller: ONNX Runtime's Sigmoid ends further from
0."""
MANIFEST = json.loads((ZOO / "manifest.json").read_text()) if (ZOO / "manifest.json").exists() else {}


def random_feed(name: str) -> dict[str, Any]:
    """What the manifest says that a model takes."""
    generator = np.random.default_rng(0)
    feed = {}
    for entry, spec in MANIFEST[name]["inputs"].items():
        shape, kind = spec["shape"], np.dtype({"float": "float32"}.get(spec["dtype"], spec["dtype"]))
        values = generator.standard_normal(shape) if kind.kind == "f" else generator.integers(0, 200, shape)
        feed[entry] = np.asarray(spec.get("value", values), kind).reshape(shape)
    return feed


@pytest.mark.skipif(not MANIFEST, reason="the shared folder is not there")
@pytest.mark.parametrize("name", [name for name in MANIFEST if not name.startswith("light_")])
def test_a_graph_gives_what_onnx_runtime_gives_and_every_weight_learns(name: str) -> None:
    model, feed = ir.load(ZOO / f"{name}.onnx"), random_feed(name)
    normal_form()(model)
    layers = [label(layer.node) for layer in find_layers(model.graph)[0]]
    if name == "dtln_1":
        with pytest.raises(CheckFailedError, match="PyTorch does not know LSTM, and no layer lies in front of it"):
            known_part(model, OPERATORS, layers, feed)
        return
    part, beyond = known_part(model, OPERATORS, layers, feed)
    assert beyond == BEYOND.get(name, ())
    proto = ir.to_proto(part)
    module = OnnxModule(proto)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(module.outputs, {entry: feed[entry] for entry in module.inputs})
    outputs = module.values({entry: torch.from_numpy(feed[entry]) for entry in module.inputs}, module.outputs)
    values = [value for value in outputs.values() if value is not None]
    for value, array in zip(values, expected, strict=True):
        difference = np.abs(value.detach().numpy().astype(float) - array).max()
        assert difference <= LARGEST * max(np.abs(array.astype(float)).max(), 1.0)
    differentiable = [value for value in values if value.requires_grad]
    torch.autograd.backward(differentiable, [torch.ones_like(value) for value in differentiable])
    has_learnt = [parameter.grad is not None for parameter in module.parameters()]
    assert all(has_learnt) != (name == "keypoint_classifier"), "whose output is the place of the largest number"
