"""How the data is divided: inputs that corrections are made on, that guide a search, and that the report is about."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.facts import path_of
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.samples import Samples, open_samples
from netsurgeon.pipeline.samples import Source as Data
from netsurgeon.pipeline.source import Source, input_specs

HELD_OUT = 0.125
"""Share of the calibration inputs kept for validation where no test inputs are given."""
FEWEST_TO_SPLIT = 64
GUIDING = 0.5
"""Share of the calibration inputs that guide a search; the others are for corrections."""
MOST_CORRECTED = 2048
"""Inputs for corrections where there is a search: more hardly help them, and all others tell more about the drop."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the model is run on.

    Attributes:
        data: the calibration inputs as given.
        test: the test inputs as given, if they were.
        calibration: inputs that corrections are made on.
        guide: other inputs, that guide a search; None where there is none.
        held: inputs of the final measurement.
        held_out: whether neither `calibration` nor `guide` has any of `held`.
        warnings: what was left out and why; files by name only.
    """

    data: Data
    test: Data | None
    calibration: Samples
    guide: Samples | None
    held: Samples
    held_out: bool
    warnings: tuple[str, ...]

    @property
    def all(self) -> tuple[Samples, ...]:
        """All of them, those for corrections first."""
        return (self.calibration, *([self.guide] if self.guide else []), self.held)


def open_inputs(source: Source, data: Data, test: Data | None, options: Options) -> Inputs:
    """Open the data, and divide it.

    Raises:
        InputError: it cannot be used, or is too little to guide a search.
    """
    given = _open(source, data, options, options.limit)
    warnings = _without_folder(given.warnings, data)
    if test is None:
        found = _halved(Inputs(data, None, given, None, given, False, warnings), options)
    else:
        held = _open(source, test, options, None)
        found = Inputs(data, test, given, None, held, True, (*warnings, *_without_folder(held.warnings, test)))
    divided = found if options.goals is None else _guided(found, options)
    if options.pictures is None or not options.pictures.mirror:
        return divided
    return dataclasses.replace(divided, calibration=divided.calibration.mirrored(options.pictures.width_axis))


def _halved(inputs: Inputs, options: Options) -> Inputs:
    """A part held out, where there is enough."""
    if inputs.calibration.count >= FEWEST_TO_SPLIT:
        # a large fixed batch may leave no whole feed to hold out
        with contextlib.suppress(InputError):
            held, rest = inputs.calibration.split(HELD_OUT, np.random.default_rng(options.seed))
            return dataclasses.replace(inputs, calibration=rest, held=held, held_out=True)
    return inputs


def _guided(inputs: Inputs, options: Options) -> Inputs:
    """Calibration inputs divided into those that are corrected on and those that guide.

    Raises:
        InputError: there are too few.
    """
    given = inputs.calibration
    if not inputs.held_out or given.count < FEWEST_TO_SPLIT // 2:
        raise InputError(
            f"{given.count} inputs are too few for {options.goals}, which needs some to correct on, others to guide it "
            f"and others to report: give {FEWEST_TO_SPLIT} or more, or --sparsity or --trim in place of a goal"
        )
    share = 1.0 - min(GUIDING, MOST_CORRECTED / given.count)
    try:
        guide, rest = given.split(share, np.random.default_rng([options.seed, 1]))
    except InputError as error:
        raise InputError(f"the inputs cannot be divided for {options.goals}: {error}") from error
    return dataclasses.replace(inputs, calibration=rest, guide=guide)


def _open(source: Source, data: Data, options: Options, limit: int | None) -> Samples:
    return open_samples(
        data,
        input_specs(source.original),
        pictures=options.pictures,
        classes=options.classes,
        batch_size=options.batch_size,
        limit=limit,
        seed=options.seed,
    )


def _without_folder(warnings: tuple[str, ...], data: Data) -> tuple[str, ...]:
    """The warnings, the data's path shortened to its name."""
    path = path_of(data)
    return tuple(text.replace(str(path), path.name) for text in warnings) if path else warnings
