"""Layers in bodies that calibration shows nothing of: found beforehand, and left alone where a part shows none."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from control_flow_models import HIDDEN, choosing, inputs, looping

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.pruning.layer_plan import LayerPlan
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.calibration.body_layers import unobserved_layers
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.runtime.session import Runtime

THEN, ELSE = ["then_wide", "then_narrow"], ["else_wide"]


def normal(proto: onnx.ModelProto) -> ir.Model:
    return normal_form()(ir.from_proto(proto)).model


def samples_of(model: ir.Model, signs: list[int]) -> Samples:
    """One batch of four rows a sign."""
    feeds = [{"x": inputs(4, sign=sign, seed=at)} for at, sign in enumerate(signs)]
    return open_samples(feeds, input_specs(model), batch_size=4)


@pytest.mark.parametrize(("signs", "unseen"), [([1, 1, -1], []), ([1], ELSE), ([-1, -1], THEN)])
def test_layers_of_a_branch_that_no_input_takes_are_named(signs: list[int], unseen: list[str]) -> None:
    model = normal(choosing())
    reasons = unobserved_layers(model, samples_of(model, signs), Runtime())
    assert sorted(reasons) == sorted(unseen)
    taken = "then" if unseen == THEN else "else"
    assert set(reasons.values()) <= {f"no calibration input takes the {taken} branch of If 'choice'"}


def test_a_loop_whose_values_change_their_shape_cannot_be_shown() -> None:
    """Each iteration doubles the rows, so that no scan output holds them all."""
    proto = looping()
    body = next(node for node in proto.graph.node if node.op_type == "Loop").attribute[0].g
    body.node[-1].output[0] = "once"
    body.node.add(op_type="Concat", input=["once", "once"], output=["next"]).attribute.add(name="axis", i=0, type=2)
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "M"
    model = normal(proto)
    (reason,) = unobserved_layers(model, samples_of(model, [1]), Runtime()).values()
    assert reason.startswith("what enters it inside Loop 'loop' cannot be shown (")


def test_a_part_of_the_inputs_that_shows_nothing_of_a_layer_leaves_it_alone() -> None:
    model = normal(choosing())
    calibration = Calibration(samples_of(model, [1, 1]), Runtime())
    current, names = model.clone(), [layer.name for layer in find_layers(model.graph)[0]]
    plan = {name: LayerPlan(HIDDEN, "obs", 0.01) for name in names}
    for _, _, (moments,) in calibration.paired(model, [current], dict.fromkeys(names, True)):
        PruneWeights(plan, moments)(current)
    left = {layer.name: np.count_nonzero(layer.matrix()) for layer in find_layers(current.graph)[0]}
    assert left["else_wide"] == HIDDEN * HIDDEN
    assert left["then_wide"] == left["then_narrow"] == HIDDEN


def test_where_the_pruned_model_takes_the_other_branch_the_dense_inputs_stand_for_its_own() -> None:
    model = normal(choosing())
    flipped = model.clone()
    flipped.graph.initializers["threshold"].const_value = ir.tensor(np.float32(1e9), name="threshold")
    calibration = Calibration(samples_of(model, [1, 1]), Runtime())
    for _, _, (moments,) in calibration.paired(model, [flipped], {"then_wide": True}):
        statistics = moments["then_wide"].statistics(centred=False)
        assert statistics.count == 8
        np.testing.assert_allclose(statistics.gram, statistics.cross, atol=1e-6)
