"""Which layers take part: by name and glob, by what they hold, and what is left of them after trimming."""

import dataclasses
from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import built, perceptron, random

from netsurgeon.passes.pruning.layer_plan import RemovedSlices
from netsurgeon.pipeline.calibration import selection
from netsurgeon.pipeline.calibration.selection import Selection, has_finite_weight, select
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.options import Options

FIRST, SECOND = 32 * 64, 64 * 10


def selected(**options: Any) -> Selection:
    return select(ir.from_proto(perceptron()), Options(**options))


def test_all_layers_take_part_in_the_order_of_the_graph() -> None:
    everything = selected()
    assert everything.sizes == {"first": FIRST, "second": SECOND}
    assert list(everything.sizes) == ["first", "second"]
    assert (everything.declined, everything.sparsities, everything.fixed) == ((), {}, {})


@pytest.mark.parametrize("glob", ["second", "sec*", "s*d", "[s]econd"])
def test_excluded_layers_are_declined_by_name_or_glob(glob: str) -> None:
    rest = selected(exclude=(glob,))
    assert list(rest.sizes) == ["first"]
    (declined,) = rest.declined
    assert (declined.node, declined.operator, declined.parameters) == ("second", "Gemm", SECOND)
    assert declined.reason == "excluded by the user"


def test_the_last_of_several_globs_gives_the_sparsity() -> None:
    assert selected(layers={"*": 0.5, "second": 0.25}).sparsities == {"first": 0.5, "second": 0.25}
    assert selected(layers={"second": 0.25, "*": 0.5}).sparsities == {"first": 0.5, "second": 0.5}


@pytest.mark.parametrize(("sparsity", "kept"), [(0.0, SECOND), (0.25, 480), (0.999, 1)])
def test_a_sparsity_of_its_own_fixes_how_many_weights_a_layer_keeps(sparsity: float, kept: int) -> None:
    assert selected(layers={"second": sparsity}).fixed == {"second": kept}


def test_units_that_go_leave_fewer_weights_to_keep() -> None:
    columns, rows = np.zeros((1, 64), bool), np.zeros((1, 10), bool)
    columns[0, :16] = rows[0, 0] = True
    population_size = selected(layers={"second": 0.5})
    trimmed = dataclasses.replace(population_size, removed_slices={"second": RemovedSlices(columns, rows)})
    assert trimmed.sizes == {"first": FIRST, "second": 48 * 9}
    assert trimmed.fixed == {"second": 48 * 9 // 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exclude": ("third",)}, "'third' matches no layer: `inspect` lists their names"),
        ({"layers": {"th*": 0.5}}, r"'th\*' matches no layer"),
        ({"exclude": ("*",)}, r"no layer is left that can be pruned \(excluded by the user\)"),
        ({"exclude": ("*",), "quantize": "int8"}, r"no layer is left that can be pruned or put on integers \(excluded"),
        ({"exclude": ("first",), "layers": {"f*": 0.5}}, r"'f\*' is given a sparsity, but its layers are left alone"),
        ({"pattern": "3:7"}, r"no layer is left that can be pruned \(.*not a multiple of 7.*\): leave at least one"),
    ],
)
def test_choices_that_leave_nothing_to_do_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        selected(**options)


def test_a_glob_may_match_an_excluded_layer_besides_others() -> None:
    assert selected(exclude=("first",), layers={"*": 0.5}).sparsities == {"second": 0.5}


def test_layers_that_the_inputs_do_not_reach_are_left_alone() -> None:
    nodes = [
        onnx.helper.make_node("Relu", ["c"], ["r"]),
        onnx.helper.make_node("MatMul", ["r", "w"], ["h"], name="constant"),
        onnx.helper.make_node("MatMul", ["x", "v"], ["g"], name="driven"),
        onnx.helper.make_node("Add", ["g", "h"], ["y"], name="sum"),
    ]
    weights = {"c": random(1, 32), "w": random(32, 10), "v": random(32, 10)}
    chosen_layers = select(ir.from_proto(built(nodes, weights)), Options())
    assert list(chosen_layers.sizes) == ["driven"]
    assert [(each.node, each.reason) for each in chosen_layers.declined] == [
        ("constant", "its input does not depend on the model's inputs")
    ]


def test_a_model_without_layers_says_what_it_has_instead() -> None:
    relu = built([onnx.helper.make_node("Relu", ["x"], ["y"])], {}, end=("N", 32))
    with pytest.raises(InputError, match=r"has no layer that can be pruned \(no Conv, Gemm or MatMul weights\)"):
        select(ir.from_proto(relu), Options())
    up = built(
        [onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up")],
        {"w": random(2, 3, 2, 2)},
        entry=("N", 2, 5, 5),
        end=("N", 3, 6, 6),
    )
    with pytest.raises(InputError, match=r"can be pruned \(ConvTranspose 'up': .*transposed"):
        select(ir.from_proto(up), Options())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_weight_stops_all_but_what_leaves_it_out(value: float) -> None:
    model = ir.from_proto(perceptron())
    weight = random(64, 10, seed=1)
    weight[3, 4] = value
    model.graph.initializers["w2"].const_value = ir.tensor(weight, name="w2")
    with pytest.raises(InputError, match="the weight of layer 'second' holds NaN or Inf"):
        select(model, Options())
    (layer,) = select(model, Options(exclude=("second",))).layers
    assert has_finite_weight(layer)


def test_large_models_get_less_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    work = FIRST * 32 + SECOND * 64
    monkeypatch.setattr(selection, "FULL_EFFORT_WORK", work)
    assert selected().effort == "full"
    monkeypatch.setattr(selection, "FULL_EFFORT_WORK", work - 1)
    assert selected().effort == "fast"
    assert selected(exclude=("second",)).effort == "full", "only layers that take part count"
    assert selected(effort="full").effort == "full", "the user decides"


def test_a_first_look_takes_little_effort() -> None:
    assert selected(effort="fast").effort == "fast"
