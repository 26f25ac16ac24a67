"""The walk hands every layer its true input, whatever the graph looks like, and leaves nothing behind."""

import errno
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from operation_counts import count_visits, operations

from netsurgeon.passes.layers.exposed import expose
from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.calibration import store as store_module
from netsurgeon.pipeline.calibration.segments import Segment, Walk, cut, prefetch
from netsurgeon.pipeline.calibration.store import Memory
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.session import Runtime

Array = NDArray[Any]
Feeds = list[dict[str, Array]]
RUNTIME = Runtime()
node = helper.make_node


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where walks spill; every test ends with nothing there unless it says otherwise."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


# ------------------------------------------------------------------------------------------------ models


class Net:
    """Nodes in the making; weights get names of their own."""

    def __init__(self, inputs: dict[str, Sequence[int | str]]):
        self.inputs = inputs
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def add(self, operator: str, *inputs: str, to: str, **attributes: Any) -> str:
        self.nodes.append(node(operator, list(inputs), [to], f"n_{to}", **attributes))
        return to

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def gemm(self, source: str, rows: int, columns: int, to: str) -> str:
        weight = normal(rows, columns, seed=len(self.nodes)) / np.float32(np.sqrt(columns))
        return self.add("Gemm", source, self.constant(weight), to=to, transB=1)

    def conv(self, source: str, rows: int, columns: int, kernel: int, to: str, stride: int = 1) -> str:
        weight = normal(rows, columns, kernel, kernel, seed=len(self.nodes)) / np.float32(np.sqrt(columns) * kernel)
        pads = [kernel // 2] * 4
        return self.add("Conv", source, self.constant(weight), to=to, pads=pads, strides=[stride, stride])

    def model(self, *outputs: str) -> ir.Model:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in self.inputs.items()],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def chain() -> ir.Model:
    net = Net({"x": ["n", 6]})
    net.add("Relu", net.gemm("x", 8, 6, "a"), to="b")
    net.add("Relu", net.gemm("b", 5, 8, "c"), to="d")
    return net.model(net.gemm("d", 3, 5, "z"))


def residual() -> ir.Model:
    net = Net({"x": ["n", 3, 8, 8]})
    net.add("Relu", net.conv("x", 4, 3, 3, "stem"), to="s")
    net.add("Relu", net.conv("s", 4, 4, 3, "a"), to="b")
    net.add("Add", net.conv("b", 4, 4, 3, "c"), "s", to="sum")
    net.add("Relu", "sum", to="r")
    net.add("Relu", net.conv("r", 6, 4, 3, "e", stride=2), to="f")
    net.add("Add", net.conv("f", 6, 6, 3, "g"), net.conv("r", 6, 4, 1, "shortcut", stride=2), to="h")
    net.add("GlobalAveragePool", "h", to="p")
    net.add("Add", net.add("Flatten", "p", to="flat"), net.constant(normal(6)), to="shifted")
    return net.model(net.gemm("shifted", 3, 6, "z"), "h")


