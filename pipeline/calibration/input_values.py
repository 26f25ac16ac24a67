"""Whether inputs are of the size that they should be: that of the test inputs, and what the model's scaling suggests.

A network runs on pixels of 0 to 255 as well as on the normalised ones it was trained on, and nothing fails: only its
answers are worth nothing, and so is every figure that is measured with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.graph import is_constant, tensor
from netsurgeon.pipeline.data import Samples, is_float
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.runtime import Runtime, tapped

MOST_LOOKED_AT = 64
"""Inputs that are looked at, of each kind."""
PERCENTILES = (1.0, 99.0)
"""Between which values count: a few outliers say nothing of scaling."""
MOST_WIDER = 3.0
"""How many times as far the values of one set may reach as those of the other: ImageNet's normalisation makes pixels of
0 to 1 reach 4.4 times as far; halves of one set differ by less than 1.5."""
MOST_SCALED = 4.0
"""How many times as much or as little as the first BatchNormalization has seen values may vary, at the median channel:
0.7 to 0.8 where pictures are prepared as in training, 0.2 for pixels of 0 to 1 in place of ImageNet's normalisation."""
MOST_SHIFTED = 2.0
"""How many standard deviations of what it has seen their mean may lie off; it is 0.1 where all is right."""
MOST_SCALED_BY_CONSTANTS = 20.0
"""How far from 1 the standard deviation may be of inputs that the model itself shifts and scales: it is 0.25 to 1.2 by
the usual constants, and 0.004 or 300 where pixels of 0 to 1 and of 0 to 255 are mistaken for each other."""
_PREPARE = "prepare the inputs as in training (scale, mean, std, order of channels)"
_LINEAR = ("Add", "Cast", "Conv", "Div", "Gemm", "Identity", "MatMul", "Mul", "Pad", "Reshape", "Sub", "Transpose")
"""Operators between an input and the first BatchNormalization through which a change of scale shows."""
_SHIFTS, _SCALES, _KEEPS = ("Add", "Sub", "Scaler"), ("Div", "Mul", "Scaler"), ("Cast", "Identity", "Transpose")
"""What a normalisation by constants at the start of a model is made of."""


def examine_values(
    model: ir.Model, calibration: Samples, test: Samples | None, runtime: Runtime
) -> tuple[Message, ...]:
    """Warnings where inputs are not of the size that they should be.

    Args:
        model: the dense model, as it came.
        calibration: inputs that weights are corrected on.
        test: those that the user gives for the measurement; None where they are a part of the same data.
        runtime: how it is run.
    """
    rng = np.random.default_rng(0)
    drawn = calibration.subset(MOST_LOOKED_AT, rng)
    unlike = () if test is None else _unlike(drawn, test.subset(MOST_LOOKED_AT, rng))
    return (*unlike, *_not_normalised(model, drawn, runtime))


def _unlike(calibration: Samples, test: Samples) -> Iterator[Message]:
    """A warning for each input whose values reach much further in one of the sets than in the other."""
    spans, others = _spans(calibration), _spans(test)
    for name in spans:
        (low, high), (other_low, other_high) = spans[name], others[name]
        narrow, wide = sorted((high - low, other_high - other_low))
        apart = max(low, other_low) - min(high, other_high)
        if narrow > 0.0 and (wide > MOST_WIDER * narrow or apart > wide):
            text = (
                f"the values of {name!r} reach from {low:.3g} to {high:.3g} in the data and from {other_low:.3g} to "
                f"{other_high:.3g} in the test inputs: prepare both in the same way"
            )
            yield Message(text, "inputs-unlike-test", input=name, data=[low, high], test=[other_low, other_high])


def _spans(samples: Samples) -> dict[str, tuple[float, float]]:
    """Between which numbers nearly all values of each input of floats lie."""
    values: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in samples.specs if is_float(spec.dtype)}
    for feed in samples.batches():
        for name, arrays in values.items():
            arrays.append(feed[name].astype(np.float64).ravel())
    joined = {name: np.concatenate(arrays) for name, arrays in values.items()}
    return {
        name: (float(low), float(high))
        for name, array in joined.items()
        if array.size
        for low, high in [np.percentile(array, PERCENTILES)]
    }


