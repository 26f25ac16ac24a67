"""Layers against ONNX Runtime: for every kind of layer, samples times matrix is what the operator computes."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from netsurgeon.passes.graph.nodes import set_initializer, tensor
from netsurgeon.passes.layers import layer as layer_module
from netsurgeon.passes.layers import layer_finder
from netsurgeon.passes.layers.geometry import Geometry
from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import Declined, find_layers

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

TOLERANCE = 1e-4
few = settings(max_examples=60)


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


# ------------------------------------------------------------------------------------------------ models and parity


def build(
    nodes: Sequence[onnx.NodeProto],
    x: Numbers | Sequence[int | None],
    constants: Mapping[str, Numbers],
    *,
    outputs: Sequence[str] = ("z",),
    overridable: Sequence[str] = (),
    domains: Sequence[str] = ("",),
) -> ir.Model:
    """A model whose input is x (an array, or a float32 shape) and whose initializers are `constants`."""
    shape, dtype = (x.shape, x.dtype) if isinstance(x, np.ndarray) else (x, np.dtype(np.float32))
    kinds = {"x": (dtype, shape), **{name: (constants[name].dtype, constants[name].shape) for name in overridable}}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(d), s) for n, (d, s) in kinds.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, 1 if domain else 20) for domain in domains]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def run(model: ir.Model | Path, x: Numbers, output: str = "z") -> Numbers:
    """The output of the model in ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = model if isinstance(model, Path) else ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    result: Numbers = session.run([output], {"x": x})[0]
    return result


def only_layer(model: ir.Model) -> Layer:
    layers, declined = find_layers(model.graph)
    assert declined == []
    (layer,) = layers
    return layer


def only_declined(model: ir.Model) -> Declined:
    layers, declined = find_layers(model.graph)
    assert layers == []
    (found,) = declined
    return found


def as_rows(layer: Layer, x: Numbers, z: Numbers) -> Numbers:
    """The operator's output z in the order of the samples: (samples, groups x rows)."""
    if layer.operator == "Conv":
        z = np.moveaxis(z, 1, -1)
    elif layer.data_index == 1 and x.ndim > 1:
        z = np.swapaxes(z, -1, -2)
    return z.reshape(-1, layer.groups * layer.rows)


def predicted(layer: Layer, x: Numbers) -> Doubles:
    """What samples and matrix say the output is, without the bias: (samples, groups x rows)."""
    parts, stack = layer.samples(x), layer.matrix()
    assert len(parts) == len(stack) == layer.groups * layer.blocks
    assert stack.shape == (len(parts), layer.rows, layer.columns // layer.blocks)
    assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in parts)
    products = np.stack([part @ matrix.T for part, matrix in zip(parts, stack, strict=True)])
    assert products.shape[1] == layer.positions(x)
    summed: Doubles = products.reshape(layer.groups, layer.blocks, -1, layer.rows).sum(axis=1)
    return np.moveaxis(summed, 0, 1).reshape(-1, layer.groups * layer.rows)


def assert_agrees(model: ir.Model, x: Numbers, bias: Numbers | float = 0.0) -> None:
    layer = only_layer(model)
    expected = as_rows(layer, x, run(model, x))
    np.testing.assert_allclose(predicted(layer, x) + bias, expected, rtol=TOLERANCE, atol=TOLERANCE)


def conv(
    weight: Numbers, x: Numbers | Sequence[int | None], bias: Numbers | None = None, **attributes: Any
) -> ir.Model:
    constants = {"w": weight} if bias is None else {"w": weight, "b": bias}
    return build([helper.make_node("Conv", ["x", *constants], ["z"], name="layer", **attributes)], x, constants)


def gemm(weight: Numbers, x: Numbers, c: Numbers | None = None, side: int = 1, **attributes: Any) -> ir.Model:
    operands = ["x", "w"] if side else ["w", "x"]
    constants = {"w": weight} if c is None else {"w": weight, "c": c}
    operands += ["c"] if c is not None else []
    return build([helper.make_node("Gemm", operands, ["z"], name="layer", **attributes)], x, constants)


def matmul(
    weight: Numbers,
    x: Numbers | Sequence[int | None],
    bias: Numbers | None = None,
    *,
    side: int = 1,
    bias_side: int = 1,
) -> ir.Model:
    product = helper.make_node("MatMul", ["x", "w"] if side else ["w", "x"], ["z" if bias is None else "y"], "layer")
    if bias is None:
        return build([product], x, {"w": weight})
    add = helper.make_node("Add", ["y", "b"] if bias_side else ["b", "y"], ["z"], "add")
    return build([product, add], x, {"w": weight, "b": bias})


