"""Where graphs run on integers, where not, and which values share a scale."""

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from quantized_models import (
    PADDED,
    classifier,
    conv_net,
    distance,
    network_of,
    node,
    normal,
    on_integers,
    pictures,
    placed,
    run,
)

from netsurgeon.passes.layers import find_cells
from netsurgeon.passes.quantization import SHARED_WEIGHT, place_matrices
from netsurgeon.passes.quantization.placement import IN_A_BODY

RELU = (0.0, math.inf)
EVERYTHING = (-math.inf, math.inf)


def conv(source: str, target: str, name: str, channels: int = 16) -> tuple[Any, dict[str, Any]]:
    weight = f"{name}_w"
    return node("Conv", [source, weight], [target], name), {weight: normal(16, channels, 1, 1, scale=0.2)}


def test_a_chain_of_layers_runs_on_integers_up_to_its_logits() -> None:
    placement = placed(conv_net())
    assert placement.layers == ("first", "second", "head")
    assert placement.nodes == ("pool", "flatten")
    assert placement.entering == ("x",)
    assert placement.floats == {}
    assert set(placement.values) == {"x", "r", "s", "g", "f"}, "the logits stay floats"
    assert placement.bounds["x"] == EVERYTHING
    assert placement.bounds["s"] == placement.bounds["g"] == RELU
    assert placement.integer == {"first", "second", "head", "pool", "flatten"}
    assert len(set(placement.values)) == len(placement.values)


def test_a_residual_sum_runs_on_integers_and_carries_its_relu() -> None:
    weights: dict[str, Any] = {"a_w": normal(16, 16, 1, 1)}
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "a_w"], ["a"], "a"),
        node("Add", ["a", "r"], ["sum"], "add"),
        node("Relu", ["sum"], ["s"], "relu2"),
    ]
    placement = placed(classifier(*nodes, last="s", **weights))
    assert placement.layers == ("first", "a", "head")
    assert placement.nodes == ("add", "pool", "flatten")
    assert {"r", "a", "s"} <= set(placement.values)
    assert "sum" not in placement.values
    assert (placement.bounds["a"], placement.bounds["s"]) == (EVERYTHING, RELU)


@pytest.mark.parametrize("stays", ["first", "a"])
def test_a_sum_of_integers_and_floats_runs_on_floats(stays: str) -> None:
    weights: dict[str, Any] = {"a_w": normal(16, 16, 1, 1), "b_w": normal(16, 16, 1, 1)}
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "a_w"], ["a"], "a"),
        node("Add", ["a", "r"], ["sum"], "add"),
        node("Conv", ["sum", "b_w"], ["b"], "b"),
    ]
    placement = placed(classifier(*nodes, last="b", **weights), [stays])
    assert "add" not in placement.nodes
    assert "sum" in placement.entering
    assert placement.floats == {stays: "it is to stay"}


def test_concat_joins_alike_values_under_one_scale_and_split_carries_it_on() -> None:
    (one, one_w), (two, two_w) = conv("c_r", "a", "one"), conv("c_r", "b", "two")
    (three, three_w), (four, four_w) = conv("h1", "t", "three"), conv("h2", "u", "four")
    nodes = [
        node("Relu", ["c"], ["c_r"], "relu"),
        one,
        two,
        node("Concat", ["a", "b"], ["both"], "join", axis=1),
        node("Split", ["both"], ["h1", "h2"], "halve", axis=1),
        three,
        four,
        node("Mul", ["t", "u"], ["m"], "product"),
    ]
    model = classifier(*nodes, last="m", **one_w, **two_w, **three_w, **four_w)
    model.graph.opset_imports[""] = 13
    placement = placed(model)
    assert ("a", "b", "both", "h1", "h2") in [tuple(sorted(group)) for group in placement.groups]
    assert {"join", "halve", "product"} <= set(placement.nodes)
    assert ("t",) in placement.groups


@pytest.mark.parametrize("second", ["plain", "Relu", "Clip"])
def test_what_is_clipped_elsewhere_has_a_scale_of_its_own(second: str) -> None:
    """A range that reaches beyond the Clip of one would leave that Clip to be run, and its layer on floats."""
    (one, one_w), (two, two_w) = conv("c_r", "p", "one"), conv("c_r", "q", "two")
    (three, three_w) = conv("both", "t", "three", channels=32)
    act = {
        "plain": None,
        "Relu": node("Relu", ["q"], ["b"], "act"),
        "Clip": node("Clip", ["q", "zero", "three"], ["b"], "act"),
    }[second]
    nodes = [
        node("Relu", ["c"], ["c_r"], "relu"),
        one,
        node("Clip", ["p", "zero", "six"], ["a"], "relu6"),
        two,
        *([act] if act else []),
        node("Concat", ["a", "q" if second == "plain" else "b"], ["both"], "join", axis=1),
        three,
    ]
    limits: dict[str, Any] = {"zero": np.float32(0.0), "three": np.float32(3.0), "six": np.float32(6.0)}
    placement = placed(classifier(*nodes, last="t", **one_w, **two_w, **three_w, **limits))
    assert "join" in placement.nodes
    assert placement.bounds["a"] == (0.0, 6.0)
    (group,) = [group for group in placement.groups if "a" in group]
    assert all(placement.bounds[name] == (0.0, 6.0) for name in group)


