"""Positions that a mask excludes, such as padding behind a sentence: they are taken off before anything is run.

A mask is an input (batch, length) of zeros and ones, known by its name, by what it does in the graph, or named by the
user. What it excludes may go only where that changes nothing: samples are run with and without, and the outputs must be
the same wherever both have them. A sample that is excluded wholly, such as a blank sentence, is run as it is. Where a
model takes no shorter inputs its operators tell which rows of its values are padding, and these count nowhere; it is
padding if the outputs stay the same whatever is fed there.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import attention_masks, position_axes
from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.data import InputSpec, PositionMask, Samples, plain_name
from netsurgeon.pipeline.errors import CheckFailedError, InputError, RunError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.runtime import Runtime, Session, observe
from netsurgeon.pipeline.verification.measures.vectors import KEEPING_MASKS

NO_MASK = "none"
"""In place of a name: no input is a mask."""
MASKS = ("attention_mask", "input_mask", "padding_mask")
"""How inputs are called that say which positions are there, alone or behind another word: decoder_attention_mask."""
MASKS_OF_TOKENS = ("mask",)
"""How they may be called beside tokens; beside anything else it is as likely what a model is to fill in."""
COMPARED = 8
"""Samples that are run with and without what is excluded, from the shortest to the longest."""
CHANGED = 2
"""Feeds that are run with other values where a mask excludes them."""
SAME = 1e-2
"""Largest difference, relative to an output's scale: kernels differ with the length."""
ROUNDING = 1e-6
"""The same where kernels do not differ, for all that feeds differ in is what is masked."""
Ints = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class _Spans:
    """The part of each sample that a mask does not exclude.

    Attributes:
        starts: the first position, (samples,).
        stops: behind the last one, (samples,).
        lengths: positions with those that are excluded, (samples,).
        counts: positions that are not excluded, (samples,), which may have holes between start and stop.
        blank: samples that are excluded wholly, (samples,): they are left as they are, with all of their positions.
        keeps: what the mask holds where it does not exclude.
    """

    starts: Ints
    stops: Ints
    lengths: Ints
    counts: Ints
    blank: npt.NDArray[np.bool_]
    keeps: int

    @property
    def all_excluded(self) -> int:
        """Positions that are excluded, of all samples together."""
        return int(self.lengths.sum() - self.counts.sum())

    @property
    def excluded(self) -> int:
        """Positions that are excluded at either end, of all samples together."""
        return int(self.lengths.sum() - (self.stops - self.starts).sum())

    def of(self, places: Ints) -> _Spans:
        """Those of some samples."""
        starts, stops, lengths, counts = (side[places] for side in (self.starts, self.stops, self.lengths, self.counts))
        return _Spans(starts, stops, lengths, counts, blank=self.blank[places], keeps=self.keeps)

    def cut(self, samples: Samples, axes: Mapping[str, Sequence[int]]) -> Samples:
        """The samples without what is excluded."""
        return samples.shortened(self.starts, self.stops, axes)


def without_padding(
    source: LoadedModel, session: Session, samples: Samples, mask: str | None, runtime: Runtime
) -> Samples:
    """The samples without the positions that masks exclude, or with the word that these do not count.

    Args:
        source: the model; the names of its axes tell which inputs have the mask's.
        session: of the model as it came.
        samples: inputs.
        mask: name of the input; None = those called like masks, or that mask attention; "none" = none.
        runtime: how the model is run.

    Raises:
        InputError: no input has that name, or it is no mask.
    """
    for spec in mask_inputs(samples.specs, mask, attention_masks(source.model.graph)):
        read = _Mask.read(samples, spec)
        if read is None and mask is not None:
            raise InputError(f"the input {spec.name!r} is not a mask: expected (batch, length) of zeros and ones")
        if read is not None and read.meanings and samples.batched:
            samples = _without(source, session, samples, read, runtime, insists=mask is not None)
        elif read is not None:
            samples.warnings += _blank(spec.name, samples, read.likelier)
    return samples


