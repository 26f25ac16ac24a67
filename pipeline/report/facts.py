"""What the report says of models, layers, data and this machine, measured from the files and models themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.packing import Packing
from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.error_bound import Bound
from netsurgeon.pipeline.pruning import Plan, Pruned
from netsurgeon.pipeline.report.report import LayerFacts


def layer_facts(
    selection: Selection, plan: Plan, pruned: Pruned, model: ir.Model, packings: Sequence[Packing], bound: Bound
) -> tuple[LayerFacts, ...]:
    """What became of each layer of the selection; `model` is the pruned one, not packed."""
    after = {layer.name: layer for layer in find_layers(model.graph)[0]}
    packing_of = {packing.name: packing for packing in packings}
    errors = {error.node: error.error for error in bound.layers}
    facts = []
    for layer in selection.layers:
        now, outcome = after[layer.name], pruned.outcomes[layer.name]
        before = tensor(layer.weight).nbytes
        packing, cost = packing_of.get(now.weight.name or ""), plan.costs.get(layer.name)
        facts.append(
            LayerFacts(
                name=layer.name,
                operator=layer.operator,
                shape=(layer.groups, layer.rows, layer.columns),
                weights=layer.size,
                kept=int(np.count_nonzero(now.matrix())),
                sensitivity=cost.sensitivity if cost else None,
                damping=outcome.damping,
                samples=outcome.samples,
                error=errors.get(layer.name, 0.0),
                stored=str(packing.encoding) if packing else "dense",
                bytes_before=before,
                bytes_after=packing.bytes_after if packing else tensor(now.weight).nbytes,
                seconds=round(outcome.seconds, 3),
            )
        )
    return tuple(facts)
