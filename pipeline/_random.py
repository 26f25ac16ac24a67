"""Made-up inputs as a source: each sample from a generator of its own, so that the batch size does not matter."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from netsurgeon.pipeline._opened import Opened, Piece
from netsurgeon.pipeline._parts import Array, Feed, InputSpec, Shape, describe, is_float, is_integer, stand_in
from netsurgeon.pipeline.errors import InputError


def open_random(specs: Sequence[InputSpec], count: int, seed: int) -> Opened:
    """Open `count` random samples, rounded up to whole feeds.

    Raises:
        InputError: an input has an unknown rank or, once read, no numeric type.
    """
    shapes = {spec.name: _filled(spec) for spec in specs}
    first = {spec.shape[0] for spec in specs if spec.shape}
    if len(first) == 1:  # else the sizes of axis 0 have nothing to do with one another
        count += -count % (first.pop() or 1)
        shapes = {name: (count, *shape[1:]) if shape else () for name, shape in shapes.items()}
    else:
        shapes = {name: (count, *shape) for name, shape in shapes.items()}
    part = describe({spec.name: stand_in(shapes[spec.name], spec.dtype) for spec in specs}, specs, "random data")
    row_shapes = dict(part.row_shapes)

    def draw(number: int, spec: InputSpec, rows: Sequence[int]) -> Array:
        if spec.name in part.constants:
            return _draw(spec, shapes[spec.name], (seed, number))
        return np.stack([_draw(spec, row_shapes[spec.name], (seed, number, row)) for row in rows])

    def read(pieces: Iterable[Piece]) -> Iterator[Feed]:
        for _, rows in pieces:
            yield {spec.name: draw(number, spec, rows.tolist()) for number, spec in enumerate(specs)}

    return Opened([part], read)


def _filled(spec: InputSpec) -> Shape:
    if spec.shape is None:
        raise InputError(f"the rank of the input {spec.name!r} is unknown: give real data instead of random")
    return tuple(1 if size is None else size for size in spec.shape)


def _draw(spec: InputSpec, shape: Shape, seed: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(seed)
    if is_float(spec.dtype):
        return rng.standard_normal(shape, np.float32).astype(spec.dtype)
    if is_integer(spec.dtype) or spec.dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(spec.dtype)
    raise InputError(f"random values of type {spec.dtype} for {spec.name!r} are not made: give real data")