# ------------------------------------------------------------------------------------------------ convolutions


@dataclasses.dataclass(frozen=True)
class Convolution:
    weight: tuple[int, ...]
    x: tuple[int, ...]
    bias: bool
    attributes: dict[str, Any]


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    rank = draw(st.integers(1, 3))
    small = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    groups, inside, multiplier = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, strides, dilations = draw(small), draw(small), draw(small)
    padding = draw(st.sampled_from(["NOTSET", "explicit", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes: dict[str, Any] = {"group": groups, "strides": strides, "auto_pad": padding}
    if padding.startswith("SAME"):
        dilations = [1] * rank  # ONNX Runtime refuses the two together
    elif padding == "explicit":
        attributes["auto_pad"] = "NOTSET"
        attributes["pads"] = draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    attributes["dilations"] = dilations
    window = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extent = [w + draw(st.integers(0, 4)) for w in window]
    weight = (groups * multiplier, inside, *kernel)
    return Convolution(weight, (draw(st.integers(1, 2)), groups * inside, *extent), draw(st.booleans()), attributes)


@few
@given(convolutions())
def test_convolution_agrees(case: Convolution) -> None:
    x, weight = normal(*case.x), normal(*case.weight, seed=1)
    bias = normal(case.weight[0], seed=2) if case.bias else None
    assert_agrees(conv(weight, x, bias, **case.attributes), x, 0.0 if bias is None else bias)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_depthwise_convolution_agrees(rank: int, multiplier: int) -> None:
    x, weight = normal(2, 4, *[6] * rank), normal(4 * multiplier, 1, *[3] * rank)
    model = conv(weight, x, group=4, strides=[2] * rank, pads=[1, 0] * rank)
    layer = only_layer(model)
    assert (layer.groups, layer.rows, layer.columns, layer.blocks) == (4, multiplier, 3**rank, 1)
    assert layer.size == weight.size
    assert_agrees(model, x)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("extent", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 3), (2, 1), (3, 2), (4, 3), (5, 4)])
def test_same_padding_agrees(auto_pad: str, extent: int, kernel: int, stride: int) -> None:
    x, weight = normal(1, 2, extent, extent + 1), normal(3, 2, kernel, kernel)
    assert_agrees(conv(weight, x, auto_pad=auto_pad, strides=[stride, stride]), x)


@pytest.mark.parametrize(
    ("auto_pad", "kernel", "dilation", "pads"),
    [("VALID", 3, 1, (0, 0)), ("SAME_UPPER", 3, 2, (1, 2)), ("SAME_LOWER", 3, 2, (2, 1)), ("SAME_UPPER", 1, 3, (0, 0))],
)
def test_padding_that_onnx_runtime_refuses_follows_the_standard(
    auto_pad: str, kernel: int, dilation: int, pads: tuple[int, int]
) -> None:
    # VALID beside pads, SAME beside dilations: 8 wide, stride 2, so 4 positions under SAME
    geometry = Geometry((kernel,), (2,), (dilation,), (1, 1), auto_pad)
    assert geometry.padding((8,)) == [pads]
    assert geometry.patches(normal(1, 1, 8)).shape == (1, 1, 3 if auto_pad == "VALID" else 4, kernel)


def test_columns_of_a_convolution_are_in_the_weights_own_order() -> None:
    weight = normal(4, 3, 2, 2)
    assert np.array_equal(only_layer(conv(weight, normal(1, 6, 4, 4), group=2)).matrix(), weight.reshape(2, 2, 12))


# ------------------------------------------------------------------------------------------------ Gemm and MatMul


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


# ------------------------------------------------------------------------------------------------ one of each kind


@dataclasses.dataclass(frozen=True)
class Kind:
    """A layer of one kind, without weights: `make(weight, x, bias)` is its model."""

    operator: str
    weight: tuple[int, ...]
    x: tuple[int, ...]
    bias: tuple[int, ...] | None
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def make(self, dtype: npt.DTypeLike = np.float32) -> ir.Model:
        x, weight = normal(*self.x).astype(dtype), normal(*self.weight, seed=1).astype(dtype)
        bias = None if self.bias is None else np.asarray(normal(*self.bias, seed=2)).astype(dtype)
        if self.operator == "Conv":
            return conv(weight, x, bias, **self.attributes)
        make = gemm if self.operator == "Gemm" else matmul
        return make(weight, x, bias, **self.attributes)


KINDS = {
    "conv": Kind("Conv", (4, 3, 3, 3), (2, 3, 5, 5), None),
    "grouped conv with bias": Kind("Conv", (4, 3, 2), (2, 6, 5), (4,), {"group": 2, "pads": [1, 0]}),
    "depthwise conv": Kind("Conv", (6, 1, 2, 2), (2, 3, 4, 4), None, {"group": 3}),
    "gemm": Kind("Gemm", (5, 3), (4, 5), None),
    "gemm with alpha and beta": Kind("Gemm", (3, 5), (4, 5), (3,), {"alpha": 0.3, "beta": -2.5, "transB": 1}),
    "gemm with beta": Kind("Gemm", (5, 3), (4, 5), None, {"beta": 0.5}),
    "gemm with a scalar": Kind("Gemm", (5, 3), (5, 4), (), {"transA": 1}),
    "gemm with one number": Kind("Gemm", (5, 3), (4, 5), (1,)),
    "gemm with a row": Kind("Gemm", (5, 3), (4, 5), (1, 3)),
    "matmul": Kind("MatMul", (5, 3), (2, 4, 5), (3,)),
    "matmul of one row": Kind("MatMul", (1, 5, 3), (2, 4, 5), (1, 3)),
    "matmul from the left": Kind("MatMul", (3, 5), (2, 5, 4), (3, 1), {"side": 0}),
    "matmul from the left with a vector": Kind("MatMul", (3, 5), (5,), (3,), {"side": 0}),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


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


# ------------------------------------------------------------------------------------------------ shared constants


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
        held = layer.node.inputs[2]
        assert held is not None
        assert np.array_equal(tensor(held).numpy(), expected)


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


# ------------------------------------------------------------------------------------------------ drawing samples


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


# ------------------------------------------------------------------------------------------------ blocks and patterns


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


# ------------------------------------------------------------------------------------------------ what is declined


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
        ("Gather", "embedding tables are not pruned"),
        ("DeformConv", "deformable convolutions are not pruned"),
    ],
)
def test_other_operators_with_weights_are_declined(operator: str, reason: str) -> None:
    node = helper.make_node(operator, ["w", "x"], ["z"])
    assert only_declined(build([node], (4,), {"w": normal(5, 3)})) == Declined("z", operator, reason, 15)


