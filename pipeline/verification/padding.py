"""Positions that a mask excludes, such as padding behind a sentence: they are taken off before anything is run.

A mask is an input (batch, length) of zeros and ones, known by its name or named by the user. What it excludes may go
only where that changes nothing: samples are run with and without, and the outputs must be the same wherever both have
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.pipeline.data import InputSpec, Samples
from netsurgeon.pipeline.errors import InputError, RunError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.runtime import Session

NO_MASK = "none"
"""In place of a name: no input is a mask."""
MASKS = ("attention_mask", "input_mask", "padding_mask", "key_padding_mask", "token_mask", "sequence_mask", "mask")
"""How inputs are called that say which positions are there, alone or behind another word: decoder_attention_mask."""
COMPARED = 8
"""Samples that are run with and without what is excluded, from the shortest to the longest."""
SAME = 1e-2
"""Largest difference, relative to an output's scale: kernels differ with the length."""
Ints = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class _Spans:
    """The part of each sample that a mask does not exclude.

    Attributes:
        starts: the first position, (samples,).
        stops: behind the last one, (samples,).
        lengths: positions with those that are excluded, (samples,).
    """

    starts: Ints
    stops: Ints
    lengths: Ints

    @property
    def excluded(self) -> int:
        """Positions that are excluded at either end, of all samples together."""
        return int(self.lengths.sum() - (self.stops - self.starts).sum())

    def of(self, places: Ints) -> _Spans:
        """Those of some samples."""
        return _Spans(self.starts[places], self.stops[places], self.lengths[places])

    def cut(self, samples: Samples, axes: Mapping[str, Sequence[int]]) -> Samples:
        """The samples without what is excluded."""
        return samples.shortened(self.starts, self.stops, axes)


def without_padding(model: ir.Model, session: Session, samples: Samples, mask: str | None) -> Samples:
    """The samples without the positions that masks exclude at their ends, where nothing else depends on these.

    Args:
        model: as it came; the names of its axes tell which inputs have the mask's.
        session: of the model.
        samples: with a batch axis.
        mask: name of the input; None = those called like masks, "none" = none.

    Raises:
        InputError: no input has that name, or it is no mask.
    """
    for spec in _masks(samples.specs, mask):
        samples = _without(model, session, samples, spec, is_named=mask is not None)
    return samples


def _masks(specs: Sequence[InputSpec], mask: str | None) -> list[InputSpec]:
    if mask == NO_MASK:
        return []
    if mask is not None:
        named = [spec for spec in specs if spec.name == mask]
        if not named:
            listed = ", ".join(repr(spec.name) for spec in specs)
            raise InputError(f"there is no input {mask!r} to be a mask: the model has {listed}; or give {NO_MASK}")
        return named
    return [
        spec
        for spec in specs
        if spec.shape is not None and len(spec.shape) == 2 and spec.name.lower().replace(".", "_").endswith(MASKS)
    ]


def _without(model: ir.Model, session: Session, samples: Samples, spec: InputSpec, *, is_named: bool) -> Samples:
    """The samples without what one mask excludes."""
    mask = _Mask.read(samples, spec)
    if mask is None and is_named:
        raise InputError(f"the input {spec.name!r} is no mask: expected (batch, length) of zeros and ones")
    if mask is None or not samples.batched:
        return samples
    differences = []
    for spans in mask.meanings:
        for axes in mask.axes(model):
            differences.append(_difference(session, samples, spans, axes))
            if differences[-1] <= SAME:
                shorter = spans.cut(samples, axes)
                shorter.notes += (_taken_off(spec.name, spans),)
                return shorter
    if differences:
        samples.warnings += (_kept(spec.name, min(differences)),)
    return samples


