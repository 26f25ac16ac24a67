"""Weights that ConstantOfShape makes cost nothing in a file: they are left alone, unless the user names their layer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from perceptron_models import ROOT, Array, built, random

import netsurgeon
from netsurgeon.pipeline.errors import InputError

REASON = "its weight is made by ConstantOfShape, of values that are alike: stored it would make the file larger"
ZOO = ROOT.parent / "shared" / "zoo"
FEW: Any = {"method": "obs", "damping": 0.01, "uniform": True}


def filled(name: str, value: float = 0.02) -> onnx.NodeProto:
    """A node that makes `name` of as many equal values as its shape says."""
    tensor = numpy_helper.from_array(np.array([value], np.float32))
    return helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], f"make_{name}", value=tensor)


def generated(*, first_is_stored: bool = True) -> onnx.ModelProto:
    """Two Gemms with biases; weight and bias of the second are made by ConstantOfShape."""
    shapes = {"w2_shape": np.array([128, 10]), "b2_shape": np.array([10])}
    nodes = [
        filled("w2"),
        filled("b2"),
        helper.make_node("Gemm", ["x", "w1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second"),
    ]
    weights: dict[str, Array] = {"w1": random(32, 128)}
    if not first_is_stored:
        nodes.insert(0, filled("w1"))
        weights, shapes["w1_shape"] = {}, np.array([32, 128])
    model = built(nodes, weights)
    model.graph.initializer.extend(numpy_helper.from_array(shape, name) for name, shape in shapes.items())
    return model


def test_a_generated_weight_is_left_alone_with_its_reason_and_stays_generated() -> None:
    result = netsurgeon.compress(generated(), random(128, 32), sparsity=0.5, **FEW)
    assert [layer.name for layer in result.report.layers] == ["first"]
    assert [(entry.node, entry.reason) for entry in result.report.declined] == [("second", REASON)]
    assert [node.op_type for node in result.model.graph].count("ConstantOfShape") >= 2
    assert result.report.compressed.bytes < result.report.dense.bytes


def test_a_generated_weight_whose_layer_is_named_is_pruned() -> None:
    result = netsurgeon.compress(generated(), random(128, 32), sparsity=0.5, layers={"second": 0.25}, **FEW)
    layers = {layer.name: layer for layer in result.report.layers}
    assert set(layers) == {"first", "second"}
    assert layers["second"].kept == pytest.approx(0.75 * layers["second"].weights, abs=1)


def test_a_model_of_generated_weights_alone_has_no_layer_that_can_be_pruned() -> None:
    with pytest.raises(InputError, match=r"the model has no layer that can be pruned .*made by ConstantOfShape"):
        netsurgeon.compress(generated(first_is_stored=False), random(64, 32), sparsity=0.5)


@pytest.mark.parametrize("name", ["light_inception_v1", "light_densenet121"])
def test_graphs_of_generated_weights_are_refused_in_one_sentence(name: str) -> None:
    path: Path = ZOO / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    inspection = netsurgeon.inspect_model(path)
    assert inspection.layers == ()
    assert {entry.reason for entry in inspection.declined if entry.operator == "Conv"} == {REASON}
