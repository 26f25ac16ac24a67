"""Layers against ONNX Runtime: for every kind of layer, samples times matrix is what the operator computes."""

import math

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_models import (
    KINDS,
    TOLERANCE,
    Kind,
    as_rows,
    assert_agrees,
    build,
    conv,
    few,
    gemm,
    kinds,
    matmul,
    normal,
    only_layer,
    predicted,
    run,
)
from onnx import helper

from netsurgeon.passes.graph.nodes import set_initializer, tensor
from netsurgeon.passes.layers import layer as layer_module
from netsurgeon.passes.layers.layer_finder import find_layers


@few
@given(
    side=st.sampled_from([0, 1]),
    transposes=st.tuples(st.booleans(), st.booleans()),
    alpha=st.sampled_from([1.0, 0.5, -1.7, 3.0]),
    beta=st.sampled_from([1.0, 0.0, -0.5, 2.3]),
    c=st.sampled_from(["none", "scalar", "one", "row", "one row", "column", "full"]),
    extents=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4)),
)
def test_gemm_agrees(
    side: int,
    transposes: tuple[bool, bool],
    alpha: float,
    beta: float,
    c: str,
    extents: tuple[int, int, int],
) -> None:
    m, k, n = extents
    a = normal(k, m) if transposes[0] else normal(m, k)
    b = normal(n, k, seed=1) if transposes[1] else normal(k, n, seed=1)
    forms = {"scalar": (), "one": (1,), "row": (n,), "one row": (1, n), "column": (m, 1), "full": (m, n)}
    bias = np.asarray(normal(*forms[c], seed=2)) if c in forms else None
    weight, x = (b, a) if side else (a, b)
    attributes = {"transA": int(transposes[0]), "transB": int(transposes[1]), "alpha": alpha, "beta": beta}
    model = gemm(weight, x, bias, side, **attributes)
    added = np.broadcast_to(0.0 if bias is None else beta * bias, (m, n))
    assert_agrees(model, x, added if side else added.T)
    per_output = math.prod(forms[c][:-1]) == 1 if c in forms else True
    assert (only_layer(model).bias_slot() is not None) == (side == 1 and beta != 0.0 and per_output)


BATCHES: list[tuple[int, ...]] = [(), (2,), (2, 3), (2, 1, 3)]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("ones", [0, 1, 2])
@pytest.mark.parametrize("side", [0, 1])
def test_matmul_agrees(side: int, ones: int, batch: tuple[int, ...]) -> None:
    x = normal(*batch, 4, 5) if side else normal(*batch, 5, 4)
    weight = normal(*[1] * ones, 5, 3) if side else normal(*[1] * ones, 3, 5)
    model = matmul(weight, x, side=side)
    layer = only_layer(model)
    assert (layer.rows, layer.columns, layer.groups, layer.bias_add) == (3, 5, 1, None)
    assert_agrees(model, x)


@pytest.mark.parametrize("ones", [0, 1])
@pytest.mark.parametrize("side", [0, 1])
def test_matmul_with_a_vector_agrees(side: int, ones: int) -> None:
    x = normal(5)
    weight = normal(*[1] * ones, 5, 3) if side else normal(*[1] * ones, 3, 5)
    assert_agrees(matmul(weight, x, side=side), x)


@pytest.mark.parametrize("bias_side", [0, 1])
@pytest.mark.parametrize(
    ("side", "x", "bias"),
    [
        (1, (4, 5), (3,)),
        (1, (2, 4, 5), (1, 3)),
        (1, (4, 5), (1, 1, 3)),
        (1, (5,), (3,)),
        (0, (5, 4), (3, 1)),
        (0, (2, 5, 4), (1, 3, 1)),
        (0, (5,), (3,)),
    ],
)
def test_add_behind_a_matmul_is_its_bias(side: int, x: tuple[int, ...], bias: tuple[int, ...], bias_side: int) -> None:
    weight = normal(5, 3) if side else normal(3, 5)
    model = matmul(weight, normal(*x), normal(*bias, seed=2), side=side, bias_side=bias_side)
    layer = only_layer(model)
    assert layer.bias_add is not None
    assert layer.bias_slot() == (layer.bias_add, bias_side)
    assert_agrees(model, normal(*x), normal(*bias, seed=2).ravel())