@dataclasses.dataclass(frozen=True)
class _Normalisation:
    """What a BatchNormalization has seen in training: mean and standard deviation of its input, (channels,)."""

    value: str
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


def _not_normalised(model: ir.Model, samples: Samples, runtime: Runtime) -> Iterator[Message]:
    """A warning where what the model's own normalisation sees is of another size than in training."""
    constants, batch = _scaled_by_constants(model), _first_normalisation(model)
    names = [*([constants] if constants else []), *([batch.value] if batch else [])]
    if not names:
        return
    session = runtime.session(tapped(model, names), optimise=False)
    try:
        runs = [session.run(feed, names) for feed in samples.batches()]
    except CheckFailedError:  # which the run itself will report
        return
    if constants is not None:
        scaled = float(np.concatenate([run[constants].astype(np.float64).ravel() for run in runs]).std())
        if not 1.0 / MOST_SCALED_BY_CONSTANTS <= scaled <= MOST_SCALED_BY_CONSTANTS:
            text = f"after the model's own scaling the inputs have a standard deviation of {scaled:.3g}, not about 1"
            yield Message(f"{text}: {_PREPARE}", "inputs-not-normalised", scaled=scaled)
            return
    if batch is None:
        return
    values = np.concatenate([_by_channel(run[batch.value]) for run in runs], axis=1)
    if len(values) != len(batch.mean) or not values.size:
        return
    scaled = float(np.median(values.std(axis=1) / batch.deviation))
    shifted = float(np.median(np.abs(values.mean(axis=1) - batch.mean) / batch.deviation))
    if not 1.0 / MOST_SCALED <= scaled <= MOST_SCALED or shifted > MOST_SHIFTED:
        text = (
            f"what enters the first normalisation of the model varies {scaled:.3g} times as much as in training and "
            f"lies {shifted:.3g} standard deviations off"
        )
        yield Message(f"{text}: {_PREPARE}", "inputs-not-normalised", scaled=scaled, shifted=shifted)


def _scaled_by_constants(model: ir.Model) -> str | None:
    """The value behind a shift and a scaling by constants with which the model starts; None where it has no both."""
    for value in model.graph.inputs:
        kinds: set[str] = set()
        while not value.is_initializer() and len(uses := value.uses()) == 1:
            (use,) = uses
            others = [other for other in use.node.inputs if other is not value]
            if use.node.op_type not in (*_SHIFTS, *_SCALES, *_KEEPS) or not all(map(_is_constant, others)):
                break
            kinds.add(use.node.op_type)
            value = use.node.outputs[0]
        if kinds.intersection(_SHIFTS) and kinds.intersection(_SCALES):
            return value.name
    return None


def _is_constant(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return is_constant(value) or (producer is not None and producer.op_type == "Constant")


def _by_channel(array: NDArray[Any]) -> NDArray[np.float64]:
    """Values (channels, everything else) of an array (n, channels, …)."""
    return np.moveaxis(array.astype(np.float64), 1, 0).reshape(array.shape[1], -1)


def _first_normalisation(model: ir.Model) -> _Normalisation | None:
    """The first BatchNormalization that an input reaches through linear operators alone, if it was trained."""
    reached: set[ir.Value | None] = {value for value in model.graph.inputs if not value.is_initializer()}
    for node in model.graph:
        if reached.isdisjoint(node.inputs):
            continue
        if node.op_type == "BatchNormalization":
            return _seen_by(node)
        if node.op_type in _LINEAR:
            reached.update(node.outputs)
    return None


def _seen_by(node: ir.Node) -> _Normalisation | None:
    """What a BatchNormalization has seen; nothing where its statistics are no constants or those it began with."""
    value, mean, variance = (node.inputs[at] for at in (0, 3, 4))
    if value is None or mean is None or variance is None or not (is_constant(mean) and is_constant(variance)):
        return None
    means, variances = (tensor(constant).numpy().astype(np.float64) for constant in (mean, variance))
    if not means.any() and np.all(variances == 1.0):
        return None
    deviation = np.sqrt(variances + node.attributes.get_float("epsilon", 1e-5))
    return _Normalisation(str(value.name), means, deviation)
