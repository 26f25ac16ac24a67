"""What a model is made of: its layers, what can be pruned, and what cannot and why."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from netsurgeon.passes.axes import Observation
from netsurgeon.passes.dependencies import Frozen, Group, analyse
from netsurgeon.passes.graph import FLOATS, tensor
from netsurgeon.passes.layers import Declined, Layer, find_layers
from netsurgeon.passes.pruning import TILE_PATTERNS
from netsurgeon.passes.quantization import QuantizedLayer, summary
from netsurgeon.passes.solvers import Mask
from netsurgeon.pipeline.calibration import has_finite_weight
from netsurgeon.pipeline.data import DataSource, Samples, open_samples, random_samples
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import (
    IntegerWeights,
    LoadedModel,
    ModelLike,
    input_specs,
    open_model,
    weights_to_floats,
)
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import checks_names
from netsurgeon.pipeline.result import Overview, Result
from netsurgeon.pipeline.runtime import Runtime, observe

SIDES = (64, 512, 1)
"""Sizes tried for axes that the model leaves open, until it runs."""
SPARSE = 0.05
"""Share of zeros above which it is told what a sparse kernel makes of them."""
MOST_NUMBERS = 1 << 22
"""In inputs that are made up, where an open axis can be smaller: long signals or a cube of 512 take gigabytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerEntry:
    """A layer that can be pruned.

    Attributes:
        name: its node.
        operator: its operator type.
        shape: (groups, rows, columns) of its weight matrix.
        weights: how many.
        zeros: how many of them are 0.
        dtype: type of the weight.
        slots: weights that a sparse kernel has steps for, those that are not 0 and its padding, by pattern of tiles;
            without those whose tiles are larger than the layer.
    """

    name: str
    operator: str
    shape: tuple[int, int, int]
    weights: int
    zeros: int
    dtype: str
    slots: Mapping[str, int]

    def cells(self, tiles: Sequence[str] = ()) -> tuple[str, ...]:
        """Its row of a table, with the slots of some patterns as shares of the weights."""
        share, shape = f"{self.zeros / self.weights:.1%}", " x ".join(map(str, self.shape))
        slots = (f"{self.slots[name] / self.weights:.1%}" if name in self.slots else "" for name in tiles)
        return self.name, self.operator, shape, f"{self.weights:,}", share, *slots, self.dtype


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Inspection(Result):
    """The layers of a model.

    Attributes:
        name: file name; empty where the model came from memory.
        bytes: on disk, external data included.
        opset: version of the default operator set.
        inputs: name, type and shape of each input.
        outputs: the same of each output.
        layers: what can be pruned.
        declined: every other node with weights, and why it is left alone.
        quantized: of both, those whose weights are integers.
        notes: what normal form did.
    """

    name: str
    bytes: int
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[LayerEntry, ...]
    declined: tuple[Declined, ...]
    quantized: tuple[QuantizedLayer, ...]
    notes: tuple[Message, ...]

    @property
    def titles(self) -> tuple[str, ...]:
        """Of the columns of its table; slots are told of a model with zeros alone."""
        slots = (f"slots of {name}" for name in self.tiles)
        return ("layer", "operator", "groups x rows x columns", "weights", "zeros", *slots, "type")

    @property
    def tiles(self) -> tuple[str, ...]:
        """Patterns whose slots are worth a look."""
        weights, zeros = (sum(getattr(layer, name) for layer in self.layers) for name in ("weights", "zeros"))
        return tuple(TILE_PATTERNS) if zeros > SPARSE * weights else ()

    def overview(self) -> Overview:
        """What can be pruned, and why the rest cannot."""
        weights, zeros = (sum(getattr(layer, name) for layer in self.layers) for name in ("weights", "zeros"))
        reasons = collections.Counter((node.operator, node.reason) for node in self.declined)
        left = (f"{count} x {operator} left alone: {reason}" for (operator, reason), count in reasons.items())
        already = f", {zeros / weights:.1%} of them zero" if zeros else ""
        can = f"{counted(len(self.layers), 'layer')} can be pruned, {weights:,} weights{already}"
        return Overview(
            headline=f"{self.name or 'The model'}: {can}",
            sentences=(*left, *(f"note: {note}" for note in self.notes)),
            titles=self.titles,
            rows=tuple(layer.cells(self.tiles) for layer in self.layers),
        )