@dataclasses.dataclass(frozen=True)
class _Mask:
    """What the values of a mask say.

    Attributes:
        spec: of the mask.
        specs: of all inputs.
        meanings: what is left where ones are kept and where zeros are, the likelier one first; only those that exclude
            something, and leave something of each sample.
        shared: axes of inputs, by name, that are as long as the mask in every feed.
    """

    spec: InputSpec
    specs: Sequence[InputSpec]
    meanings: tuple[_Spans, ...]
    shared: Mapping[str, tuple[int, ...]]

    @classmethod
    def read(cls, samples: Samples, spec: InputSpec) -> _Mask | None:
        """None where the values are no zeros and ones, or there are no two axes."""
        parts: list[tuple[_Spans | None, ...]] = []
        shared = {(other.name, at) for other in samples.specs for at in range(1, len(other.shape or ()))}
        for feed in samples.batches():
            values = feed[spec.name]
            if values.ndim != 2 or not np.all((values == 0) | (values == 1)):
                return None
            length = values.shape[1]
            shared = {(name, at) for name, at in shared if np.shape(feed[name])[at : at + 1] == (length,)}
            parts.append((_spans(values != 0), _spans(values == 0)))
        sides = [_joined(side) for side in zip(*parts, strict=True)]
        if "padding" in spec.name.lower():  # what a mask keeps is 1, but of one that speaks of padding often 0
            sides.reverse()
        by_name: dict[str, tuple[int, ...]] = {}
        for name, at in sorted(shared):
            by_name[name] = (*by_name.get(name, ()), at)
        meanings = tuple(side for side in sides if side is not None and side.excluded)
        return cls(spec, samples.specs, meanings, by_name)

    def axes(self, model: ir.Model) -> Iterator[dict[str, tuple[int, ...]]]:
        """Axes of inputs that are the mask's: by what the model calls them, and else all that are as long."""
        free = {
            spec.name: tuple(at for at in self.shared.get(spec.name, ()) if spec.shape and spec.shape[at] is None)
            for spec in self.specs
        }
        if free[self.spec.name] != (1,):
            return
        sizes = {value.name: value.shape or () for value in model.graph.inputs}
        names = {name: [getattr(size, "value", None) for size in shape] for name, shape in sizes.items()}
        own = names[self.spec.name][1]
        called = {name: tuple(at for at in axes if own and names[name][at] == own) for name, axes in free.items()}
        if own:
            yield {name: axes for name, axes in called.items() if axes}
        if called != free:
            yield {name: axes for name, axes in free.items() if axes}


def _spans(kept: npt.NDArray[np.bool_]) -> _Spans | None:
    """From the first to the last position that is kept, (samples, positions); None where a sample has none."""
    if not kept.any(axis=1).all():
        return None
    starts, length = kept.argmax(axis=1), kept.shape[1]
    return _Spans(starts, length - kept[:, ::-1].argmax(axis=1), np.full(len(kept), length))


def _joined(parts: Sequence[_Spans | None]) -> _Spans | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    sides = ([part.starts for part in known], [part.stops for part in known], [part.lengths for part in known])
    return _Spans(*map(np.concatenate, sides))


def _difference(session: Session, samples: Samples, spans: _Spans, axes: Mapping[str, Sequence[int]]) -> float:
    """By how much outputs change where samples of all lengths lose what is excluded, relative to their scale."""
    cut = spans.lengths - (spans.stops - spans.starts)
    longest_first = np.argsort(-cut, kind="stable")[: np.count_nonzero(cut)]
    places = np.unique(longest_first[np.linspace(0, len(longest_first) - 1, COMPARED).astype(np.intp)])
    worst = 0.0
    for place in places:
        one, of_one = samples.take([place]), spans.of(np.array([place]))
        try:
            whole = session.run(next(one.batches()))
            short = session.run(next(of_one.cut(one, axes).batches()))
        except RunError:
            return np.inf
        start, stop, length = (int(side[0]) for side in (of_one.starts, of_one.stops, of_one.lengths))
        worst = max(worst, *(_gap(whole[name], short[name], slice(start, stop), length) for name in whole))
    return worst


def _gap(whole: Any, short: Any, span: slice, length: int) -> float:
    """Between what a sample and its part give, at the positions that both have; infinite where they do not compare."""
    if not isinstance(whole, np.ndarray) or not isinstance(short, np.ndarray) or whole.ndim != short.ndim:
        return np.inf
    pairs = list(zip(whole.shape, short.shape, strict=True))
    if any(before != after and (before, after) != (length, span.stop - span.start) for before, after in pairs):
        return np.inf
    same = whole[tuple(slice(None) if before == after else span for before, after in pairs)]
    if same.dtype.kind != "f":
        return 0.0 if np.array_equal(same, short) else np.inf
    scale = float(np.abs(same).max(initial=0.0))
    gap = float(np.abs(same.astype(np.float64) - short).max(initial=0.0))
    return gap / scale if scale else gap


def _taken_off(name: str, spans: _Spans) -> Message:
    positions = int(spans.lengths.sum())
    text = (
        f"{spans.excluded:,} of {positions:,} positions ({spans.excluded / positions:.0%}), those that {name!r} "
        "excludes before or behind each input, are taken off: they enter no statistic, no range and no measure"
    )
    return Message(text, "padding-taken-off", input=name, positions=positions, excluded=spans.excluded)


def _kept(name: str, difference: float) -> Message:
    how = f"outputs change by {difference:.2g} of their scale without them"
    how = "the model does not run without them" if np.isinf(difference) else how
    text = f"positions that {name!r} excludes are run and count like others, for {how}"
    return Message(text, "padding-kept", input=name, difference=difference)
