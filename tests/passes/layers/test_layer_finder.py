"""Which nodes are layers, in blocks or whole, and why the others are declined."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from layer_models import (
    KINDS,
    TOLERANCE,
    Kind,
    Numbers,
    build,
    conv,
    gemm,
    kinds,
    matmul,
    normal,
    only_layer,
    predicted,
    run,
)
from onnx import helper, numpy_helper

from netsurgeon.passes.graph.nodes import tensor
from netsurgeon.passes.layers import layer_finder
from netsurgeon.passes.layers.layer_finder import Declined, find_layers


def only_declined(model: ir.Model) -> Declined:
    layers, declined = find_layers(model.graph)
    assert layers == []
    (found,) = declined
    return found


@pytest.mark.parametrize(
    ("kind", "widest", "blocks"),
    [
        ("conv", 27, 1),
        ("conv", 26, 3),
        ("conv", 4, 3),
        ("grouped conv with bias", 5, 3),
        ("depthwise conv", 4, 1),
        ("depthwise conv", 2, 1),
        ("gemm with alpha and beta", 2, 5),
        ("matmul", 4, 5),
        ("matmul from the left", 1, 5),
    ],
)
def test_blocks_add_up_to_the_output(kind: str, widest: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = only_layer(KINDS[kind].make())
    monkeypatch.setattr(layer_finder, "MAX_COLUMNS", widest)
    model, x = KINDS[kind].make(), normal(*KINDS[kind].x)
    layer = only_layer(model)
    assert layer.blocks == blocks
    np.testing.assert_allclose(predicted(layer, x), predicted(whole, x), rtol=TOLERANCE, atol=TOLERANCE)
    limited = layer.samples(x, 3, np.random.default_rng(0))
    cut = np.concatenate(limited[: layer.blocks], axis=1)
    assert np.array_equal(cut, whole.samples(x, 3, np.random.default_rng(0))[0])
    assert np.array_equal(layer.stored(layer.matrix()), tensor(layer.weight).numpy())
    matrix = np.random.default_rng(3).standard_normal(layer.matrix().shape)
    layer.write(matrix)
    np.testing.assert_allclose(layer.matrix(), matrix, rtol=1e-6)


@pytest.mark.parametrize(
    ("columns", "kernel", "blocks"), [(6144, 1, 1), (6145, 1, 5), (12288, 1, 2), (25088, 1, 7), (9216, 9, 2)]
)
def test_blocks_are_the_fewest_whole_channels_that_fit(columns: int, kernel: int, blocks: int) -> None:
    assert layer_finder._blocks(columns, kernel) == blocks


@pytest.mark.parametrize(("widest", "channels"), [(layer_finder.MAX_COLUMNS, 4), (12, 2)])
def test_patterns_run_along_the_channels_of_each_kernel_position(
    widest: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_finder, "MAX_COLUMNS", widest)
    layer = only_layer(conv(np.arange(48, dtype=np.float32).reshape(2, 4, 2, 3), normal(1, 4, 4, 4)))
    order = layer.pattern_columns
    # a column holds its weight's own index, which names the channel and the kernel position
    first = layer.matrix()[0, 0, order].astype(int)
    expected = [np.ravel_multi_index((c, i, j), (4, 2, 3)) for i, j in np.ndindex(2, 3) for c in range(channels)]
    assert first.tolist() == expected
    assert sorted(order.tolist()) == list(range(layer.matrix().shape[-1]))


def test_patterns_of_a_matrix_run_along_its_columns() -> None:
    assert only_layer(matmul(normal(5, 3), (4, 5))).pattern_columns.tolist() == list(range(5))


def test_layers_come_in_graph_order_beside_what_is_declined() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("ConvTranspose", ["a", "t"], ["b"], name="up"),
        helper.make_node("Flatten", ["b"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "g"], ["h"], name="gemm"),
        helper.make_node("MatMul", ["h", "m"], ["z"], name="matmul"),
    ]
    constants = {"w": normal(4, 3, 1), "t": normal(4, 2, 1), "g": normal(10, 6), "m": normal(6, 2)}
    layers, declined = find_layers(build(nodes, (1, 3, 5), constants).graph)
    assert [layer.name for layer in layers] == ["conv", "gemm", "matmul"]
    assert [layer.operator for layer in layers] == ["Conv", "Gemm", "MatMul"]
    assert [layer.input.name for layer in layers] == ["x", "f", "h"]
    assert declined == [Declined("up", "ConvTranspose", "transposed convolutions are not pruned", 8)]


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_recurrent_cells_are_declined(operator: str) -> None:
    node = helper.make_node(operator, ["x", "w", "r"], ["z"], hidden_size=2)
    found = only_declined(build([node], (5, 1, 3), {"w": normal(1, 8, 3), "r": normal(1, 8, 2)}))
    assert found == Declined("z", operator, "recurrent cells are not pruned", 40)


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("Einsum", "the contraction of an Einsum is not analysed"),
        ("Gather", "what rows are looked up in is not pruned, but stored in fewer bits where it is large and float32"),
        ("DeformConv", "deformable convolutions are not pruned"),
    ],
)
def test_other_operators_with_weights_are_declined(operator: str, reason: str) -> None:
    node = helper.make_node(operator, ["w", "x"], ["z"])
    assert only_declined(build([node], (4,), {"w": normal(5, 3)})) == Declined("z", operator, reason, 15)


@pytest.mark.parametrize(
    ("operator", "domain", "form"),
    [
        ("QLinearConv", "", "QOperator form"),
        ("QLinearMatMul", "", "QOperator form"),
        ("MatMulInteger", "", "dynamic quantization"),
        ("MatMulNBits", "com.microsoft", "blocks of a few bits"),
    ],
)
def test_quantised_operators_are_declined(operator: str, domain: str, form: str) -> None:
    node = helper.make_node(operator, ["x", "w"], ["z"], domain=domain)
    model = build([node], (4, 5), {"w": np.ones((5, 3), np.uint8)}, domains=["", domain][: 2 if domain else 1])
    assert only_declined(model).reason == f"its weight is integers ({form}), which are left as they are"


def test_an_operator_of_another_domain_is_declined() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["z"], domain="mine")
    model = build([node], (1, 2, 3), {"w": normal(2, 2, 1)}, domains=("", "mine"))
    assert only_declined(model).reason == "operator mine.Conv is not known"


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "reason"),
    [
        ("Attention", "xw", {"do_rotary": 1}, "its attribute do_rotary is set, which Attention has only with its "),
        ("Attention", "xwz", {}, "its input 'bias' is computed while the model runs"),
        ("FusedMatMul", "xw", {"transBatchA": 1}, "its attribute transBatchA is set"),
        ("FusedGemm", "xw", {"activation": "Clip"}, "its attribute activation is 'Clip', expected Relu, Sigmoid, "),
        ("RotaryEmbedding", "xpww", {}, "what it reads as cos_cache and sin_cache is no layer's weight"),
        ("GroupQueryAttention", "xxx____ww", {}, "what it reads as cos_cache and sin_cache is no layer's weight"),
        ("SkipLayerNormalization", "xwg", {}, "what it reads as skip is no layer's weight"),
        ("Unheard", "xw", {}, "operator com.microsoft.Unheard is not known"),
    ],
)
def test_the_reason_names_what_keeps_a_fused_operator_whole(
    operator: str, inputs: str, attributes: dict[str, Any], reason: str
) -> None:
    names = ["" if name == "_" else name for name in inputs]
    nodes = [helper.make_node(operator, names, ["y"], domain="com.microsoft", **attributes)]
    nodes += [helper.make_node("Relu", ["x"], ["z"])]
    constants: dict[str, np.ndarray[Any, Any]] = {"w": normal(5, 15), "g": normal(5), "p": np.zeros(1, np.int64)}
    model = build(nodes[::-1], (1, 4, 5), {name: constants[name] for name in constants if name in inputs},
                  domains=("", "com.microsoft"))  # fmt: skip
    assert only_declined(model).reason.startswith(reason)


@pytest.mark.parametrize(("rows", "found"), [(31, False), (32, True)])
def test_a_large_constant_elsewhere_is_declined(rows: int, found: bool) -> None:
    model = build([helper.make_node("Mul", ["x", "w"], ["z"], name="mul")], (32,), {"w": normal(rows, 32)})
    expected = [Declined("mul", "Mul", "the constant of Mul is not a layer's weight", 1024)]
    assert find_layers(model.graph) == ([], expected if found else [])


def body_with(node: onnx.NodeProto, weight: Numbers) -> onnx.GraphProto:
    constants = [numpy_helper.from_array(weight, "inner")]
    return helper.make_graph([node], "body", [], [onnx.ValueInfoProto(name=node.output[0])], constants)


def test_layers_two_bodies_deep_are_declined() -> None:
    product = helper.make_node("MatMul", ["x", "inner"], ["p"])
    relu = helper.make_node("Relu", ["x"], ["r"])
    inner = body_with(helper.make_node("If", ["yes"], ["q"], then_branch=body_with(product, normal(5, 3)),
                                       else_branch=body_with(relu, normal(1))), normal(1))  # fmt: skip
    outer = helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=body_with(relu, normal(1)))
    found = only_declined(build([outer], (4, 5), {"yes": np.array(True)}))
    assert found == Declined("p", "MatMul", "it lies inside a body of If 'q', which lies inside one itself", 15)


def test_a_weight_that_is_stored_in_a_body_is_declined() -> None:
    product = body_with(helper.make_node("MatMul", ["x", "inner"], ["p"]), normal(5, 3))
    choice = helper.make_node("If", ["yes"], ["z"], then_branch=product, else_branch=product)
    found = find_layers(build([choice], (4, 5), {"yes": np.array(True)}).graph)[1]
    assert found[0] == Declined("p", "MatMul", "its weight is stored inside a body of If 'z'", 15)


def test_what_is_not_known_in_a_body_is_declined_as_it_is_outside() -> None:
    product = body_with(helper.make_node("Mix", ["x", "inner"], ["p"], domain="mine"), normal(5, 3))
    choice = helper.make_node("If", ["yes"], ["z"], then_branch=product, else_branch=product)
    found = find_layers(build([choice], (4, 5), {"yes": np.array(True)}, domains=("", "mine")).graph)[1]
    assert found[0] == Declined("p", "Mix", "operator mine.Mix is not known", 15)


def test_layers_in_other_bodies_than_those_of_if_and_loop_are_declined() -> None:
    product = helper.make_node("MatMul", ["row", "w"], ["p"])
    row, out = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("row", "p"))
    body = helper.make_graph([product], "body", [row], [out])
    scan = helper.make_node("Scan", ["x"], ["z"], "scan", body=body, num_scan_inputs=1)
    found = only_declined(build([scan], (4, 5), {"w": normal(5, 3)}))
    assert found == Declined("p", "MatMul", "it lies inside a body of Scan 'scan'", 15)


@pytest.mark.parametrize(("operands", "reason"), [
    (["state", "w"], None),
    (["w", "state"], "its weight is the first operand, inside a body of Loop 'loop'"),
])  # fmt: skip
def test_layers_in_the_body_of_a_loop(operands: list[str], reason: str | None) -> None:
    typed: list[tuple[str, int, list[str] | None]] = [
        ("at", onnx.TensorProto.INT64, []),
        ("go", onnx.TensorProto.BOOL, []),
        ("state", onnx.TensorProto.FLOAT, None),
    ]
    ends: list[tuple[str, int, list[str] | None]] = [
        ("on", onnx.TensorProto.BOOL, []),
        ("p", onnx.TensorProto.FLOAT, None),
    ]
    nodes = [helper.make_node("MatMul", operands, ["p"]), helper.make_node("Identity", ["go"], ["on"])]
    starts, results = ([helper.make_tensor_value_info(*info) for info in side] for side in (typed, ends))
    body = helper.make_graph(nodes, "body", starts, results)
    loop = helper.make_node("Loop", ["count", "", "x"], ["z"], "loop", body=body)
    layers, declined = find_layers(build([loop], (4, 4), {"w": normal(4, 4), "count": np.array(2)}).graph)
    assert [layer.host.name for layer in layers if layer.host] == ([] if reason else ["loop"])
    assert [entry.reason for entry in declined] == ([reason] if reason else [])


def layer_with_weight(operator: str, weight: str, first: Sequence[onnx.NodeProto] = ()) -> list[onnx.NodeProto]:
    return [*first, helper.make_node(operator, ["x", weight], ["z"], name="layer")]


OPERATORS = pytest.mark.parametrize(
    ("operator", "x", "weight"),
    [("Conv", (1, 3, 4), (2, 3, 1)), ("Gemm", (4, 5), (5, 3)), ("MatMul", (4, 5), (5, 3))],
)


@OPERATORS
def test_a_weight_that_is_an_output_is_declined(operator: str, x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    model = build(layer_with_weight(operator, "w"), x, {"w": normal(*weight)}, outputs=("z", "w"))
    expected = Declined("layer", operator, "its weight is an output of the model", math.prod(weight))
    assert only_declined(model) == expected


@OPERATORS
def test_a_weight_that_a_caller_can_replace_is_declined(
    operator: str, x: tuple[int, ...], weight: tuple[int, ...]
) -> None:
    model = build(layer_with_weight(operator, "w"), x, {"w": normal(*weight)}, overridable=["w"])
    reason = "its weight is an input of the model, which a caller can replace"
    assert only_declined(model) == Declined("layer", operator, reason, math.prod(weight))


@OPERATORS
@pytest.mark.parametrize("source", ["Identity", "DequantizeLinear", "Constant"])
def test_a_weight_computed_at_run_time_is_declined(
    operator: str, x: tuple[int, ...], weight: tuple[int, ...], source: str
) -> None:
    constants: dict[str, Numbers] = {}
    if source == "Constant":
        first = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(normal(*weight)))
    elif source == "Identity":
        constants = {"v": normal(*weight)}
        first = helper.make_node("Identity", ["v"], ["w"])
    else:
        constants = {"v": np.ones(weight, np.int8), "s": np.array(0.1, np.float32)}
        first = helper.make_node("DequantizeLinear", ["v", "s"], ["w"])
    found = only_declined(build(layer_with_weight(operator, "w", [first]), x, constants))
    quantised = "its weight is a quantised constant (DequantizeLinear), which is not pruned"
    reason = quantised if source == "DequantizeLinear" else "its weight is computed while the model runs"
    assert (found.node, found.reason) == ("layer", reason)


@OPERATORS
def test_a_weight_of_whole_numbers_is_declined(operator: str, x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    model = build(layer_with_weight(operator, "w"), np.ones(x, np.int32), {"w": np.ones(weight, np.int32)})
    assert only_declined(model).reason == "its weight has type INT32, expected a float type"


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_products_of_activations_are_no_layers(operator: str) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node(operator, ["x", "y"], ["z"])]
    assert find_layers(build(nodes, (4, 4), {}).graph) == ([], [])


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_products_of_constants_are_declined(operator: str) -> None:
    model = build([helper.make_node(operator, ["v", "w"], ["z"])], (1,), {"v": normal(2, 3), "w": normal(3, 2)})
    assert only_declined(model).reason == "both operands are constants"


@pytest.mark.parametrize(
    ("weight", "reason"), [((2, 5, 3), "its weight is a stack of matrices"), ((5,), "its weight is a vector")]
)
def test_weights_that_are_no_matrices_are_declined(weight: tuple[int, ...], reason: str) -> None:
    found = only_declined(matmul(normal(*weight), (2, 4, 5)))
    assert (found.reason, found.parameters) == (reason, 30 if len(weight) > 1 else 0)


def test_a_weight_without_effect_is_declined() -> None:
    assert only_declined(gemm(normal(5, 3), normal(4, 5), alpha=0.0)).reason == "alpha is 0: the weight has no effect"


def test_layers_of_unnamed_nodes_have_names() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("MatMul", ["y", "w"], ["z"])]
    layer = only_layer(build(nodes, (4, 5), {"w": normal(5, 3)}))
    assert layer.name == "z"
    layer.node.name = layer.node.outputs[0].name = None
    assert layer.name == "MatMul_w"


@kinds
@pytest.mark.parametrize("external", [None, "weights.bin"])
def test_layers_are_the_same_after_saving_and_loading(kind: Kind, external: str | None, tmp_path: Path) -> None:
    model, x, path = kind.make(), normal(*kind.x), tmp_path / "model.onnx"
    layer = only_layer(model)
    layer.write(2 * layer.matrix())
    layer.shift_bias(np.ones(layer.groups * layer.rows))
    expected = run(model, x)
    ir.save(model, path, external_data=external)
    loaded = only_layer(ir.load(path))
    assert loaded.name == layer.name
    assert (loaded.groups, loaded.rows, loaded.columns) == (layer.groups, layer.rows, layer.columns)
    assert np.array_equal(loaded.matrix(), layer.matrix())
    assert all(itertools.starmap(np.array_equal, zip(loaded.samples(x), layer.samples(x), strict=True)))
    np.testing.assert_array_equal(run(path, x), expected)
