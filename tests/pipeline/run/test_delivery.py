"""A run that removes nothing and would save no byte delivers the model that came in, and says so."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from perceptron_models import UNIFORM, Array, built, inputs, perceptron, random

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.compression import STEPS, StepContext, StepDefaults, StepResult

WIDTH = 4


def small() -> onnx.ModelProto:
    """Two weights of 16 numbers, which nodes that unpack them outweigh."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2"], ["y"], "second"),
    ]
    return built(nodes, {"w1": random(32, WIDTH), "w2": random(WIDTH, 10)})


def half_precision() -> onnx.ModelProto:
    """Weights that are stored as float16 already."""
    nodes = [
        helper.make_node("Cast", ["w16"], ["w"], "cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Gemm", ["x", "w"], ["y"], "only"),
    ]
    return built(nodes, {"w16": random(32, 10).astype(np.float16)})


def unnamed(count: int) -> onnx.ModelProto:
    """Layers with so many nodes between them, none of which has a name."""
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["h0"])]
    nodes += [helper.make_node("Neg" if at % 2 else "Abs", [f"h{at}"], [f"h{at + 1}"]) for at in range(count)]
    nodes.append(helper.make_node("MatMul", [f"h{count}", "w2"], ["y"]))
    return built(nodes, {"w1": random(32, 16), "w2": random(16, 10)})


def codes(result: Compression) -> list[str]:
    return [warning.code for warning in result.report.warnings]


def weights(model: onnx.ModelProto | ir.Model) -> dict[str, Array]:
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


@pytest.mark.parametrize(("dense", "options"), [
    (small(), {}),
    (small(), {"values": "codebook"}),
    (half_precision(), {"values": "float32", "pack": False}),
])  # fmt: skip
def test_where_nothing_goes_and_the_file_would_grow_the_model_is_delivered_as_it_came(
    tmp_path: Path, dense: onnx.ModelProto, options: dict[str, Any]
) -> None:
    source, output = tmp_path / "dense.onnx", tmp_path / "small.onnx"
    onnx.save(dense, source)
    result = compress(source, inputs(), sparsity=0.0, output=output, **UNIFORM, **options)
    assert "nothing-removed" in codes(result)
    assert "file-grew" not in codes(result)
    delivered, came = weights(onnx.load(output)), weights(dense)
    assert delivered.keys() == came.keys()
    for name, weight in came.items():
        np.testing.assert_array_equal(delivered[name], weight)
    assert result.report.compressed.bytes <= source.stat().st_size
    assert all(output.relative_error == 0.0 for output in result.report.validation.outputs)


@pytest.mark.parametrize("model", [small(), unnamed(300)])
def test_where_weights_go_the_compressed_model_is_delivered(model: onnx.ModelProto) -> None:
    result = compress(model, inputs(), sparsity=0.5, **UNIFORM)
    assert "nothing-removed" not in codes(result)
    assert result.report.sparsity == pytest.approx(0.5, abs=0.02)


def test_packing_alone_is_delivered_where_it_saves_bytes() -> None:
    result = compress(perceptron(), inputs(), sparsity=0.0, **UNIFORM)
    assert "nothing-removed" not in codes(result)
    assert result.report.compressed.bytes < result.report.dense.bytes


def test_nodes_without_a_name_are_given_none_so_that_models_of_many_do_not_grow() -> None:
    model = unnamed(1200)
    result = compress(model, inputs(), sparsity=0.5, **UNIFORM)
    assert "file-grew" not in codes(result)
    assert result.report.compressed.bytes < len(model.SerializeToString())
    named = {node.name for node in result.model.graph if node.name}
    assert named == {name for name in named if name.startswith("unpack")}


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Of a step that has none."""


class DoubleTheLastWeight(StepDefaults):
    """A step of the user's own."""

    name, stage, options_type = "double", "doubling a weight", NoOptions

    def apply(self, model: ir.Model, context: StepContext) -> StepResult:
        """In place."""
        del context
        weight = model.graph.initializers["w2"]
        weight.const_value = ir.tensor(2.0 * tensor(weight).numpy(), name="w2")
        return StepResult(model=model)


def test_what_a_step_of_the_users_own_did_is_not_undone() -> None:
    result = compress(small(), inputs(), sparsity=0.0, steps=(*STEPS, DoubleTheLastWeight()), **UNIFORM)
    assert "nothing-removed" not in codes(result)
    assert result.report.validation.outputs[0].relative_error > 0.5


def stored_as(names: str, **options: Any) -> onnx.ModelProto:
    """A perceptron of a large and a small weight with half of its weights, packed."""
    nodes = [
        helper.make_node("Gemm", ["x", "hidden.weight"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "output.weight"], ["y"], "second"),
    ]
    width = options.pop("width", 64)
    dense = built(nodes, {"hidden.weight": random(32, width), "output.weight": random(width, 10)})
    return ir.to_proto(compress(dense, inputs(), sparsity=0.5, names=names, **{**UNIFORM, **options}).model)


def names_of_nodes(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node]


def test_names_can_be_read_where_that_is_asked_for_and_the_weights_are_the_same() -> None:
    short, readable = stored_as("short"), stored_as("readable")
    unpacking = [name for name in names_of_nodes(readable) if "unpack" in name]
    assert {"hidden.weight/unpack", "output.weight/unpack"} <= set(unpacking)
    assert any(name.startswith("hidden.weight/unpack/") for name in unpacking)
    assert "" in names_of_nodes(short)
    assert "" not in names_of_nodes(readable)
    both = [ir.from_proto(model) for model in (short, readable)]
    for model in both:
        UnpackWeights()(model)
    first, second = ({k: v.tobytes() for k, v in weights(model).items()} for model in both)
    assert first == second


def test_names_that_take_more_than_a_hundredth_are_short_unless_asked_for() -> None:
    assert names_of_nodes(stored_as("auto")) == names_of_nodes(stored_as("short"))
    large, short = (stored_as(names, width=2048, method="magnitude") for names in ("auto", "short"))
    assert "hidden.weight/unpack" in names_of_nodes(large)
    assert large.ByteSize() <= 1.01 * short.ByteSize()


def test_readable_names_leave_those_of_a_model_on_integers() -> None:
    short, readable = (stored_as(names, quantize="w8", target="onnx", width=256) for names in ("short", "readable"))
    assert {"h", "r"} <= {value for node in readable.graph.node for value in node.output}
    assert not {"h", "r"} & {value for node in short.graph.node for value in node.output}
    assert short.ByteSize() < readable.ByteSize()


@pytest.mark.parametrize("pack", [True, False])
def test_the_layers_of_nodes_without_names_are_reported_though_values_are_renamed(pack: bool) -> None:
    """Such layers are named after their output, and models on integers are written with short names of values."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["y"]),
    ]
    dense = built(nodes, {"w1": random(32, 16), "w2": random(16, 10)})
    result = compress(dense, inputs(), quantize="w8", target="onnx", pack=pack, **UNIFORM)
    assert [layer.name for layer in result.report.layers] == ["h", "y"]
    assert {layer.stored.partition(" ")[0] for layer in result.report.layers} == {"int8"}