@pytest.mark.parametrize("between", ["MaxPool", "Reshape", "Transpose", "Slice", "Resize"])
def test_what_moves_numbers_carries_their_scale(between: str) -> None:
    constants: dict[str, dict[str, Any]] = {
        "Reshape": {"shape": np.array([-1, 16, 8, 8])},
        "Slice": {"starts": np.array([0]), "ends": np.array([4]), "axes": np.array([2])},
        "Resize": {"roi": np.zeros(0, np.float32), "factors": np.array([1, 1, 2, 2], np.float32)},
    }
    attributes: dict[str, dict[str, Any]] = {
        "MaxPool": {"kernel_shape": [2, 2]},
        "Transpose": {"perm": [0, 1, 3, 2]},
        "Resize": {"mode": "nearest"},
    }
    own = constants.get(between, {})
    (second, weights) = conv("moved", "t", "second")
    nodes = [
        node("Relu", ["c"], ["r"], "relu"),
        node(between, ["r", *own], ["moved"], "moves", **attributes.get(between, {})),
        second,
    ]
    placement = placed(classifier(*nodes, last="t", **weights, **own))
    assert "moves" in placement.nodes
    assert ("r", "moved") in placement.groups


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Resize", {"mode": "linear"}),
        ("Tanh", {}),
        ("Sub", {}),
        ("Mul", {}),
    ],
)
def test_what_onnx_runtime_runs_on_floats_is_an_island_between_integers(
    operator: str, attributes: dict[str, Any]
) -> None:
    own: dict[str, dict[str, Any]] = {
        "Resize": {"roi": np.zeros(0, np.float32), "factors": np.array([1, 1, 2, 2], np.float32)},
        "Sub": {"constant": np.float32(2.0)},
        "Mul": {"constant": np.float32(2.0)},
    }
    (second, weights) = conv("moved", "t", "second")
    constants = own.get(operator, {})
    between = node(operator, ["c", *constants], ["moved"], "island", **attributes)
    placement = placed(classifier(between, second, last="t", **weights, **constants))
    assert placement.layers == ("first", "second", "head")
    assert "island" not in placement.nodes
    assert placement.entering == ("x", "moved")
    assert "c" in placement.values


@pytest.mark.parametrize("how", ["inputs", "attributes"])
@pytest.mark.parametrize(
    ("low", "high", "bounds"), [(0.0, 6.0, (0.0, 6.0)), (-1.0, 1.0, (-1.0, 1.0)), (1.0, 6.0, None), (-2.0, 0.0, None)]
)
def test_a_clip_whose_range_holds_zero_ends_the_range(how: str, low: float, high: float, bounds: Any) -> None:
    ends: dict[str, Any] = {"low": np.float32(low), "high": np.float32(high)} if how == "inputs" else {}
    attributes: dict[str, Any] = {} if ends else {"min": low, "max": high}
    clip = node("Clip", ["c", *ends], ["r"], "clip", **attributes)
    model = classifier(clip, last="r", **ends)
    if not ends:
        model.graph.opset_imports[""] = 6
    placement = placed(model)
    if bounds is None:
        assert "c" in placement.values
        assert placement.bounds["c"] == EVERYTHING
    else:
        assert placement.bounds["r"] == bounds
        assert "c" not in placement.values


def test_clips_in_a_row_leave_what_all_of_them_let_through() -> None:
    nodes = [node("Clip", ["c", "low", "high"], ["k"], "clip"), node("Relu", ["k"], ["r"], "relu")]
    placement = placed(classifier(*nodes, last="r", low=np.float32(-1.0), high=np.float32(3.0)))
    assert placement.bounds["r"] == (0.0, 3.0)


def test_a_clip_at_a_computed_number_stays_a_node() -> None:
    nodes = [
        node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
        node("Clip", ["c", "", "most"], ["r"], "clip"),
    ]
    placement = placed(classifier(*nodes, last="r"))
    assert placement.bounds["c"] == EVERYTHING
    assert "c" in placement.values


