"""The steps of a compression: shortcuts become convolutions, units go, and what does not hold is undone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import built, random

from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.profiling import StructureTimer, Timed


def residual() -> onnx.ModelProto:
    """A block with a stride whose shortcut is Slice and Pad, then pooling and classes."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], name="main", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Constant", [], ["starts"], value_ints=[0, 0]),
        node("Constant", [], ["ends"], value_ints=[2**31, 2**31]),
        node("Constant", [], ["axes"], value_ints=[2, 3]),
        node("Constant", [], ["steps"], value_ints=[2, 2]),
        node("Constant", [], ["pads"], value_ints=[0, 8, 0, 0, 0, 8, 0, 0]),
        node("Slice", ["r0", "starts", "ends", "axes", "steps"], ["s"]),
        node("Pad", ["s", "pads"], ["p"]),
        node("Add", ["c1", "p"], ["a"]),
        node("Relu", ["a"], ["r1"]),
        node("GlobalAveragePool", ["r1"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w2"], ["y"], name="classes"),
    ]
    weights = {
        "w0": random(16, 3, 3, 3),
        "w1": random(32, 16, 3, 3, seed=1) / np.float32(12.0),
        "w2": random(32, 10, seed=2),
    }
    return built(nodes, weights, entry=("N", 3, 12, 12), end=("N", 10))


@pytest.mark.parametrize("how", [{"sparsity": 0.3}, {"trim": 0.3, "round_to": 4}])
def test_shortcuts_become_convolutions(how: Any, tmp_path: Path) -> None:
    x = random(80, 3, 12, 12, seed=4)
    result = compress(residual(), x, output=tmp_path / "small.onnx", values="float32", **how)
    written = ir.load(tmp_path / "small.onnx")
    UnpackWeights()(written)
    operators = [node.op_type for node in written.graph]
    assert "Pad" not in operators
    assert "Slice" not in operators
    assert operators.count("Conv") == 3
    assert "shortcuts-convolved" in [note.code for note in result.report.notes]
    assert result.report.validation.outputs[0].relative_error < 0.5
    assert {layer.name for layer in result.report.layers} == {"stem", "main", "classes"}


def test_a_model_that_integers_have_made_slower_is_delivered_on_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    def time(timer: StructureTimer, name: str, *_: object, **__: object) -> Timed:
        speedup = 0.8 if "on integers beside" in name else 2.0
        return Timed(speedup, 1.0, *[speedup] * 3)

    monkeypatch.setattr(StructureTimer, "time", time)
    report = compress(residual(), random(80, 3, 12, 12, seed=4), quantize="int8").report
    assert report.integers is None
    (note,) = (note for note in report.notes if note.code == "not-quantized")
    assert "only 0.80 times as fast" in note
