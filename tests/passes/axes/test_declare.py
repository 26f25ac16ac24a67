"""What a declaration sees of a node, what it may say, and how entries of sizes follow when indices vanish."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from trimming_networks import Net, X, analysed

from netsurgeon.passes.axes.declare import DECLARATIONS, NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Classes
from netsurgeon.passes.axes.tracks import Observation, Tracks, kept
from netsurgeon.passes.dependencies.track import track
from netsurgeon.passes.graph.edits import Edit, Override, SetConstant

SHAPE = (2, 4, 6, 6)


def scope_of(model: ir.Model, shapes: Mapping[str, tuple[int, ...]], place: int = 0, **integers: Any) -> NodeAxes:
    """A node as its declaration sees it, with free labels on every axis of the values whose shapes are told."""
    tracks = Tracks(Observation(shapes, {name: np.array(numbers) for name, numbers in integers.items()}))
    constants = model.graph.initializers
    tracks.axes = {
        name: tuple(tracks.labels.fresh(extent) for extent in shape)
        for name, shape in shapes.items()
        if name not in constants
    }
    return NodeAxes(tracks, model.graph[place], 17)


def test_an_operator_is_declared_once() -> None:
    before = DECLARATIONS["Relu"]
    with pytest.raises(ValueError, match="Relu is declared twice"):
        operator("Relu")(lambda scope: None)
    assert DECLARATIONS["Relu"] is before


def test_declarations_say_of_zero_only_what_is_understood() -> None:
    assert {declaration.zero for declaration in DECLARATIONS.values()} == {
        None,
        "first",
        "any",
        "all",
        "carried",
        "own",
    }


# ------------------------------------------------------------------------------------------------ reading
def test_every_use_of_a_constant_has_labels_of_its_own_and_a_single_index_stays() -> None:
    net = Net(*SHAPE)
    bias = net.weight(1, 4, 1, 1)
    model = net.build(net.op("Add", net.op("Add", X, bias), bias))
    tracks = track(model.graph, Observation({X: SHAPE, "n0_0": SHAPE, "n1_0": SHAPE}))
    first, second = (tracks.slots[name, 1] for name in ("Add0", "Add1"))
    assert [len(slot.labels) for slot in first] == [1, 4, 1, 1]
    assert set(first[1].labels.tolist()).isdisjoint(second[1].labels.tolist())
    assert not tracks.labels.classes().free(first[0].labels).any()
    assert {slot.size for slot in (*first, *second)} == {4}


def test_a_constant_that_is_an_output_of_the_model_stays() -> None:
    net = Net(*SHAPE)
    weight = net.weight(8, 4, 1, 1)
    model = net.build(net.op("Conv", net.op("Conv", X, weight), net.weight(3, 8, 1, 1)), weight)
    scope = scope_of(model, {X: SHAPE})
    rows = scope.axes(1)[0]
    classes = scope.labels.classes()
    assert not classes.free(rows).any()
    reason = scope._tracks.reasons[classes.reason[classes.of[rows[0]]]]
    assert reason.text == "its constant is an output of the model"


def test_inputs_are_told_apart() -> None:
    net = Net(*SHAPE)
    clipped = net.op("Clip", X, "", net.const(1.0, np.float32))
    scope = scope_of(net.build(clipped), {X: SHAPE, "n0_0": SHAPE})
    assert [scope.has(index) for index in range(4)] == [True, False, True, False]
    assert [scope.is_constant(index) for index in range(4)] == [False, False, True, False]
    assert [scope.is_static(index) for index in range(4)] == [False, True, True, True]
    assert [scope.shape(0), scope.shape(2), scope.output_shape()] == [SHAPE, (), SHAPE]


def test_numbers_come_from_attributes_constants_and_sizes() -> None:
    net = Net(*SHAPE)
    sizes = net.op("Shape", X)
    flat = net.op("Reshape", X, sizes, allowzero=1)
    constant = net.op("Reshape", flat, net.const([[0, -1]]))
    model = net.build(net.op("ReduceMean", constant, axes=[1]))
    shapes = {X: SHAPE, "n1_0": SHAPE, "n2_0": (2, 144)}
    scope = scope_of(model, shapes, 1, n0_0=SHAPE)
    with pytest.raises(UndeclaredError, match="its input 1 is computed while the model runs"):
        scope.numbers(1)
    scope._tracks.extents["n0_0"] = scope.axes(0)
    assert scope.numbers(1) == SHAPE
    assert scope.numbers(1, "allowzero") == (1,)
    assert scope.numbers(2) is None
    assert scope_of(model, shapes, 2).numbers(1) == (0, -1)
    assert scope_of(model, shapes, 3).numbers(1, "axes") == (1,)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda scope: scope.shape(0), "the shape of its input 0 is not known"),
        (lambda scope: scope.axes(0), "the shape of its input 0 is not known"),
        (lambda scope: scope.axes(1), "it has no input 1"),
        (lambda scope: scope.output_shape(), "the shape of its output 0 is not known"),
    ],
)
def test_what_no_run_has_shown_is_not_made_up(ask: Callable[[NodeAxes], Any], message: str) -> None:
    net = Net(*SHAPE)
    with pytest.raises(UndeclaredError, match=message):
        ask(scope_of(net.build(net.op("Relu", X)), {}))


# ------------------------------------------------------------------------------------------------ saying
def test_axes_of_different_length_are_not_joined() -> None:
    net = Net(*SHAPE)
    scope = scope_of(net.build(net.op("Relu", X)), {X: SHAPE})
    with pytest.raises(UndeclaredError, match="its axes of 4 and 6 do not match"):
        scope.join(*scope.axes(0)[1:3])


def test_an_output_of_another_shape_is_not_emitted() -> None:
    net = Net(*SHAPE)
    scope = scope_of(net.build(net.op("Relu", X)), {X: SHAPE, "n0_0": (2, 4, 6, 5)})
    before = scope._tracks.axes["n0_0"]
    with pytest.raises(UndeclaredError, match="its output 0 has another shape than expected"):
        scope.emit(scope.axes(0))
    assert scope._tracks.axes["n0_0"] is before


@pytest.mark.parametrize(("text", "reported"), [("it is told so", True), ("", False)])
def test_a_frozen_axis_has_a_reason_where_one_is_told(text: str, reported: bool) -> None:
    net = Net(*SHAPE)
    scope = scope_of(net.build(net.op("Relu", X)), {X: SHAPE})
    channels = scope.axes(0)[1]
    scope.freeze([channels], text)
    classes = scope.labels.classes()
    assert not classes.free(channels).any()
    assert (classes.reason[classes.of[channels[0]]] >= 0) == reported


def test_sizes_that_are_taken_from_an_axis_tie_the_two() -> None:
    net = Net(*SHAPE)
    model = net.build(net.op("Expand", X, net.op("Shape", X)))
    scope = scope_of(model, {X: SHAPE, "n1_0": SHAPE}, 1)
    targets = [scope.fresh(extent) for extent in (2, 4, 6, 3)]
    with pytest.raises(UndeclaredError, match="its input 1 is computed while the model runs"):
        scope.sizes(1, targets)
    sources = scope.axes(0)
    scope._tracks.extents["n0_0"] = (sources[0], None, sources[2], sources[3])
    scope.sizes(1, targets)
    classes = scope.labels.classes()
    assert classes.of[targets[0]].tolist() == classes.of[sources[0]].tolist()
    assert set(classes.of[targets[1]].tolist()).isdisjoint(classes.of[sources[1]].tolist())
    assert classes.free(sources[2]).all()
    assert not classes.free(sources[3]).any()  # six indices cannot follow three


# ------------------------------------------------------------------------------------------------ removal
def removal_of(net: Net, output: str, place: int, units: int) -> Removal:
    """A node of a network that loses its first units."""
    model, dependencies = analysed(net, output)
    classes: Classes = dependencies.classes
    removed = np.zeros(len(classes.reason), bool)
    removed[dependencies.class_of[:units]] = True
    return Removal(dependencies.tracks, model.graph[place], 17, kept(classes, removed))


def constant_reshape(net: Net) -> str:
    flat = net.op("Reshape", net.conv(X, 4, 8), net.const([-1, 288]))
    return str(net.op("Gemm", flat, net.weight(288, 3)))


def computed_reshape(net: Net) -> str:
    hidden = net.conv(X, 4, 8)
    batch = net.op("Slice", net.op("Shape", hidden), net.const([0]), net.const([1]))
    target = net.op("Concat", batch, net.const([288]), axis=0)
    return str(net.op("Gemm", net.op("Reshape", hidden, target), net.weight(288, 3)))


@pytest.mark.parametrize(("units", "extent"), [(0, 8), (3, 5)])
def test_a_removal_counts_what_stays(units: int, extent: int) -> None:
    net = Net(*SHAPE)
    removal = removal_of(net, constant_reshape(net), 1, units)
    batch, channels, height, _ = removal.axes(0)
    assert [removal.extent(axis) for axis in (batch, channels, height)] == [2, extent, 6]
    assert [len(axis) for axis in removal.output_axes()] == [2, 288]
    assert removal.extent(removal.output_axes()[1]) == 36 * extent
    assert removal.changed(channels) == removal.is_changed() == bool(units)
    assert not removal.changed(batch)


def entries_of(edits: list[Edit]) -> NDArray[Any]:
    (edit,) = edits
    assert isinstance(edit, SetConstant)
    return np.asarray(edit.array)


def test_entries_of_a_constant_are_written_where_they_differ() -> None:
    net = Net(*SHAPE)
    removal = removal_of(net, constant_reshape(net), 1, 3)
    assert entries_of(list(removal.entries(1, {1: 180}))).tolist() == [-1, 180]
    assert not list(removal.entries(1, {1: 288}))
    assert not list(removal.entries(1, {}))
    target = removal.constant(1)
    assert target is not None
    assert target.tolist() == [-1, 288]  # an edit is a plan


def test_of_a_computed_vector_only_its_constant_entries_are_overridden() -> None:
    net = Net(*SHAPE)
    removal = removal_of(net, computed_reshape(net), 4, 3)
    assert removal.constant(1) is None
    assert [source is None for source in removal.computed(1)] == [False, True]
    (edit,) = removal.entries(1, {0: 9, 1: 180})
    assert isinstance(edit, Override)
    assert edit.mask.tolist() == [False, True]
    assert edit.values.tolist() == [0, 180]
    assert not list(removal.entries(1, {0: 9}))
