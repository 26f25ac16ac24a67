"""Samples of varying length in lists: what a tokenizer without padding gives, or a column of a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.matching import LABELS
from netsurgeon.pipeline.data.objects.adapter import is_labelled
from netsurgeon.pipeline.data.objects.tables import frame_arrays, is_frame
from netsurgeon.pipeline.data.values import to_array
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import counted


def ragged_samples(source: Any, specs: Sequence[InputSpec]) -> list[Any] | None:
    """A dict for each sample of a mapping or data frame that holds a list of arrays of varying length; else None.

    With labels beside it, pairs of these and their labels.

    Raises:
        InputError: some inputs have more samples than others.
    """
    if is_labelled(source, specs):
        inputs = ragged_samples(source[0], specs)
        if inputs is not None and len(inputs) != _count(source[1]):
            raise InputError(
                f"the data holds {counted(len(inputs), 'input')} and {counted(_count(source[1]), 'label')}: "
                "give one for each"
            )
        return inputs and list(zip(inputs, source[1], strict=True))
    names = [spec.name for spec in specs]
    if is_frame(source):
        if not all(name in source.columns and _is_ragged(source[name].to_numpy()) for name in names[:1]):
            return None
        columns, labels = frame_arrays(source, specs, "the data frame")
        return ragged_samples(columns if labels is None else (columns, labels), specs)
    if not isinstance(source, Mapping) or not any(_is_ragged(source.get(name)) for name in names):
        return None
    counts = {str(name): _count(values) for name, values in source.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} for {name!r}" for name, count in counts.items())
        raise InputError(f"the data holds different numbers of samples ({listed}): give as many for each input")
    rows = zip(*source.values(), strict=True)
    return [{str(name): value for name, value in zip(source, row, strict=True)} for row in rows]


def without_pair_labels(source: Any, specs: Sequence[InputSpec]) -> tuple[Any, Any]:
    """A mapping of lists, or a list of samples, and labels of pairs of them, which no single one has.

    Returns:
        the source, and None, where labels are one a sample, or not for lists.
    """
    inputs: Any
    labels: Any
    inputs, labels = source if is_labelled(source, specs) else (source, None)
    if labels is None and isinstance(source, Mapping) and all(spec.name != LABELS for spec in specs):
        labels = source.get(LABELS)
        inputs = {name: values for name, values in source.items() if name != LABELS}
    values = inputs.get(specs[0].name) if isinstance(inputs, Mapping) else inputs
    if not isinstance(values, list | tuple) or 2 * _count(labels) != len(values):
        return source, None
    return inputs, to_array(labels, LABELS, "the data")


def _count(values: Any) -> int:
    """How many samples there are; none of what has no length, such as an array of a single number."""
    return len(values) if hasattr(values, "__len__") and getattr(values, "ndim", 1) > 0 else 0


def _is_ragged(values: Any) -> bool:
    """Whether it is a list, or an array of objects, of arrays that differ in shape."""
    is_column = isinstance(values, np.ndarray) and values.dtype.hasobject and values.ndim == 1
    if not (is_column or isinstance(values, list | tuple)) or len(values) < 1:
        return False
    if not all(hasattr(entry, "__len__") and not isinstance(entry, str | bytes) for entry in values):
        return False
    return is_column or len({to_array(entry, "entry", "the data").shape for entry in values}) > 1
