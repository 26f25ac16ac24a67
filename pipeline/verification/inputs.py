"""The inputs of a model: opened by the user's options, and divided into those to correct on, to guide and to report."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from netsurgeon.passes.layers import multiply_adds_of
from netsurgeon.pipeline.data import DataSource, InputSpec, Samples, open_samples, rereadable
from netsurgeon.pipeline.errors import InputError, RunError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel, input_specs, path_of
from netsurgeon.pipeline.options import Goals, Options
from netsurgeon.pipeline.progress import Ticks, no_ticks, part_of
from netsurgeon.pipeline.runtime import Feed, Session
from netsurgeon.pipeline.verification.measures import MEANS, has_enough_samples
from netsurgeon.pipeline.verification.padding import without_padding

Axis0 = Literal["batch", "one by one", "no batch"]
SAME_ROW = 1e-2
"""Largest difference, relative to the output's scale, of a sample's output alone and in a batch: kernels differ."""
CUTS, CUT_ROW = 5, 5e-2
"""Places where runs of samples are cut, and the largest difference there: numbers rounded together, as those of a batch
that is quantized while it runs, differ more than between two kernels."""
HELD_OUT = 0.125
"""Share of the calibration inputs kept for validation where no test inputs are given."""
FEWEST_TO_SPLIT = 64
GUIDING = 0.5
"""Share of the calibration inputs that guide a search, or judge in a fold; the others are for corrections."""
MOST_CORRECTED = 2048
"""Inputs for corrections in a fold, mirror images among them: more hardly help them, and all others tell more about the
drop."""
CORRECTED_FAST = 0.25
"""Share of the calibration inputs that a first look corrects on: judging costs less, and its promise rests on it."""


@dataclasses.dataclass(frozen=True)
class Few:
    """How many inputs a first look takes: fewer where each is more work.

    Attributes:
        fewest: that are taken however much work they are.
        most: that are taken however little they are.
        work: multiply-adds of the dense model on those in between.
    """

    fewest: int
    most: int
    work: float

    def count(self, multiply_adds: int) -> int:
        """So many, each of which is so many multiply-adds."""
        return int(np.clip(self.work / max(multiply_adds, 1), self.fewest, self.most))


FEW_CORRECTED = Few(64, 256, 1.5e10)
"""Mirror images among them: where there are other pictures these tell more."""
FEW_GUIDING = Few(700, 2000, 1.25e11)
"""700 prove a drop of 1 % where hardly an answer changes."""
FEW_MEASURED = Few(1000, 4000, 1.25e11)
"""Of the final measurement."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """Inputs that candidates are corrected on, and others that guide the search by what came of it."""

    corrected: Samples
    guide: Samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the model is run on.

    Attributes:
        data: the calibration inputs as given.
        test: the test inputs as given, if they were; where they are the calibration inputs nothing is held out.
        calibration: inputs that the delivered model is corrected on.
        guide: inputs that guide a search, those of all folds; None where there is none.
        folds: of a search. One is corrected on `calibration`. Where half of the inputs tell too little there are two:
            each half is corrected on and judges the other half's candidates, and `calibration` is both.
        halves: where inputs are too few to hold any out: each half is measured with a model corrected on the other one,
            and `calibration` is both; else none.
        held: inputs of the final measurement.
        held_out: whether neither `calibration` nor `guide` has any of `held`.
        warnings: what was left out and why; files by name only.
        notes: how the inputs are run.
    """

    data: DataSource
    test: DataSource | None
    calibration: Samples
    guide: Samples | None
    folds: tuple[Fold, ...]
    halves: tuple[Fold, ...] = ()
    held: Samples
    held_out: bool
    warnings: tuple[Message, ...]
    notes: tuple[Message, ...] = ()

    @property
    def all(self) -> tuple[Samples, ...]:
        """All of them, those for corrections first."""
        return (self.calibration, *([self.guide] if self.guide else []), self.held)


