"""What a graph's declarations have said: which indices stay, and which values are known before the model runs."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.axes.labels import Labels
from netsurgeon.passes.axes.tracks import Observation, Reason, Tracks, kept


def test_an_index_stays_unless_its_class_is_removed() -> None:
    labels = Labels()
    one, other = labels.fresh(4), labels.fresh(4)
    labels.join(one, other[::-1])
    classes = labels.classes()
    removed = np.zeros(len(classes.reason), bool)
    removed[classes.of[one[[0, 2]]]] = True
    keep = kept(classes, removed)
    assert keep(one).tolist() == [False, True, False, True]
    assert keep(other).tolist() == [True, False, True, False]


@pytest.mark.parametrize("extent", [0, 1, 1000])
def test_a_fixed_axis_stays_whole(extent: int) -> None:
    labels = Labels()
    fixed, free = labels.fixed(extent), labels.fresh(3)
    classes = labels.classes()
    removed = np.zeros(len(classes.reason), bool)
    removed[classes.of[free]] = True
    assert kept(classes, removed)(fixed).tolist() == [True] * extent
    assert not kept(classes, removed)(free).any()


def test_reasons_are_numbered_and_kept() -> None:
    tracks = Tracks(Observation({}))
    numbers = [tracks.reason("conv", "Conv", text) for text in ("first", "second")]
    assert numbers == [0, 1]
    assert tracks.reasons[1] == Reason("conv", "Conv", "second")


def values() -> dict[str, ir.Value]:
    """An input, a constant, a computed value and one that nobody has observed."""
    model = ir.from_onnx_text(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        graph (float[2, 3] x) => (float[2, 3] z) <float[3] w = {1, 2, 3}> { y = Add(x, w)  z = Relu(y) }
        """
    )
    inner = [node.outputs[0] for node in model.graph]
    return {value.name or "": value for value in (*model.graph.inputs, *model.graph.initializers.values(), *inner)}


def test_a_shape_is_that_of_the_constant_or_what_a_run_has_shown() -> None:
    tracks = Tracks(Observation({"x": (2, 3), "y": (2, 3), "w": (9,)}))
    shapes = {name: tracks.shape(value) for name, value in values().items()}
    assert shapes == {"x": (2, 3), "w": (3,), "y": (2, 3), "z": None}


def test_what_is_computed_is_static_only_where_every_entry_comes_from_constants() -> None:
    tracks = Tracks(Observation({}))
    named = values()
    tracks.extents["y"] = (None, None)
    tracks.extents["z"] = (None, tracks.labels.fresh(3))
    assert tracks.is_static(None)
    assert {name for name, value in named.items() if tracks.is_static(value)} == {"w", "y"}
