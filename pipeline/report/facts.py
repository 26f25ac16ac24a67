"""What the report says of models, layers, data and this machine, measured from the files and models themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import Layer, layers_by_name
from netsurgeon.passes.packing import Packing
from netsurgeon.passes.quantization import StoredWeight, find_integer_weights
from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.error_bound import Bound
from netsurgeon.pipeline.pruning import Plan, Pruned
from netsurgeon.pipeline.report.record import LayerFacts


def layer_facts(
    selection: Selection, plan: Plan, pruned: Pruned, model: ir.Model, packings: Sequence[Packing], bound: Bound
) -> tuple[LayerFacts, ...]:
    """What became of each layer of the selection; `model` is the pruned one, not packed."""
    after, integers = layers_by_name(model.graph), find_integer_weights(model.graph)
    packing_of = {packing.name: packing for packing in packings}
    errors = {error.node: error.error for error in bound.layers}
    facts = []
    for layer in selection.layers:
        outcome, cost = pruned.outcomes.get(layer.name), plan.costs.get(layer.name)
        stored = integers.get(layer.name) or _floats(after[layer.name])
        packing = packing_of.get(stored.name)
        facts.append(
            LayerFacts(
                name=layer.name,
                operator=layer.operator,
                shape=(layer.groups, layer.rows, layer.columns),
                weights=layer.size,
                kept=stored.nonzero,
                sensitivity=cost.sensitivity if cost else None,
                damping=outcome.damping if outcome else 0.0,
                samples=outcome.samples if outcome else 0,
                error=errors.get(layer.name, 0.0),
                stored=str(packing.encoding) if packing else stored.form,
                bytes_before=tensor(layer.weight).nbytes,
                bytes_after=packing.bytes_after if packing else stored.bytes,
                seconds=round(outcome.seconds, 3) if outcome else 0.0,
                slots=outcome.slots if outcome else None,
            )
        )
    return tuple(facts)


def _floats(layer: Layer) -> StoredWeight:
    weight = tensor(layer.weight)
    numbers = weight.numpy()
    return StoredWeight(
        name=layer.weight.name or "",
        codes=numbers,
        bytes=weight.nbytes,
        form="dense",
        nonzero=int(np.count_nonzero(numbers)),
    )
