"""How far a network is from the dense one, at its outputs and at values inside, and which way is nearer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netsurgeon.models.onnx_module import OnnxModule
from netsurgeon.models.repair.recorded import Recorded

Feed = Mapping[str, npt.NDArray[Any]]
Tensors = Mapping[str, Tensor]
Divergence = Callable[[Sequence[dict[str, Any]], Sequence[dict[str, Any]]], float]
"""How much less scores of a network say than those of the dense one, feed by feed as arrays by name; 0 = alike."""
SAME = 1e-3
"""Most by which values of samples that pass at once may differ from those of samples one by one, as a share of the
largest: far more than what rounding makes of them, so that a repair that goes on after a stop decides as before."""


class RepairInputs(Protocol):
    """Where the inputs of a repair come from."""

    def steps(self, start: int) -> Iterator[Sequence[tuple[Feed, int]]]:
        """The feeds of each step from this one on, together one batch, and the samples in each; without end."""

    def held_out(self) -> Iterable[tuple[Feed, int]]:
        """Feeds that are not trained on, the same ones each time, and the samples in each."""

    def entries(self, name: str, feed: Feed, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
        """Which entries of a value of this shape count, with extents of 1 where all do; None = all."""


class Comparison:
    """A network beside the dense one that it is to imitate; both are moved to the device.

    Attributes:
        outputs: names of those that are compared.
        inner: names of values inside that are compared.
        variances: of the dense network's values, by name.

    Raises:
        ValueError: no output can be compared.
    """

    def __init__(
        self,
        network: OnnxModule,
        dense: OnnxModule | Recorded,
        inner: Sequence[str],
        inputs: RepairInputs,
        device: torch.device,
    ) -> None:
        self._network, self._dense = network.to(device), dense.to(device)
        self._inputs, self._device = inputs, device
        self._dense.eval().requires_grad_(False)
        self._dense_weights = self._dense.weights()
        self._stacks: dict[tuple[tuple[str, tuple[int, ...]], ...], bool] = {}
        self.outputs, self.inner = self._comparable(inner)
        variances = self._variances()
        self.variances = {name: variance for name, variance in variances.items() if math.isfinite(variance)}
        self.outputs, self.inner = (
            tuple(name for name in names if name in self.variances) for names in (self.outputs, self.inner)
        )
        if not self.outputs:
            raise ValueError("no output holds finite floats for each input")
        self.inner = self._kindred()

    @property
    def names(self) -> tuple[str, ...]:
        """All that is compared."""
        return (*self.outputs, *self.inner)

    def tensors(self, feed: Feed) -> dict[str, Tensor]:
        """A feed on the device."""
        return {name: tensor.to(self._device) for name, tensor in as_tensors(feed).items()}

    def add_gradients(
        self, feeds: Sequence[Feed], tensors: Sequence[Tensors], weights: Tensors, shares: Mapping[str, float]
    ) -> None:
        """Add to the gradients of weights those of the mean squared errors of feeds of one shape.

        The loss is not computed: its gradient at each value is the error there, times a number. More than one feed go
        through the networks at once, whose batch may be fixed to fewer samples than are learnt from at a time.

        Args:
            feeds: as they were given.
            tensors: the same, augmented.
            weights: of the network, all of them leaves.
            shares: of the loss, by name of a value.

        Raises:
            ValueError: no weight has a gradient from these values.
        """
        names, is_stacked = self.names, len(feeds) > 1
        fed = {name: torch.stack([one[name] for one in tensors]) for name in tensors[0]} if is_stacked else tensors[0]
        run = _values_of_stack if is_stacked else _values
        with torch.no_grad():
            dense_values = run(self._dense, fed, names, self._dense_weights)
        values = run(self._network, fed, names, weights)
        learnt = {name: values[name] for name in names if values[name].requires_grad}
        if not learnt:
            raise ValueError("no weight has a gradient from a value that is compared")
        del values
        with torch.no_grad():
            gradients = []
            for name, value in learnt.items():
                error, count = value - dense_values.pop(name), value.numel()
                entries = self._entries_of(name, feeds, value)
                if entries is not None:
                    counted = entries.expand(value.shape)
                    error, count = torch.where(counted, error, 0.0), max(int(counted.sum()), 1)
                gradients.append(error.mul_(2.0 * shares[name] / (count * self.variances[name])))
        torch.autograd.backward(list(learnt.values()), gradients)

    def _entries_of(self, name: str, feeds: Sequence[Feed], value: Tensor) -> Tensor | None:
        """Which entries of a value count for some feeds, whose axis is its first where they are more than one."""
        if len(feeds) == 1:
            return self._entries(name, value, feeds[0])
        of_each = [self._entries(name, one, feed) for one, feed in zip(value, feeds, strict=True)]
        masks = [mask for mask in of_each if mask is not None]
        return torch.stack(masks) if masks else None

    def _entries(self, name: str, value: Tensor, feed: Feed) -> Tensor | None:
        entries = self._inputs.entries(name, feed, tuple(value.shape))
        return None if entries is None else torch.from_numpy(np.array(entries)).to(value.device)

    def _mean(self, name: str, value: Tensor, feed: Feed) -> Tensor:
        """The mean of a value over the entries that count."""
        entries = self._entries(name, value, feed)
        if entries is None:
            return value.mean()
        return torch.where(entries, value, 0.0).sum() / entries.expand(value.shape).sum().clamp(min=1)

    @torch.no_grad()
    def losses(self, divergence: Divergence | None = None) -> tuple[float, float]:
        """Mean over the outputs of their relative squared errors on the held-out inputs, and their divergence.

        The divergence is that of vectors, which may be class scores: what else outputs hold, such as scores of a
        vocabulary for each position, is not kept. It is infinite where outputs are not finite, and 0 where none is
        asked for.
        """
        weights = self._network.eval().weights()
        total, count = 0.0, 0
        sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for feed, size in self._inputs.held_out():
            tensors = self.tensors(feed)
            values = _values(self._network, tensors, self.outputs, weights)
            dense_values = _values(self._dense, tensors, self.outputs, self._dense_weights)
            for name in self.outputs:
                difference = (values[name] - dense_values[name]).double()
                total += size * float(self._mean(name, difference.square(), feed)) / self.variances[name]
            count += size
            if divergence is not None:
                for side, outputs in zip(sides, (dense_values, values), strict=True):
                    vectors = [name for name in self.outputs if _are_vectors(outputs[name])]
                    side.append({name: self._counted(name, outputs[name], feed) for name in vectors})
        error = total / (count * len(self.outputs))
        if divergence is None:
            return error, 0.0
        return error, divergence(*sides) if math.isfinite(error) else math.inf

    def _counted(self, name: str, value: Tensor, feed: Feed) -> npt.NDArray[Any]:
        """A value on the CPU, 0 where it does not count."""
        entries = self._entries(name, value, feed)
        array: npt.NDArray[Any] = (value if entries is None else torch.where(entries, value, 0.0)).cpu().numpy()
        return array

    @torch.no_grad()
    def _comparable(self, inner: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Outputs and values inside that are finite floats with axes, of one shape in both networks.

        Raises:
            ValueError: no output is.
        """
        feed, _ = next(iter(self._inputs.held_out()))
        tensors = self.tensors(feed)
        of_both = self._network.eval().values(tensors), self._dense.values(tensors)

        def is_comparable(name: str) -> bool:
            value, dense_value = (values.get(name) for values in of_both)
            if value is None or dense_value is None or value.shape != dense_value.shape or dense_value.ndim == 0:
                return False
            return dense_value.is_floating_point() and bool(dense_value.isfinite().all())

        outputs = tuple(name for name in self._dense.outputs if is_comparable(name))
        if not outputs:
            raise ValueError("no output holds finite floats for each input")
        return outputs, tuple(name for name in inner if is_comparable(name))

    @torch.no_grad()
    def _kindred(self) -> tuple[str, ...]:
        """Values inside that still are those of the dense network.

        Channels in another order, or on another scale as integers want them, are others under the same name: the error
        of what has nothing in common is twice the variance.
        """
        feed, _ = next(iter(self._inputs.held_out()))
        tensors = self.tensors(feed)
        values = _values(self._network.eval(), tensors, self.inner, self._network.weights())
        dense_values = _values(self._dense, tensors, self.inner, self._dense_weights)
        errors = {
            name: float(self._mean(name, (values[name] - dense_values[name]).square(), feed)) / self.variances[name]
            for name in self.inner
        }
        return tuple(name for name, error in errors.items() if error < 1.0)

    @torch.no_grad()
    def _variances(self) -> dict[str, float]:
        """Of each value over the held-out inputs, around the mean of its place where all have the same shape.

        Where not all entries count, those that do are around their common mean. NaN where values are not finite.
        """
        sums: dict[str, Tensor] = {}
        squares, counts = dict.fromkeys(self.names, 0.0), dict.fromkeys(self.names, 0)
        for feed, _ in self._inputs.held_out():
            values = _values(self._dense, self.tensors(feed), self.names, self._dense_weights)
            for name in self.names:
                value = values[name].double()
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
            for name in self.names
        }

    def can_stack(self, feeds: Sequence[Feed], *, is_cut: bool = False) -> bool:
        """Whether two feeds of one shape give at once what they give one by one; tried once for each shape.

        Where sequences are cut, nearly each step has shapes of its own: then it is tried once for all of them.
        """
        shapes = () if is_cut else tuple(sorted(shapes_of(feeds[0]).items()))
        if shapes not in self._stacks:
            is_training = self._network.training
            with torch.no_grad():
                self._stacks[shapes] = self._stacks_alike([self.tensors(feed) for feed in feeds])
            self._network.train(is_training)
        return self._stacks[shapes]

    def _stacks_alike(self, feeds: Sequence[Tensors]) -> bool:
        stack = {name: torch.stack([feed[name] for feed in feeds]) for name in feeds[0]}
        weights = self._network.eval().weights()
        for network, of_network in ((self._network, weights), (self._dense, self._dense_weights)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # that an operator is run one by one after all
                    warnings.filterwarnings("ignore", message=".*deterministic")  # which on CUDA some are not
                    at_once = _values_of_stack(network, stack, self.names, of_network)
            except (RuntimeError, ValueError, Warning):
                return False
            for place, feed in enumerate(feeds):
                values = _values(network, feed, self.names, of_network)
                for name, value in values.items():
                    if not float((at_once[name][place] - value).abs().max()) <= SAME * float(value.abs().max()):
                        return False
        return True


def as_tensors(feed: Feed) -> dict[str, Tensor]:
    """A feed in PyTorch, on the CPU; without strings, which it does not know."""
    return {name: torch.from_numpy(np.array(array)) for name, array in feed.items() if array.dtype.kind not in "OSU"}


def _are_vectors(value: Tensor) -> bool:
    """Whether there is one vector for each sample."""
    return value.ndim > 1 and max(value.shape[1:]) == math.prod(value.shape[1:])


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of a feed, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _values(network: OnnxModule | Recorded, feed: Tensors, names: Sequence[str], weights: Tensors) -> dict[str, Any]:
    return dict(network.values(feed, names, weights))


def _values_of_stack(
    network: OnnxModule | Recorded, feeds: Tensors, names: Sequence[str], weights: Tensors
) -> dict[str, Any]:
    """Values for each index of the first axis of feeds."""
    if isinstance(network, Recorded):
        return _values(network, feeds, names, weights)
    return dict(torch.vmap(lambda feed: _values(network, feed, names, weights))(feeds))
