"""The normal form computes what the model computed, and surgery finds the weights in it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.rewriting.normalise import NameNodes, normal_form

Array = NDArray[Any]
TOLERANCE = 1e-5
node = helper.make_node


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    shape: Sequence[int | None] | None,
    outputs: Sequence[str] = ("z",),
    name: str = "graph",
) -> onnx.GraphProto:
    inputs = [] if shape is None else [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    return helper.make_graph(
        list(nodes),
        name,
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def build(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    shape: Sequence[int | None],
    outputs: Sequence[str] = ("z",),
    functions: Sequence[onnx.FunctionProto] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    return helper.make_model(
        graph(nodes, constants, shape, outputs), opset_imports=opsets, functions=list(functions), ir_version=8
    )


def run(model: onnx.ModelProto, x: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, {"x": x})
    return results


def normalised(model: onnx.ModelProto) -> ir.Model:
    result = ir.from_proto(model)
    normal_form()(result)
    return result


def assert_agree(expected: onnx.ModelProto, actual: onnx.ModelProto, x: Array) -> None:
    for a, b in zip(run(actual, x), run(expected, x), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


def check(model: onnx.ModelProto, x: Array) -> ir.Model:
    """The normal form; it computes the same, and every node has a name of its own."""
    result = normalised(model)
    assert_agree(model, ir.to_proto(result), x)
    names = [n.name for n in ir.traversal.RecursiveGraphIterator(result.graph)]
    assert all(names)
    assert len(set(names)) == len(names)
    return result


def operators(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph]


def layer_names(model: ir.Model) -> list[str]:
    return [layer.name for layer in find_layers(model.graph)[0]]


def constant(name: str, array: Array) -> onnx.NodeProto:
    return node("Constant", [], [name], f"make_{name}", value=numpy_helper.from_array(array))


X = normal(3, 8)
PICTURE = normal(2, 4, 6, 6)


def test_the_comparison_notices_a_difference() -> None:
    model = build([node("Gemm", ["x", "w"], ["z"], "g")], {"w": normal(8, 4)}, [None, 8])
    changed = normalised(model)
    tensor = changed.graph.initializers["w"].const_value
    assert tensor is not None
    changed.graph.initializers["w"].const_value = ir.tensor(tensor.numpy() * np.float32(1.0001), name="w")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_agree(model, ir.to_proto(changed), X)


# ------------------------------------------------------------------------------------------------ constant weights


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A weight that is not an initializer as it stands."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, Array]


HIDDEN = {
    "Constant": Hidden((constant("w", normal(8, 4)),), {}),
    "Identity": Hidden((node("Identity", ["v"], ["w"], "same"),), {"v": normal(8, 4)}),
    "Transpose": Hidden((node("Transpose", ["v"], ["w"], "turn", perm=[1, 0]),), {"v": normal(4, 8)}),
    "Constant, Transpose": Hidden((constant("v", normal(4, 8)), node("Transpose", ["v"], ["w"], "turn")), {}),
    "ConstantOfShape": Hidden(
        (
            node("ConstantOfShape", ["s"], ["o"], "ones", value=numpy_helper.from_array(np.ones(1, np.float32))),
            node("Mul", ["o", "v"], ["w"], "times"),
        ),
        {"s": np.array([8, 4]), "v": normal(4)},
    ),
    "Cast, Reshape": Hidden(
        (node("Cast", ["v"], ["c"], "cast", to=TensorProto.FLOAT), node("Reshape", ["c", "s"], ["w"], "shape")),
        {"v": normal(32).astype(np.float16), "s": np.array([8, -1])},
    ),
}


@pytest.mark.parametrize("kind", list(HIDDEN))
@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_weights_are_initializers(kind: str, operator: str) -> None:
    hidden = HIDDEN[kind]
    layer = node(operator, ["x", "w"], ["y"], "layer")
    model = build([*hidden.nodes, layer, node("Relu", ["y"], ["z"], "relu")], hidden.constants, [None, 8])
    result = check(model, X)
    assert operators(result) == [operator, "Relu"]
    assert layer_names(result) == ["layer"]


def test_the_weights_of_a_convolution_are_initializers() -> None:
    nodes = [
        constant("v", normal(4, 6, 3, 3)),
        node("Transpose", ["v"], ["w"], "turn", perm=[1, 0, 2, 3]),
        constant("b", normal(6)),
        node("Conv", ["x", "w", "b"], ["z"], "layer"),
    ]
    result = check(build(nodes, {}, [None, 4, None, None]), PICTURE)
    assert operators(result) == ["Conv"]
    assert layer_names(result) == ["layer"]


def test_a_constant_bias_behind_a_mat_mul_is_found() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["y"], "layer"),
        node("Identity", ["c"], ["b"], "same"),
        node("Add", ["b", "y"], ["z"], "add"),
    ]
    result = check(build(nodes, {"w": normal(8, 4), "c": normal(4)}, [None, 8]), X)
    (layer,) = find_layers(result.graph)[0]
    assert layer.bias_add is not None
    assert layer.bias_add.name == "add"


def test_what_no_weight_hangs_on_is_not_folded() -> None:
    nodes = [
        node("ConstantOfShape", ["s"], ["o"], "ones", value=numpy_helper.from_array(np.ones(1, np.float32))),
        node("Gemm", ["x", "w"], ["y"], "layer"),
        node("Mul", ["y", "o"], ["z"], "times"),
    ]
    result = check(build(nodes, {"w": normal(8, 4), "s": np.array([3, 4])}, [None, 8]), X)
    assert [n.name for n in result.graph] == ["ones", "layer", "times"]


def test_a_computed_weight_stays_computed() -> None:
    nodes = [
        node("Transpose", ["x"], ["w"], "turn"),
        node("MatMul", ["x", "w"], ["z"], "gram"),
    ]
    result = check(build(nodes, {}, [None, 8]), X)
    assert [n.name for n in result.graph] == ["turn", "gram"]


def test_quantised_weights_are_not_folded() -> None:
    nodes = [
        node("DequantizeLinear", ["q", "s", "o"], ["v"], "dequantise", axis=1),
        node("Transpose", ["v"], ["w"], "turn"),
        node("Gemm", ["x", "w"], ["z"], "layer"),
    ]
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "q": rng.integers(-100, 100, (4, 8)).astype(np.int8),
        "s": np.linspace(0.01, 0.02, 8, dtype=np.float32),
        "o": np.zeros(8, np.int8),
    }
    result = check(build(nodes, constants, [None, 8]), X)
    assert operators(result) == ["DequantizeLinear", "Transpose", "Gemm"]
    stored = result.graph.initializers["q"].const_value
    assert stored is not None
    np.testing.assert_array_equal(stored.numpy(), constants["q"])
    assert layer_names(result) == []


RANDOM = {
    "RandomNormal": node("RandomNormal", [], ["w"], "random", shape=[8, 4]),
    "RandomUniformLike": node("RandomUniformLike", ["p"], ["w"], "random"),
    "Bernoulli": node("Bernoulli", ["p"], ["w"], "random"),
}


@pytest.mark.parametrize("kind", list(RANDOM))
def test_random_weights_stay_random(kind: str) -> None:
    nodes = [RANDOM[kind], node("Identity", ["w"], ["v"], "same"), node("Gemm", ["x", "v"], ["z"], "layer")]
    result = normalised(build(nodes, {"p": np.full((8, 4), 0.5, np.float32)}, [None, 8]))
    assert kind in operators(result)
    assert layer_names(result) == []


# ------------------------------------------------------------------------------------------------ functions, inputs


def test_functions_are_inlined() -> None:
    function = helper.make_function(
        "own",
        "Linear",
        ["x", "w"],
        ["y"],
        [node("Transpose", ["w"], ["t"], "turn"), node("MatMul", ["x", "t"], ["y"], "product")],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        node("Linear", ["x", "w"], ["h"], "first", domain="own"),
        node("Relu", ["h"], ["r"], "relu"),
        node("Linear", ["r", "v"], ["z"], "second", domain="own"),
    ]
    model = build(nodes, {"w": normal(5, 8), "v": normal(4, 5)}, [None, 8], functions=[function])
    result = check(model, X)
    assert operators(result) == ["MatMul", "Relu", "MatMul"]
    assert not result.functions
    assert len(layer_names(result)) == 2


@pytest.mark.parametrize("version", [3, 8])
def test_initializers_that_are_inputs(version: int) -> None:
    weights = {"w": normal(8, 4), "b": normal(4)}
    model = build([node("Gemm", ["x", "w", "b"], ["z"], "layer")], weights, [None, 8], opset=9)
    for name, array in weights.items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    model.ir_version = version
    original = ir.from_proto(model)
    result = original.clone()
    normal_form()(result)
    result.ir_version = 8  # an initializer that is no input needs version 4
    assert_agree(model, ir.to_proto(result), X)
    assert [value.name for value in result.graph.inputs] == ["x"]
    assert layer_names(result) == ["layer"]
    assert len(original.graph.inputs) == 3


# ------------------------------------------------------------------------------------------------ BatchNormalization


def norm(source: str, target: str, channels: int = 6, name: str = "norm") -> tuple[onnx.NodeProto, dict[str, Array]]:
    constants = {
        f"{name}_scale": normal(channels, seed=1) + 2,
        f"{name}_shift": normal(channels, seed=2),
        f"{name}_mean": normal(channels, seed=3),
        f"{name}_variance": np.abs(normal(channels, seed=4)) + np.float32(0.1),
    }
    return node("BatchNormalization", [source, *constants], [target], name, epsilon=1e-3), constants


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2])
def test_folded_into_a_convolution(bias: bool, group: int) -> None:
    weights = {"w": normal(6, 4 // group, 3, 3)} | ({"b": normal(6)} if bias else {})
    after, constants = norm("y", "n")
    nodes = [node("Conv", ["x", *weights], ["y"], "layer", group=group), after, node("Relu", ["n"], ["z"], "relu")]
    result = check(build(nodes, weights | constants, [None, 4, 6, 6]), PICTURE)
    assert [(n.op_type, n.name) for n in result.graph] == [("Conv", "layer"), ("Relu", "relu")]
    (layer,) = find_layers(result.graph)[0]
    assert layer.bias_slot() is not None


def test_folded_into_a_transposed_convolution() -> None:
    after, constants = norm("y", "z")
    nodes = [node("ConvTranspose", ["x", "w"], ["y"], "layer", group=2), after]
    result = check(build(nodes, constants | {"w": normal(4, 3, 3, 3)}, [None, 4, 6, 6]), PICTURE)
    assert [(n.op_type, n.name) for n in result.graph] == [("ConvTranspose", "layer")]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, (6,), (1, 6), (1,)])
def test_folded_into_a_gemm(transposed: int, bias: tuple[int, ...] | None) -> None:
    weights = {"w": normal(6, 8) if transposed else normal(8, 6)} | ({} if bias is None else {"b": normal(*bias)})
    after, constants = norm("y", "z")
    nodes = [node("Gemm", ["x", *weights], ["y"], "layer", transB=transposed, alpha=0.5, beta=2.0), after]
    result = check(build(nodes, weights | constants, [None, 8]), X)
    assert [(n.op_type, n.name) for n in result.graph] == [("Gemm", "layer")]
    (layer,) = find_layers(result.graph)[0]
    assert layer.bias_slot() is not None


def test_an_omitted_bias_is_no_obstacle() -> None:
    after, constants = norm("y", "z")
    model = build(
        [node("Conv", ["x", "w", ""], ["y"], "layer"), after], constants | {"w": normal(6, 4, 3, 3)}, [2, 4, 6, 6]
    )
    assert layer_names(check(model, PICTURE)) == ["layer"]


@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_that_share_parameters_are_folded_apart(bias: bool) -> None:
    weights = {"w": normal(6, 4, 3, 3)} | ({"b": normal(6)} if bias else {})
    (first, a), (second, c) = norm("p", "n"), norm("q", "m", name="other")
    c["other_scale"] = c["other_scale"] * 3
    nodes = [
        node("Conv", ["x", *weights], ["p"], "left"),
        first,
        node("Conv", ["x", *weights], ["q"], "right"),
        second,
        node("Conv", ["x", *weights], ["s"], "bare"),
        node("Add", ["n", "m"], ["t"], "sum"),
        node("Add", ["t", "s"], ["z"], "all"),
    ]
    result = check(build(nodes, weights | a | c, [None, 4, 6, 6]), PICTURE)
    assert [n.name for n in result.graph] == ["left", "right", "bare", "sum", "all"]
    assert layer_names(result) == ["left", "right", "bare"]
    stored = [layer.matrix() for layer in find_layers(result.graph)[0]]
    np.testing.assert_array_equal(stored[2].reshape(6, 4, 3, 3), weights["w"])
    assert np.abs(stored[1] / stored[0]).min() > 2.9


def test_two_normalisations_in_a_row_leave_the_name_of_the_layer() -> None:
    (first, a), (second, c) = norm("y", "n"), norm("n", "z", name="other")
    nodes = [node("Conv", ["x", "w"], ["y"], "layer"), first, second]
    result = check(build(nodes, {"w": normal(6, 4, 3, 3)} | a | c, [None, 4, 6, 6]), PICTURE)
    assert [(n.op_type, n.name) for n in result.graph] == [("Conv", "layer")]


@pytest.mark.parametrize("outputs", [("z", "y"), ("z", "r")])
def test_not_folded_where_the_layer_is_used_otherwise(outputs: tuple[str, str]) -> None:
    after, constants = norm("y", "z")
    nodes = [node("Conv", ["x", "w"], ["y"], "layer"), after, node("Relu", ["y"], ["r"], "relu")]
    result = check(build(nodes, constants | {"w": normal(6, 4, 3, 3)}, [None, 4, 6, 6], outputs), PICTURE)
    assert "BatchNormalization" in operators(result)
    assert layer_names(result) == ["layer"]


def test_a_normalisation_without_a_layer_stays() -> None:
    before, constants = norm("x", "n", 4)
    nodes = [before, node("Conv", ["n", "w"], ["z"], "layer")]
    result = check(build(nodes, constants | {"w": normal(6, 4, 3, 3)}, [None, 4, 6, 6]), PICTURE)
    assert [n.name for n in result.graph] == ["norm", "layer"]


def test_not_folded_where_the_result_is_not_finite() -> None:
    after, constants = norm("y", "z")
    after.attribute[0].f = 0.0
    constants["norm_variance"][2] = 0.0
    model = build(
        [node("Conv", ["x", "w"], ["y"], "layer"), after], constants | {"w": normal(6, 4, 3, 3)}, [2, 4, 6, 6]
    )
    result = normalised(model)
    assert [n.op_type for n in result.graph] == ["Conv", "BatchNormalization"]
    np.testing.assert_array_equal(find_layers(result.graph)[0][0].matrix().ravel(), normal(6, 4, 3, 3).ravel())


# ------------------------------------------------------------------------------------------------ names


def names_of(*names: str) -> tuple[onnx.ModelProto, list[str | None]]:
    """A chain of Relu nodes with these names, whose outputs are v0, v1, …, and the names in its normal form.

    ONNX Runtime refuses two nodes of one name in one graph, so only the normal form is run.
    """
    values = ["x", *(f"v{i}" for i in range(len(names)))]
    nodes = [node("Relu", [a], [b], name) for name, a, b in zip(names, values, values[1:], strict=False)]
    model = build(nodes, {}, [None, 8], (values[-1],))
    result = normalised(model)
    np.testing.assert_array_equal(run(ir.to_proto(result), X)[0], np.maximum(X, 0))
    return model, [n.name for n in result.graph]


def test_names_survive() -> None:
    assert names_of("one", "two", "v0")[1] == ["one", "two", "v0"]


def test_unnamed_nodes_are_named_after_their_output() -> None:
    assert names_of("", "two", "")[1] == ["v0", "two", "v2"]


def test_of_duplicates_the_first_keeps_the_name() -> None:
    assert names_of("same", "other", "same", "same")[1] == ["same", "other", "v2", "v3"]


def test_a_new_name_takes_none_from_a_later_node() -> None:
    assert names_of("", "v0", "a", "a", "v3")[1] == ["v0_2", "v0", "a", "v3_2", "v3"]
    assert names_of("", "", "v0", "v0_2")[1] == ["v0_3", "v1", "v0", "v0_2"]


def test_naming_twice_changes_nothing() -> None:
    model = ir.from_proto(names_of("", "v0", "", "x", "x")[0])
    assert NameNodes()(model).modified
    assert not NameNodes()(model).modified


# ------------------------------------------------------------------------------------------------ bodies


def branching(inner: Sequence[onnx.NodeProto], constants: dict[str, Array]) -> list[onnx.NodeProto]:
    """``x`` through one of two branches, chosen by the sign of its sum; the first one computes `inner`: h -> t."""
    then = graph(inner, constants, None, ("t",), "then")
    other = graph([node("Neg", ["h"], ["e"])], {}, None, ("e",), "else")
    return [
        node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        node("Greater", ["sum", "zero"], ["positive"], "compare"),
        node("If", ["positive"], ["z"], "if", then_branch=then, else_branch=other),
    ]


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_model_with_branches_survives(sign: int) -> None:
    inner = [
        node("Constant", [], ["c"], value=numpy_helper.from_array(normal(4, 4))),
        node("MatMul", ["h", "c"], ["p"]),
        node("MatMul", ["p", "own"], ["q"]),
        node("MatMul", ["q", "outer"], ["t"]),
    ]
    nodes = [
        node("Transpose", ["v"], ["outer"], "turn"),
        node("Gemm", ["x", "w"], ["h"], "layer"),
        *branching(inner, {"own": normal(4, 4, seed=1)}),
    ]
    constants = {"w": normal(8, 4), "v": normal(4, 4, seed=2), "zero": np.zeros((), np.float32)}
    model = build(nodes, constants, [None, 8])
    x = np.abs(X) * np.float32(sign)
    result = check(model, x)
    assert "If" in operators(result)
    assert [layer.weight.name for layer in find_layers(result.graph)[0]] == ["w", "c", "own", "outer"]
    assert {"w", "c", "own", "outer"} <= set(result.graph.initializers), "weights of a body lie in the graph"


def test_a_weight_that_a_branch_uses_too_is_kept() -> None:
    after, constants = norm("g", "h", 4)
    nodes = [
        node("Gemm", ["x", "w"], ["g"], "layer"),
        after,
        *branching([node("Gemm", ["x", "w"], ["t"])], {}),
    ]
    constants |= {"w": normal(8, 4), "zero": np.zeros((), np.float32)}
    model = build(nodes, constants, [None, 8])
    for sign in (-1, 1):
        check(model, np.abs(X) * np.float32(sign))


def test_normalising_twice_changes_nothing() -> None:
    after, constants = norm("y", "z")
    nodes = [constant("w", normal(6, 4, 3, 3)), node("Conv", ["x", "w"], ["y"], "layer"), after]
    once = check(build(nodes, constants, [None, 4, 6, 6]), PICTURE)
    before = ir.to_proto(once)
    normal_form()(once)
    assert ir.to_proto(once).SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)


def test_traces_of_tools_are_dropped_and_other_metadata_stays() -> None:
    node = ir.node("Relu", [ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))])
    node.metadata_props.update({"pkg.torch.onnx.stack_trace": "/home/somebody/train.py", "mine": "kept"})
    node.metadata_props["pkg.onnxscript.rewriter.rule_name"] = "FuseBatchNormIntoConv"
    graph = ir.Graph([v for v in node.inputs if v is not None], node.outputs, nodes=[node], opset_imports={"": 18})
    model = ir.Model(graph, ir_version=10)
    normal_form()(model)
    assert dict(next(iter(model.graph)).metadata_props) == {"mine": "kept"}


def test_a_folded_weight_does_not_list_all_that_went_into_it() -> None:
    """Along a chain such lists would grow with its square."""
    chain = [node("Add", [f"w{at}", "one"], [f"w{at + 1}"]) for at in range(60)]
    model = build([*chain, node("MatMul", ["x", "w60"], ["z"])], {"w0": normal(4, 3), "one": normal(1)}, (2, 4))
    result = normalised(model)
    assert [entry.op_type for entry in result.graph] == ["MatMul"]
    weight = result.graph.initializers["w60"]
    assert sum(len(entry) for entry in weight.metadata_props.values()) < 60
    assert_agree(model, ir.to_proto(result), normal(2, 4))


@pytest.mark.parametrize("order", [[1, 0], None])
def test_a_matrix_that_several_transposes_turn_is_one_weight(order: list[int] | None) -> None:
    order_of: dict[str, Any] = {} if order is None else {"perm": order}
    nodes = [
        node("Transpose", ["w"], ["t"], "turn", **order_of),
        node("MatMul", ["x", "t"], ["h"], "first"),
        node("Tanh", ["h"], ["a"]),
        node("Transpose", ["w"], ["u"], "turn again", **order_of),
        node("MatMul", ["a", "u"], ["z"], "second"),
    ]
    result = check(build(nodes, {"w": normal(8, 8)}, [None, 8]), X)
    assert operators(result) == ["MatMul", "Tanh", "MatMul"]
    assert len(result.graph.initializers) == 1


def test_a_head_that_is_tied_to_its_table_stays_tied() -> None:
    nodes = [
        node("ArgMax", ["x"], ["ids"], keepdims=0, axis=1),
        node("Gather", ["table", "ids"], ["rows"], "embed"),
        node("Transpose", ["table"], ["turned"], "turn", perm=[1, 0]),
        node("MatMul", ["rows", "turned"], ["z"], "head"),
    ]
    result = check(build(nodes, {"table": normal(64, 32)}, [None, 8]), X)
    assert operators(result) == ["ArgMax", "Gather", "Transpose", "MatMul"]
    assert list(result.graph.initializers) == ["table"]
    (head,) = [left for left in find_layers(result.graph)[1] if left.node == "head"]
    assert head.reason == "its weight is what 'embed' (Gather) takes as well: they stay one tensor"


def test_a_gemm_on_the_table_itself_is_no_layer_either() -> None:
    nodes = [
        node("ArgMax", ["x"], ["ids"], keepdims=0, axis=1),
        node("Gather", ["table", "ids"], ["rows"], "embed"),
        node("Gemm", ["rows", "table"], ["z"], "head", transB=1),
    ]
    result = check(build(nodes, {"table": normal(64, 32)}, [None, 8]), X)
    assert layer_names(result) == []