@pytest.mark.parametrize("operands", [("y", "x"), ("x", "y")])
@pytest.mark.parametrize("operator", ["Add", "Sum"])
def test_the_branch_of_a_residual_sum(operator: str, operands: tuple[str, str]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node(operator, operands, ["z"])]
    model = build(nodes, (4, 4), {"w": normal(4, 4)})
    branch = only_layer(model).branch
    assert branch is model.graph.inputs[0]


def test_a_branch_behind_the_bias() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Add", ["y", "b"], ["u"]),
        helper.make_node("Add", ["u", "x"], ["z"]),
    ]
    branch = only_layer(build(nodes, (4, 4), {"w": normal(4, 4), "b": normal(4)})).branch
    assert branch is not None
    assert branch.name == "x"


@pytest.mark.parametrize(
    ("operator", "operands", "outputs"),
    [
        ("Add", ("y", "b"), ("z",)),  # a constant, whatever its shape
        ("Add", ("y", "y"), ("z",)),
        ("Mul", ("y", "x"), ("z",)),
        ("Sum", ("y", "x", "x"), ("z",)),
        ("Add", ("y", "x"), ("z", "y")),
    ],
)
def test_no_branch(operator: str, operands: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node(operator, operands, ["z"])]
    constants = {"w": normal(4, 4), "b": normal(4, 4)}
    assert only_layer(build(nodes, (4, 4), constants, outputs=outputs)).branch is None


@pytest.mark.parametrize(
    ("side", "x", "bias"),
    [
        (1, (3, 5), (3, 1)),
        (1, (3, 5), (3, 3)),
        (1, (3, 5), ()),
        (1, (2, 3, 5), (2, 1, 3)),
        (0, (5, 3), (3,)),
        (0, (5,), (3, 1)),
        (0, None, (3, 1)),
    ],
)
def test_add_that_is_not_one_number_an_output_is_no_bias(
    side: int, x: tuple[int, ...] | None, bias: tuple[int, ...]
) -> None:
    weight = normal(5, 3) if side else normal(3, 5)
    model = matmul(weight, x or (5, 3), np.asarray(normal(*bias)), side=side)
    if x is None:
        model.graph.inputs[0].shape = None
    layer = only_layer(model)
    assert layer.bias_add is None
    with pytest.raises(ValueError, match="layer 'layer' has no room for a bias"):
        layer.shift_bias(np.ones(3))


@pytest.mark.parametrize("second", ["Add", "Relu"])
def test_add_is_no_bias_when_others_read_the_product(second: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Add", ["y", "b"], ["z"]),
        helper.make_node(second, ["y", "b"] if second == "Add" else ["y"], ["u"]),
    ]
    model = build(nodes, (4, 5), {"w": normal(5, 3), "b": normal(3)}, outputs=("z", "u"))
    assert only_layer(model).bias_add is None


@pytest.mark.parametrize("operator", ["Mul", "Sub"])
def test_another_operator_behind_a_matmul_is_no_bias(operator: str) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node(operator, ["y", "b"], ["z"])]
    assert only_layer(build(nodes, (4, 5), {"w": normal(5, 3), "b": normal(3)})).bias_add is None


@pytest.mark.parametrize("operands", [("y", "y"), ("y", "x")])
def test_add_of_activations_is_no_bias(operands: tuple[str, str]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", operands, ["z"])]
    assert only_layer(build(nodes, (4, 4), {"w": normal(4, 4)})).bias_add is None


def test_add_is_no_bias_when_the_product_is_an_output() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])]
    model = build(nodes, (4, 5), {"w": normal(5, 3), "b": normal(3)}, outputs=("z", "y"))
    assert only_layer(model).bias_add is None