def test_a_relu_that_is_not_alone_is_no_end_of_the_range() -> None:
    nodes = [node("Relu", ["c"], ["r"], "relu"), node("Add", ["c", "r"], ["s"], "add")]
    placement = placed(classifier(*nodes, last="s"))
    assert placement.bounds["c"] == EVERYTHING
    assert "add" not in placement.nodes, "the Relu between makes floats"


def test_a_relu_in_a_body_is_no_end_of_the_range() -> None:
    """The other branch does not read what the Conv makes, so the Relu is its only reader, and may not run."""
    result = onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)
    other = onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None)
    then = onnx.helper.make_graph([node("Relu", ["d"], ["r"], "relu")], "then", [], [result])
    otherwise = onnx.helper.make_graph([node("Abs", ["c"], ["a"], "abs")], "otherwise", [], [other])
    second, weights = conv("c", "d", "second")
    nodes = [
        second,
        node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
        node("Greater", ["most", "limit"], ["is_large"], "greater"),
        node("If", ["is_large"], ["s"], "branch", then_branch=then, else_branch=otherwise),
    ]
    model, x = classifier(*nodes, last="s", limit=np.float32(2.0), **weights), pictures()
    assert placed(model).bounds["d"] == EVERYTHING
    assert distance(run(on_integers(model, x).model, x), run(model, x)) < 0.05


@pytest.mark.parametrize("output", ["c", "r"])
def test_a_convolution_whose_output_the_model_gives_stays_on_floats(output: str) -> None:
    (second, weights) = conv("r", "t", "second")
    relu = node("Relu", ["c"], ["r"], "relu")
    model = classifier(relu, second, last="t", outputs=("y", output), **weights)
    placement = placed(model)
    assert placement.floats == {"first": "its output is an output of the model"}
    assert placement.entering == ("r",)


def test_sums_that_only_the_model_s_outputs_read_stay_on_floats() -> None:
    (one, one_w), (two, two_w) = conv("c", "a", "one"), conv("c", "b", "two")
    nodes = [node("Conv", ["x", "w"], ["c"], "first"), one, two, node("Add", ["a", "b"], ["y"], "add")]
    placement = placed(network_of(nodes, {"w": normal(16, 3, 1, 1), **one_w, **two_w}))
    assert placement.layers == ("first", "one", "two")
    assert placement.nodes == ()
    assert set(placement.values) == {"x", "c", "a", "b"}


def test_what_takes_floats_in_the_middle_takes_a_value_that_integers_take_too() -> None:
    nodes = [node("Relu", ["c"], ["r"], "relu"), node("ReduceMean", ["r"], ["y2"], "mean"), conv("r", "t", "second")[0]]
    placement = placed(classifier(*nodes, last="t", outputs=("y", "y2"), **conv("r", "t", "second")[1]))
    assert placement.layers == ("first", "second", "head")
    assert placement.values.count("r") == 1


def test_an_input_that_two_layers_take_becomes_integers_once() -> None:
    nodes = [
        node("Conv", ["x", "v"], ["a"], "one", **PADDED),
        node("Conv", ["x", "w"], ["b"], "two", **PADDED),
        node("Add", ["a", "b"], ["s"], "add"),
        node("GlobalAveragePool", ["s"], ["g"], "pool"),
        node("Flatten", ["g"], ["f"], "flatten"),
        node("Gemm", ["f", "u"], ["y"], "head"),
    ]
    weights: dict[str, Any] = {"v": normal(8, 3, 3, 3), "w": normal(8, 3, 3, 3), "u": normal(8, 5)}
    placement = placed(network_of(nodes, weights))
    assert placement.values.count("x") == 1
    assert placement.entering == ("x",)


def test_a_matmul_multiplies_integers_to_floats() -> None:
    nodes = [
        node("MatMul", ["x", "v"], ["h"], "one"),
        node("Relu", ["h"], ["r"], "relu"),
        node("MatMul", ["r", "w"], ["y"], "two"),
    ]
    placement = placed(network_of(nodes, {"v": normal(8, 8), "w": normal(8, 5)}, ("N", 4, 8)))
    assert placement.layers == ("one", "two")
    assert placement.entering == ("x", "r")
    assert placement.bounds["r"] == EVERYTHING


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"alpha": 0.5}, "its factors alpha and beta are not 1"),
        ({"beta": 2.0}, "its factors alpha and beta are not 1"),
        ({"transA": 1}, "its input is transposed"),
    ],
)
def test_gemms_that_onnx_runtime_does_not_run_on_integers_stay(attributes: Any, reason: str) -> None:
    model = network_of(
        [node("Gemm", ["x", "w", "b"], ["y"], "layer", **attributes)], {"w": normal(8, 5), "b": normal(5)}, (8, 8)
    )
    assert placed(model).floats == {"layer": reason}


