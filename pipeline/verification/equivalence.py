"""Proof that a trimmed model is the masked model: both run in ONNX Runtime on real inputs, optimised and not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import traits_of
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.runtime import Feed, Runtime, relative_difference, tapped

TOLERANCE = 1e-4
"""Largest difference, relative to the scale of an output, in float32."""


TOLERANCE_HALF = 1e-2
"""The same where a value of the model is float16."""


_RANGE = 1.0
"""Scale of what a Sigmoid makes: near 0 its kernel's rounding is far above any share of the largest value. What enters
it is compared as well, at its own scale, so that small results count, too."""


@dataclasses.dataclass(frozen=True)
class OutputProof:
    """One output, or what enters the discrete operator that makes it.

    Attributes:
        output: its name.
        difference: largest absolute difference over the largest magnitude, over all inputs and optimisation levels.
        varies: whether it varies over the inputs; what does not proves nothing.
    """

    output: str
    difference: float
    varies: bool


@dataclasses.dataclass(frozen=True)
class EquivalenceCheck:
    """What the runs have shown.

    Attributes:
        outputs: what was compared.
        tolerance: largest difference allowed.
        failure: why the trimmed model could not be run; empty where it could.
    """

    outputs: tuple[OutputProof, ...]
    tolerance: float
    failure: str = ""

    @property
    def holds(self) -> bool:
        """Whether the trimmed model ran, and is the masked one wherever they were compared."""
        return not self.failure and all(output.difference <= self.tolerance for output in self.outputs)

    @property
    def is_informative(self) -> bool:
        """Whether an output varies over the inputs."""
        return any(output.varies for output in self.outputs)

    @property
    def problem(self) -> Message | None:
        """Why it does not hold; None where it does."""
        if self.holds:
            return None
        if self.failure:
            return Message(self.failure, "model-fails")
        worst = max(self.outputs, key=lambda output: output.difference)
        differs = {"output": worst.output, "difference": worst.difference, "tolerance": self.tolerance}
        return Message(str(self), "outputs-differ", differs)

    def __str__(self) -> str:
        """One sentence."""
        if self.failure:
            return self.failure
        worst = max(self.outputs, key=lambda output: output.difference, default=None)
        if worst is None or (self.holds and not self.is_informative):
            return "no output varies over the inputs: equality proves nothing"
        relation = "at most" if self.holds else "more than the allowed"
        limit = worst.difference if self.holds else self.tolerance
        detail = "" if self.holds else f": {worst.output!r} by {worst.difference:.2g}"
        return f"outputs differ by {relation} {limit:.2g} of their scale{detail}"


def check_equivalence(masked: ir.Model, trimmed: ir.Model, feeds: Iterable[Feed], runtime: Runtime) -> EquivalenceCheck:
    """Run both models on the feeds, with graph optimisation off and on, and compare their outputs.

    Args:
        masked: units in place, their columns zero.
        trimmed: the same with the units removed.
        feeds: real inputs, at least two samples in all.
        runtime: how sessions are made.

    Raises:
        CheckFailedError: the masked model cannot run.
    """
    entering = _sigmoids(masked)
    names = list(dict.fromkeys([*_compared(masked), *entering.values()]))
    feeds_to_run = list(feeds)
    tolerance = TOLERANCE_HALF if _is_half(masked) else TOLERANCE
    worst: dict[str, float] = dict.fromkeys(names, 0.0)
    varies: dict[str, bool] = {}
    for optimise in (False, True):
        expected = _run(masked, names, feeds_to_run, runtime, optimise)
        try:
            actual = _run(trimmed, names, feeds_to_run, runtime, optimise)
            for name in names:
                scale = _RANGE if name in entering else 0.0
                worst[name] = max(worst[name], _difference(expected[name], actual[name], scale))
        except CheckFailedError as error:
            return EquivalenceCheck((), tolerance, f"the trimmed model does not run: {error}")
        varies |= {name: _varies(expected[name]) for name in names}
    return EquivalenceCheck(tuple(OutputProof(name, worst[name], varies[name]) for name in names), tolerance)


def _run(
    model: ir.Model, names: Sequence[str], feeds: Sequence[Feed], runtime: Runtime, optimise: bool
) -> dict[str, list[Any]]:
    """Values by name, one a feed."""
    session = runtime.session(tapped(model, names), optimise=optimise)
    runs = [session.run(feed, names) for feed in feeds]
    return {name: [run[name] for run in runs] for name in names}


def _difference(expected: list[Any], actual: list[Any], scale: float) -> float:
    """Largest absolute difference over the largest magnitude, both over all feeds: how they are cut does not matter.

    Where the magnitude is below `scale`, that counts.
    """
    pairs = list(zip(expected, actual, strict=True))
    if not pairs or any(not isinstance(a, np.ndarray) or np.shape(a) != np.shape(b) for a, b in pairs):
        return relative_difference(expected, actual)
    one, other = (np.concatenate([np.ravel(array) for array in side]) for side in (expected, actual))
    if scale:  # one more element, the same on both sides
        one, other = (np.append(values, np.asarray(scale, values.dtype)) for values in (one, other))
    return relative_difference(one, other)


def _sigmoids(model: ir.Model) -> dict[str, str]:
    """By output that a Sigmoid makes: what enters the Sigmoid."""
    result = {}
    for output in model.graph.outputs:
        node = output.producer()
        while node is not None and traits_of(node).is_view and node.inputs[0] is not None:
            node = node.inputs[0].producer()
        entering = node.inputs[0] if node is not None and node.op_type == "Sigmoid" else None
        if entering is not None and entering.name and not _is_fed(entering):
            result[output.name or ""] = entering.name
    return result


def _compared(model: ir.Model) -> list[str]:
    """Names of the outputs, or of what enters the discrete operators they come from, each once."""
    names: dict[str, None] = {}
    for output in model.graph.outputs:
        for name in _origins(output):
            names.setdefault(name)
    return list(names)


def _origins(output: ir.Value) -> Iterator[str]:
    """The nearest values before an output that do not come from a discrete operator through integers alone."""
    value: ir.Value | None = output
    while value is not None and value.dtype is not None and value.dtype.is_integer():
        node = value.producer()
        if node is None or traits_of(node).is_discrete:
            break
        value = next(
            (candidate for candidate in node.inputs if candidate is not None and not candidate.is_initializer()), None
        )
    node = value.producer() if value is not None else None
    if node is None or not traits_of(node).is_discrete:
        yield output.name or ""
        return
    # An integer output jumps where a score crosses another: what is compared is what it was decided from.
    count = 2 if node.op_type == "NonMaxSuppression" else 1
    yield from (value.name for value in node.inputs[:count] if value is not None and value.name and not _is_fed(value))


def _is_fed(value: ir.Value) -> bool:
    return value.is_graph_input() or value.is_initializer()


def _is_half(model: ir.Model) -> bool:
    half = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    produced = (value for node in model.graph for value in node.outputs)
    values = (*model.graph.inputs, *model.graph.initializers.values(), *produced)
    casts = (node.attributes.get_int("to", 0) for node in model.graph if node.op_type == "Cast")
    return any(value.dtype in half for value in values) or any(kind in half for kind in casts)


def _varies(arrays: Sequence[Any]) -> bool:
    """Whether a value differs between samples: between feeds, or along axis 0."""
    first = arrays[0]
    if isinstance(first, list):  # element by element; a sequence of maps has one a sample
        lengths = {len(array) for array in arrays}
        maps = [value for array in arrays for value in array if isinstance(value, dict)]
        return (
            len(lengths) > 1
            or any(value != maps[0] for value in maps)
            or (not maps and any(map(_varies, zip(*arrays, strict=True))))
        )
    if not isinstance(first, np.ndarray):
        return any(array != first for array in arrays[1:])
    if any(array.shape != first.shape or not np.array_equal(array, first) for array in arrays[1:]):
        return True
    return first.ndim > 0 and len(first) > 1 and bool(np.any(first != first[:1]))
