"""Which inputs candidates are corrected on that are judged and not delivered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from netsurgeon.passes.layers import Layer
from netsurgeon.passes.solvers import AMPLE
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.verification import Inputs

FEWEST = 256
"""Inputs that provisional candidates are corrected on, at least."""
ROWS_SHARE = 0.5
"""Share of the rows of statistics that such candidates take."""
WORTH = 0.5
"""Share of the inputs below which candidates of the only fold are provisional: the one chosen is made once more."""


def provisional_inputs(
    inputs: Inputs, options: Options, layers: Iterable[Layer], positions: Mapping[str, int]
) -> tuple[Samples | None, ...]:
    """Those of each fold; None where its candidates are what is delivered.

    They are as many as give each layer AMPLE rows a column, without mirror images. A candidate that is corrected on
    them loses a little more than the delivered one, but where the limit lies is all that it has to tell.

    Args:
        inputs: of the run.
        options: what is asked for.
        layers: that take part.
        positions: of each layer for one input, by layer name.
    """
    needed = (AMPLE * (layer.columns // layer.blocks) / max(positions.get(layer.name, 1), 1) for layer in layers)
    count, rng = max(FEWEST, math.ceil(max(needed, default=0.0))), np.random.default_rng([options.seed, 3])
    samples = tuple(fold.corrected.unmirrored().subset(count, rng) for fold in inputs.folds)
    if len(samples) > 1:
        return samples
    descends = options.goals is not None and options.goals.max_drop is not None and not options.is_hasty
    is_worth_it = descends and samples[0].fed <= WORTH * inputs.folds[0].corrected.fed
    return samples if is_worth_it else (None,)