def inception() -> ir.Model:
    net = Net({"x": ["n", 3, 6, 6]})
    net.conv("x", 4, 3, 1, "a")
    net.conv(net.add("Relu", net.conv("x", 2, 3, 1, "b"), to="c"), 4, 2, 3, "d")
    net.conv(net.add("MaxPool", "x", to="e", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 2, 3, 1, "f")
    net.add("Concat", "a", "d", "f", to="g", axis=1)
    return net.model(net.conv("g", 3, 10, 1, "z"))


def shared_input() -> ir.Model:
    net = Net({"x": ["n", 6]})
    net.add("Tanh", "x", to="t")
    for name in ("q", "k", "v"):
        net.gemm("t", 4, 6, name)
    net.add("Mul", net.add("Mul", "q", "k", to="m"), "v", to="u")
    return net.model(net.add("Sub", net.gemm("u", 6, 4, "o"), "t", to="z"))


def several_inputs() -> ir.Model:
    net = Net({"x": ["n", 6], "y": ["n", 4], "late": ["n", 3], "unused": ["n"]})
    net.add("Concat", net.gemm("x", 4, 6, "a"), "y", to="b", axis=1)
    net.add("Mul", net.gemm("b", 3, 8, "c"), "late", to="d")
    return net.model(net.gemm("d", 2, 3, "z"))


def branching() -> ir.Model:
    """An If whose bodies capture constants and early values, one of them used nowhere else."""
    net = Net({"x": ["n", 6]})
    net.add("Relu", net.gemm("x", 5, 6, "a"), to="early")
    net.add("Tanh", "a", to="aside")
    net.add("Relu", net.gemm("early", 5, 5, "b"), to="h")
    net.add("Greater", net.add("ReduceSum", "h", to="s", keepdims=0), net.constant(np.array(6, np.float32)), to="p")
    outer, inner = net.constant(normal(5)), net.constant(normal(5, 5))
    bodies = {
        "then_branch": [node("Mul", ["aside", outer], ["t"])],
        "else_branch": [node("MatMul", ["aside", inner], ["m"]), node("Add", ["m", "early"], ["e"])],
    }
    graphs = {
        key: helper.make_graph(inside, key, [], [helper.make_tensor_value_info(inside[-1].output[0], 1, None)])
        for key, inside in bodies.items()
    }
    net.add("If", "p", to="i", **graphs)
    return net.model(net.gemm("i", 3, 5, "z"))


def static() -> ir.Model:
    """Sub-graphs that depend on no input, used early and late."""
    net = Net({"x": ["n", 6]})
    net.add("Exp", net.constant(normal(6)), to="scale")
    net.add("Softmax", net.add("Neg", "scale", to="less"), to="share")
    net.gemm(net.add("Mul", "x", "scale", to="a"), 6, 6, "b")
    net.gemm(net.add("Mul", "b", "share", to="c"), 6, 6, "d")
    net.gemm(net.add("Add", "d", "scale", to="e"), 6, 6, "f")
    return net.model(net.add("Mul", "f", "less", to="z"))


def shapes() -> ir.Model:
    """Integers and shapes travel from segment to segment too."""
    net = Net({"x": ["n", 2, 3]})
    net.add("Shape", "x", to="shape")
    net.gemm(net.add("Flatten", "x", to="flat"), 6, 6, "a")
    net.add("MatMul", net.add("Reshape", "a", "shape", to="b"), net.constant(normal(3, 3)), to="c")
    return net.model(net.add("MatMul", "c", net.constant(normal(3, 2)), to="z"))


def sequences() -> ir.Model:
    """A value that is no array is carried past a layer."""
    net = Net({"x": ["n", 6]})
    net.add("SplitToSequence", net.gemm("x", 6, 6, "a"), net.constant(np.array(3)), to="parts", axis=1)
    net.gemm(net.add("ConcatFromSequence", "parts", to="b", axis=1), 3, 6, "c")
    net.add("Add", "c", net.add("SequenceAt", "parts", net.constant(np.array(0)), to="d"), to="e")
    return net.model(net.gemm("e", 2, 3, "z"))


MODELS: dict[str, Callable[[], ir.Model]] = {
    f.__name__: f
    for f in (chain, residual, inception, shared_input, several_inputs, branching, static, shapes, sequences)
}
EVERY = pytest.mark.parametrize("name", list(MODELS))


def feeds_of(model: ir.Model, batches: int = 3) -> Feeds:
    """Batches of 4, the last one of 2 samples."""
    result = []
    for batch in range(batches):
        count = 2 if batch == batches - 1 else 4
        feed = {}
        for value in model.graph.inputs:
            assert value.shape is not None
            shape = [extent if isinstance(extent, int) else count for extent in value.shape]
            feed[str(value.name)] = normal(*shape, seed=batch)
        result.append(feed)
    return result


def layers_of(model: ir.Model) -> list[Layer]:
    return find_layers(model.graph)[0]


def segments_of(model: ir.Model) -> list[Segment]:
    return cut(model.graph, [layer.node for layer in layers_of(model)])


def true_inputs(model: ir.Model, feeds: Feeds) -> list[dict[str, Array]]:
    """Each layer's input by the layer's name, from a copy of the model that exposes these values, batch by batch."""
    exposed = expose(model, [layer.input_name for layer in layers_of(model)])
    layers = layers_of(exposed)
    names = {value.name for value in exposed.graph.outputs}
    values = {value.name: value for node in exposed.graph for value in node.outputs}
    for layer in layers:
        if layer.input_name not in names and layer.input_name in values:
            exposed.graph.outputs.append(values[layer.input_name])
            names.add(layer.input_name)
    session = RUNTIME.session(exposed, optimise=False)
    result = []
    for feed in feeds:
        arrays = {**feed, **session.run(feed)}
        result.append({layer.name: arrays[layer.input_name] for layer in layers})
    return result


# ------------------------------------------------------------------------------------------------ true inputs


@EVERY
def test_every_layer_sees_its_true_input(name: str, spill: Path, open_files: Any) -> None:
    model = MODELS[name]()
    feeds, layers = feeds_of(model), {layer.name: layer for layer in layers_of(model)}
    expected, segments, seen = true_inputs(model, feeds), segments_of(model), []
    with Walk(model, segments, feeds, RUNTIME) as walk:
        assert walk.batches == 3
        for at, segment in enumerate(segments):
            walk.run(at)
            for layer in segment.layers:
                seen.append(layer)
                for batch in range(3):
                    found = walk.value(layers[layer].input_name, batch)
                    np.testing.assert_allclose(found, expected[batch][layer], rtol=1e-4, atol=1e-5)
            walk.release(at)
        left = [name for segment in segments for name in segment.expired if walk.holds(name)]
        assert left == [], "every value has expired"
    assert sorted(seen) == sorted(layers)
    assert len(seen) == len(set(seen))
    assert open_files(spill) == []


def test_a_wrong_weight_is_noticed() -> None:
    """The comparison above fails on a model that is not the walked one."""
    model = chain()
    feeds = feeds_of(model)
    expected = true_inputs(model, feeds)
    layers_of(model)[0].write(layers_of(model)[0].matrix() * 1.01)
    last = layers_of(model)[-1]
    with Walk(model, segments_of(model), feeds, RUNTIME) as walk:
        for at in range(3):
            walk.run(at)
        gap = np.abs(walk.value(str(last.input.name), 0) - expected[0][last.name]).max()
    assert gap > 1e-3


@EVERY
def test_no_node_runs_in_two_segments(name: str) -> None:
    """Each value is made by one segment only; only what hangs on no input is made again."""
    model = MODELS[name]()
    segments = segments_of(model)
    made: list[str] = [output for segment in segments for output in segment.outputs]
    assert len(made) == len(set(made))
    expired: list[str] = [value for segment in segments for value in segment.expired]
    assert len(expired) == len(set(expired))
    inputs = {str(value.name) for value in model.graph.inputs}
    for at, segment in enumerate(segments):
        alive = inputs | {output for earlier in segments[:at] for output in earlier.outputs}
        removed_slices = {value for earlier in segments[:at] for value in earlier.expired}
        assert set(segment.inputs) <= alive - removed_slices
        assert set(segment.expired) <= (alive | set(segment.outputs)) - removed_slices


def test_layers_that_share_an_input_share_a_segment() -> None:
    first, second = segments_of(shared_input())
    assert first.layers == ("n_q", "n_k", "n_v")
    assert first.outputs == ("t",)
    assert second.layers == ("n_o",)
    assert second.inputs == ("t",)
    assert "t" in second.expired


def test_a_layer_at_the_graph_input_needs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain()
    first = segments_of(model)[0]
    assert first == Segment(("n_a",), (), (), ())
    monkeypatch.setattr(Runtime, "session", None)
    with Walk(model, segments_of(model), feeds_of(model), RUNTIME) as walk:
        walk.run(0)
        np.testing.assert_array_equal(walk.value("x", 2), feeds_of(model)[2]["x"])


def test_without_layers_there_is_nothing_to_walk(spill: Path, open_files: Any) -> None:
    assert cut(chain().graph, []) == []
    with Walk(chain(), [], feeds_of(chain()), RUNTIME):
        assert open_files(spill) == []


def test_some_of_the_layers() -> None:
    model = residual()
    chosen = [layer.node for layer in layers_of(model) if layer.name in ("n_g", "n_z")]
    segments = cut(model.graph, chosen)
    assert [segment.layers for segment in segments] == [("n_g",), ("n_z",)]
    expected = true_inputs(model, feeds_of(model))
    with Walk(model, segments, feeds_of(model), RUNTIME) as walk:
        walk.run(0)
        np.testing.assert_allclose(walk.value("f", 1), expected[1]["n_g"], rtol=1e-4, atol=1e-5)
        walk.release(0)
        walk.run(1)
        np.testing.assert_allclose(walk.value("shifted", 1), expected[1]["n_z"], rtol=1e-4, atol=1e-5)


def test_a_value_beside_a_layers_input_is_kept_until_the_layer_is_looked_at() -> None:
    model = chain()
    first, second = layers_of(model)[:2]
    between = layers_of(model)[-1]
    segments = cut(model.graph, [first.node, second.node, between.node], {between.node: second.input})
    expected = true_inputs(model, feeds_of(model))
    with Walk(model, segments, feeds_of(model), RUNTIME) as walk:
        for at, segment in enumerate(segments):
            walk.run(at)
            if between.name in segment.layers:
                found = walk.value(str(second.input.name), 1)
                np.testing.assert_allclose(found, expected[1][second.name], rtol=1e-4, atol=1e-5)
            walk.release(at)
        assert not walk.holds(str(second.input.name))
    assert [each.layers for each in segments] == [(first.name,), (second.name,), (between.name,)]


def test_inputs_nobody_needs_are_not_kept(spill: Path, open_files: Any) -> None:
    model = several_inputs()
    with Walk(model, segments_of(model), feeds_of(model), RUNTIME):
        assert len(open_files(spill)) == 3, "x, y and late, a file each for all batches"


def test_a_layer_that_hangs_on_no_input_is_in_no_segment() -> None:
    net = Net({"x": ["n", 6]})
    net.gemm(net.add("Exp", net.constant(normal(2, 6)), to="e"), 6, 6, "a")
    net.add("ReduceMean", "a", to="m", axes=[0], keepdims=0)
    model = net.model(net.gemm(net.add("Mul", "x", "m", to="b"), 3, 6, "z"))
    segments = segments_of(model)
    assert [name for segment in segments for name in segment.layers] == ["n_z"]
    expected = true_inputs(model, feeds_of(model))
    with Walk(model, segments, feeds_of(model), RUNTIME) as walk:
        for at in range(len(segments)):
            walk.run(at)
        np.testing.assert_allclose(walk.value("b", 0), expected[0]["n_z"], rtol=1e-5)


# ------------------------------------------------------------------------------------------------ pruning on the way


@EVERY
def test_pruning_between_segments_is_seen_downstream(name: str) -> None:
    """At the end every layer has seen what the finished model gives it; and the first ones what the dense one gave."""
    model = MODELS[name]()
    feeds, dense = feeds_of(model), true_inputs(model, feeds_of(model))
    current = model.clone()
    layers = {layer.name: layer for layer in layers_of(current)}
    segments, seen = segments_of(model), {}
    with Walk(current, segments, feeds, RUNTIME) as walk:
        for at, segment in enumerate(segments):
            walk.run(at)
            for layer in segment.layers:
                seen[layer] = walk.value(layers[layer].input_name, 1)
            for layer in segment.layers:
                matrix = layers[layer].matrix()
                layers[layer].write(np.where(np.abs(matrix) > 0.3, matrix, 0.0))
            walk.release(at)
    finished = true_inputs(current, feeds)
    for layer, value in seen.items():
        np.testing.assert_allclose(value, finished[1][layer], rtol=1e-4, atol=1e-5)
    for layer in segments[0].layers:
        np.testing.assert_allclose(seen[layer], dense[1][layer], rtol=1e-4, atol=1e-5)
    for layer in segments[-1].layers:
        assert np.abs(seen[layer] - dense[1][layer]).max() > 1e-3


# ------------------------------------------------------------------------------------------------ what is left behind


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_files_go_on_exceptions_too(spill: Path, open_files: Any, error: type[BaseException]) -> None:
    model = chain()

    def interrupted() -> None:
        with Walk(model, segments_of(model), feeds_of(model), RUNTIME) as walk:
            walk.run(0)
            assert len(open_files(spill)) == 1
            raise error

    with pytest.raises(error):
        interrupted()
    assert open_files(spill) == []


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
def test_files_go_when_the_samples_fail(spill: Path, open_files: Any, error: type[BaseException]) -> None:
    model = chain()

    def failing() -> Iterator[dict[str, Array]]:
        yield feeds_of(model)[0]
        assert len(open_files(spill)) == 1
        raise error("no more")

    with pytest.raises(error, match="no more"):
        Walk(model, segments_of(model), failing(), RUNTIME)
    assert open_files(spill) == []


def test_values_are_the_same_from_memory_and_from_the_disk(spill: Path, open_files: Any) -> None:
    model = chain()
    room = Memory(1 << 20)
    walks = [Walk(model, segments_of(model), feeds_of(model), RUNTIME, memory=memory) for memory in (room, None)]
    with walks[0] as in_memory, walks[1] as on_disk:
        for at, segment in enumerate(segments_of(model)):
            for walk in walks:
                walk.run(at)
            for name in segment.outputs:
                for batch in range(on_disk.batches):
                    np.testing.assert_array_equal(in_memory.value(name, batch), on_disk.value(name, batch))
                    assert in_memory.shape(name, batch) == on_disk.shape(name, batch)
            for walk in walks:
                walk.release(at)
    assert open_files(spill) == []
    assert room.take(1 << 20), "all of it is free again"


def test_a_full_disk_says_where_and_what_to_do(spill: Path, open_files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module._Spilled, "append", full)
    with pytest.raises(InputError, match=rf"spilled to {spill}: No space left on device; set TMPDIR"):
        Walk(chain(), segments_of(chain()), feeds_of(chain()), RUNTIME)
    assert open_files(spill) == []


def test_a_value_without_a_name() -> None:
    model = chain()
    layer = layers_of(model)[1]
    layer.input.name = None
    with pytest.raises(InputError, match=r"value without a name: run it through onnx\.checker"):
        segments_of(model)


def test_one_is_made_ahead_and_all_come_in_order() -> None:
    made: list[int] = []

    def make(at: int) -> int:
        made.append(at)
        if at == 3:
            raise InputError("the third")
        return at

    assert list(prefetch(make, 0)) == []
    assert list(prefetch(make, 3)) == [0, 1, 2]
    with pytest.raises(InputError, match="the third"):
        list(prefetch(make, 5))
    assert made == [0, 1, 2, 0, 1, 2, 3], "nothing is made behind a failure"


# ------------------------------------------------------------------------------------------------ how much is done


def long_chain(count: int) -> ir.Model:
    net = Net({"x": ["n", 2]})
    for at in range(count):
        net.add("Tanh", net.gemm(f"h{at}" if at else "x", 2, 2, f"a{at}"), to=f"h{at + 1}")
    return net.model(f"h{count}")


def test_a_walk_looks_at_each_node_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are as many segments as layers: going through the graph for each would grow with the square."""
    model = long_chain(30)
    segments, feeds = segments_of(model), feeds_of(model, 1)
    visits = count_visits(monkeypatch, model.graph)
    with Walk(model, segments, feeds, RUNTIME) as walk:
        for at in range(len(segments)):
            walk.run(at)
    assert visits[0] <= 3 * 60


def test_twice_the_layers_take_twice_the_operations_to_cut() -> None:
    one, other = (operations(functools.partial(segments_of, long_chain(count))) for count in (100, 200))
    assert other < 2.2 * one