def open_by_options(source: LoadedModel, data: DataSource, options: Options, limit: int | None = None) -> Samples:
    """Open inputs for a model as the options say; at most `limit` of them, drawn at random.

    Where the model leaves axis 0 free, running samples together and apart shows whether that axis is a batch: it may as
    well be the length of a signal, which must not be cut into pieces.
    """
    specs, data = input_specs(source.original), rereadable(data)  # it may be opened again, below
    samples = _open(data, specs, options, options.batch_size, limit)
    runtime = options.runtime()
    session = runtime.session(source.original)
    alike = samples.alike()
    if not samples.batched or alike.count < 2 or any(spec.shape and spec.shape[0] is not None for spec in specs):
        return without_padding(source, session, samples, options.mask, runtime)
    axis0 = _axis_0(session, alike)
    if axis0 == "batch" and not _can_be_cut(session, alike, samples.batch_size):
        axis0 = "no batch"
    if axis0 == "batch":
        return without_padding(source, session, samples, options.mask, runtime)
    if axis0 == "one by one":
        samples = _open(data, specs, options, 1, limit)
        text = "samples are run one by one: the model cannot use the batch that it declares"
        samples.warnings += (Message(text, "batch-unusable"),)
        return without_padding(source, session, samples, options.mask, runtime)
    whole = [dataclasses.replace(spec, has_batch=False) for spec in specs]
    samples = _open(data, whole, options, 1, limit)
    text = "axis 0 of the inputs is not a batch: what it gives to one entry depends on others; each feed is one sample"
    samples.warnings += (Message(text, "no-batch-axis"),)
    return samples


def _open(
    data: DataSource, specs: Sequence[InputSpec], options: Options, batch_size: int | None, limit: int | None
) -> Samples:
    return open_samples(
        data,
        specs,
        pictures=options.pictures,
        classes=options.classes,
        batch_size=batch_size,
        limit=limit,
        seed=options.seed,
    )


def _axis_0(session: Session, samples: Samples) -> Axis0:
    """What axis 0 of the inputs is, from the first two samples together and each alone."""
    first, second = (next(samples.take([at]).batches()) for at in (0, 1))
    try:
        alone = [session.run(feed) for feed in (first, second)]
    except RunError:  # which the run itself will report, with the batch that it is about
        return "batch"
    together_feed: Feed = {name: np.concatenate([first[name], second[name]]) for name in first}
    try:
        together, again = session.run(together_feed), session.run(together_feed)
    except RunError:
        return "one by one"
    tells = grows = rows_stay = is_random = False
    for name, value in together.items():
        parts = [outputs[name] for outputs in alone]
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub" or not value.ndim:
            continue
        tells = True
        is_random = is_random or not np.array_equal(value, again[name], equal_nan=value.dtype.kind == "f")
        if any(part.shape != (1, *value.shape[1:]) for part in parts) or len(value) != 2:
            continue
        grows = True
        rows_stay = rows_stay or _is_close(value, np.concatenate(parts))
    if rows_stay or is_random or not tells:
        return "batch"
    # outputs that do not grow, such as boxes of all pictures together, say nothing of the rows of a signal
    is_signal = all(array.ndim <= 2 for array in first.values())
    return "no batch" if grows or is_signal else "one by one"


def _can_be_cut(session: Session, samples: Samples, batch_size: int) -> bool:
    """Whether runs of samples give the same rows whole and cut into two.

    Two samples do not settle what axis 0 is: the first entries of a recording are silence, of which neither shows in
    the other, and a dilated filter skips neighbours. Runs as long as the batches to come are therefore cut at several
    places. A cut between rows of the outputs that are alike shows nothing; where none shows anything, scalars are taken
    for those of a signal.
    """
    first = next(samples.take([0]).batches())
    half = min(batch_size, samples.count) // 2
    length = 2 * half
    if not half or not any(array.dtype.kind == "f" and array.ndim <= 2 for array in first.values()):
        return True
    is_shown = False
    for start in np.unique(np.linspace(0, samples.count - length, CUTS, dtype=np.int64)):
        ranges = (
            (start, start + length),
            (start, start + length),
            (start, start + half),
            (start + half, start + length),
        )
        try:
            whole, again, *parts = (session.run(next(samples.take(np.arange(*range_)).batches())) for range_ in ranges)
        except RunError:  # which the run itself will report
            return True
        rows = {name: value for name, value in whole.items() if _has_rows(value, length)}
        cut = {name: np.concatenate([part[name] for part in parts]) for name in rows}
        if not any(len(cut[name]) == length and _is_close(rows[name], again[name]) for name in rows):
            return True  # drawn anew in each run, or not as many rows as samples: there is nothing to see
        if not any(_is_close(rows[name], cut[name], CUT_ROW) for name in rows if len(cut[name]) == length):
            return False
        is_shown = is_shown or any(not _is_close(value[half - 1], value[half]) for value in rows.values())
    return is_shown or any(array.ndim > 1 for array in first.values())