def mask_inputs(specs: Sequence[InputSpec], mask: str | None, by_role: Collection[str]) -> list[InputSpec]:
    """Inputs that may be masks of positions.

    Args:
        specs: of all inputs.
        mask: name of the one that is; None = those called like masks, and those of `by_role`; "none" = none.
        by_role: names of those that mask attention.

    Raises:
        InputError: no input has that name.
    """
    if mask == NO_MASK:
        return []
    if mask is not None:
        named = [spec for spec in specs if spec.name == mask]
        if not named:
            listed = ", ".join(repr(spec.name) for spec in specs)
            raise InputError(f"there is no input {mask!r} to be a mask: the model has {listed}; or give {NO_MASK}")
        return named
    flat = [spec for spec in specs if spec.shape is not None and len(spec.shape) == 2]
    has_tokens = any(spec.dtype.kind in "iu" and not plain_name(spec.name).endswith(MASKS_OF_TOKENS) for spec in flat)
    names = (*MASKS, *MASKS_OF_TOKENS) if has_tokens else MASKS
    return [spec for spec in flat if plain_name(spec.name).endswith(names) or spec.name in by_role]


def _without(
    source: LoadedModel, session: Session, samples: Samples, mask: _Mask, runtime: Runtime, *, insists: bool
) -> Samples:
    """The samples without what one mask excludes; with a warning where the model depends on it."""
    differences: list[float] = []
    for spans in mask.meanings:
        for axes in mask.axes(source.original) if spans.excluded and mask.can_be_cut else ():
            differences.append(_difference(session, samples, spans, axes))
            if differences[-1] <= SAME:
                shorter = spans.cut(samples, axes)
                shorter.notes += (_taken_off(mask.spec.name, spans),)
                shorter.warnings += _blank(mask.spec.name, samples, spans)
                if spans.excluded == spans.all_excluded:
                    return shorter
                holes = dataclasses.replace(mask, meanings=(spans,))
                return _uncounted(source, session, shorter, holes, runtime, insists=True) or shorter
    if insists or not differences:
        uncounted = _uncounted(source, session, samples, mask, runtime, insists=insists)
        if uncounted is not None:
            return uncounted
    samples.warnings += (_kept(mask.spec.name, min(differences, default=np.inf)),)
    return samples


def _uncounted(
    source: LoadedModel, session: Session, samples: Samples, mask: _Mask, runtime: Runtime, *, insists: bool
) -> Samples | None:
    """The samples with the word that what a mask excludes does not count; None where outputs depend on it.

    Args:
        source: the model, whose operators say which axes run over positions.
        session: of it.
        samples: inputs, which stay as they are.
        mask: what it says.
        runtime: how the model is run.
        insists: whether the user says that it is a mask, whatever the outputs do.
    """
    if samples.mask is not None:  # of another mask
        return None
    inputs = {name: (1,) for name, axes in mask.shared.items() if 1 in axes}
    try:
        observation = observe(source.model, samples.few(2, np.random.default_rng(0)), runtime)
    except CheckFailedError:  # which the run itself will report
        return None
    axes = position_axes(source.model.graph, observation, inputs)
    sides = [(spans, PositionMask(mask.spec.name, spans.keeps, axes)) for spans in mask.meanings]
    changes = [_change_elsewhere(session, samples, positions, inputs) for _, positions in sides]
    chosen = next((at for at, change in enumerate(changes) if change <= SAME), 0 if insists else None)
    if chosen is None:
        return None
    spans, positions = sides[chosen]
    # what is fed for a sample that is excluded wholly may have a say
    is_proven = changes[chosen] <= ROUNDING and not spans.blank.any()
    result = samples.counting(dataclasses.replace(positions, is_proven=is_proven))
    layers = [layer.input_name in axes for layer in find_layers(source.model.graph)[0]]
    result.notes += (_left_out(mask.spec.name, spans, sum(layers), len(layers)),)
    result.warnings += _blank(mask.spec.name, samples, spans)
    return result