def test_parity_fails_on_a_perturbed_weight() -> None:
    x, model = normal(2, 3, 5, 5), conv(normal(4, 3, 3, 3), normal(2, 3, 5, 5))
    layer, expected = only_layer(model), run(model, x)
    matrix = layer.matrix()
    matrix[0, 1, 2] += 0.01
    layer.write(matrix)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(predicted(layer, x), as_rows(layer, x, expected), rtol=TOLERANCE, atol=TOLERANCE)


@kinds
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_writing_the_matrix_changes_nothing(kind: Kind, dtype: npt.DTypeLike) -> None:
    model = kind.make(dtype)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    layer = only_layer(model)
    layer.write(layer.matrix())
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@kinds
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_written_weights_keep_type_shape_and_value(kind: Kind, dtype: npt.DTypeLike) -> None:
    layer = only_layer(kind.make(dtype))
    matrix = np.random.default_rng(3).standard_normal(layer.matrix().shape)
    layer.write(matrix)
    array = tensor(layer.weight).numpy()
    assert array.dtype == dtype
    assert array.shape == kind.weight == tuple(layer.weight.shape or ())
    assert layer.weight.dtype == ir.DataType.from_numpy(np.dtype(dtype))
    np.testing.assert_allclose(layer.matrix(), matrix, rtol=2 * np.finfo(array.dtype).eps)


@kinds
def test_written_weights_are_what_runs(kind: Kind) -> None:
    model, x = kind.make(), normal(*kind.x)
    layer = only_layer(model)
    without = as_rows(layer, x, run(model, x)) - predicted(layer, x)
    layer.write(np.random.default_rng(3).standard_normal(layer.matrix().shape))
    np.testing.assert_allclose(predicted(layer, x) + without, as_rows(layer, x, run(model, x)), atol=TOLERANCE)


@pytest.mark.parametrize(
    "kind", [k for k in KINDS.values() if len(k.x) > 1], ids=[k for k in KINDS if "vector" not in k]
)
def test_rows_drawn_of_output_and_input_match(kind: Kind) -> None:
    model, x = kind.make(), normal(*kind.x)
    layer = only_layer(model)
    z = run(model, x)
    bias = (as_rows(layer, x, z) - predicted(layer, x)).mean(axis=0)
    found = layer.output_samples(z, 3, np.random.default_rng(3))
    inputs = layer.samples(x, 3, np.random.default_rng(3))
    assert found.shape == (layer.groups, 3, layer.rows)
    expected = inputs @ np.swapaxes(layer.matrix(), 1, 2) + bias.reshape(layer.groups, 1, layer.rows)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_double_precision_agrees() -> None:
    x = np.random.default_rng(0).standard_normal((4, 5))
    assert_agrees(matmul(np.random.default_rng(1).standard_normal((5, 3)), x), x)


def test_half_precision_agrees() -> None:
    x = normal(4, 5).astype(np.float16)
    model = matmul(normal(5, 3).astype(np.float16), x)
    np.testing.assert_allclose(predicted(only_layer(model), x), run(model, x), rtol=2e-3, atol=2e-3)


