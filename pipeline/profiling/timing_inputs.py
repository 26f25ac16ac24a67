"""What a model is fed while it is timed: the user's data, or made-up inputs where their values cannot matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from netsurgeon.passes.graph import KNOWN_DOMAINS, bodies, canonical_domain, label, traits_of
from netsurgeon.pipeline.data import DataSource, InputSpec, Samples, open_samples, random_samples, rereadable
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.runtime import Feed


@dataclasses.dataclass(frozen=True)
class Fed:
    """A feed for timing.

    Attributes:
        feed: inputs by name.
        batch: samples in it; None where the inputs have no common batch axis.
        source: what it is, in words.
    """

    feed: Feed = dataclasses.field(repr=False)
    batch: int | None
    source: str


def timing_feeds(
    model: ir.Model,
    data: DataSource | None,
    batches: Sequence[int] | None,
    shapes: Mapping[str, Sequence[int]],
    seed: int,
    read: Callable[..., Samples] = open_samples,
) -> tuple[tuple[Fed, ...], tuple[Message, ...]]:
    """One feed a batch size, and a note for each size that the model's fixed batch rules out.

    Args:
        model: what is timed.
        data: where inputs come from; None = made up, where time cannot depend on their values.
        batches: numbers of samples; None = the model's own, or 1.
        shapes: shapes of made-up inputs, for axes that the model leaves open.
        seed: of made-up inputs.
        read: opens data, as `open_samples` does.

    Raises:
        InputError: inputs cannot be made up, the data does not fit, or no batch size is possible.
    """
    specs = _with_shapes(input_specs(model), shapes)
    data = None if data is None else rereadable(data)  # it is opened for each batch size
    made_up = data is None or (isinstance(data, str) and data.partition(":")[0] == "random")
    # Made-up values are honest only where no kernel looks at them: an index or a loop count would change the work.
    if made_up:
        _check_sizes(specs)
        if data is None and (reason := value_dependence(model)):
            raise InputError(f"{reason}: give inputs with --data, or --data random if made-up ones will do")
    elif shapes:
        raise InputError("shapes are for made-up inputs: leave --shape out where --data gives inputs")
    batch_sizes = [shapes[spec.name][0] for spec in specs if shapes.get(spec.name)]
    fed, notes = [], []
    for batch_size in batches or (batch_sizes[0] if batch_sizes else 1,):
        samples = (
            random_samples(specs, batch_size, seed, batch_size) if made_up else read(data, specs, batch_size=batch_size)
        )
        timed_feed = _first(samples, batch_size, "random numbers" if made_up else "the first of the data")
        if batches and timed_feed.batch is not None and timed_feed.batch != batch_size and _is_fixed(specs):
            text = f"batch {batch_size} skipped: the model's batch is fixed to {timed_feed.batch}"
            notes.append(Message(text, "batch-skipped", batch=batch_size, fixed=timed_feed.batch))
        elif batches and timed_feed.batch is not None and timed_feed.batch < batch_size:
            raise InputError(
                f"the data holds {counted(timed_feed.batch, 'sample')}, batch {batch_size} needs as many: give more"
            )
        else:
            fed.append(timed_feed)
    if not fed:
        asked, fixed = notes[0].data["batch"], notes[0].data["fixed"]
        raise InputError(f"batch {asked}: the model's batch is fixed to {fixed}: leave --batch out")
    return tuple(fed), tuple(notes)


def value_dependence(model: ir.Model) -> str | None:
    """Why the time of a run may depend on the inputs' values; None where only their shapes matter."""
    for value in model.graph.inputs:
        if not value.is_initializer() and (value.dtype is None or not value.dtype.is_floating_point()):
            return f"the input {value.name!r} holds {value.dtype}, whose values mean something"
    carrying = {value for value in model.graph.inputs if not value.is_initializer()}
    for node in model.graph:
        fed = [value is not None and value in carrying for value in node.inputs]
        is_sized_by_values = any(at < len(fed) and fed[at] for at in traits_of(node).sized_by)
        if is_sized_by_values or canonical_domain(node.domain) not in KNOWN_DOMAINS:
            return f"how long {node.op_type} {label(node)!r} takes may depend on the inputs' values"
        captured = (value for graph in bodies(node) for inner in graph.all_nodes() for value in inner.inputs)
        # Shape and Size pass on no values, so what depends on them is the same for every input of that shape.
        if not traits_of(node).reads_shape_only and (any(fed) or any(value in carrying for value in captured)):
            carrying.update(node.outputs)
    return None


def _with_shapes(specs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]]) -> tuple[InputSpec, ...]:
    names = [spec.name for spec in specs]
    for name in shapes:
        if name not in names:
            raise InputError(f"--shape names the input {name!r}, the model has {', '.join(map(repr, names))}")
    return tuple(_with_shape(spec, shapes[spec.name]) if spec.name in shapes else spec for spec in specs)


def _with_shape(spec: InputSpec, extents: Sequence[int]) -> InputSpec:
    """Axes that the model leaves open as given; axis 0 stays open, for the batch."""
    own = spec.shape if spec.shape is not None else (None,) * len(extents)
    if len(own) != len(extents) or any(a not in (None, b) or b < 1 for a, b in zip(own, extents, strict=True)):
        expected = " x ".join("any" if size is None else str(size) for size in own)
        raise InputError(f"--shape gives {' x '.join(map(str, extents))} for {spec.name!r}, the model takes {expected}")
    return dataclasses.replace(spec, shape=(*own[:1], *extents[1:]))


def _check_sizes(specs: Sequence[InputSpec]) -> None:
    for spec in specs:
        if spec.shape is None or None in spec.shape[1:]:
            sizes = (str(size or (224 if at else 1)) for at, size in enumerate(spec.shape or (None, None)))
            raise InputError(
                f"the input {spec.name!r} leaves more than its batch open: give its sizes, such as "
                f"--shape {spec.name}={'x'.join(sizes)}, or inputs with --data"
            )


def _is_fixed(specs: Sequence[InputSpec]) -> bool:
    return any(spec.shape and spec.shape[0] is not None for spec in specs)


def _first(samples: Samples, batch_size: int, source: str) -> Fed:
    feed = samples.typical(batch_size)
    sizes = {array.shape[:1] for array in feed.values() if array.ndim}
    batch = next(iter(sizes))[0] if samples.batched and len(sizes) == 1 else None
    return Fed(feed, batch, source)
