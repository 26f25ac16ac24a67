"""Fused operators taken apart: the outputs stay, every weight is a layer's, and what is not understood is left."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from trimming_networks import Case, Family, Net, X, add_case

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.passes.rewriting.unfuse import UnfuseWeights
from netsurgeon.pipeline.runtime.session import Runtime

MICROSOFT = "com.microsoft"
CASES: dict[str, Case] = {}
case = partial(add_case, CASES)
"""Of each case the number of layers, for which there are as many biases."""


def _tokens(net: Net, width: int = 36) -> str:
    """Two texts of tokens, 144 numbers each."""
    return str(net.op("Reshape", X, net.const([0, 144 // width, width])))


def _integers(net: Net, *shape: int, below: int) -> str:
    return net.const(net.rng.integers(0, below, shape), np.int32)


@case(4)
def attention(net: Net) -> Any:
    padding = net.const([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    inputs = _tokens(net), net.weight(36, 36), net.weight(36), padding
    mixed = net.op("Attention", *inputs, domain=MICROSOFT, num_heads=3)
    return net.dense(mixed, 12, 5)


@case(3)
def attention_without_bias_of_several_widths(net: Net) -> Any:
    keywords: dict[str, Any] = {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 6], "unidirectional": 1, "scale": 0.3}
    return net.op("Attention", _tokens(net), net.weight(36, 22), net.weight(22), domain=MICROSOFT, **keywords)


def _with_past(net: Net) -> Any:
    past = net.const(net.rng.standard_normal((2, 2, 3, 5, 4)), np.float32)
    inputs = _tokens(net), net.weight(36, 36), net.weight(36), "", past
    return net.op("Attention", *inputs, outputs=2, domain=MICROSOFT, num_heads=3, unidirectional=1)


@case(3, opset=12)
def attention_that_goes_on_at_an_old_opset(net: Net) -> Any:
    return _with_past(net)


@case(3)
def attention_that_goes_on(net: Net) -> Any:
    return _with_past(net)


@case(3)
def biases_of_many_heads(net: Net) -> Any:
    projected = [net.op("MatMul", _tokens(net), net.weight(36, width)) for width in (12, 12, 9)]
    keywords: dict[str, Any] = {"num_heads": 3, "mask_filter_value": -5.0}
    return net.op("MultiHeadAttention", *projected, net.weight(33), domain=MICROSOFT, **keywords)


@case(1)
def groups_from_one_weight(net: Net) -> Any:
    packed = net.dense(_tokens(net), 36, 64)
    last, total = net.const([3, 3], np.int32), net.const(4, np.int32)
    inputs = packed, "", "", "", "", last, total
    return net.op("GroupQueryAttention", *inputs, outputs=3, domain=MICROSOFT, num_heads=4, kv_num_heads=2)


@case(3)
def gelus_with_a_bias(net: Net) -> Any:
    hidden = net.op("BiasGelu", net.op("MatMul", _tokens(net), net.weight(36, 8)), net.weight(8), domain=MICROSOFT)
    again = net.op("FastGelu", net.op("MatMul", hidden, net.weight(8, 7)), net.weight(7), domain=MICROSOFT)
    return net.dense(net.op("FastGelu", again, domain=MICROSOFT), 7, 3)


@case(2)
def normed_shortcuts_with_a_bias(net: Net) -> Any:
    tokens = _tokens(net)
    made = net.op("MatMul", tokens, net.weight(36, 36))
    norm = [net.weight(36), net.weight(36)]
    first = net.op("SkipLayerNormalization", tokens, made, *norm, net.weight(36), domain=MICROSOFT, epsilon=0.1)
    again = net.op("MatMul", first, net.weight(36, 36))
    inputs = again, first, net.weight(36), net.weight(36)
    return net.op("SkipSimplifiedLayerNormalization", *inputs, outputs=4, domain=MICROSOFT)[::3]


@case(1)
def scaled_product_with_a_turned_weight(net: Net) -> Any:
    product = net.op("FusedMatMul", _tokens(net), net.weight(5, 36), domain=MICROSOFT, transB=1, alpha=0.25)
    return net.op("Add", product, net.weight(5))


@case(0)
def scaled_product_of_activations(net: Net) -> Any:
    keywords: dict[str, Any] = {"transA": 1, "alpha": 0.5}
    return net.op("FusedMatMul", _tokens(net), _tokens(net), domain=MICROSOFT, **keywords)


@case(2)
def gemm_and_conv_with_activations(net: Net) -> Any:
    keywords: dict[str, Any] = {"kernel_shape": [1, 1], "activation": "LeakyRelu", "activation_params": [0.3]}
    map_ = net.op("FusedConv", X, net.weight(4, 4, 1, 1), net.weight(4), X, domain=MICROSOFT, **keywords)
    inputs = net.op("Flatten", map_), net.weight(6, 144), net.weight(6)
    keywords = {"transB": 1, "alpha": 0.1, "activation": "LeakyRelu", "activation_alpha": 0.2}
    return net.op("FusedGemm", *inputs, domain=MICROSOFT, **keywords)


@case(0)
def embeddings(net: Net) -> Any:
    """Words and segments, the first positions, and how many tokens count."""
    words, segments = _integers(net, 2, 4, below=11), _integers(net, 2, 4, below=2)
    tables = [net.weight(count, 6) for count in (11, 9, 2)]
    norm = [net.weight(6), net.weight(6)]
    inputs = words, segments, *tables, *norm, _integers(net, 2, 4, below=2)
    normed, counted, total = net.op("EmbedLayerNormalization", *inputs, outputs=3, domain=MICROSOFT, epsilon=0.01)
    return normed, counted, total


@case(0, opset=12)
def embeddings_at_told_positions(net: Net) -> Any:
    words, places = _integers(net, 2, 4, below=11), _integers(net, 2, 4, below=9)
    tables = [net.weight(11, 6), net.weight(9, 6), ""]
    inputs = words, "", *tables, net.weight(6), net.weight(6), "", places
    return net.op("EmbedLayerNormalization", *inputs, outputs=2, domain=MICROSOFT)[0]


def _built(case: Case) -> tuple[Net, ir.Model, list[str]]:
    net = Net(2, 4, 6, 6, opset=case.opset)
    outputs = case.build(net)
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    return net, net.build(*names), names


@pytest.mark.parametrize("name", CASES)
def test_outputs_stay_and_every_weight_is_a_layers(name: str) -> None:
    net, model, names = _built(CASES[name])
    dense = Runtime().session(model, optimise=False).run(net.feed, names)
    fused = [node.op_type for node in model.graph if node.domain]
    normal_form()(model)
    unfused = Runtime().session(model, optimise=False).run(net.feed, names)
    for output in names:
        assert dense[output].shape == unfused[output].shape
        np.testing.assert_allclose(unfused[output], dense[output], rtol=1e-4, atol=1e-5)
    assert fused
    layers = find_layers(model.graph)[0]
    (count,) = CASES[name].units
    assert len(layers) == count


def test_layers_of_attention_are_named_after_it_and_have_their_biases() -> None:
    _, model, _ = _built(CASES["attention_17"])
    UnfuseWeights()(model)
    layers = find_layers(model.graph)[0][:3]
    assert [layer.name for layer in layers] == [f"Attention1_{part}" for part in ("query", "key", "value")]
    assert all(layer.bias_slot() is not None for layer in layers)
    assert "Attention1" in {node.name for node in model.graph if node.op_type == "MultiHeadAttention"}


def test_the_bias_goes_to_the_operand_that_a_product_makes() -> None:
    _, model, _ = _built(CASES["normed_shortcuts_with_a_bias_17"])
    UnfuseWeights()(model)
    first = find_layers(model.graph)[0][0]
    assert first.bias_slot() is not None


# ------------------------------------------------------------------------------------------------ shared, and in bodies
def _numbers(model: ir.Model) -> int:
    """Of all matrices."""
    constants = [value.const_value for value in model.graph.initializers.values()]
    return sum(constant.size for constant in constants if constant is not None and len(constant.shape) > 1)


def test_attention_that_is_applied_again_keeps_one_set_of_weights() -> None:
    """As in ALBERT, all of whose layers are one."""
    net = Net(2, 4, 6, 6)
    weight, bias, value = net.weight(36, 108), net.weight(108), _tokens(net)
    for _ in range(3):
        value = net.op("Attention", value, weight, bias, domain=MICROSOFT, num_heads=3)
    model = net.build(value)
    dense, before = Runtime().session(model).run(net.feed)[value], _numbers(model)
    normal_form()(model)
    np.testing.assert_allclose(Runtime().session(model).run(net.feed)[value], dense, rtol=1e-4, atol=1e-5)
    layers = find_layers(model.graph)[0]
    assert (len(layers), len({layer.weight for layer in layers})) == (9, 3)
    assert _numbers(model) == before


def left_for_a_weight_that_others_take_whole(net: Net) -> Any:
    weight = net.weight(36, 36)
    mixed = net.op("Attention", _tokens(net), weight, net.weight(36), domain=MICROSOFT, num_heads=3)
    return net.op("Mul", net.op("ReduceSum", weight, keepdims=0), mixed)


def _branch(name: str, *, is_negated: bool) -> onnx.GraphProto:
    attention = helper.make_node(
        "Attention", ["h", "w", "b"], [f"{name}_mixed"], f"{name}_attention", domain=MICROSOFT, num_heads=2
    )
    end = helper.make_node("Neg" if is_negated else "Identity", [f"{name}_mixed"], [f"{name}_out"])
    return helper.make_graph([attention, end], name, [], [onnx.ValueInfoProto(name=f"{name}_out")])


def test_attention_in_bodies_is_taken_apart_and_what_bodies_share_stays_shared() -> None:
    rng, floats = np.random.default_rng(0), onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Identity", ["x"], ["h"]),
        helper.make_node(
            "If", ["yes"], ["y"], "choice", then_branch=_branch("then", is_negated=False),
            else_branch=_branch("else", is_negated=True),
        ),
    ]  # fmt: skip
    entries = [helper.make_tensor_value_info("x", floats, ["N", "S", 16])]
    entries.append(helper.make_tensor_value_info("yes", onnx.TensorProto.BOOL, []))
    weights = {"w": rng.standard_normal((16, 48)), "b": rng.standard_normal(48)}
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", entries, [helper.make_tensor_value_info("y", floats, None)], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    feeds = [{"x": rng.standard_normal((2, 5, 16)).astype(np.float32), "yes": np.array(yes)} for yes in (True, False)]
    dense, before = [Runtime().session(model).run(feed)["y"] for feed in feeds], _numbers(model)
    normal_form()(model)
    for feed, expected in zip(feeds, dense, strict=True):
        np.testing.assert_allclose(Runtime().session(model).run(feed)["y"], expected, rtol=1e-4, atol=1e-5)
    layers = find_layers(model.graph)[0]
    parts = {f"{branch}_attention_{part}" for branch in ("then", "else") for part in ("query", "key", "value")}
    assert {layer.name for layer in layers} == parts
    assert (len(layers), len({layer.weight for layer in layers})) == (6, 3)
    assert _numbers(model) == before


# ------------------------------------------------------------------------------------------------ as it is optimised
@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_of_what_onnx_runtime_has_optimised_every_weight_is_seen(level: str, tmp_path: Path) -> None:
    """A block of an encoder, with biases, norms and a Gelu, in the form that ONNX Runtime saves."""
    net = Net(2, 4, 6, 6)
    tokens = net.op("LayerNormalization", _tokens(net), net.weight(36), net.weight(36), axis=-1)
    query, key, value = (net.op("Reshape", net.dense(tokens, 36, 36), net.const([0, 0, 3, 12])) for _ in range(3))
    query, value = (net.op("Transpose", side, perm=[0, 2, 1, 3]) for side in (query, value))
    scores = net.op("Mul", net.op("MatMul", query, net.op("Transpose", key, perm=[0, 2, 3, 1])), net.weight(1))
    mixed = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), value), perm=[0, 2, 1, 3])
    attended = net.op("Add", net.dense(net.op("Reshape", mixed, net.const([0, 0, 36])), 36, 36), tokens)
    normed = net.op("LayerNormalization", attended, net.weight(36), net.weight(36), axis=-1)
    wide = net.dense(normed, 36, 72)
    half = net.op("Mul", wide, net.const(0.5, np.float32))
    erf = net.op("Erf", net.op("Div", wide, net.const(np.sqrt(2.0), np.float32)))
    gelu = net.op("Mul", half, net.op("Add", erf, net.const(1.0, np.float32)))
    end = net.op("Add", net.dense(gelu, 72, 36), normed)
    model = net.build(end)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = ir.load(tmp_path / "optimised.onnx")
    if level != "ORT_ENABLE_BASIC":
        assert any(node.domain == MICROSOFT for node in optimised.graph)
    expected = Runtime().session(model).run(net.feed)[end]
    normal_form()(optimised)
    np.testing.assert_allclose(Runtime().session(optimised).run(net.feed)[end], expected, rtol=1e-4, atol=1e-5)
    layers = find_layers(optimised.graph)[0]
    assert sum(layer.size for layer in layers) == 4 * 36 * 36 + 2 * 36 * 72
    assert all(layer.bias_slot() is not None for layer in layers)


# ------------------------------------------------------------------------------------------------ left as they are
def left_for_its_rotation(net: Net) -> Any:
    keywords = {"num_heads": 2, "do_rotary": 1}
    return net.op("Attention", _tokens(net), net.weight(36, 96), net.weight(96), domain=MICROSOFT, **keywords)


def left_for_a_computed_weight(net: Net) -> Any:
    weight = net.op("Mul", net.weight(36, 36), net.op("ReduceMax", X, keepdims=0))
    return net.op("Attention", _tokens(net), weight, net.weight(36), domain=MICROSOFT, num_heads=3)


def left_for_a_computed_bias(net: Net) -> Any:
    bias = net.op("Mul", net.weight(36), net.op("ReduceMax", X, keepdims=0))
    projected = [net.dense(_tokens(net), 36, 12) for _ in range(3)]
    return net.op("MultiHeadAttention", *projected, bias, domain=MICROSOFT, num_heads=3)


def left_for_an_unknown_activation(net: Net) -> Any:
    keywords: dict[str, Any] = {"kernel_shape": [1, 1], "activation": "Clip", "activation_params": [0.0, 6.0]}
    return net.op("FusedConv", X, net.weight(4, 4, 1, 1), net.weight(4), domain=MICROSOFT, **keywords)


@pytest.mark.parametrize(
    "build",
    [
        left_for_its_rotation,
        left_for_a_computed_weight,
        left_for_a_computed_bias,
        left_for_an_unknown_activation,
        left_for_a_weight_that_others_take_whole,
    ],
)
def test_what_is_not_understood_is_left(build: Family) -> None:
    net = Net(2, 4, 6, 6)
    model = net.build(build(net))
    before = [(node.name, node.op_type) for node in model.graph]
    assert not UnfuseWeights()(model).modified
    assert [(node.name, node.op_type) for node in model.graph] == before


def test_a_model_that_nobody_fused_is_not_touched() -> None:
    net = Net(2, 4, 6, 6)
    model = net.build(net.conv(X, 4, 3))
    assert not UnfuseWeights()(model).modified
