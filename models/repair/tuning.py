"""The loop of a repair: squared errors of outputs and of values inside, against what the dense network gives live.

Supports stay, and so do the statistics of normalisations. The learning rate is what decides: too small it does little,
too large it ends above the start. It is taken from the error that is there, and what does not end below the start on
inputs held out is done again with a smaller one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from netsurgeon.models.onnx_module import OnnxModule
from netsurgeon.models.repair.augmentation import Augmentation
from netsurgeon.models.repair.comparison import Comparison, Divergence, Feed, RepairInputs, as_tensors, shapes_of
from netsurgeon.models.repair.recorded import Recorded
from netsurgeon.models.repair.state import Arrays, RepairState
from netsurgeon.models.training import find_device, seed_of_step

SLOWER = 3.0
"""By how much the learning rate is divided where a try ends above its start."""
USUAL_SIZE = 0.2
"""Root mean square of a weight tensor that has the learning rate itself; others have it in proportion. On ResNet-20
with a tenth of its weights, whose tensors have from 0.1 to 2.4, 400 steps took the held-out error from 0.235 to 0.171,
and to 0.182 with one rate for all."""
SAVE_SECONDS = 30.0
"""Between two checkpoints."""
STACKED, STACKED_NUMBERS = 8, 1_250_000
"""Samples, and numbers in them, at most, that pass at once through networks whose batch is fixed to fewer. A step of
ShuffleNet v2, whose batch is 1, took 1.55 s of a core one by one, 1.07 in eights and 1.16 all at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepairRecipe:
    """The constants of a repair; those of Adam are its usual ones.

    Attributes:
        steps: updates of the weights in a try.
        warm_up: steps over which the learning rate grows from 0; from there it falls as a cosine, to 0.
        rate: the learning rate, as a multiple of the relative error of the outputs at the start.
        inner: weight of the values inside, all together, beside the outputs.
        looks: how often the held-out inputs are looked at in a try.
        tries: most, each with a learning rate that is a third of the one before; the second half of them begins anew,
            on inputs as they are: what a network has never seen, such as digits off the centre, may teach it nothing.
    """

    steps: int = 400
    warm_up: int = 20
    rate: float = 0.025
    inner: float = 1.0
    looks: int = 8
    tries: int = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """How a repair went.

    Attributes:
        error_before: squared error of the outputs on the held-out inputs, as a share of the dense outputs' variance.
        error_after: the same of the network as it is now: at most `error_before`.
        learning_rate: of the try that was taken, or of the last one.
        steps: that were done, in all tries.
        best_step: of the try, after which the network was best; 0 = it is as it was.
        tries: how many.
        augmented: whether the inputs of the try that was taken, or of the last one, were augmented.
        seconds: that it took, in all runs of one that was stopped.
    """

    error_before: float
    error_after: float
    learning_rate: float
    steps: int
    best_step: int
    tries: int
    augmented: bool
    seconds: float


def tune(
    network: OnnxModule,
    dense: OnnxModule | Recorded,
    inner: Sequence[str],
    inputs: RepairInputs,
    recipe: RepairRecipe,
    *,
    augmentation: Augmentation,
    seed: int,
    device: str,
    divergence: Divergence | None = None,
    report: Callable[[int, int], None] = lambda done, count: None,
    kept: Arrays | None = None,
    keep: Callable[[Arrays], None] = lambda arrays: None,
) -> Tuned:
    """Tune a network in place; it ends in the best state that held-out inputs have seen, the start included.

    Args:
        network: whose weights are trained; weights that are 0 stay so.
        dense: what it is to imitate; never changed. `Recorded` where feeds hold its values.
        inner: names of values of both, of the same shapes, that are imitated besides the outputs.
        inputs: what is fed.
        recipe: the constants.
        augmentation: what is done to the inputs of a step.
        seed: of everything random.
        device: where both run: "cpu", "cuda", or "auto" for CUDA where there is any.
        divergence: what no state may lose by that is taken, besides the squared error; None = nothing.
        report: called with the steps done in all tries, and with what they are when this try ends.
        kept: what `keep` was given last, of a run that was stopped.
        keep: is given all that goes on from here, now and then.

    Raises:
        ValueError: no output can be compared, or the device is not there.
        RuntimeError: PyTorch cannot run a network on the device.
    """
    place = find_device(device)
    with _deterministic(), _as_on_the_cpu(place):
        run = _Run(
            network=network,
            dense=dense,
            inner=tuple(inner),
            inputs=inputs,
            recipe=recipe,
            augmentation=augmentation,
            seed=seed,
            device=place,
            divergence=divergence,
        )
        tuned = run.tune(report, kept, keep)
    network.to("cpu")
    return tuned


