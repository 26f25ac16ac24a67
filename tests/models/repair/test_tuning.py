"""A repair ends at its start or below, keeps zeros and what is frozen, and goes on to the same bytes after a stop."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from repaired_networks import HalfOfEach, HalfOfThem, Inputs, OneByOne, perceptron, random

from netsurgeon.models.onnx_module import OPERATORS, OnnxModule
from netsurgeon.models.repair import Augmentation, Recorded, RepairRecipe, Tuned, outputs_of, tune
from netsurgeon.models.repair.state import RepairState
from netsurgeon.models.repair.tuning import _as_on_the_cpu, _Run

Array = NDArray[Any]
RECIPE = RepairRecipe(steps=60, warm_up=5, looks=6, rate=0.05)
SEVERAL_TRIES = RepairRecipe(steps=40, warm_up=0, looks=4, rate=3.0, tries=6)
"""The first of them too fast."""


def repaired(recipe: RepairRecipe = RECIPE, frozen: Sequence[str] = (), **options: Any) -> tuple[OnnxModule, Tuned]:
    network, dense = OnnxModule(perceptron(zeros=True), frozen=frozen), OnnxModule(perceptron(zeros=False))
    options = dict[str, Any](augmentation=Augmentation(), seed=0, device="cpu") | options
    return network, tune(network, dense, ["r"], Inputs(), recipe, **options)


def relative_error(network: OnnxModule) -> float:
    """Of the outputs on the held-out rows, by NumPy."""
    dense = OnnxModule(perceptron(zeros=False))
    feeds = [feed for feed, _ in Inputs().held_out()]
    outputs, wanted = (np.concatenate([outputs_of(module, feed)["y"] for feed in feeds]) for module in (network, dense))
    return float(np.mean((outputs - wanted) ** 2) / np.var(wanted, axis=0).mean())


def test_the_outputs_come_nearer_and_zeros_stay() -> None:
    network, tuned = repaired()
    before = relative_error(OnnxModule(perceptron(zeros=True)))
    assert tuned.error_before == pytest.approx(before, rel=1e-4)
    assert tuned.error_after == pytest.approx(relative_error(network), rel=1e-4)
    assert tuned.error_after < 0.7 * before
    assert tuned.steps == 60
    assert 0 < tuned.best_step <= 60
    assert np.array_equal(network.arrays()["w1"] == 0, random(12, 24, seed=1) ** 2 <= 1.3**2)


def test_settings_of_pytorch_come_back() -> None:
    def settings() -> tuple[bool, bool]:
        memory: Any = torch.utils.deterministic
        return torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory

    seen = set()
    usual = settings()
    repaired(RepairRecipe(steps=2), report=lambda done, count: seen.add(settings()))
    assert seen == {(True, False)}
    assert settings() == usual


def test_cuda_computes_in_float32_and_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is as before again, also where it was absent
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    was = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled
    with _as_on_the_cpu(torch.device("cpu")):
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        assert torch.backends.cudnn.allow_tf32 == was[0]
    with _as_on_the_cpu(torch.device("cuda:0")):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == (False, True)
        assert torch.get_float32_matmul_precision() == "highest"
        warnings.warn("this does not have a deterministic implementation", UserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="another"):
            warnings.warn("another", UserWarning, stacklevel=1)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == was
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision(precision)


class WithDenseValues(Inputs):
    """The same, with what the dense network gives beside them."""

    def __init__(self) -> None:
        self.dense = OnnxModule(perceptron(zeros=False))
        self.dense.outputs = ["y", "r"]

    def steps(self, start: int) -> Iterator[Sequence[tuple[dict[str, Array], int]]]:
        for feeds in super().steps(start):
            yield [(feed | outputs_of(self.dense, feed), count) for feed, count in feeds]

    def held_out(self) -> Iterator[tuple[dict[str, Array], int]]:
        for feed, count in super().held_out():
            yield feed | outputs_of(self.dense, feed), count


def test_a_dense_network_may_be_recorded() -> None:
    live, tuned = repaired()
    network = OnnxModule(perceptron(zeros=True))
    options: dict[str, Any] = {"augmentation": Augmentation(), "seed": 0, "device": "cpu"}
    again = tune(network, Recorded(["y"]), ["r"], WithDenseValues(), RECIPE, **options)
    assert again.error_after == tuned.error_after
    assert all(np.array_equal(array, network.arrays()[name]) for name, array in live.arrays().items())


def test_what_is_frozen_stays() -> None:
    network, tuned = repaired(frozen=["w2", "b1"])
    assert tuned.best_step
    assert network.trained == ["w1"]
    assert set(network.arrays()) == {"w1"}


def test_the_same_seed_gives_the_same_bytes() -> None:
    changes = Augmentation(noises={"x": np.full(12, 0.1, np.float32)})
    first, other = (repaired(augmentation=changes, seed=seed)[0].arrays() for seed in (3, 3))
    assert all(np.array_equal(first[name], other[name]) for name in first)
    another = repaired(augmentation=changes, seed=4)[0].arrays()
    assert not np.array_equal(first["w1"], another["w1"])


def test_a_rate_that_is_too_large_leaves_the_start() -> None:
    network, tuned = repaired(RepairRecipe(steps=20, warm_up=0, looks=2, rate=1e4, tries=2))
    assert (tuned.best_step, tuned.tries, tuned.steps) == (0, 2, 40)
    assert tuned.error_after == tuned.error_before
    assert np.array_equal(network.arrays()["w2"], random(24, 4, seed=3) / np.float32(5))


def test_a_smaller_rate_is_tried_where_the_first_one_is_too_large() -> None:
    told: list[tuple[int, int]] = []
    _, tuned = repaired(SEVERAL_TRIES, report=lambda done, count: told.append((done, count)))
    assert 1 < tuned.tries < 6
    assert told == [(step, 40 * (1 + (step - 1) // 40)) for step in range(1, 40 * tuned.tries + 1)]
    assert tuned.error_after < tuned.error_before
    assert tuned.steps == 40 * tuned.tries


def test_where_augmented_inputs_teach_nothing_those_given_are_taken() -> None:
    noise = Augmentation(noises={"x": np.full(12, 1e4, np.float32)})
    _, tuned = repaired(RepairRecipe(steps=40, warm_up=0, looks=4, rate=0.3, tries=2), augmentation=noise)
    assert not tuned.augmented
    assert tuned.tries == 2
    assert tuned.error_after < tuned.error_before
    assert repaired()[1].augmented is False
    assert repaired(augmentation=Augmentation(noises={"x": np.full(12, 0.01, np.float32)}))[1].augmented


@pytest.mark.parametrize(("recipe", "stop_at"), [(RECIPE, 3), (RECIPE, 27), (SEVERAL_TRIES, 40), (SEVERAL_TRIES, 50)])
def test_a_repair_that_was_stopped_goes_on_to_the_same_bytes(
    recipe: RepairRecipe, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netsurgeon.models.repair.tuning.SAVE_SECONDS", 0.0)
    whole, tuned = repaired(recipe)
    assert (tuned.tries > 1) == (recipe is SEVERAL_TRIES)
    kept: list[dict[str, Array]] = []

    def keep(arrays: Any) -> None:
        kept.append({name: np.array(array) for name, array in arrays.items()})
        if len(kept) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repaired(recipe, keep=keep)
    steps: list[int] = []
    report: Callable[[int, int], None] = lambda done, count: steps.append(done)  # noqa: E731
    resumed, again = repaired(recipe, kept=kept[-1], report=report)
    assert steps[0] == stop_at + 1
    assert dataclasses.replace(again, seconds=tuned.seconds) == tuned
    assert all(np.array_equal(whole.arrays()[name], array) for name, array in resumed.arrays().items())


def test_seconds_are_those_of_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.models.repair.tuning.SAVE_SECONDS", 0.0)
    kept: list[dict[str, Array]] = []
    repaired(keep=lambda arrays: kept.append(dict(arrays)))
    middle = kept[30]
    assert middle["figures"][-1] > 0.0
    longer = middle | {"figures": middle["figures"] + [0.0, 0.0, 0.0, 1000.0]}
    assert repaired(kept=longer)[1].seconds > 1000.0 > repaired(kept=middle)[1].seconds


def divergences(*figures: float) -> Callable[[Any, Any], float]:
    """A divergence that is one of these at each look, in turn, first at the start."""
    turn = iter(figures)
    return lambda dense, other: next(turn)


def test_the_best_state_of_those_that_lose_by_no_measure_is_taken() -> None:
    assert repaired()[1].best_step > 30
    _, tuned = repaired(divergence=divergences(1.0, 0.9, 1.0, 0.9, 1.1, 2.0, float("nan")))
    assert 0 < tuned.best_step <= 30
    assert tuned.error_after < tuned.error_before
    assert tuned.tries == 1


def test_a_smaller_rate_is_tried_where_every_state_loses_by_the_divergence() -> None:
    recipe = dataclasses.replace(RECIPE, steps=20, looks=2, tries=3)
    _, tuned = repaired(recipe, divergence=divergences(1.0, 2.0, 2.0, 2.0, 0.9))
    assert (tuned.tries, tuned.best_step) == (2, 20)
    assert tuned.learning_rate == pytest.approx(recipe.rate * tuned.error_before / 3.0)
    network, tuned = repaired(recipe, divergence=divergences(1.0, *[2.0] * 6))
    assert (tuned.tries, tuned.best_step) == (3, 0)
    assert np.array_equal(network.arrays()["w2"], random(24, 4, seed=3) / np.float32(5))


def test_the_divergence_is_of_the_outputs_that_count() -> None:
    seen: list[tuple[Any, Any]] = []

    def divergence(dense: Any, other: Any) -> float:
        seen.append((dense, other))
        return 0.0

    network, dense = OnnxModule(perceptron(zeros=True)), OnnxModule(perceptron(zeros=False))
    run = _Run(network, dense, (), HalfOfThem(), RECIPE, Augmentation(), 0, torch.device("cpu"), divergence)
    run._losses()
    ((wanted, values),) = seen
    for feed, of_dense, of_other in zip(HalfOfThem().held_out(), wanted, values, strict=True):
        for outputs, module in ((of_dense, dense), (of_other, network)):
            counted = outputs_of(module, feed[0])["y"] * np.array([1, 0, 1, 0], np.float32)
            np.testing.assert_allclose(outputs["y"], counted, rtol=1e-5, atol=1e-6)


def test_only_entries_that_count_are_compared() -> None:
    network, dense = OnnxModule(perceptron(zeros=True)), OnnxModule(perceptron(zeros=False))
    feeds = [feed for feed, _ in Inputs().held_out()]
    before, wanted = (np.concatenate([outputs_of(module, feed)["y"] for feed in feeds]) for module in (network, dense))
    tuned = tune(network, dense, [], HalfOfThem(), RECIPE, augmentation=Augmentation(), seed=0, device="cpu")
    after = np.concatenate([outputs_of(network, feed)["y"] for feed in feeds])
    loss, others = (np.mean((after - wanted)[:, start::2] ** 2) for start in (0, 1))
    was = np.mean((before - wanted)[:, ::2] ** 2)
    assert tuned.error_before == pytest.approx(was / np.var(wanted[:, ::2]), rel=1e-4)
    assert tuned.error_after == pytest.approx(loss / np.var(wanted[:, ::2]), rel=1e-4)
    assert loss < 0.7 * was
    assert others > loss


@pytest.mark.parametrize(("is_permuted", "is_imitated"), [(True, False), (False, True)])
def test_values_of_the_same_name_that_have_nothing_in_common_are_not_imitated(
    is_permuted: bool, is_imitated: bool
) -> None:
    model = perceptron(zeros=True)
    order = np.random.default_rng(1).permutation(24) if is_permuted else np.arange(24)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        array = array[order] if tensor.name == "w2" else array[..., order]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    results = []
    for inner in (["r"], []):
        network, dense = OnnxModule(model), OnnxModule(perceptron(zeros=False))
        tune(network, dense, inner, Inputs(), RECIPE, augmentation=Augmentation(), seed=0, device="cpu")
        results.append(network.arrays()["w1"])
    assert np.array_equal(results[0], results[1]) != is_imitated


def test_each_channel_of_a_convolution_learns_at_the_pace_of_its_own_size() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    sizes = np.array([1.0, 1.0, 1e-3, 0.0], np.float32).reshape(4, 1, 1, 1)
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", channels, 4, 4])
        for name, channels in (("x", 3), ("y", 4))
    ]
    weight = random(4, 3, 1, 1, seed=1) * sizes
    pruned = weight * (np.arange(3).reshape(1, 3, 1, 1) > 0)
    network, dense = (
        OnnxModule(
            helper.make_model(
                helper.make_graph(nodes, "conv", values[:1], values[1:], [numpy_helper.from_array(array, "w")])
            )
        )
        for array in (pruned, weight)
    )

    class Pictures(Inputs):
        def steps(self, start: int) -> Iterator[Sequence[tuple[dict[str, Array], int]]]:
            for step in range(start, 100):
                yield [({"x": random(16, 3, 4, 4, seed=step)}, 16)]

        def held_out(self) -> Iterator[tuple[dict[str, Array], int]]:
            yield {"x": random(16, 3, 4, 4, seed=999)}, 16

    recipe = RepairRecipe(steps=1, warm_up=0, looks=1, rate=1e-3, tries=1)
    before = network.arrays()["w"]
    run = _Run(network, dense, (), Pictures(), recipe, Augmentation(), 0, torch.device("cpu"))
    run._try(RepairState.new(network, (1e9, 0.0)), 1e-3, lambda done, count: None, lambda arrays: None)
    moved = np.abs(network.arrays()["w"] - before).max(axis=(1, 2, 3))
    assert moved[0] > 0.0
    large, small = (np.sqrt((before[at] ** 2).sum() / 2) for at in (1, 2))
    assert moved[2] / moved[1] == pytest.approx(small / large, rel=0.02)
    assert moved[3] == 0.0


def step_of(inputs: Inputs, inner: tuple[str, ...] = ("r",)) -> _Run:
    """A repair after the gradients of its first step, without an update."""
    networks = [OnnxModule(perceptron(zeros)) for zeros in (True, False)]
    run = _Run(networks[0], networks[1], inner, inputs, RECIPE, Augmentation(), 0, torch.device("cpu"))
    run._step(torch.optim.SGD(run.network.parameters(), lr=0.0), next(inputs.steps(0)), 0, is_augmented=False)
    return run


def gradients(run: _Run) -> dict[str, Array]:
    parameters = run.network.named_parameters()
    return {name: parameter.grad.numpy().copy() for name, parameter in parameters if parameter.grad is not None}


@pytest.mark.parametrize("inputs", [Inputs(), HalfOfThem()])
def test_gradients_are_those_of_the_mean_squared_errors_over_the_variances(inputs: Inputs) -> None:
    run = step_of(inputs)
    learnt, variances = gradients(run), run.comparison.variances
    run.network.zero_grad()
    for feed, count in next(inputs.steps(0)):
        tensors = {"x": torch.from_numpy(feed["x"])}
        values, wanted = (network.values(tensors) for network in (run.network, run.dense))
        errors = {name: (values[name] - wanted[name]).square() for name in ("y", "r")}  # type: ignore[operator]
        counted = errors["y"][:, ::2] if isinstance(inputs, HalfOfThem) else errors["y"]
        loss = counted.mean() / variances["y"] + errors["r"].mean() / variances["r"]
        (loss * count / 32).backward()
    for name, gradient in gradients(run).items():
        assert np.abs(gradient).max() > 0.0
        np.testing.assert_allclose(learnt[name], gradient, rtol=1e-4, atol=1e-6)


def test_weights_are_made_once_a_step_and_of_the_dense_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    makers: list[OnnxModule] = []
    make = OnnxModule.weights
    run = step_of(Inputs())

    def weights(module: OnnxModule) -> dict[str, torch.Tensor]:
        makers.append(module)
        return make(module)

    monkeypatch.setattr(OnnxModule, "weights", weights)
    optimizer = torch.optim.SGD(run.network.parameters(), lr=0.0)
    run._step(optimizer, next(Inputs().steps(0)), 0, is_augmented=False)
    assert makers == [run.network]


@pytest.mark.parametrize(("inputs", "whole"), [(OneByOne(), Inputs()), (HalfOfEach(), HalfOfThem())])
def test_feeds_of_a_fixed_batch_pass_at_once(inputs: Inputs, whole: Inputs) -> None:
    run = step_of(inputs)
    assert [len(group) for group in run._groups(next(inputs.steps(0)))] == [8] * 4
    for name, gradient in gradients(step_of(whole)).items():
        np.testing.assert_allclose(gradients(run)[name], gradient, rtol=1e-3, atol=1e-6)


def test_feeds_of_other_shapes_or_many_numbers_pass_alone() -> None:
    run = step_of(OneByOne())
    shapes = [(1, 12), (1, 12), (2, 12), (2, 12), (5, 12), (5, 12), (1, 700_000), (1, 700_000)]
    groups = run._groups([({"x": np.zeros(shape, np.float32)}, shape[0]) for shape in shapes])
    assert list(groups) == [[0, 1], [2, 3], [4], [5], [6], [7]]


def test_what_one_shape_cannot_does_not_stop_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def relu(inputs: Any, attributes: Any) -> Any:
        x = inputs[0]
        if len(x) == 2 and torch._C._functorch.is_batchedtensor(x):
            warnings.warn("two rows do not go", FutureWarning, stacklevel=1)
        return torch.relu(x)

    monkeypatch.setitem(OPERATORS, "Relu", relu)
    run = step_of(OneByOne())
    run.network.train()
    groups = run._groups([({"x": np.zeros((rows, 12), np.float32)}, rows) for rows in (1, 1, 2, 2)])
    assert list(groups) == [[0, 1], [2], [3]]
    assert run.network.training
