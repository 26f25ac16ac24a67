"""Scale moves between layers, and the model computes the same."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from quantized_models import PADDED, Array, calibration_of, network_of, node, normal, pictures, run

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization.equalise_channels import MOST_FACTOR, EqualiseChannels, find_channel_pairs
from netsurgeon.pipeline.quantization.ranges import measure_reach

SIZES = 10.0 ** np.linspace(-1.5, 1.5, 8)


def pair(
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((8, 3, 3, 3), (6, 8, 1, 1)),
    between: str | None = "Relu",
    ends: tuple[float, ...] = (),
) -> ir.Model:
    """Two convolutions whose channels between differ in size a thousand times."""
    limits: dict[str, Any] = {f"end{at}": np.float32(end) for at, end in enumerate(ends)}
    nodes = [
        node("Conv", ["x", "v", "b"], ["c"], "one", **(first or PADDED)),
        *([node(between, ["c", *limits], ["r"], "act")] if between else []),
        node("Conv", ["r" if between else "c", "w", "d"], ["y"], "two", **(second or {})),
    ]
    weights = {
        "v": normal(*shapes[0]) * SIZES.reshape(-1, 1, 1, 1).astype(np.float32),
        "b": (normal(8, seed=3) * SIZES).astype(np.float32),
        "w": normal(*shapes[1], seed=1),
        "d": normal(shapes[1][0], seed=2),
    }
    return network_of(nodes, weights | limits)


def dense_pair(beta: float = 1.0, bias: Array | None = None) -> ir.Model:
    nodes = [
        node("Gemm", ["x", "v", "b"], ["h"], "one", transB=1, beta=beta),
        node("Relu", ["h"], ["r"], "relu"),
        node("Gemm", ["r", "w"], ["y"], "two"),
    ]
    weights = {
        "v": normal(8, 12) * SIZES.reshape(-1, 1).astype(np.float32),
        "b": normal(8) if bias is None else bias,
        "w": normal(8, 4),
    }
    return network_of(nodes, weights, ("N", 12))


def equalised(model: ir.Model, x: Array) -> tuple[ir.Model, dict[str, Array]]:
    after = model.clone()
    names = [pair.value for pair in find_channel_pairs(after.graph)]
    reach = measure_reach(after, names, calibration_of(after, x))
    EqualiseChannels(reach)(after)
    return after, reach


def weight_of(model: ir.Model, name: str) -> Array:
    return tensor(model.graph.initializers[name]).numpy()


def reach_of(model: ir.Model, value: str, x: Array) -> Array:
    return measure_reach(model, [value], calibration_of(model, x))[value]


@pytest.mark.parametrize(
    "model",
    [
        pair(),
        pair(between=None),
        pair(between="Clip", ends=(0.0, 1e6)),
        pair(second={"group": 8, **PADDED}, shapes=((8, 3, 3, 3), (8, 1, 3, 3))),
        pair(second={"group": 2}, shapes=((8, 3, 3, 3), (6, 4, 1, 1))),
        pair(second={"strides": [2, 2]}),
        dense_pair(),
        dense_pair(bias=np.asarray(0.7, np.float32)),
        dense_pair(beta=2.0),
    ],
    ids=["relu", "nothing between", "clip far away", "depthwise", "groups", "strides", "gemm", "one bias", "beta"],
)
def test_the_model_computes_the_same_with_channels_closer_together(model: ir.Model) -> None:
    x = normal(30, 12) if model.graph[0].op_type == "Gemm" else pictures(30)
    other = normal(30, 12, seed=9) if model.graph[0].op_type == "Gemm" else pictures(30, seed=9)
    (channels,) = find_channel_pairs(model.graph)
    after, reach = equalised(model, x)
    for inputs in (x, other):
        np.testing.assert_allclose(
            run(after, inputs), run(model, inputs), rtol=1e-5, atol=1e-5 * reach[channels.value].max()
        )
    fires = reach[channels.value] > 0.0
    before, balanced = reach[channels.value][fires], reach_of(after, channels.value, x)[fires]
    assert balanced.max() / balanced.min() < 0.3 * before.max() / before.min()


def test_weights_change_by_powers_of_two_that_end() -> None:
    model = pair()
    after, _ = equalised(model, pictures())
    ratios = (weight_of(after, "v") / weight_of(model, "v"))[:, 0, 0, 0]
    np.testing.assert_array_equal(np.log2(ratios), np.rint(np.log2(ratios)))
    assert np.abs(np.log2(ratios)).max() <= np.log2(MOST_FACTOR)
    assert len(set(ratios)) > 3


def test_channels_that_reach_the_clip_are_not_touched() -> None:
    model = pair(between="Clip", ends=(0.0, 6.0))
    after, reach = equalised(model, pictures())
    changed = (weight_of(after, "v") != weight_of(model, "v")).any(axis=(1, 2, 3))
    assert not changed[reach["r"] >= 6.0].any()
    assert changed.any()
    np.testing.assert_allclose(run(after, pictures()), run(model, pictures()), rtol=1e-5, atol=1e-5)
    assert reach_of(after, "r", pictures())[changed].max() < 6.0, "nor do they reach it once they are larger"


def test_channels_that_never_fire_or_that_nothing_reads_stay() -> None:
    model = pair()
    dead, unread = weight_of(model, "b").copy(), weight_of(model, "w").copy()
    dead[2], unread[:, 5] = -1e4, 0.0
    for name, array in (("b", dead), ("w", unread)):
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    after, reach = equalised(model, pictures())
    assert reach["r"][2] == 0.0
    changed = (weight_of(after, "v") != weight_of(model, "v")).any(axis=(1, 2, 3))
    assert not changed[[2, 5]].any()
    assert changed.any()


def test_a_value_without_reach_is_left() -> None:
    model = pair()
    assert not EqualiseChannels({})(model).modified


@pytest.mark.parametrize("case", ["sigmoid", "clip below zero", "read twice", "an output", "gemm behind", "shared"])
def test_what_lies_between_must_let_scale_through(case: str) -> None:
    act = {"sigmoid": "Sigmoid", "clip below zero": "Clip"}.get(case, "Relu")
    ends = ["low", "high"] if case == "clip below zero" else []
    nodes = [node("Conv", ["x", "v", "b"], ["c"], "one"), node(act, ["c", *ends], ["r"], "act")]
    if case == "gemm behind":
        nodes += [node("Flatten", ["r"], ["f"]), node("Gemm", ["f", "u"], ["y"], "two")]
    else:
        nodes += [node("Conv", ["r", "v" if case == "shared" else "w"], ["y" if case != "read twice" else "t"], "two")]
    if case == "read twice":
        nodes += [node("Add", ["t", "r"], ["y"])]
    weights: dict[str, Any] = {"v": normal(3, 3, 1, 1), "w": normal(3, 3, 1, 1), "b": normal(3), "u": normal(192, 4)}
    weights |= {"low": np.float32(-1.0), "high": np.float32(1.0)} if ends else {}
    used = {name for part in nodes for name in part.input}
    model = network_of(
        nodes,
        {name: array for name, array in weights.items() if name in used},
        outputs=("y", "r") if case == "an output" else ("y",),
    )
    assert find_channel_pairs(model.graph) == []


def test_three_layers_in_a_row_are_two_pairs() -> None:
    nodes = [
        node("Conv", ["x", "u"], ["a"], "one"),
        node("Relu", ["a"], ["p"], "relu"),
        node("Conv", ["p", "v"], ["b"], "two"),
        node("Relu", ["b"], ["q"], "relu2"),
        node("Conv", ["q", "w"], ["y"], "three"),
    ]
    weights = {"u": normal(8, 3, 1, 1), "v": normal(8, 8, 1, 1), "w": normal(4, 8, 1, 1)}
    weights = {
        name: array * np.linspace(0.1, 9.0, len(array), dtype=np.float32).reshape(-1, 1, 1, 1)
        for name, array in weights.items()
    }
    model = network_of(nodes, weights)
    assert [channels.value for channels in find_channel_pairs(model.graph)] == ["p", "q"]
    after, _ = equalised(model, pictures())
    np.testing.assert_allclose(run(after, pictures()), run(model, pictures()), rtol=1e-5, atol=1e-4)
    assert [layer.name for layer in find_layers(after.graph)[0]] == ["one", "two", "three"]