def _has_rows(value: Any, count: int) -> bool:
    """Whether an output has a row of numbers for each sample."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim > 0 and len(value) == count


def _is_close(value: Any, expected: Any, tolerance: float = SAME_ROW) -> bool:
    if value.dtype.kind != "f":
        return bool(np.array_equal(value, expected))
    both = np.isfinite(value) & np.isfinite(expected)
    scale = float(np.abs(expected[both]).max(initial=0.0))
    return bool(np.all(np.abs(value[both] - expected[both]) <= tolerance * scale))


def open_inputs(
    source: LoadedModel, data: DataSource, test: DataSource | None, options: Options, ticks: Ticks = no_ticks
) -> Inputs:
    """Open the data, and divide it; what a search keeps in memory is read now, with ticks.

    Args:
        source: the model that they are for.
        data: calibration inputs.
        test: inputs of the final measurement alone; None = some of `data` are held out.
        options: sizes of batches, limits, the goal and the seed.
        ticks: is told how far reading is.

    Raises:
        InputError: it cannot be used, or is too little to guide a search.
    """
    samples = open_by_options(source, data, options, options.limit)
    parts = 2 if options.is_hasty and test is not None else 1
    if options.goals is not None:  # a search reads them dozens of times
        samples = samples.kept(part_of(ticks, 0, parts))
    warnings = _without_folder(samples.warnings, data)
    measured = samples if test is None else open_by_options(source, test, options, None)
    if test is not None:
        warnings = (*warnings, *_without_folder(measured.warnings, test))
    inputs = Inputs(
        data=data,
        test=test,
        calibration=samples,
        guide=None,
        folds=(),
        held=measured,
        held_out=test is not None and not _are_same(samples, measured),
        warnings=tuple(dict.fromkeys(warnings)),  # the same of data and test is said once
        notes=samples.notes or measured.notes,
    )
    if test is None:
        inputs = _halved(inputs, options)
    divided, most_corrected = inputs, MOST_CORRECTED
    if options.goals is not None:
        divided = _guided(inputs, options.goals, options)
    if options.goals is not None and options.is_hasty:
        multiply_adds = multiply_adds_of(source.model)
        divided = _few(divided, multiply_adds, options.seed, part_of(ticks, parts - 1, parts))
        most_corrected = FEW_CORRECTED.count(multiply_adds)
    if options.pictures is None or not options.pictures.mirror:
        return divided
    if any(2 * fold.corrected.count > most_corrected for fold in divided.folds):
        reason = f"candidates are corrected on more than {most_corrected // 2:,} pictures"
        note = Message(f"mirror images are left out: {reason}", "not-mirrored")
        return dataclasses.replace(divided, notes=(*divided.notes, note))
    axis = options.pictures.width_axis
    folds, halves = (
        tuple(Fold(fold.corrected.mirrored(axis), fold.guide) for fold in side)
        for side in (divided.folds, divided.halves)
    )
    return dataclasses.replace(divided, calibration=divided.calibration.mirrored(axis), folds=folds, halves=halves)


def _are_same(samples: Samples, measured: Samples) -> bool:
    """Whether the test inputs are the calibration inputs once more, be it in a file of another name."""
    if samples.count != measured.count:
        return False
    # the first feeds are soon compared; to compare all, pictures are decoded once more
    firsts = (next(side.batches()) for side in (samples, measured))
    for one, other in zip(*(map(np.ravel, feed.values()) for feed in firsts), strict=True):
        size = min(one.size, other.size)
        if not np.array_equal(one[:size], other[:size]):
            return False
    return samples.digest() == measured.digest()


def _halved(inputs: Inputs, options: Options) -> Inputs:
    """A part held out, where there is enough."""
    if inputs.calibration.count >= FEWEST_TO_SPLIT:
        # a large fixed batch may leave no whole feed to hold out
        with contextlib.suppress(InputError):
            held_samples, rest = inputs.calibration.split(HELD_OUT, np.random.default_rng(options.seed))
            return dataclasses.replace(inputs, calibration=rest, held=held_samples, held_out=True)
    # the error on the inputs of the corrections would be flattered, many times over where they are few
    with contextlib.suppress(InputError):
        first, second = inputs.calibration.split(0.5, np.random.default_rng(options.seed))
        return dataclasses.replace(inputs, halves=(Fold(second, first), Fold(first, second)))
    return inputs


def _guided(inputs: Inputs, goals: Goals, options: Options) -> Inputs:
    """Calibration inputs divided into those that are corrected on and those that guide, in turn where they are few.

    Halves do not take turns where units go, for all that the delivered model is corrected on choose them, nor for a
    measure that need not be the mean of those of parts, as the user's metric.

    Raises:
        InputError: there are too few.
    """
    samples = inputs.calibration
    is_short = inputs.test is None and not inputs.held_out
    if is_short or samples.count < FEWEST_TO_SPLIT // 2:
        raise InputError(
            f"{samples.count} inputs are too few for {goals}, which needs some to correct on, others to guide it "
            f"and others to report: give {FEWEST_TO_SPLIT} or more, or --sparsity or --trim in place of a goal"
        )
    corrected = min(GUIDING, (FEW_CORRECTED.fewest if options.is_hasty else MOST_CORRECTED) / samples.count)
    share = 1.0 - (max(corrected, CORRECTED_FAST) if options.is_hasty else corrected)
    try:
        guide, rest = samples.split(share, np.random.default_rng([options.seed, 1]))
    except InputError as error:
        raise InputError(f"the inputs cannot be divided for {goals}: {error}") from error
    is_mean = options.metric is None or (isinstance(options.metric, str) and options.metric in MEANS)
    simple = options.trim is None and is_mean and not (goals.is_structural or options.is_hasty)
    is_small = goals.max_drop is not None and not has_enough_samples(guide.count // 2, goals.max_drop)
    if simple and is_small and samples.count <= 2 * MOST_CORRECTED:
        return dataclasses.replace(inputs, guide=samples, folds=(Fold(rest, guide), Fold(guide, rest)))
    return dataclasses.replace(inputs, calibration=rest, guide=guide, folds=(Fold(rest, guide),))


def _few(inputs: Inputs, multiply_adds: int, seed: int, ticks: Ticks) -> Inputs:
    """So many of the inputs of the only fold, and of the final measurement, as there is time for in a first look."""
    rng = np.random.default_rng([seed, 2])

    def some(samples: Samples, few: Few) -> Samples:
        return samples.subset(few.count(multiply_adds), rng)

    ((fold,), held) = inputs.folds, some(inputs.held, FEW_MEASURED).kept(ticks)  # digested and measured
    fold = Fold(some(fold.corrected, FEW_CORRECTED), some(fold.guide, FEW_GUIDING))
    return dataclasses.replace(inputs, calibration=fold.corrected, guide=fold.guide, folds=(fold,), held=held)


def _without_folder(warnings: tuple[Message, ...], data: DataSource) -> tuple[Message, ...]:
    """The warnings, the data's path shortened to its name."""
    path = path_of(data)
    return tuple(warning.with_text(warning.replace(str(path), path.name)) for warning in warnings) if path else warnings
