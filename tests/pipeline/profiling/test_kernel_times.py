"""Time of each node, from ONNX Runtime's profiler: nodes of the graph that runs, summed over turns of loops."""

import numpy as np
from timed_models import graph

from netsurgeon.pipeline.profiling.kernel_times import node_times
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
