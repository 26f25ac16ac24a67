"""What calibration hands to the solvers: rows held out from all over, and what an added branch has lost."""

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.layers.pooling import ISOTROPIC
from netsurgeon.passes.pruning.layer_plan import LayerPlan
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.solvers.statistics import Moments
from netsurgeon.pipeline.calibration.row_moments import HELD_EVERY, _held_out
from netsurgeon.pipeline.calibration.segments import Walk
from netsurgeon.pipeline.calibration.sweep import Calibration, SharedMoments
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.runtime.session import Runtime

Array = NDArray[Any]
RUNTIME = Runtime()
LAYERS = {"stem": True, "body": True, "head": True}


def residual_block(seed: int = 0) -> ir.Model:
    """x -> stem -> (+ body) -> z -> head: what the stem loses, the body sees and can partly put back."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal((8, 8)).astype(np.float32) for name in ("stem_w", "body_w", "head_w")}
    nodes = [
        helper.make_node("Gemm", ["x", "stem_w"], ["s"], "stem"),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Concat", ["s", "r"], ["both"], axis=1),
        helper.make_node("Slice", ["both", "from", "to", "axis"], ["h"]),
        helper.make_node("Gemm", ["h", "body_w"], ["b"], "body"),
        helper.make_node("Add", ["s", "b"], ["z"]),
        helper.make_node("Gemm", ["z", "head_w"], ["y"], "head"),
    ]
    bounds = {"from": np.array([6]), "to": np.array([14]), "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in ("y", "z")],
        [numpy_helper.from_array(array, name) for name, array in (weights | bounds).items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def calibration(x: Array, batch_size: int = 64) -> Calibration:
    specs = (InputSpec("x", np.dtype(np.float32), (None, 8)),)
    return Calibration(open_samples({"x": x}, specs, batch_size=batch_size), RUNTIME)


def pruned_error(x: Array, monkeypatch: pytest.MonkeyPatch | None) -> float:
    """Squared error of z when a third of the block's weights is left, the branch unseen with a patch."""
    dense = residual_block()
    current = dense.clone()
    plan = {name: LayerPlan(22, damping=1e-3) for name in LAYERS}
    if monkeypatch is not None:
        monkeypatch.setattr("netsurgeon.pipeline.calibration.sweep.available_branch", lambda *_: None)
    for _, _, (moments,) in calibration(x).paired(dense, [current], LAYERS):
        PruneWeights(plan, moments)(current)
    before, after = (RUNTIME.session(model).run({"x": x})["z"] for model in (dense, current))
    return float(np.sum((before - after) ** 2))


def test_a_layer_makes_up_for_the_branch_added_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).standard_normal((512, 8)).astype(np.float32)
    seen = pruned_error(x, None)
    assert seen < 0.97 * pruned_error(x, monkeypatch)


def test_what_the_branch_has_lost_is_measured() -> None:
    x = np.random.default_rng(1).standard_normal((100, 8)).astype(np.float32)
    dense = residual_block()
    current = dense.clone()
    for _, _, (moments,) in calibration(x, 30).paired(dense, [current], LAYERS):
        if "stem" in moments:
            assert moments["stem"].fit.statistics(centred=True).residual_cross is None, "body comes later"
            stem = next(layer for layer in find_layers(current.graph)[0] if layer.name == "stem")
            stem.write(0.5 * stem.matrix())
            residual = 0.5 * x @ np.asarray(stem.matrix()[0].T * 2, np.float32)
        if "body" in moments:
            both = moments["body"].fit.merged(moments["body"].held_out).statistics(centred=True)
            assert both.count == 100
            assert both.residual_mean == pytest.approx(residual.mean(axis=0)[None], abs=1e-4)


def test_a_branch_that_is_broadcast_is_left_alone() -> None:
    dense = residual_block()
    graph = dense.graph
    add = next(node for node in graph if node.op_type == "Add")
    mean = ir.node("ReduceMean", [add.inputs[0]], attributes={"axes": [1], "keepdims": 1})
    graph.insert_before(add, mean)
    add.replace_input_with(0, mean.outputs[0])
    mean.outputs[0].name = "mean"
    x = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    for _, _, (moments,) in calibration(x).paired(dense, [dense.clone()], LAYERS):
        for each in moments.values():
            assert each.fit.statistics(centred=True).residual_cross is None


@pytest.mark.parametrize("count", [1, 4, 7, 80, 819, 4096])
def test_rows_are_held_out_from_all_over(count: int) -> None:
    chosen = _held_out(count)
    assert chosen.shape == (count,)
    assert not chosen[0]
    if count >= 80:
        assert chosen.mean() == pytest.approx(1 / HELD_EVERY, abs=0.02)
        for part in np.array_split(chosen, 8):
            assert 0 < part.mean() < 0.5, "no stretch of the samples is all of one kind"


def test_nothing_held_out_is_counted_as_nothing() -> None:
    moments = Moments(1, 3, paired=False)
    rows = np.ones((1, 4, 3), np.float32)
    moments.update(rows[:, _held_out(4)])
    assert moments.count == 0