@checks_names
def inspect_model(model: ModelLike, custom_ops: tuple[str, ...] = ()) -> Inspection:
    """Look at a model without changing it.

    Raises:
        InputError: it cannot be opened.
    """
    source = open_model(model, Runtime(custom_ops))
    model, integers = weights_to_floats(source.model)
    layers, declined = find_layers(model.graph)
    declined = [dataclasses.replace(left, reason=integers.reasons.get(left.node, left.reason)) for left in declined]
    entries = []
    for layer in layers:
        if not has_finite_weight(layer):
            declined.append(Declined(layer.name, layer.operator, "its weight holds NaN or Inf", layer.size))
            continue
        matrix = layer.matrix()
        grid = integers.grids.get(layer.name)
        dtype = tensor(layer.weight).dtype.name if grid is None else grid.weight.dtype.name
        shape = (layer.groups, layer.rows, layer.columns)
        entries.append(
            LayerEntry(
                name=layer.name,
                operator=layer.operator,
                shape=shape,
                weights=layer.size,
                zeros=int((matrix == 0).sum()),
                dtype=dtype,
                slots=_slots(layer, matrix != 0),
            )
        )
    graph = source.original.graph
    return Inspection(
        name=source.path.name if source.path else "",
        bytes=source.bytes,
        opset=source.opset,
        inputs=tuple(f"{v.name}: {v.dtype} {v.shape}" for v in graph.inputs if not v.is_initializer()),
        outputs=tuple(f"{v.name}: {v.dtype} {v.shape}" for v in graph.outputs),
        layers=tuple(entries),
        declined=tuple(declined),
        quantized=integers.layers,
        notes=(*source.notes, *_what_can_be_done(integers)),
    )


def _slots(layer: Layer, mask: Mask) -> dict[str, int]:
    tiles = {name: pattern.on(layer) for name, pattern in TILE_PATTERNS.items()}
    return {name: layer_tiles.slots(mask) for name, layer_tiles in tiles.items() if layer_tiles is not None}


def _what_can_be_done(integers: IntegerWeights) -> Iterator[Message]:
    """A note where a model is quantized already."""
    if not integers.layers:
        return
    left = len(integers.layers) - len(integers.grids)
    parts = [
        *([f"--sparsity prunes {len(integers.grids)} of them on their integers"] if integers.grids else []),
        *([f"{left} can only be pruned in the float model that they were made from"] if left else []),
    ]
    text = f"the model is quantized already ({summary(integers.layers)}): {', and '.join(parts)}"
    yield Message(text, "came-quantized", pruned=sorted(integers.grids), left=left)


def _units_stay(integers: IntegerWeights) -> Iterator[Message]:
    if integers.layers:
        text = (
            f"the model is quantized already ({summary(integers.layers)}), and units of integer layers are not "
            "trimmed: give the float model that it was made from"
        )
        yield Message(text, "came-quantized", pruned=[], left=len(integers.layers))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitInspection:
    """What of a model can be removed whole: groups of units, and what is frozen.

    Attributes:
        name: file name; empty where the model came from memory.
        parameters: elements of all its weights.
        groups: of units that lie on the same axes.
        frozen: what must stay, and why.
        notes: what normal form did.
    """

    name: str
    parameters: int
    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    notes: tuple[Message, ...]


def inspect_units(model: ModelLike, data: DataSource | None = None, custom_ops: tuple[str, ...] = ()) -> UnitInspection:
    """Find what hangs together in a model, without changing it.

    Args:
        model: the model.
        data: an input of it, which shows the shapes of its values; random where there is none.
        custom_ops: shared libraries with the user's operators.

    Raises:
        InputError: the model cannot be opened, or the data does not fit.
        CheckFailedError: the model cannot run on the data.
    """
    runtime = Runtime(custom_ops)
    source = open_model(model, runtime)
    dependencies = analyse(source.model, _observation(source, data, runtime))
    weights = [value.const_value for value in source.model.graph.initializers.values()]
    parameters = sum(weight.size for weight in weights if weight is not None and weight.dtype in FLOATS)
    name = source.path.name if source.path else ""
    return UnitInspection(
        name=name,
        parameters=parameters + sum(layer.weights for layer in source.integers.layers),
        groups=dependencies.groups,
        frozen=dependencies.frozen,
        notes=(*source.notes, *_units_stay(source.integers)),
    )


def _observation(source: LoadedModel, data: DataSource | None, runtime: Runtime) -> Observation:
    if data is None:
        samples = made_up_samples(source, runtime)
    else:
        samples = open_samples(data, input_specs(source.original), batch_size=2)
    return observe(source.model, samples.typical(2), runtime)


def made_up_samples(source: LoadedModel, runtime: Runtime) -> Samples:
    """Two random inputs that a model runs on: sides that it leaves open are the first of SIDES that it takes.

    Sides with which the inputs hold more than MOST_NUMBERS are left out, but for the smallest one.

    Raises:
        InputError: an input has an unknown rank or no numeric type.
        CheckFailedError: it runs on none.
    """
    specs, session = input_specs(source.original), runtime.session(source.model)
    problem: CheckFailedError | None = None
    for size in SIDES:
        filled = [
            dataclasses.replace(s, shape=s.shape and (s.shape[0], *(size if n is None else n for n in s.shape[1:])))
            for s in specs
        ]
        numbers = sum(math.prod([2 if n is None else n for n in s.shape]) for s in filled if s.shape)
        if numbers > MOST_NUMBERS and size > min(SIDES):
            continue
        try:
            samples = random_samples(filled, 2, batch_size=2)
            session.run(next(samples.batches()))
            return samples
        except CheckFailedError as error:
            problem = error
    raise CheckFailedError(f"{problem}: give it inputs that it accepts with --data") from problem
