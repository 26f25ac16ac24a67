"""Put channels in the order in which tiles of a sparse kernel hold most of what counts."""

from __future__ import annotations

import dataclasses

from netsurgeon.passes.dependencies import analyse
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.pruning import TilePattern
from netsurgeon.passes.trimming import OrderUnits, large_weights
from netsurgeon.pipeline.calibration import has_finite_weight
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.runtime import Feed, Runtime, is_large, observe, verify_same


def with_ordered_channels(source: LoadedModel, options: Options, feed: Feed, runtime: Runtime) -> LoadedModel:
    """The source, channels whose rows hold as many large weights side by side, where they are pruned in tiles.

    All rows of a tile keep as many weights, so that it loses least where they need as many. The outputs are proven
    equal on `feed`; where they are not, or the order cannot be changed, the source is as it was.

    Args:
        source: what was opened.
        options: what is asked for.
        feed: an input of it.
        runtime: which leaves the model on floats.
    """
    prunes = options.goals is not None or options.pruned_share > 0.0 or any(options.layers.values())
    in_tiles = isinstance(options.layer_pattern, TilePattern) and prunes
    if not in_tiles or source.integers.layers or is_large(source.model):
        return source
    model = source.model.clone()
    layers = [layer for layer in find_layers(model.graph)[0] if has_finite_weight(layer)]
    try:
        dependencies = analyse(model, observe(model, feed, runtime))
        is_changed = OrderUnits(dependencies, large_weights(dependencies, layers))(model).modified
        if not is_changed or verify_same(source.model, model, feed, runtime) is not None:
            return source
    except CheckFailedError:
        return source
    text = "channels inside are in another order, outputs verified: those that keep as many weights share tiles"
    return dataclasses.replace(source, model=model, notes=(*source.notes, Message(text, "channels-ordered")))
