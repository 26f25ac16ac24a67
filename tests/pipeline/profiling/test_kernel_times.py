"""Time of each node, from ONNX Runtime's profiler: nodes of the graph that runs, summed over turns of loops."""

from typing import Any

import numpy as np
import pytest
from quantized_models import network_of, node, normal
from timed_models import graph

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.profiling import kernel_times
from netsurgeon.pipeline.profiling.kernel_times import NodeTime, left_to_the_cpu, node_times, times_of_layers
from netsurgeon.pipeline.runtime.session import Runtime


def test_node_times_sum_the_turns_of_a_loop() -> None:
    model = graph(
        """
        n = Constant<value_int = 5>()
        go = Constant<value = bool {1}>()
        h = Relu(x)
        y = Loop (n, go, h) <body = turn (int64 i, bool c, float[N,4] v) => (bool d, float[N,4] w) {
            d = Identity(c)
            w = Sin(v)
        }>
        """
    )
    nodes = node_times(model, {"x": np.ones((2, 4), np.float32)}, Runtime(deployed=True), runs=3)
    operators = [node.operator for node in nodes]
    assert operators.count("Sin") == 1  # five turns, one node
    assert {"Relu", "Loop"} <= set(operators)
    assert all(node.milliseconds >= 0.0 for node in nodes)


def test_the_graph_is_that_of_the_level_of_optimisation() -> None:
    model, feed = graph("h = Identity(x) y = Relu(h)"), {"x": np.ones((1, 4), np.float32)}
    plain, optimised = (node_times(model, feed, Runtime(optimisation=level), 2) for level in ("off", "all"))
    assert [node.operator for node in plain] == ["Identity", "Relu"]
    assert [node.operator for node in optimised] == ["Relu"]


def test_a_model_that_cannot_run_on_the_feed_is_a_failed_check() -> None:
    with pytest.raises(CheckFailedError):
        node_times(graph("y = Relu(x)"), {"x": np.ones((1, 5), np.float32)}, Runtime(), runs=1)


def test_nothing_is_left_to_the_cpu_where_the_cpu_was_asked_for() -> None:
    """The model is not even loaded."""
    assert left_to_the_cpu(graph("y = Unheard(x)"), {}, Runtime()) == ()


def kernel(name: str, start: int, length: int, **more: Any) -> dict[str, Any]:
    arguments = {"op_name": "Relu", "provider": "CPUExecutionProvider", **more}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": length, "args": arguments}


def whole_run(start: int, length: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": length}


def test_a_node_costs_the_median_of_its_sums_over_the_last_runs() -> None:
    """Runs that warm up do not count, nor does what is no kernel; a node that a run leaves out costs nothing there."""
    events = [
        kernel("a", 1, 9000),
        whole_run(0, 10_000),  # warms up
        *(event for run in range(3) for event in (whole_run(20_000 + 1000 * run, 900),)),
        *(kernel("a", 20_010 + 1000 * run, length) for run, length in enumerate((100, 300, 200))),
        *(kernel("a", 20_500 + 1000 * run, 50) for run in range(3)),  # a second turn of a loop
        kernel("b", 20_005, 80),
        {"cat": "Node", "name": "a_fence_before", "ts": 20_011, "dur": 7000, "args": {"op_name": "Relu"}},
    ]
    times = kernel_times._medians(events, 3)
    assert times == (
        NodeTime("b", "Relu", "CPUExecutionProvider", 0.0),
        NodeTime("a", "Relu", "CPUExecutionProvider", 0.25),
    ), "in the order in which they ran"


def test_nodes_without_names_are_told_apart_by_their_numbers() -> None:
    events = [whole_run(0, 100), *(kernel("", 1 + at, 10 + at, node_index=str(at)) for at in range(2))]
    assert [(node.name, node.milliseconds) for node in kernel_times._medians(events, 1)] == [
        ("#0", 0.01),
        ("#1", 0.011),
    ]


def test_float_kernels_are_known_by_a_name_of_their_layer() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "plain"),
        node("MaxPool", ["c"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "v"], ["d"], "with Relu"),
        node("Relu", ["d"], ["r"], "act1"),
        node("Flatten", ["r"], ["f"], "flatten"),
        node("Gemm", ["f", "u", "b"], ["h"], "Gemm with Relu"),
        node("Relu", ["h"], ["s"], "act2"),
        node("Gemm", ["s", "t", "a"], ["y"], "last"),
    ]
    shapes = {"w": (16, 8, 3, 3), "v": (16, 16, 3, 3), "u": (144, 32), "b": (32,), "t": (32, 4), "a": (4,)}
    weights = {name: normal(*shape) for name, shape in shapes.items()}
    model = network_of(nodes, weights, entry=("N", 8, 12, 12))
    kernels = {kernel.name: 1.0 for kernel in Runtime().optimised_graph(model).node}
    layers = find_layers(model.graph)[0]
    assert list(times_of_layers(kernels, layers)) == ["plain", "with Relu", "Gemm with Relu", "last"]


def test_nodes_of_a_package_have_the_names_of_their_layers_and_others_a_reason() -> None:
    nodes = [
        NodeTime("Sparse_7_0_0", "Sparse_7_0", "NetsurgeonSparse", 0.5),
        NodeTime("Sparse_7_1_1", "Sparse_7_1", "NetsurgeonSparse", 0.25),
        NodeTime("n9_token_3", "QLinearConv", "CPUExecutionProvider", 1.0),
        NodeTime("top", "Softmax", "CPUExecutionProvider", 0.1),
    ]
    lines = ["left\tn1\tat first", "taken\tn1_token_4\tSparse_7_0_0", "taken\tn2\tSparse_7_1", "left\tn9\tgroups", "?"]
    named = kernel_times._explained(nodes, "\n".join(lines))
    assert [(node.name, node.operator, node.reason) for node in named] == [
        ("n1", "NetsurgeonSparse", None),
        ("n2", "NetsurgeonSparse", None),
        ("n9_token_3", "QLinearConv", "groups"),
        ("top", "Softmax", None),
    ]
    assert kernel_times.times_in_package(named, "netsurgeon-sparse") == {"n1": 0.5, "n2": 0.25}
