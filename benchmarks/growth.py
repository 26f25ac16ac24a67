"""How the time to open and to analyse a graph grows with its nodes: each doubling should about double it.

    python benchmarks/growth.py

prints a table; nothing is kept, because times depend on the machine. `--nodes 1000,2000` and `--only deep` run a part.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.dependencies import analyse
from netsurgeon.pipeline.inspect import inspect_model, inspect_units
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.runtime import Runtime, observe
from netsurgeon.pipeline.trimming.costs import unit_costs

WIDTH = 8


def _model(nodes: list[onnx.NodeProto], weights: dict[str, np.typing.NDArray[np.float32]]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _weight(rows: int = WIDTH) -> np.typing.NDArray[np.float32]:
    weight = np.random.default_rng(rows).standard_normal((rows, WIDTH)) / np.sqrt(rows)
    return np.asarray(weight, np.float32)


def constants(count: int) -> onnx.ModelProto:
    """A weight behind so many constant nodes."""
    nodes = [helper.make_node("Add", [f"w{at}", "one"], [f"w{at + 1}"]) for at in range(count - 1)]
    nodes.append(helper.make_node("MatMul", ["x", f"w{count - 1}"], ["z"], "layer"))
    return _model(nodes, {"w0": _weight(), "one": np.full(1, 1e-6, np.float32)})


def deep(count: int) -> onnx.ModelProto:
    """Layers one behind the other."""
    nodes = []
    for at in range(count // 2):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Relu", [f"m{at}"], ["z" if at == count // 2 - 1 else f"h{at + 1}"]))
    return _model(nodes, {f"w{at}": _weight() for at in range(count // 2)})


def residual(count: int) -> onnx.ModelProto:
    """Blocks that each add to the one before, so that all axes hang together."""
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h0"])]
    for at in range(count // 2):
        nodes.append(helper.make_node("MatMul", [f"h{at}", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Add", [f"h{at}", f"m{at}"], [f"h{at + 1}"]))
    nodes.append(helper.make_node("MatMul", [f"h{count // 2}", "last"], ["z"]))
    weights = {f"w{at}": 0.01 * _weight() for at in range(count // 2)}
    return _model(nodes, {"first": _weight(), "last": _weight(), **weights})


def shared(count: int) -> onnx.ModelProto:
    """Layers one behind the other, all of the same weight."""
    nodes = []
    for at in range(count // 2):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", "w"], [f"m{at}"]))
        nodes.append(helper.make_node("Tanh", [f"m{at}"], ["z" if at == count // 2 - 1 else f"h{at + 1}"]))
    return _model(nodes, {"w": _weight()})


def parts(count: int) -> onnx.ModelProto:
    """Values that are cut into two and joined again the other way round, between layers."""
    nodes, steps = [], count // 3
    for at in range(steps):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Split", [f"m{at}"], [f"a{at}", f"b{at}"], axis=1))
        output = "z" if at == steps - 1 else f"h{at + 1}"
        nodes.append(helper.make_node("Concat", [f"b{at}", f"a{at}"], [output], axis=1))
    return _model(nodes, {f"w{at}": _weight() for at in range(steps)})


def flattened(count: int) -> onnx.ModelProto:
    """Layers between reshapes that cut their units into heads: each is a choice of what may go."""
    nodes, steps = [], count // 3
    for at in range(steps):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Reshape", [f"m{at}", "cut"], [f"c{at}"]))
        nodes.append(helper.make_node("Reshape", [f"c{at}", "flat"], ["z" if at == steps - 1 else f"h{at + 1}"]))
    weights = {f"w{at}": _weight() for at in range(steps)}
    model = _model(nodes, weights)
    for name, sizes in (("cut", [0, 2, WIDTH // 2]), ("flat", [0, WIDTH])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
    return model


def wide(count: int) -> onnx.ModelProto:
    """Layers beside each other, whose units are joined and read by one more."""
    branches = count // 2
    nodes = []
    for at in range(branches):
        nodes.append(helper.make_node("MatMul", ["x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Relu", [f"m{at}"], [f"h{at}"]))
    nodes.append(helper.make_node("Concat", [f"h{at}" for at in range(branches)], ["all"], axis=1))
    nodes.append(helper.make_node("MatMul", ["all", "last"], ["z"]))
    return _model(nodes, {"last": _weight(branches * WIDTH), **{f"w{at}": _weight() for at in range(branches)}})


def weigh_units(proto: onnx.ModelProto) -> None:
    """What a choice of units stands on: what hangs together, and what each saves."""
    source = open_model(proto, Runtime())
    dependencies = analyse(source.model, observe(source.model, {"x": np.ones((2, WIDTH), np.float32)}, Runtime()))
    costs, _ = unit_costs(source.model, dependencies, np.arange(len(dependencies.units)), "parameters")
    costs.savings(np.ones(len(dependencies.units), bool))


GRAPHS: dict[str, tuple[Callable[[int], onnx.ModelProto], Callable[[onnx.ModelProto], object]]] = {
    "constants": (constants, inspect_model),
    "deep": (deep, inspect_units),
    "residual": (residual, inspect_units),
    "shared": (shared, inspect_units),
    "parts": (parts, inspect_units),
    "flattened": (flattened, inspect_units),
    "wide": (wide, inspect_units),
    "deep costs": (deep, weigh_units),
    "wide costs": (wide, weigh_units),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1000,2000,4000,8000", help="sizes of the graphs")
    parser.add_argument("--only", default=",".join(GRAPHS), help="kinds of graphs")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.nodes.split(",")]
    print(f"{'seconds':<12}{''.join(f'{size:>10,}' for size in sizes)}")
    for kind in arguments.only.split(","):
        make, look = GRAPHS[kind]
        print(f"{kind:<12}", end="", flush=True)
        for size in sizes:
            proto = make(size)
            start = time.perf_counter()
            look(proto)
            print(f"{time.perf_counter() - start:>10.2f}", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
