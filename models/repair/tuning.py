"""The loop of a repair: squared errors of outputs and of values inside, against what the dense network gives live.

Supports stay, and so do the statistics of normalisations. The learning rate is what decides: too small it does little,
too large it ends above the start. It is taken from the error that is there, and what does not end below the start on
inputs held out is done again with a smaller one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netsurgeon.models.onnx_module import OnnxModule
from netsurgeon.models.repair.augmentation import Augmentation
from netsurgeon.models.repair.recorded import Recorded
from netsurgeon.models.repair.state import Arrays, RepairState
from netsurgeon.models.training import find_device, seed_of_step

Feed = Mapping[str, npt.NDArray[Any]]
SLOWER = 3.0
"""By how much the learning rate is divided where a try ends above its start."""
USUAL_SIZE = 0.2
"""Root mean square of a weight tensor that has the learning rate itself; others have it in proportion. On ResNet-20
with a tenth of its weights, whose tensors have from 0.1 to 2.4, 400 steps took the held-out error from 0.235 to 0.171,
and to 0.182 with one rate for all."""
SAVE_SECONDS = 30.0
"""Between two checkpoints."""


class RepairInputs(Protocol):
    """Where the inputs of a repair come from."""

    def steps(self, start: int) -> Iterator[Sequence[tuple[Feed, int]]]:
        """The feeds of each step from this one on, together one batch, and the samples in each; without end."""

    def held_out(self) -> Iterable[tuple[Feed, int]]:
        """Feeds that are not trained on, the same ones each time, and the samples in each."""

    def entries(self, name: str, feed: Feed, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
        """Which entries of a value of this shape count, with extents of 1 where all do; None = all."""


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
        seconds: that it took.
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
        report: called with the steps done and the steps of all tries.
        kept: what `keep` was given last, of a run that was stopped.
        keep: is given all that goes on from here, now and then.

    Raises:
        ValueError: no output can be compared, or the device is not there.
        RuntimeError: PyTorch cannot run a network on the device.
    """
    with _deterministic():
        run = _Run(
            network=network,
            dense=dense,
            inner=tuple(inner),
            inputs=inputs,
            recipe=recipe,
            augmentation=augmentation,
            seed=seed,
            device=find_device(device),
        )
        tuned = run.tune(report, kept, keep)
    network.to("cpu")
    return tuned