@pytest.mark.parametrize(
    ("operator", "domain"),
    [("QLinearConv", ""), ("QLinearMatMul", ""), ("MatMulInteger", ""), ("MatMulNBits", "com.microsoft")],
)
def test_quantised_operators_are_declined(operator: str, domain: str) -> None:
    node = helper.make_node(operator, ["x", "w"], ["z"], domain=domain)
    model = build([node], (4, 5), {"w": np.ones((5, 3), np.uint8)}, domains=["", domain][: 2 if domain else 1])
    assert only_declined(model).reason == "quantised operators are not pruned"


def test_an_operator_of_another_domain_is_declined() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["z"], domain="mine")
    model = build([node], (1, 2, 3), {"w": normal(2, 2, 1)}, domains=("", "mine"))
    assert only_declined(model).reason == "operator mine.Conv is not known"


@pytest.mark.parametrize(("rows", "found"), [(31, False), (32, True)])
def test_a_large_constant_elsewhere_is_declined(rows: int, found: bool) -> None:
    model = build([helper.make_node("Mul", ["x", "w"], ["z"], name="mul")], (32,), {"w": normal(rows, 32)})
    expected = [Declined("mul", "Mul", "the constant of Mul is not a layer's weight", 1024)]
    assert find_layers(model.graph) == ([], expected if found else [])


def body_with(node: onnx.NodeProto, weight: Numbers) -> onnx.GraphProto:
    constants = [numpy_helper.from_array(weight, "inner")]
    return helper.make_graph([node], "body", [], [onnx.ValueInfoProto(name=node.output[0])], constants)


def test_layers_inside_bodies_are_declined() -> None:
    product = helper.make_node("MatMul", ["x", "inner"], ["p"])
    relu = helper.make_node("Relu", ["x"], ["r"])
    inner = body_with(helper.make_node("If", ["yes"], ["q"], then_branch=body_with(product, normal(5, 3)),
                                       else_branch=body_with(relu, normal(1))), normal(1))  # fmt: skip
    outer = helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=body_with(relu, normal(1)))
    found = only_declined(build([outer], (4, 5), {"yes": np.array(True)}))
    assert found == Declined("p", "MatMul", "it lies inside a body of If 'q'", 15)


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
    assert (found.node, found.reason) == ("layer", "its weight is computed while the model runs")


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


# ------------------------------------------------------------------------------------------------ names and files


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