@kinds
def test_a_shifted_bias_moves_the_outputs_by_the_shift(kind: Kind) -> None:
    model, x = kind.make(), normal(*kind.x)
    layer = only_layer(model)
    before = as_rows(layer, x, run(model, x))
    shift = np.random.default_rng(4).standard_normal(layer.groups * layer.rows)
    for times in (1, 2):
        layer.shift_bias(shift)
        np.testing.assert_allclose(as_rows(layer, x, run(model, x)), before + times * shift, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("kind", ["conv", "gemm", "gemm with a scalar", "matmul"])
def test_a_shifted_bias_keeps_its_type_and_knows_its_shape(kind: str, dtype: npt.DTypeLike) -> None:
    layer = only_layer(KINDS[kind].make(dtype))
    layer.shift_bias(np.full(layer.rows, 0.25))
    node, index = layer.bias_slot() or (layer.node, -1)
    bias = node.inputs[index]
    assert bias is not None
    assert tensor(bias).numpy().dtype == dtype
    assert tuple(bias.shape or ()) == tensor(bias).numpy().shape == (layer.rows,)
    assert bias.dtype == ir.DataType.from_numpy(np.dtype(dtype))


@pytest.mark.parametrize(
    "model",
    [
        matmul(normal(5, 3), normal(4, 5)),
        gemm(normal(5, 3), normal(4, 5), normal(4, 3)),
        gemm(normal(5, 3), normal(4, 5), normal(4, 1)),
        gemm(normal(5, 3), normal(4, 5), normal(3), beta=0.0),
        gemm(normal(3, 5), normal(5, 4), side=0),
    ],
    ids=["matmul without add", "gemm with a full C", "gemm with a column", "gemm with beta 0", "gemm from the left"],
)
def test_no_room_for_a_bias(model: ir.Model) -> None:
    layer = only_layer(model)
    assert layer.bias_slot() is None
    with pytest.raises(ValueError, match="layer 'layer' has no room for a bias"):
        layer.shift_bias(np.ones(3))


@pytest.mark.parametrize("operator", ["Conv", "Gemm"])
def test_no_room_where_the_bias_is_computed_or_can_be_replaced(operator: str) -> None:
    weight, x = (normal(3, 2, 1), (1, 2, 4)) if operator == "Conv" else (normal(2, 3), (4, 2))
    nodes = [helper.make_node("Identity", ["b"], ["c"]), helper.make_node(operator, ["x", "w", "c"], ["z"])]
    assert only_layer(build(nodes, x, {"w": weight, "b": normal(3)})).bias_slot() is None
    nodes = [helper.make_node(operator, ["x", "w", "b"], ["z"])]
    replaceable = build(nodes, x, {"w": weight, "b": normal(3)}, overridable=["b"])
    assert only_layer(replaceable).bias_slot() is None


@pytest.mark.parametrize("inputs", [["x", "w"], ["x", "w", ""]])
def test_a_bias_is_created_on_a_convolution_without_one(inputs: list[str]) -> None:
    x = normal(1, 3, 4)
    model = build([helper.make_node("Conv", inputs, ["z"])], x, {"w": normal(4, 3, 2)})
    before = run(model, x)
    only_layer(model).shift_bias(np.arange(4.0))
    assert set(model.graph.initializers) == {"w", "w_bias"}
    np.testing.assert_allclose(run(model, x), before + np.arange(4.0)[:, None], atol=1e-5)


def test_a_created_bias_takes_no_name_that_is_in_use() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["w_bias"]), helper.make_node("Conv", ["w_bias", "w"], ["z"])]
    x = normal(1, 3, 4)
    model = build(nodes, x, {"w": normal(4, 3, 2), "w_bias_own": normal(1)})
    before = run(model, x)
    only_layer(model).shift_bias(np.ones(4))
    np.testing.assert_allclose(run(model, x), before + 1, atol=1e-5)


def test_a_shared_weight_is_cloned() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "w"], ["z"])]
    x, weight = normal(4, 3), normal(3, 3, seed=1)
    model = build(nodes, x, {"w": weight})
    first, second = find_layers(model.graph)[0]
    first.write(2 * first.matrix())
    assert first.weight is not second.weight
    assert np.array_equal(second.matrix()[0], weight.T)
    np.testing.assert_allclose(run(model, x), x @ (2 * weight) @ weight, rtol=TOLERANCE, atol=TOLERANCE)
    second.write(0 * second.matrix())
    assert sorted(model.graph.initializers) == ["w", "w_own"]
    assert not run(model, x).any()
    assert np.array_equal(first.matrix()[0], 2 * weight.T)


def test_a_weight_a_body_reads_is_cloned() -> None:
    body = helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "body", [], [onnx.ValueInfoProto(name="o")])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("If", ["yes"], ["u"], then_branch=body, else_branch=body),
    ]
    x, weight = normal(4, 3), normal(3, 3, seed=1)
    model = build(nodes, x, {"w": weight, "yes": np.array(True)}, outputs=("z", "u"))
    layer = only_layer(model)
    layer.write(0 * layer.matrix())
    assert not run(model, x).any()
    assert np.array_equal(run(model, x, "u"), weight)


