"""Exported networks compute in ONNX Runtime what they compute in evaluation mode, and tell nothing of the machine."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn

from netsurgeon.models.export import INPUT_NAME, OPSET, OUTPUT_NAME, export, export_layers, strip_metadata


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """In training mode, with layers that compute something else in it."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)
    )
    layers(torch.rand(16, 2, 6, 6))  # running statistics that are not those of the start
    return layers


@pytest.fixture(scope="module")
def exported(network: nn.Module) -> onnx.ModelProto:
    return export(network.train(), torch.rand(2, 2, 6, 6), opset=18)


@pytest.fixture(scope="module")
def layers(network: nn.Module) -> ir.Model:
    return export_layers(network.train(), np.zeros((2, 2, 6, 6), np.float32))


def run(model: onnx.ModelProto, pictures: torch.Tensor) -> torch.Tensor:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([OUTPUT_NAME], {INPUT_NAME: pictures.numpy()})[0])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_pictures_gives_what_the_network_gives(
    network: nn.Module, exported: onnx.ModelProto, layers: ir.Model, count: int
) -> None:
    pictures = torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(count))
    expected = network.eval()(pictures).detach()
    for model in (exported, ir.to_proto(layers)):
        torch.testing.assert_close(run(model, pictures), expected)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(run(model, pictures + 0.1), expected)


def test_the_exported_file_is_small_and_says_nothing_of_where_it_was_made(exported: onnx.ModelProto) -> None:
    assert not exported.graph.value_info
    assert not exported.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in exported.graph.node)
    assert b".py" not in exported.SerializeToString()
    assert [entry.version for entry in exported.opset_import if not entry.domain] == [18]
    (image,) = exported.graph.input
    assert [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim] == ["batch", 2, 6, 6]


def test_layer_by_layer_every_parameter_and_statistic_keeps_its_name(network: nn.Module, layers: ir.Model) -> None:
    constants = {name: value.const_value for name, value in layers.graph.initializers.items()}
    state = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    assert len(state) == 8
    for name, tensor in state.items():
        constant = constants[name]
        assert constant is not None
        np.testing.assert_array_equal(constant.numpy(), tensor.numpy())
    assert [node.op_type for node in layers.graph].count("BatchNormalization") == 1
    assert layers.graph.opset_imports[""] == OPSET


def test_what_the_exporter_notes_is_removed_everywhere() -> None:
    model = ir.from_onnx_text(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        graph (float[2] x, bool c) => (float[2] z) <float[2] w = {1, 2}> {
            y = Add(x, w)
            z = If(c) <then_branch = one () => (float[2] a) { a = Relu(y) },
                       else_branch = two () => (float[2] b) { b = Neg(y) }>
        }
        """
    )
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    nodes = list(model.graph.all_nodes())
    assert len(nodes) == 4
    computed = [value for node in nodes for value in node.outputs]
    parts: list[Any] = [model, *model.graphs(), *nodes, *values, *computed]
    for part in parts:
        part.metadata_props["stack"] = "/home/me/train.py"
        part.doc_string = "of /home/me/train.py"
    strip_metadata(model)
    text = ir.to_proto(model).SerializeToString()
    assert b"stack" not in text
    assert b"train.py" not in text