def _change_elsewhere(session: Session, samples: Samples, mask: PositionMask, inputs: Collection[str]) -> float:
    """By how much outputs change, relative to their scale, where other values are fed at positions that do not count.

    Samples of which none counts keep theirs. Infinite where no feed shows it.
    """
    worst, is_shown = 0.0, False
    for feed in itertools.islice(samples.batches(), CHANGED):
        kept = mask.kept(feed)
        if not kept.shape[1]:
            continue
        kept = kept | ~kept.any(axis=1, keepdims=True)
        last = kept.shape[1] - 1 - kept[:, ::-1].argmax(axis=1)
        changed = dict(feed)
        for name in inputs:
            if name != mask.name:
                values = feed[name]
                others = np.broadcast_to(values[np.arange(len(values)), last][:, None], values.shape)
                wide = kept.reshape(*kept.shape, *(1,) * (values.ndim - 2))
                changed[name] = np.where(wide, values, others)
        is_shown = is_shown or any(not np.array_equal(changed[name], feed[name]) for name in feed)
        try:
            before, after = (mask.counted(session.run(fed), fed) for fed in (feed, changed))
        except RunError:
            return np.inf
        worst = max(worst, *(_gap(before[name], after[name], slice(0), -1) for name in before))
    return worst if is_shown else np.inf


@dataclasses.dataclass(frozen=True)
class _Mask:
    """What the values of a mask say.

    Attributes:
        spec: of the mask.
        specs: of all inputs.
        meanings: what is left where ones are kept and where zeros are, the likelier one first; only those that exclude
            something.
        likelier: the meaning that the mask's name tells, or else the one that excludes fewer samples wholly.
        shared: axes of inputs, by name, that are as long as the mask in every feed.
    """

    spec: InputSpec
    specs: Sequence[InputSpec]
    meanings: tuple[_Spans, ...]
    likelier: _Spans
    shared: Mapping[str, tuple[int, ...]]

    @property
    def can_be_cut(self) -> bool:
        """Whether samples of other lengths may be fed apart: a fixed batch could not be filled with one length."""
        return all(spec.shape is None or spec.shape[:1] in ((None,), (1,)) for spec in self.specs)

    @classmethod
    def read(cls, samples: Samples, spec: InputSpec) -> _Mask | None:
        """None where the values are no zeros and ones, or there are no two axes."""
        parts: list[tuple[_Spans, ...]] = []
        shared = {(other.name, at) for other in samples.specs for at in range(1, len(other.shape or ()))}
        for feed in samples.batches():
            values = feed[spec.name]
            if values.ndim != 2 or not np.all((values == 0) | (values == 1)):
                return None
            length = values.shape[1]
            shared = {(name, at) for name, at in shared if np.shape(feed[name])[at : at + 1] == (length,)}
            parts.append((_spans(values != 0, 1), _spans(values == 0, 0)))
        sides = [_joined(side) for side in zip(*parts, strict=True)]
        if "padding" in spec.name.lower():  # what a mask keeps is 1, but of one that speaks of padding often 0
            sides.reverse()
        by_name: dict[str, tuple[int, ...]] = {}
        for name, at in sorted(shared):
            by_name[name] = (*by_name.get(name, ()), at)
        if "padding" not in spec.name.lower() and not plain_name(spec.name).endswith(KEEPING_MASKS):
            sides.sort(key=lambda side: np.count_nonzero(side.blank))
        meanings = tuple(side for side in sides if side.all_excluded)
        return cls(spec, samples.specs, meanings, sides[0], by_name)

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


def _spans(kept: npt.NDArray[np.bool_], keeps: int) -> _Spans:
    """From the first to the last position that is kept, (samples, positions); all of a sample that has none."""
    blank = np.asarray(~kept.any(axis=1))
    if not kept.shape[1]:
        none = np.zeros(len(kept), np.intp)
        return _Spans(none, none, none, none, blank=blank, keeps=keeps)
    kept = kept | blank[:, None]
    starts, length = kept.argmax(axis=1), kept.shape[1]
    stops, lengths = length - kept[:, ::-1].argmax(axis=1), np.full(len(kept), length)
    return _Spans(starts, stops, lengths, np.count_nonzero(kept, axis=1), blank=blank, keeps=keeps)