@torch.no_grad()
def outputs_of(network: OnnxModule, feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """The outputs of a network on the CPU, by name."""
    values = network.eval().values(_tensors(feed), network.outputs)
    return {name: values[name].numpy() for name in network.outputs}  # type: ignore[union-attr]


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Let PyTorch add in the same order each time, where it can."""
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])


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

    def __post_init__(self) -> None:
        self.network.to(self.device)
        self.dense.to(self.device)
        self.dense.eval().requires_grad_(False)
        self.outputs, self.inner = self._comparable()
        self.times = {name: _times(parameter) for name, parameter in self.network.named_parameters()}
        self.shares = {
            parameter: _row_shares(parameter)
            for name, parameter in self.network.named_parameters()
            if parameter.ndim > 2 and name not in self.network.rates
        }
        self.variances = self._variances()
        self.inner = self._kindred()

    def tune(self, report: Callable[[int, int], None], kept: Arrays | None, keep: Callable[[Arrays], None]) -> Tuned:
        started = time.monotonic()
        state = RepairState.of(kept) if kept else RepairState.new(self.network, self.error())
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
            seconds=time.monotonic() - started,
        )

    @property
    def _compared(self) -> tuple[str, ...]:
        return (*self.outputs, *self.inner)

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
        groups = [{"params": [each], "times": times[name]} for name, each in parameters.items()]
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
            report(done_before + state.step, recipe.tries * recipe.steps)
            if state.step % look_every == 0 or state.step == recipe.steps:
                state.look(self.network, self.error())
            if time.monotonic() - saved > SAVE_SECONDS:
                keep(state.arrays(self.network, optimizer, parameters))
                saved = time.monotonic()

    def _step(
        self, optimizer: torch.optim.Optimizer, feeds: Sequence[tuple[Feed, int]], step: int, *, is_augmented: bool
    ) -> None:
        """One update from the feeds of a batch, one after the other in memory."""
        self.network.train()
        optimizer.zero_grad()
        samples = sum(count for _, count in feeds)
        for number, (feed, count) in enumerate(feeds):
            tensors = _tensors(feed)
            if is_augmented:
                tensors = self.augmentation(tensors, seed_of_step(self.seed, step, number))
            tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
            self._add_gradients(tensors, feed, count / samples)
        before = {parameter: parameter.detach().clone() for parameter in self.shares}
        optimizer.step()
        with torch.no_grad():
            for parameter, shares in self.shares.items():
                parameter.copy_(before[parameter].lerp(parameter, shares))

    def _add_gradients(self, tensors: Mapping[str, Tensor], feed: Feed, share: float) -> None:
        """Add to the parameters' gradients this share of those of the loss.

        The loss, a mean of squared errors, is not computed: its gradient at each value is the error there, times a
        number.
        """
        with torch.no_grad():
            dense_values = self.dense.values(tensors, self._compared)
        values = self.network.values(tensors, self._compared)
        weights = dict.fromkeys(self.outputs, share / len(self.outputs))
        weights |= {name: share * self.recipe.inner / len(self.inner) for name in self.inner}
        learnt = {name: value for name in weights if (value := values[name]) is not None and value.requires_grad}
        with torch.no_grad():
            gradients = [
                self._gradient(name, value, dense_values.pop(name), feed, weights[name])
                for name, value in learnt.items()
            ]
        torch.autograd.backward(list(learnt.values()), gradients)

    def _gradient(self, name: str, value: Tensor, dense_value: Any, feed: Feed, weight: float) -> Tensor:
        """Of so much of a value's mean squared error, as a share of its variance, at each of its entries."""
        error, count = value - dense_value, value.numel()
        entries = self._entries(name, value, feed)
        if entries is not None:
            counted = entries.expand(value.shape)
            error, count = torch.where(counted, error, 0.0), max(int(counted.sum()), 1)
        return error.mul_(2.0 * weight / (count * self.variances[name]))

    def _errors(self, values: Mapping[str, Any], dense_values: Mapping[str, Any], feed: Feed) -> dict[str, Tensor]:
        """Squared errors of the outputs and of the values inside, as shares of their variances."""
        return {
            name: self._mean(name, (values[name] - dense_values[name]).square(), feed) / self.variances[name]
            for name in self._compared
        }

    def _mean(self, name: str, value: Tensor, feed: Feed) -> Tensor:
        """The mean of a value over the entries that count."""
        entries = self._entries(name, value, feed)
        if entries is None:
            return value.mean()
        return torch.where(entries, value, 0.0).sum() / entries.expand(value.shape).sum().clamp(min=1)

    def _entries(self, name: str, value: Tensor, feed: Feed) -> Tensor | None:
        entries = self.inputs.entries(name, feed, tuple(value.shape))
        return None if entries is None else torch.from_numpy(np.array(entries)).to(value.device)

    @torch.no_grad()
    def _comparable(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Outputs and values inside that are finite floats with axes, of one shape in both networks.

        Raises:
            ValueError: no output is.
        """
        feed, _ = next(iter(self.inputs.held_out()))
        tensors = {name: tensor.to(self.device) for name, tensor in _tensors(feed).items()}
        of_both = self.network.eval().values(tensors), self.dense.values(tensors)

        def is_comparable(name: str) -> bool:
            value, dense_value = (values.get(name) for values in of_both)
            if value is None or dense_value is None or value.shape != dense_value.shape or dense_value.ndim == 0:
                return False
            return dense_value.is_floating_point() and bool(dense_value.isfinite().all())

        outputs = tuple(name for name in self.dense.outputs if is_comparable(name))
        if not outputs:
            raise ValueError("no output holds finite floats for each input")
        return outputs, tuple(name for name in self.inner if is_comparable(name))

    @torch.no_grad()
    def _kindred(self) -> tuple[str, ...]:
        """Values inside that still are those of the dense network.

        Channels in another order, or on another scale as integers want them, are others under the same name: the error
        of what has nothing in common is twice the variance.
        """
        feed, _ = next(iter(self.inputs.held_out()))
        tensors = {name: tensor.to(self.device) for name, tensor in _tensors(feed).items()}
        values, dense_values = (network.values(tensors, self._compared) for network in (self.network.eval(), self.dense))
        errors = self._errors(values, dense_values, feed)
        return tuple(name for name in self.inner if float(errors[name]) < 1.0)

    @torch.no_grad()
    def error(self) -> float:
        """Mean over the outputs of their relative squared errors on the held-out inputs."""
        self.network.eval()
        total, count = 0.0, 0
        for feed, size in self.inputs.held_out():
            tensors = {name: tensor.to(self.device) for name, tensor in _tensors(feed).items()}
            values, dense_values = (network.values(tensors, self.outputs) for network in (self.network, self.dense))
            for name in self.outputs:
                difference = (values[name] - dense_values[name]).double()  # type: ignore[operator]
                total += size * float(self._mean(name, difference.square(), feed)) / self.variances[name]
            count += size
        return total / (count * len(self.outputs))

    @torch.no_grad()
    def _variances(self) -> dict[str, float]:
        """Of each value over the held-out inputs, around the mean of its place where all have the same shape.

        Where not all entries count, those that do are around their common mean.
        """
        names = self._compared
        sums: dict[str, Tensor] = {}
        squares, counts = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
        for feed, _ in self.inputs.held_out():
            tensors = {name: tensor.to(self.device) for name, tensor in _tensors(feed).items()}
            values = self.dense.values(tensors, names)
            for name in names:
                value = values[name].double()  # type: ignore[union-attr]
                entries = self._entries(name, value, feed)
                value = value if entries is None else value[entries.expand(value.shape)]
                summed = value.sum(0)
                if name in sums and sums[name].shape != summed.shape:
                    sums[name], summed = sums[name].mean(), summed.mean()
                sums[name] = sums[name] + summed if name in sums else summed
                squares[name] += float(value.square().mean()) * len(value)
                counts[name] += len(value)
        return {
            name: max(squares[name] / counts[name] - float((sums[name] / counts[name]).square().mean()), 0.0) or 1.0
            for name in names
        }


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


def _tensors(feed: Feed) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in feed.items()}
