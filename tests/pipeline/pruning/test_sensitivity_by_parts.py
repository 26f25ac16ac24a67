"""Sensitivities part by part: near those of the whole model, which is run but a few times."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.pruning import costs, sensitivity_by_parts
from netsurgeon.pipeline.pruning.sensitivity import Probe, Trial, measure_sensitivity
from netsurgeon.pipeline.pruning.sensitivity_by_parts import find_parts, measure_by_parts, measure_from_parts
from netsurgeon.pipeline.runtime import Runtime

RUNTIME = Runtime(threads=1)
WIDTH, BLOCKS = 16, 6


def stack(*, skip: bool = False, exits: Collection[int] = (), also_out: Sequence[str] = ()) -> ir.Model:
    """Blocks z + W₂ tanh(W₁ z), and a head.

    Args:
        skip: whether the first layer's output is added to the head's input as well.
        exits: blocks behind which a head of their own makes an output.
        also_out: values and initializers that are outputs, too.
    """
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    arrays: dict[str, Any] = {}
    outputs: list[str] = []

    def layer(entered: str, name: str, scale: float) -> str:
        arrays[f"{name}_w"] = (scale / 4.0 * rng.standard_normal((WIDTH, WIDTH))).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [entered, f"{name}_w"], [f"{name}_y"], name))
        return f"{name}_y"

    z = first = layer("x", "stem", 1.0)
    for block in range(BLOCKS):
        nodes.append(helper.make_node("Tanh", [layer(z, f"b{block}.a", 1.0)], [f"t{block}"]))
        nodes.append(helper.make_node("Add", [z, layer(f"t{block}", f"b{block}.b", 0.5)], [f"z{block}"]))
        z = f"z{block}"
        if block in exits:
            outputs.append(layer(z, f"exit{block}", 1.0))
    if skip:
        nodes.append(helper.make_node("Add", [z, first], ["zs"]))
        z = "zs"
    outputs += [layer(z, "head", 1.0), *also_out]
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, WIDTH]) for output in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def trials_of(model: ir.Model) -> dict[str, Trial]:
    result, rng = {}, np.random.default_rng(1)
    for layer in find_layers(model.graph)[0]:
        weight = np.asarray(layer.weight.const_value.numpy()) if layer.weight.const_value else np.zeros(())
        changed = weight + 0.02 * rng.standard_normal(weight.shape).astype(np.float32)
        result[layer.name] = Trial(changed, 0.01)
    return result


def feeds() -> list[dict[str, Any]]:
    x = np.random.default_rng(2).standard_normal((120, WIDTH)).astype(np.float32)
    return [{"x": x[:60]}, {"x": x[60:]}]


def probe(model: ir.Model, trials: Mapping[str, Trial], **others: Any) -> Probe:
    return Probe(model=model, trials=trials, feeds=feeds(), runtime=RUNTIME, **others)


def test_parts_lie_between_places_where_one_value_carries_all() -> None:
    model = stack()
    layers = find_layers(model.graph)[0]
    parts = find_parts(model.graph, layers, 4)
    assert [name for part in parts for name in part.layers] == [layer.name for layer in layers]
    assert [part.carrier for part in parts] == ["z1", "z3", "z5", ""]
    for one, following in itertools.pairwise(parts):
        assert one.outputs == following.inputs == (one.carrier,)
    assert parts[-1].outputs == ("head_y",)


def test_sensitivities_by_parts_are_near_those_of_the_whole_model() -> None:
    model = stack()
    trials = trials_of(model)
    whole = measure_sensitivity(probe(model, trials))
    parts = measure_by_parts(probe(model, trials))
    assert parts is not None
    assert set(parts) == set(whole)
    ratios = np.array([parts[name] / whole[name] for name in whole])
    assert (ratios > 0.4).all()
    assert (ratios < 2.5).all()
    assert np.median(np.abs(np.log(ratios))) < 0.3
    assert max(whole.values()) > 4.0 * min(whole.values()), "there is something to tell apart"
    assert parts["head"] == pytest.approx(whole["head"], rel=1e-4), "what is in the last part is measured as ever"


@pytest.mark.parametrize("exits", [[], [0, 3]])
def test_from_its_part_on_a_layer_costs_what_it_costs_in_the_whole_model(exits: list[int]) -> None:
    model = stack(exits=exits, also_out=["z2"] if exits else [])
    trials = trials_of(model)
    whole, parts = measure_sensitivity(probe(model, trials)), measure_from_parts(probe(model, trials))
    assert parts == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("measure", [measure_by_parts, measure_from_parts])
def test_layers_that_share_a_weight_are_replaced_together_in_the_whole_model(
    measure: Callable[[Probe], object],
) -> None:
    model = stack()
    layers = {layer.name: layer for layer in find_layers(model.graph)[0]}
    layers["b4.a"].node.replace_input_with(1, layers["b0.a"].weight)
    assert measure(probe(model, trials_of(model))) is None


@pytest.mark.parametrize("exits", [[0, 1], [0, 1, 2, 3, 4]])
def test_outputs_that_leave_early_count(exits: list[int]) -> None:
    model = stack(exits=exits, also_out=["b1.a_y", "z2"])
    trials = trials_of(model)
    whole = measure_sensitivity(probe(model, trials))
    parts = measure_by_parts(probe(model, trials))
    assert parts is not None
    for block in exits:
        assert parts[f"exit{block}"] == pytest.approx(whole[f"exit{block}"], rel=1e-4)
    ratios = np.array([parts[name] / whole[name] for name in whole])
    assert (ratios > 0.4).all()
    assert (ratios < 2.5).all()


@pytest.mark.parametrize("name", ["head_w", "x", "b0.a_w"])
def test_outputs_that_no_layer_makes_do_not_count(name: str) -> None:
    model = stack(also_out=[name])
    trials = trials_of(model)
    parts = measure_by_parts(probe(model, trials))
    alone = measure_by_parts(probe(stack(), trials))
    assert parts is not None
    assert alone is not None
    assert parts == pytest.approx({layer: loss / (2.0 if name == "x" else 1.0) for layer, loss in alone.items()})


def test_a_model_that_does_not_fall_into_parts_is_measured_as_a_whole() -> None:
    model = stack(skip=True)
    parts = find_parts(model.graph, find_layers(model.graph)[0], 4)
    assert [part.carrier for part in parts] == ["zs", ""], "two values lie between any blocks"
    assert measure_by_parts(probe(model, trials_of(model))) is None


def test_few_layers_are_no_reason_for_parts() -> None:
    model = stack()
    few = dict(list(trials_of(model).items())[:2])
    found = measure_by_parts(probe(model, few))
    assert found is None or set(found) == set(few)


@pytest.mark.parametrize("measure", [measure_by_parts, measure_from_parts])
def test_every_layer_is_a_tick(measure: Callable[[Probe], object]) -> None:
    seen: list[tuple[int, int]] = []
    model = stack()
    trials = trials_of(model)
    measure(probe(model, trials, ticks=lambda done, count: seen.append((done, count))))
    assert seen == [(at, len(trials)) for at in range(len(trials))]
    assert costs.PROBED_INPUTS[1] > sensitivity_by_parts.FEWEST_PARTS


def test_infinite_numbers_of_a_value_between_parts_are_left_out() -> None:
    """One number of what leaves the third block is infinite for every input, and bounded behind it."""
    model = stack()
    made = {node.outputs[0].name: node for node in model.graph}
    infinite = np.where(np.arange(WIDTH) == 0, -np.inf, 0.0).astype(np.float32)
    # not behind the sum, where a part would end before it
    for name, operator, other in (("b2.b_y", "Add", infinite), ("z2", "Max", np.float32(-5.0))):
        value = ir.val(f"{name}_other", const_value=ir.tensor(other, name=f"{name}_other"))
        model.graph.register_initializer(value)
        before = made[name].outputs[0]
        changed = ir.node(operator, [before, value])
        changed.outputs[0].name = f"{name}_changed"
        model.graph.insert_after(made[name], changed)
        for use in [use for use in before.uses() if use.node is not changed]:
            use.node.replace_input_with(use.idx, changed.outputs[0])
    trials = trials_of(model)
    assert "z2" in [part.carrier for part in find_parts(model.graph, find_layers(model.graph)[0], 5)]
    whole, parts = measure_sensitivity(probe(model, trials)), measure_by_parts(probe(model, trials))
    assert parts is not None
    ratios = np.array([parts[name] / whole[name] for name in whole])
    assert (ratios > 0.3).all(), ratios
    assert (ratios < 3.0).all(), ratios


def test_a_value_that_a_node_reads_twice_ends_once() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x, float[4,4] w) => (float[N,4] y) '
        "{ square = Mul(x, x) y = MatMul(square, w) }"
    )
    (part,) = sensitivity_by_parts.find_parts(model.graph, [], 1)
    assert (part.inputs, part.outputs) == (("w", "x"), ("y",))
