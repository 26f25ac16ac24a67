"""Arrays by input name as a source: those that lie in memory, and made-up ones."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import check_bytes, check_samples
from netsurgeon.pipeline.data.matching import Array, Shape, examine, is_float, is_whole, join_labels
from netsurgeon.pipeline.data.opened import OpenedData, read_parts
from netsurgeon.pipeline.errors import InputError


def open_arrays(source: Mapping[str, Any], specs: Sequence[InputSpec], origin: str) -> OpenedData:
    """Open arrays in memory, one for each input, and perhaps labels."""
    part, arrays, part_labels = examine(source, specs, origin)
    labels = join_labels([part_labels], [part.rows], origin)
    return OpenedData([part], partial(read_parts, [part], lambda _: (part, arrays)), labels)


def open_random(specs: Sequence[InputSpec], count: int, seed: int) -> OpenedData:
    """Make up samples, as many as give whole feeds."""
    shapes = {spec.name: _filled(spec) for spec in specs}
    first = {spec.shape[0] for spec in specs if spec.shape}
    if len(first) == 1:  # else the sizes of axis 0 have nothing to do with one another
        count += -count % (first.pop() or 1)
        shapes = {name: (count, *shape[1:]) if shape else () for name, shape in shapes.items()}
    else:
        shapes = {name: (count, *shape) for name, shape in shapes.items()}
    check_samples(count, "random data")
    sizes = [math.prod(shapes[spec.name]) * max(spec.dtype.itemsize, 4) for spec in specs]
    check_bytes(sum(sizes), f"{count:,} random samples", "ask for fewer, such as random:64")
    rng = np.random.default_rng(seed)
    arrays = {spec.name: _draw(spec, shapes[spec.name], rng) for spec in specs}
    return open_arrays(arrays, specs, "random data")


def _filled(spec: InputSpec) -> Shape:
    if spec.shape is None:
        raise InputError(f"the rank of the input {spec.name!r} is unknown: give real data instead of random")
    return tuple(1 if size is None else size for size in spec.shape)


def _draw(spec: InputSpec, shape: Shape, rng: np.random.Generator) -> Array:
    if is_float(spec.dtype):
        return rng.standard_normal(shape, np.float32).astype(spec.dtype)
    if is_whole(spec.dtype):
        return rng.integers(0, 2, shape).astype(spec.dtype)
    raise InputError(f"random values of type {spec.dtype} for {spec.name!r} are not made: give real data")