@torch.no_grad()
def outputs_of(network: OnnxModule, feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """The outputs of a network on the CPU, by name."""
    values = network.eval().values(as_tensors(feed), network.outputs)
    return {name: values[name].numpy() for name in network.outputs}  # type: ignore[union-attr]


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Let PyTorch add in the same order each time, where it can.

    Memory is not filled before an operator writes to it, which PyTorch else does then and takes time.
    """
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic  # whose attributes are made when it is imported
    were_filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
        settings.fill_uninitialized_memory = were_filled


@contextlib.contextmanager
def _as_on_the_cpu(device: torch.device) -> Iterator[None]:
    """Let CUDA compute as the CPU does, as far as it can: in float32, not in TF32, and in one order.

    cuBLAS needs a workspace for one order, which has to be named before it is first used. Some operators have none;
    what PyTorch would warn of each of them, that the same command may give other bytes, holds of CUDA as such.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            warnings.filterwarnings("ignore", message=".*deterministic", category=UserWarning)
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


@dataclasses.dataclass
class _Run:
    """One repair: see `tune`."""

    network: OnnxModule
    dense: OnnxModule | Recorded
    inner: tuple[str, ...]
    inputs: RepairInputs
    recipe: RepairRecipe
    augmentation: Augmentation
    seed: int
    device: torch.device
    divergence: Divergence | None = None

    def __post_init__(self) -> None:
        self.comparison = Comparison(self.network, self.dense, self.inner, self.inputs, self.device)
        self.times = {name: _times(parameter) for name, parameter in self.network.named_parameters()}
        self.shares = {
            parameter: _row_shares(parameter)
            for name, parameter in self.network.named_parameters()
            if parameter.ndim > 2 and name not in self.network.rates
        }
        outputs, inner = self.comparison.outputs, self.comparison.inner
        self.weights = dict.fromkeys(outputs, 1.0 / len(outputs))
        self.weights |= {name: self.recipe.inner / len(inner) for name in inner}

    def tune(self, report: Callable[[int, int], None], kept: Arrays | None, keep: Callable[[Arrays], None]) -> Tuned:
        state = RepairState.of(kept) if kept else RepairState.new(self.network, self._losses())
        recipe, rate = self.recipe, self.recipe.rate * state.start_error
        while state.number < recipe.tries and rate > 0.0:
            self._try(state, rate / self._slower(state.number), report, keep)
            if state.best_step:
                break
            state.next_try()
        self.network.load_state_dict(state.best)
        tries = min(state.number + 1, recipe.tries)
        return Tuned(
            error_before=state.start_error,
            error_after=state.best_error,
            learning_rate=rate / self._slower(tries - 1),
            steps=state.number * recipe.steps + state.step,
            best_step=state.best_step,
            tries=tries,
            augmented=self._is_augmented(tries - 1),
            seconds=state.seconds,
        )

    def _losses(self) -> tuple[float, float]:
        return self.comparison.losses(self.divergence)

    @property
    def _augmented_tries(self) -> int:
        return self.recipe.tries if self.augmentation.is_empty else max(self.recipe.tries // 2, 1)

    def _is_augmented(self, number: int) -> bool:
        """Whether inputs are augmented in a try, counted from 0."""
        return not self.augmentation.is_empty and number < self._augmented_tries

    def _slower(self, number: int) -> float:
        """By how much the learning rate of a try is divided."""
        return SLOWER ** float(number % self._augmented_tries)

    def _try(
        self, state: RepairState, rate: float, report: Callable[[int, int], None], keep: Callable[[Arrays], None]
    ) -> None:
        """Train from the start to the end of the cosine, or on from where the state stands."""
        recipe = self.recipe
        self.network.load_state_dict(state.network)
        parameters = dict(self.network.named_parameters())
        times = self.times | self.network.rates
        groups = [{"params": [parameter], "times": times[name]} for name, parameter in parameters.items()]
        optimizer = torch.optim.Adam(groups, lr=rate, foreach=False)
        state.load_into(optimizer, parameters)
        done_before = state.number * recipe.steps
        look_every = max(recipe.steps // recipe.looks, 1)
        saved = time.monotonic()
        for step, feeds in zip(range(state.step, recipe.steps), self.inputs.steps(state.step), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = group["times"] * rate * _share(step, recipe)
            self._step(optimizer, feeds, step, is_augmented=self._is_augmented(state.number))
            state.step = step + 1
            report(done_before + state.step, done_before + recipe.steps)
            if state.step % look_every == 0 or state.step == recipe.steps:
                state.look(self.network, self._losses())
            now = time.monotonic()
            if now - saved > SAVE_SECONDS:
                state.seconds += now - saved
                keep(state.arrays(self.network, optimizer, parameters))
                saved = now
        state.seconds += time.monotonic() - saved

    def _step(
        self, optimizer: torch.optim.Optimizer, feeds: Sequence[tuple[Feed, int]], step: int, *, is_augmented: bool
    ) -> None:
        """One update from the feeds of a batch, one after the other in memory; weights are made once, for all."""
        self.network.train()
        optimizer.zero_grad()
        if is_augmented:
            feeds = [(self.augmentation.shortened(feed, self.seed, step), count) for feed, count in feeds]
        weights = self.network.weights()
        leaves = {name: value.detach().requires_grad_(value.requires_grad) for name, value in weights.items()}
        samples = sum(count for _, count in feeds)
        for numbers in self._groups(feeds):
            plain = [feeds[number][0] for number in numbers]
            tensors = [self._tensors(feeds[number][0], step, number, is_augmented=is_augmented) for number in numbers]
            share = sum(feeds[number][1] for number in numbers) / samples
            loss_shares = {name: share * weight for name, weight in self.weights.items()}
            self.comparison.add_gradients(plain, tensors, leaves, loss_shares)
        learnt = [name for name, leaf in leaves.items() if leaf.grad is not None]
        torch.autograd.backward([weights[name] for name in learnt], [leaves[name].grad for name in learnt])
        before = {parameter: parameter.detach().clone() for parameter in self.shares}
        optimizer.step()
        with torch.no_grad():
            for parameter, shares in self.shares.items():
                parameter.copy_(before[parameter].lerp(parameter, shares))

    def _tensors(self, feed: Feed, step: int, number: int, *, is_augmented: bool) -> dict[str, Tensor]:
        tensors = as_tensors(feed)
        if is_augmented:
            tensors = self.augmentation(tensors, seed_of_step(self.seed, step, number))
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def _groups(self, feeds: Sequence[tuple[Feed, int]]) -> Iterator[list[int]]:
        """The numbers of feeds of one shape, one behind the other, that pass at once."""
        group: list[int] = []
        for number, (feed, count) in enumerate(feeds):
            most = min(STACKED // count, STACKED_NUMBERS // sum(array.size for array in feed.values()))
            both = [feeds[number - 1][0], feed]
            is_alike = len(group) < most and shapes_of(both[0]) == shapes_of(feed)
            if group and not (is_alike and self.comparison.can_stack(both, is_cut=bool(self.augmentation.lengths))):
                yield group
                group = []
            group.append(number)
        yield group


def _share(step: int, recipe: RepairRecipe) -> float:
    """The learning rate of a step, counted from 0, as a share of the largest."""
    warm = min(1.0, (step + 1) / (recipe.warm_up + 1))
    return warm * 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps))


def _times(parameter: Tensor) -> float:
    """How many times the learning rate a parameter has: with Adam it says how far weights go, whatever their size."""
    weights = parameter.detach()
    weights = weights[weights != 0]
    return float(weights.square().mean().sqrt()) / USUAL_SIZE if parameter.ndim > 1 and len(weights) else 1.0


def _row_shares(parameter: Tensor) -> Tensor:
    """How many times the learning rate of a convolution's weight each of its channels has, (channels, 1, …).

    Behind a normalisation that was folded into them, some channels' weights are a thousand times those of others.
    """
    weights = parameter.detach().flatten(1)
    counts = (weights != 0).sum(1).clamp(min=1)
    sizes = (weights.square().sum(1) / counts).sqrt()
    shares = sizes / (_times(parameter) * USUAL_SIZE)
    return torch.where(sizes > 0, shares, 1.0).view(-1, *[1] * (parameter.ndim - 1))
