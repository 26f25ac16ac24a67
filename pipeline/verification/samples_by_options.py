"""Open the inputs of a model by the user's options: the one door for every command."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from netsurgeon.pipeline.data import DataSource, InputSpec, Samples, open_samples
from netsurgeon.pipeline.errors import RunError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel, input_specs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Feed, Session

Axis0 = Literal["batch", "one by one", "no batch"]
SAME_ROW = 1e-2
"""Largest difference, relative to the output's scale, of a sample's output alone and in a batch: kernels differ."""


def open_by_options(source: LoadedModel, data: DataSource, options: Options, limit: int | None = None) -> Samples:
    """Open inputs for a model as the options say; at most `limit` of them, drawn at random.

    Where the model leaves axis 0 free, running two samples together and each alone shows whether that axis is a batch:
    it may as well be the length of a signal, which must not be cut into pieces.
    """
    specs = input_specs(source.original)
    samples = _open(data, specs, options, options.batch_size, limit)
    if not samples.batched or samples.count < 2 or any(spec.shape and spec.shape[0] is not None for spec in specs):
        return samples
    axis0 = _axis_0(options.runtime().session(source.original), samples)
    if axis0 == "batch":
        return samples
    if axis0 == "one by one":
        samples = _open(data, specs, options, 1, limit)
        text = "samples are run one by one: the model cannot use the batch that it declares"
        samples.warnings += (Message(text, "batch-unusable"),)
        return samples
    whole = [dataclasses.replace(spec, has_batch=False) for spec in specs]
    samples = _open(data, whole, options, 1, limit)
    text = "axis 0 of the inputs is no batch: what it gives to one entry depends on others; each feed is one sample"
    samples.warnings += (Message(text, "no-batch-axis"),)
    return samples


def _open(
    data: DataSource, specs: Sequence[InputSpec], options: Options, batch_size: int, limit: int | None
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


def _is_close(value: Any, expected: Any) -> bool:
    if value.dtype.kind != "f":
        return bool(np.array_equal(value, expected))
    both = np.isfinite(value) & np.isfinite(expected)
    scale = float(np.abs(expected[both]).max(initial=0.0))
    return bool(np.all(np.abs(value[both] - expected[both]) <= SAME_ROW * scale))