def test_other_layers_that_stay_say_why() -> None:
    entry = ("N", 8)
    computed = [node("ReduceMax", ["x"], ["c"], "most"), node("Gemm", ["x", "w", "c"], ["y"], "layer")]
    assert placed(network_of(computed, {"w": normal(8, 5)}, entry)).floats == {
        "layer": "what it adds is not a constant bias"
    }
    turned = network_of([node("MatMul", ["w", "x"], ["y"], "layer")], {"w": normal(5, 8)}, (8, 4))
    assert placed(turned).floats == {"layer": "its weight stands in front of its input"}
    deep = [node("Conv", ["x", "w"], ["c"], "layer"), node("Sigmoid", ["c"], ["s"]), node("Neg", ["s"], ["y"])]
    volume = network_of(deep, {"w": normal(4, 2, 3, 3, 3)}, ("N", 2, 5, 5, 5))
    assert placed(volume).floats == {"layer": "ONNX Runtime has no integer convolution in three dimensions"}


def test_a_sigmoid_ends_at_0_and_1() -> None:
    nodes = [node("Sigmoid", ["c"], ["g1"], "gate"), node("Mul", ["c", "g1"], ["s"], "silu")]
    placement = placed(classifier(*nodes, last="s"))
    assert {"gate", "silu"} <= set(placement.nodes)
    assert placement.bounds["g1"] == (0.0, 1.0)


def test_nothing_but_floats_leaves_nothing_on_integers() -> None:
    placement = placed(conv_net(), ["first", "second", "head"])
    assert (placement.layers, placement.nodes, placement.groups, placement.entering) == ((), (), (), ())
    assert set(placement.floats) == {"first", "second", "head"}


def recurrent(
    operator: str = "LSTM", settings: str = "", weights: str = "w, r", before: str = "", kind: Any = np.float32
) -> ir.Model:
    """A cell of 3 units on inputs of 4 numbers; `s` is a second weight for the state, given by the caller."""
    gates, name = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator], {"float32": "float", "float16": "float16"}[kind.__name__]
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]> net ({name}[S, N, 4] x, {name}[1, {3 * gates}, 3] s) => (y) {{
            {before}
            y = {operator} <hidden_size = 3 {settings}> (x, {weights})
        }}"""
    )
    proto.graph.node[-1].name = "cell"
    arrays = {"w": normal(1, 3 * gates, 4), "r": normal(1, 3 * gates, 3)}
    if "broken" in weights:
        arrays["broken"] = np.full((1, 3 * gates, 3), np.nan)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(v.astype(kind), n) for n, v in arrays.items())
    return ir.from_proto(proto)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (recurrent("GRU"), "ONNX Runtime has no integer kernel for GRU"),
        (recurrent("RNN"), "ONNX Runtime has no integer kernel for RNN"),
        (
            recurrent(settings=", layout = 1"),
            "its batch comes first (layout = 1), which ONNX Runtime's integer kernel does not take",
        ),
        (recurrent(weights="w, s"), "its weights are computed while the model runs"),
        (recurrent(kind=np.float16), "its weight has type FLOAT16, expected float32"),
        (recurrent(weights="w, broken"), "its weight holds NaN or Inf"),
        (recurrent(before="other = LSTM <hidden_size = 3> (x, w, s)"), SHARED_WEIGHT),
    ],
)
def test_recurrent_cells_that_stay_say_why(model: ir.Model, reason: str) -> None:
    placement = place_matrices(model.graph, [], {}, find_cells(model.graph))
    assert (placement.layers, placement.entering) == ((), ())
    assert placement.floats["cell"] == reason


def test_an_lstm_takes_integers_unless_it_is_to_stay() -> None:
    model = recurrent(settings=", clip = 2.0")
    placement = place_matrices(model.graph, [], {}, find_cells(model.graph))
    assert (placement.layers, placement.entering, placement.floats) == (("cell",), ("x",), {})
    excluded = place_matrices(model.graph, [], {"cell": "excluded"}, find_cells(model.graph))
    assert (excluded.layers, excluded.floats) == ((), {"cell": "excluded"})


def test_an_lstm_in_a_body_stays() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> net (float[S, N, 4] x, bool b, float[1, 12, 4] w, float[1, 12, 3] r)
        => (y) {
            y = If (b) <then_branch = g1 () => (a) { a = LSTM <hidden_size = 3> (x, w, r) },
                        else_branch = g2 () => (c) { c = LSTM <hidden_size = 3> (x, w, r) }>
        }"""
    )
    graph = ir.from_proto(proto).graph
    assert set(place_matrices(graph, [], {}, find_cells(graph)).floats.values()) == {IN_A_BODY}