@pytest.mark.parametrize("few", [1, 100])
def test_what_is_to_be_matched_is_the_same_whichever_side_is_kept(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """W X X̂ᵀ + (S − Ŝ) X̂ᵀ, from X X̂ᵀ or from what is lost at the outputs."""
    monkeypatch.setattr("netsurgeon.pipeline.calibration.row_moments.FEW_OUTPUTS", few)
    x = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    dense = residual_block()
    current = dense.clone()
    for _, _, (moments,) in calibration(x, 30).paired(dense, [current], LAYERS):
        if "stem" in moments:
            stem = next(layer for layer in find_layers(current.graph)[0] if layer.name == "stem")
            stem.write(0.5 * stem.matrix())
        if "body" in moments:
            found = moments["body"].statistics(centred=False)
            s, now = x @ stem.matrix()[0].T * 2, x @ stem.matrix()[0].T
            inputs, others = (np.concatenate([side, np.maximum(x, 0)], axis=1)[:, 6:14] for side in (s, now))
            weight = next(layer for layer in find_layers(dense.graph)[0] if layer.name == "body").matrix()
            expected = (inputs @ weight[0].T + s - now).T @ others / len(x)
            assert (found.cross is found.gram) == (few == 1)
            assert found.residual_cross is not None
            np.testing.assert_allclose((weight @ found.cross + found.residual_cross)[0], expected, rtol=1e-4, atol=1e-4)
            dense_mean, current_mean = weight[0] @ found.dense_mean[0], inputs.mean(axis=0) @ weight[0].T
            assert found.residual_mean is not None
            np.testing.assert_allclose(
                dense_mean + found.residual_mean[0], current_mean + (s - now).mean(axis=0), rtol=1e-4, atol=1e-4
            )


def pooled_classifier(kernel: int = 1) -> ir.Model:
    """x -> stem -> mean over all positions -> head, or with a wider kernel a head that slides over the stem's map."""
    rng = np.random.default_rng(0)
    weights = {"stem_w": rng.standard_normal((5, 2, 1, 1)), "head_w": rng.standard_normal((3, 5, kernel, kernel))}
    nodes = [
        helper.make_node("Conv", ["x", "stem_w"], ["s"], "stem"),
        helper.make_node("GlobalAveragePool" if kernel == 1 else "Relu", ["s"], ["p"]),
        helper.make_node("Conv", ["p", "head_w"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, None, None])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def pictures(count: int) -> Calibration:
    x = np.random.default_rng(1).standard_normal((count, 2, 4, 4)).astype(np.float32)
    specs = (InputSpec("x", np.dtype(np.float32), (None, 2, 4, 4)),)
    return Calibration(open_samples({"x": x}, specs, batch_size=7), RUNTIME)


def ridges(model: ir.Model, count: int) -> dict[str, Array | None]:
    """By layer, from a dense and a paired sweep, which must agree."""
    dense = {layer.name: moments.ridge for layer, moments in pictures(count).dense(model, ["stem", "head"])}
    for _, _, (moments,) in pictures(count).paired(model, [model.clone()], dict.fromkeys(dense, True)):
        for name, each in moments.items():
            np.testing.assert_array_equal(each.ridge, dense[name])
    return dense


def test_a_layer_that_reads_a_mean_learns_how_samples_vary_within() -> None:
    model = pooled_classifier()
    found = ridges(model, 20)
    assert found["stem"] is None
    x = np.concatenate([feed["x"] for feed in pictures(20).samples.batches()]).reshape(20, 2, 16)
    deviations = np.einsum("rc,ncp->npr", find_layers(model.graph)[0][0].matrix()[0], x)
    deviations = (deviations - deviations.mean(axis=1, keepdims=True)).reshape(-1, 5)
    within = deviations.T @ deviations
    expected = (1 - ISOTROPIC) * within * 5 / np.trace(within) + ISOTROPIC * np.eye(5)
    assert found["head"] is not None
    np.testing.assert_allclose(found["head"][0], expected, rtol=1e-4, atol=1e-4)


def test_with_ample_or_hardly_any_samples_or_no_pool_there_is_no_ridge() -> None:
    assert ridges(pooled_classifier(), 50)["head"] is None
    assert ridges(pooled_classifier(), 2)["head"] is not None
    assert ridges(pooled_classifier(), 1)["head"] is None
    assert ridges(pooled_classifier(kernel=4), 20)["head"] is None


def test_a_part_of_the_inputs_is_treated_as_all_of_them_are() -> None:
    """Ten are few, but they stand for fifty, for which the damping was chosen without a ridge."""
    few = pictures(50).samples.subset(10, np.random.default_rng(0))
    part, alone = pictures(50).part(few), dataclasses.replace(pictures(50), samples=few)
    for sweep, there in ((part, False), (alone, True)):
        ((_, moments),) = sweep.dense(pooled_classifier(), ["head"])
        assert (moments.ridge is not None) == there


def test_a_map_is_kept_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the walk of the dense model, and only if the inputs are few."""
    kept: list[tuple[str, ...]] = []
    enter = Walk.__enter__

    def entered(self: Walk) -> Walk:
        kept.append(tuple(name for segment in self.segments for name in segment.outputs))
        return enter(self)

    monkeypatch.setattr(Walk, "__enter__", entered)
    for count in (20, 50):
        list(pictures(count).paired(pooled_classifier(), [pooled_classifier()], {"stem": True, "head": True}))
    assert kept == [("p", "s"), ("p",), ("p",), ("p",)]


def test_a_map_that_no_walk_makes() -> None:
    """The mean of a constant, in a shape that comes from the input."""
    rng = np.random.default_rng(0)
    constants = {"c": rng.standard_normal((1, 5, 4, 4)), "w": rng.standard_normal((3, 5))}
    nodes = [
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    specs = (InputSpec("x", np.dtype(np.float32), (1, 5)),)
    samples = open_samples({"x": np.zeros((6, 5), np.float32)}, specs, batch_size=1)
    ((_, moments),) = Calibration(samples, RUNTIME).dense(model, ["head"])
    assert moments.ridge is None


@pytest.mark.parametrize(("method", "same"), [("lobs", True), ("obs", False)])
def test_methods_as_published_do_without_a_ridge(method: str, same: bool) -> None:
    model = pooled_classifier()
    for layer, moments in pictures(20).dense(model, ["head"]):
        found = []
        for each in (moments, dataclasses.replace(moments, ridge=None)):
            changed = model.clone()
            PruneWeights({layer.name: LayerPlan(7, method, damping=1.0)}, {layer.name: each})(changed)
            found.append(find_layers(changed.graph)[0][1].matrix())
        assert np.array_equal(found[0], found[1]) == same


def attention(seed: int = 0) -> ir.Model:
    """q, k and v read one value, the narrow n too, t reads it transposed, and r another one."""
    rng = np.random.default_rng(seed)
    widths = {"q": 8, "k": 8, "v": 6, "n": 4, "r": 8}
    arrays = {f"{name}_w": rng.standard_normal((8, width)).astype(np.float32) for name, width in widths.items()}
    nodes = [helper.make_node("MatMul", ["x", f"{name}_w"], [name], name) for name in ("q", "k", "v", "n")]
    nodes += [helper.make_node("Relu", ["x"], ["rx"]), helper.make_node("MatMul", ["rx", "r_w"], ["r"], "r")]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in widths],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_layers_that_read_the_same_value_share_their_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    names, x = ["q", "k", "v", "n", "r"], np.random.default_rng(3).standard_normal((200, 8)).astype(np.float32)
    model = attention()

    def swept() -> list[dict[str, Any]]:
        dense = dict.fromkeys(names)
        for layer, moments in calibration(x).dense(model, names):
            dense[layer.name] = moments
        ((_, _, (paired,)),) = calibration(x).paired(model, [model.clone()], dict.fromkeys(names, True))
        return [dense, paired]

    shared = swept()
    for moments in shared:
        assert moments["q"] is moments["k"] is moments["v"]
        assert moments["r"] is not moments["q"]
    share: Callable[..., Any] = Calibration._shared_moments
    monkeypatch.setattr(Calibration, "_shared_moments", lambda *given: share(*given[:-1], SharedMoments(())))
    for together, apart in zip(shared, swept(), strict=True):
        assert apart["q"] is not apart["k"]
        for name in names:
            one, other = (moments[name].statistics(centred=True) for moments in (together, apart))
            np.testing.assert_array_equal(one.gram, other.gram)
            np.testing.assert_allclose(one.cross, other.cross, rtol=1e-5, atol=1e-6)


def fan(readers: dict[str, str]) -> ir.Model:
    """Layers side by side, by name; each reads one of x and functions of it: all of them are one segment."""
    rng, values = np.random.default_rng(0), sorted(set(readers.values()))
    nodes = [helper.make_node(value, ["x"], [f"{value} of x"]) for value in values]
    nodes += [helper.make_node("MatMul", [f"{readers[name]} of x", f"{name}_w"], [name], name) for name in readers]
    graph = helper.make_graph(
        nodes,
        "fan",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in readers],
        [numpy_helper.from_array(rng.standard_normal((8, 8)).astype(np.float32), f"{name}_w") for name in readers],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


@pytest.mark.parametrize(
    ("values", "most"),
    [(("Relu", "Tanh", "Abs", "Neg", "Sigmoid", "Exp"), 1), (("Relu", "Tanh", "Relu", "Abs", "Neg", "Tanh"), 2)],
    ids=["each reads another value", "some read the same"],
)
def test_moments_of_a_segment_live_until_their_last_reader_has_come(values: tuple[str, ...], most: int) -> None:
    readers = {f"layer {at}": value for at, value in enumerate(values)}
    alive, made = list[int](), list[weakref.ref[Any]]()
    for _, moments in calibration(np.ones((64, 8), np.float32)).dense(fan(readers), list(readers)):
        if all(reference() is not moments for reference in made):
            made.append(weakref.ref(moments))
        del moments
        alive.append(sum(reference() is not None for reference in made))
    assert len(alive) == len(values)
    assert len(made) == len(set(values)), "of each value once"
    assert max(alive) == most