def test_a_shared_bias_is_cloned() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], name="first"),
        helper.make_node("Conv", ["y", "w", "b"], ["z"], name="second"),
    ]
    bias = normal(3, seed=2)
    model = build(nodes, (1, 3, 4), {"w": normal(3, 3, 1), "b": bias})
    first, second = find_layers(model.graph)[0]
    first.shift_bias(np.ones(3))
    for layer, expected in ((first, bias + 1), (second, bias)):
        slot = layer.node.inputs[2]
        assert slot is not None
        assert np.array_equal(tensor(slot).numpy(), expected)


@pytest.mark.parametrize("reader", ["Add", "output"])
def test_a_bias_that_others_see_is_cloned(reader: str) -> None:
    x, bias = normal(4, 5), normal(3, seed=2)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["b", "y"], ["z"])]
    nodes += [helper.make_node("Add", ["b", "b"], ["u"])] if reader == "Add" else []
    seen = "u" if reader == "Add" else "b"
    model = build(nodes, x, {"w": normal(5, 3), "b": bias}, outputs=("z", seen))
    before, others = run(model, x), run(model, x, seen)
    layer = only_layer(model)
    layer.shift_bias(np.ones(3))
    layer.shift_bias(np.ones(3))
    np.testing.assert_allclose(run(model, x), before + 2, atol=1e-5)
    assert np.array_equal(run(model, x, seen), others)
    assert len(model.graph.initializers) == 3


def test_a_node_outside_a_graph_takes_no_constant() -> None:
    node = ir.node("Relu", [ir.Value(name="x")], name="loose")
    with pytest.raises(ValueError, match="node 'loose' is not in a graph"):
        set_initializer(node, 0, normal(1), "x")


@kinds
@given(limit=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_a_limit_draws_sorted_rows_the_same_for_every_input(kind: Kind, limit: int, seed: int) -> None:
    layer, x = only_layer(kind.make()), normal(*kind.x)
    full = layer.samples(x)
    drawn = layer.samples(x, limit, np.random.default_rng(seed))
    again = layer.samples(2 * x, limit, np.random.default_rng(seed))
    for every, some, doubled in zip(full, drawn, again, strict=True):
        assert len(some) == min(limit, layer.positions(x))
        assert np.array_equal(doubled, 2 * some)
        remaining = iter(every)
        assert all(any(np.array_equal(row, candidate) for candidate in remaining) for row in some)


@few
@given(available=st.integers(0, 500), limit=st.integers(0, 500), seed=st.integers(0, 2**32 - 1))
def test_draws_are_exactly_as_many_sorted_and_unique(available: int, limit: int, seed: int) -> None:
    chosen = layer_module.draw(available, limit, np.random.default_rng(seed))
    if chosen is None:
        assert available <= limit
        return
    assert len(chosen) == limit
    assert (np.diff(chosen) > 0).all()
    assert ((chosen >= 0) & (chosen < available)).all()


def test_every_row_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [layer_module.draw(10, 4, rng) for _ in range(200)]
    assert set(np.concatenate([chosen for chosen in drawn if chosen is not None]).tolist()) == set(range(10))


def test_a_limit_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="a limit of 2 samples needs an rng"):
        only_layer(matmul(normal(5, 3), normal(4, 5))).samples(normal(4, 5), limit=2)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("kind", ["grouped conv with bias", "gemm", "matmul from the left"])
def test_samples_are_single_precision_and_their_own(kind: str, dtype: npt.DTypeLike) -> None:
    layer, x = only_layer(KINDS[kind].make()), normal(*KINDS[kind].x)
    for part, wide in zip(layer.samples(x), layer.samples(x.astype(dtype)), strict=True):
        assert wide.dtype == np.float32
        assert not np.shares_memory(part, x)
        np.testing.assert_allclose(wide, part, rtol=1e-3, atol=1e-4)