def _joined(parts: Sequence[_Spans]) -> _Spans:
    sides = zip(*((part.starts, part.stops, part.lengths, part.counts) for part in parts), strict=True)
    starts, stops, lengths, counts = map(np.concatenate, sides)
    blank = np.concatenate([part.blank for part in parts])
    return _Spans(starts, stops, lengths, counts, blank=blank, keeps=parts[0].keeps)


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
    """Between what a sample and its part give, at the positions that both have; infinite where they do not compare.

    Infinities and NaN must be equal and at the same entries, and only finite numbers have a difference and a scale:
    where there is none of these, nothing shows that the two are the same, for NaN swallows whatever else there is.
    """
    if not isinstance(whole, np.ndarray) or not isinstance(short, np.ndarray) or whole.ndim != short.ndim:
        return np.inf
    pairs = list(zip(whole.shape, short.shape, strict=True))
    if any(before != after and (before, after) != (length, span.stop - span.start) for before, after in pairs):
        return np.inf
    same = whole[tuple(slice(None) if before == after else span for before, after in pairs)]
    if same.dtype.kind != "f":
        return 0.0 if np.array_equal(same, short) else np.inf
    is_finite = np.isfinite(same)
    if not np.array_equal(is_finite, np.isfinite(short)) or (same.size and not is_finite.any()):
        return np.inf
    if not np.array_equal(same[~is_finite], short[~is_finite], equal_nan=True):
        return np.inf
    finite = same[is_finite].astype(np.float64)
    scale = float(np.abs(finite).max(initial=0.0))
    gap = float(np.abs(finite - short[is_finite]).max(initial=0.0))
    return gap / scale if scale else gap


def _taken_off(name: str, spans: _Spans) -> Message:
    positions = int(spans.lengths.sum())
    text = (
        f"{spans.excluded:,} of {positions:,} positions ({spans.excluded / positions:.0%}), those that {name!r} "
        "excludes before or behind each input, are taken off: they enter no statistic, no range and no measure"
    )
    return Message(text, "padding-taken-off", input=name, positions=positions, excluded=spans.excluded)


def _left_out(name: str, spans: _Spans, known: int, layers: int) -> Message:
    positions = int(spans.lengths.sum())
    share = f"{spans.all_excluded:,} of {positions:,} positions ({spans.all_excluded / positions:.0%})"
    text = (
        f"{share}, those that {name!r} excludes, are fed and count nowhere, as far as operators tell which they are: "
        f"it is known of the inputs of {known} of {counted(layers, 'layer')}"
    )
    data = {"input": name, "positions": positions, "excluded": spans.all_excluded, "known": known, "layers": layers}
    return Message(text, "padding-left-out", data)


def _blank(name: str, samples: Samples, spans: _Spans) -> tuple[Message, ...]:
    """A warning where samples are excluded wholly."""
    count = int(np.count_nonzero(spans.blank))
    if not count:
        return ()
    first = samples.first_of(np.flatnonzero(spans.blank))
    text = (
        f"{name!r} leaves no position of {count:,} of {counted(samples.count, 'input')} (the first is {first}): these "
        "are run as they are, and a model need make no sense of them; leave them out of the data"
    )
    return (Message(text, "padding-only", input=name, inputs=count, samples=samples.count, first=first),)


def _kept(name: str, difference: float) -> Message:
    how = f"outputs change by {difference:.2g} of their scale without them"
    how = "the model does not run without them, or gives what does not compare" if np.isinf(difference) else how
    text = f"positions that {name!r} excludes are run and count like others, for {how}"
    return Message(text, "padding-kept", input=name, difference=difference)
