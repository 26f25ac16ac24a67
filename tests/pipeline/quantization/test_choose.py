"""Times decide what runs on integers: replayed ones, so that nothing is measured here."""

import copy
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from quantized_models import RUNTIME, classifier, conv_net, kernels, node, normal, pictures

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.passes.quantization.placement import place
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling.timing_table import StructureTimer, Timed, TimingTable
from netsurgeon.pipeline.quantization.choose import (
    STATIC,
    IntegerChoice,
    LayerTimes,
    choose_integer_layers,
    skeleton,
)
from netsurgeon.pipeline.quantization.kernels import unfused
from netsurgeon.pipeline.quantization.quantize import choose_for


def timed(speedup: float, unsure: float = 0.0) -> Timed:
    return Timed(speedup, 1.0, speedup, speedup - unsure, speedup + unsure)


def choice_of(
    speedups: dict[str, float],
    floats: dict[str, float] | None = None,
    integers: dict[str, float] | None = None,
    model: ir.Model | None = None,
    stay: dict[str, str] | None = None,
    *,
    at_once: bool = False,
    unsure: float = 0.0,
) -> IntegerChoice:
    """The choice by these times: of models, by the layers that stay floats, and of kernels.

    Models are as fast beside each other as beside the float model, give or take what the timer is `unsure` of.
    """
    model = model or conv_net()
    keys = {names: f"net int8 but {names or 'nothing'}" for names in speedups}
    models = {keys[names]: timed(speedup, unsure) for names, speedup in speedups.items()}
    models |= {
        f"{keys[one]} beside {keys[other]}": timed(speedups[one] / speedups[other], unsure)
        for one in speedups
        for other in speedups
    }
    table = TimingTable("a machine", {}, models, {"net float32": floats or {}, "net int8": integers or {}})
    timer = StructureTimer(table, model, {}, RUNTIME, lambda _: pytest.fail("nothing is to be measured"))
    given: Any = {"runtime": RUNTIME, "progress": lambda *_: None, "at_once": at_once}
    return choose_integer_layers(model, stay or {}, timer, "net", STATIC, **given)


def test_all_layers_run_on_integers_where_none_is_faster_on_floats() -> None:
    choice = choice_of({"": 2.0}, {"first": 1.0, "second": 1.0}, {"first": 0.5, "second": 0.4})
    assert choice.stay == {}
    assert choice.timed == timed(2.0)
    assert (choice.times["second"].floats, choice.times["second"].integers) == (1.0, 0.4)
    assert choice.times["head"].lost == 0.0, "ONNX Runtime shows no kernel of it"


def test_a_layer_goes_back_where_the_model_becomes_faster() -> None:
    floats, integers = {"first": 1.0, "second": 1.0}, {"first": 2.0, "second": 3.0}
    choice = choice_of({"": 1.2, "second": 1.5, "first, second": 1.3}, floats, integers)
    assert choice.stay == {"second": "it is faster on floats: 1 ms on floats, 3 ms on integers"}
    assert choice.timed == timed(1.5)


def test_layers_that_lose_most_are_tried_first_and_stay_back_together() -> None:
    floats, integers = {"first": 1.0, "second": 1.0}, {"first": 3.0, "second": 2.0}
    choice = choice_of({"": 1.2, "first": 1.5, "first, second": 1.8}, floats, integers)
    assert set(choice.stay) == {"first", "second"}


@pytest.mark.parametrize(("together", "back"), [(1.5, {"first", "second"}), (1.1, set())])
def test_at_once_all_that_lose_go_back_together_or_none(together: float, back: set[str]) -> None:
    floats, integers = {"first": 1.0, "second": 1.0, "head": 1.0}, {"first": 3.0, "second": 2.0, "head": 0.5}
    choice = choice_of({"": 1.2, "first, second": together}, floats, integers, at_once=True)
    assert set(choice.stay) == back


def test_a_gain_that_is_noise_is_none() -> None:
    choice = choice_of({"": 1.5, "first": 1.51}, {"first": 1.0}, {"first": 2.0})
    assert choice.stay == {}


@pytest.mark.parametrize(("unsure", "is_taken"), [(0.05, True), (0.3, False)])
def test_integers_are_taken_only_where_they_are_shown_to_be_faster(unsure: float, is_taken: bool) -> None:
    choice = choice_of({"": 1.2}, unsure=unsure)
    assert choice.gains == is_taken
    assert ("head" in choice.stay) != is_taken


@pytest.mark.parametrize(("unsure", "back"), [(0.1, {"first"}), (0.3, set())])
def test_a_layer_goes_back_only_where_the_model_is_shown_to_be_faster(unsure: float, back: set[str]) -> None:
    choice = choice_of({"": 2.0, "first": 2.5}, {"first": 1.0}, {"first": 2.0}, unsure=unsure)
    assert set(choice.stay) == back


def test_a_layer_that_loses_less_than_noise_is_not_tried() -> None:
    assert choice_of({"": 2.0}, {"first": 1.0}, {"first": 1.001}).stay == {}


@pytest.mark.parametrize("speedup", [0.7, 1.02])
def test_all_stays_on_floats_where_integers_do_not_gain(speedup: float) -> None:
    choice = choice_of({"": speedup})
    times = f"{speedup:.2f} times as fast ({speedup:.2f} to {speedup:.2f})"
    reason = f"integers make the model {times} on a machine, which is not worth it"  # the one that the times are of
    assert choice.stay == dict.fromkeys(("first", "second", "head"), reason)
    assert choice.timed == timed(speedup)


@pytest.mark.parametrize("speedup", [0.7, 2.0])
def test_layers_that_never_can_are_among_those_that_stay(speedup: float) -> None:
    model = classifier(node("Relu", ["c"], ["r"], "relu"), last="r", outputs=("y", "c"))
    choice = choice_of({"": speedup}, model=model, stay={})
    assert choice.stay["first"] == "its output is an output of the model"
    assert ("head" in choice.stay) == (speedup < 1.0)


def test_nothing_is_timed_where_nothing_can() -> None:
    stay = dict.fromkeys(("first", "second", "head"), "excluded by the user")
    choice = choice_of({}, stay=stay)
    assert (choice.stay, choice.timed) == (stay, None)


def test_kernels_are_known_by_the_names_that_onnx_runtime_gives_them() -> None:
    floats = {"first_nchwc": 1.0, "act2": 2.0}
    choice = choice_of({"": 2.0}, floats, {"first_nhwc_token_12": 0.5, "s": 0.7})
    assert (choice.times["first"].floats, choice.times["first"].integers) == (1.0, 0.5)
    assert (choice.times["second"].floats, choice.times["second"].integers) == (2.0, 0.7)


def hard_tanh() -> ir.Model:
    nodes = [node("Clip", ["c", "low", "high"], ["s"], "clip")]
    return classifier(*nodes, last="s", low=normal(1)[0] * 0 - 1, high=normal(1)[0] * 0 + 1)


@pytest.mark.parametrize("make", [conv_net, lambda: conv_net("Clip"), hard_tanh], ids=["relu", "relu6", "hard tanh"])
def test_a_skeleton_runs_on_the_kernels_of_the_real_model(make: Any) -> None:
    model = make()
    before = ir.to_proto(model).SerializeToString()
    layers = find_layers(model.graph)[0]
    placement = place(model.graph, layers, {})
    made = skeleton(model, placement)
    assert unfused(made, placement.layers, RUNTIME) == {}
    assert kernels(made).count("QLinearConv") == len(layers) - 1
    RUNTIME.session(made).run({"x": pictures(2)})
    assert ir.to_proto(model).SerializeToString() == before


def test_reasons_are_told_whole_but_for_the_figures_of_single_layers() -> None:
    slower = {name: LayerTimes(floats=1.0, integers=float(ms)).reason for name, ms in (("a", 2), ("b", 3))}
    unmade = "its input cannot be made: Foo is not known"
    floats = {**slower, "c": unmade, "d": "its input cannot be made: Bar is not known"}
    assert IntegerChoice(stay=floats).reason_for_floats(floats) == (
        f"it is faster on floats (a and 1 more); {unmade} (c); its input cannot be made: Bar is not known (d)"
    )


def test_nothing_gains_where_every_layer_is_back_on_floats() -> None:
    times = {"first": LayerTimes(floats=1.0, integers=2.0)}
    noise = Timed(dense=1.0, model=0.9, speedup=1.1, low=1.05, high=1.15)
    assert not IntegerChoice(stay={"first": "it is faster on floats"}, timed=noise, times=times).gains
    assert IntegerChoice(stay={}, timed=noise, times=times).gains


def test_a_layer_takes_what_the_faster_kernel_takes() -> None:
    times = LayerTimes(floats=3.0, integers=1.0, sparse={0.05: 0.2, 0.3: 0.5, 1.0: 1.9})
    np.testing.assert_allclose(times.at(np.array([1.0, 0.55, 0.3, 0.175, 0.01])), [1.0, 1.0, 0.5, 0.35, 0.2])
    assert LayerTimes(floats=3.0, integers=1.0).at(np.array([1.0, 0.1])).tolist() == [1.0, 1.0], "none is faster"
    assert LayerTimes(floats=3.0, integers=None).at(np.array([1.0, 0.1])).tolist() == [0.0, 0.0], "nothing is known"


def test_zeros_save_where_a_layer_on_integers_has_a_faster_sparse_kernel() -> None:
    times = {"sparse": LayerTimes(floats=3.0, integers=1.0, sparse={0.05: 0.2, 1.0: 2.0})}
    times["dense"] = LayerTimes(floats=3.0, integers=1.0)
    assert IntegerChoice(stay={}, times=times).zeros_save
    assert not IntegerChoice(stay={"sparse": "it is faster on floats"}, times=times).zeros_save
    assert not IntegerChoice(stay={}).zeros_save


@pytest.mark.parametrize(("kept", "lost"), [(0.3, -0.5), (0.65, 0.25), (1.0, 1.0)])
def test_zeros_may_keep_a_layer_from_going_back_to_floats(kept: float, lost: float) -> None:
    times = LayerTimes(floats=1.0, integers=2.0, sparse={0.3: 0.5, 1.0: 2.0}, kept=kept)
    assert times.lost == pytest.approx(lost)
    assert f"{1.0 + lost:.3g} ms with {1.0 - kept:.0%} of its weights 0" in times.reason


class InPackage(StructureTimer):
    """What is on integers takes twice as long as on floats, but for sparse kernels: half, at any share."""

    def __init__(self) -> None:
        super().__init__(TimingTable(), conv_net(), {}, RUNTIME, lambda _: None)
        self.is_sparse = True
        self.sparse_names = list[str]()

    @property
    def has_package(self) -> bool:
        return True

    def against(self, model: ir.Model) -> StructureTimer:
        return self

    def without_package(self) -> StructureTimer:
        other = copy.copy(self)
        other.is_sparse = False
        return other

    def nodes_of(self, name: str, model: Any) -> dict[str, float]:
        return dict.fromkeys(("first", "second", "head"), 1.0 if name.endswith("float32") else 2.0)

    def layers_in_package(self, name: str, model: Any) -> dict[str, float]:
        self.sparse_names.append(name)
        return dict.fromkeys(("first", "second", "head"), 0.5)

    def time(self, name: str, model: Any, ticks: Any = None, *, least: float = 0.0) -> Timed:
        if self.is_sparse:
            self.sparse_names.append(name)
        return timed(2.0 if self.is_sparse or " beside " in name else 0.5)


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, None), ({"sparsity": 0.2}, 0.8), ({"sparsity": 0.8}, 0.2), ({"sparsity": 0.8, "pattern": "tile:16x16"}, 0.2)],
)
def test_sparse_kernels_count_by_the_share_of_weights_that_are_removed(
    options: dict[str, Any], kept: float | None
) -> None:
    timer, model = InPackage(), conv_net()
    asked = Options(quantize="int8", target="cpu-sparse", **options)
    choice = choose_for(model, asked, timer, RUNTIME, lambda *_: None, STATIC)
    if kept is None:
        assert timer.sparse_names == []
        assert set(choice.stay) == {"first", "second", "head"}
    else:
        tiles = options.get("pattern", "k:64")
        assert timer.sparse_names[-1].endswith(f" int8 {tiles} at {kept}")
        assert all(f" int8 {tiles} at " in name for name in timer.sparse_names)
        assert choice.times["second"].kept == pytest.approx(kept)
        assert choice.stay == {}


def test_a_skeleton_keeps_a_share_of_the_weights_in_tiles() -> None:
    model = conv_net()
    placement = place(model.graph, find_layers(model.graph)[0], {})
    dense = find_integer_weights(skeleton(model, placement).graph)
    few = find_integer_weights(skeleton(model, placement, 0.25).graph)
    assert dense.keys() == few.keys() == set(placement.layers)
    for name, weight in dense.items():
        size = weight.codes.size
        assert 0.2 * size < few[name].nonzero <= round(0.25 * size) < weight.nonzero


def test_tiles_of_a_skeleton_are_those_of_the_pattern() -> None:
    """Kernels whose windows have 16 columns take as many steps as the fullest of 16 rows has weights in each."""
    model = conv_net()
    placement = place(model.graph, find_layers(model.graph)[0], {})
    steps = {}
    for tiles in ("k:64", "tile:16x16"):
        weight = find_integer_weights(skeleton(model, placement, 0.25, tiles).graph)["second"].codes
        rows = np.moveaxis(weight, 1, -1).reshape(len(weight), -1) != 0
        fullest = [
            rows[top : top + 16, left : left + 16].sum(axis=1).max()
            for top in range(0, rows.shape[0], 16)
            for left in range(0, rows.shape[1], 16)
        ]
        steps[tiles] = sum(fullest)
    assert steps["tile:16x16"] < steps["k:64"]
