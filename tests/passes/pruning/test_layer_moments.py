"""Moments of a layer: paired with the dense outputs, and the damping that held-out samples choose."""

import numpy as np
from prunable_models import KINDS, MODELS, gemm, inputs, layer_of, means, moments_of, nonzeros, run

from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.solvers.statistics import Moments


@KINDS
def test_paired_statistics_match_the_dense_outputs(kind: str) -> None:
    """The layer sees other inputs than the dense one did; what it computes on them has the dense mean."""
    model = MODELS[kind]()
    x = inputs(model)
    current = (0.8 * x + 0.1 * inputs(model, seed=1)).astype(np.float32)
    before, size = run(model, x), layer_of(model).size
    errors = {}
    for paired in (False, True):
        for keep in (size // 2, size):
            model = MODELS[kind]()
            layer = layer_of(model)
            moments = moments_of(layer, x, current) if paired else moments_of(layer, x)
            PruneWeights({"layer": LayerPlan(keep)}, {"layer": moments})(model)
            after = run(model, current)
            assert nonzeros(model) == keep
            errors[paired, keep] = float(((after - before) ** 2).mean())
            if paired:
                np.testing.assert_allclose(means(after), means(before), atol=1e-3)
    assert errors[True, size] < 0.5 * errors[False, size]
    assert errors[True, size // 2] < errors[False, size // 2]


def test_without_held_out_samples() -> None:
    model = gemm()
    layer = layer_of(model)
    fit = Moments(1, 16, paired=False)
    fit.update(layer.samples(inputs(model)))
    PruneWeights({"layer": LayerPlan(30)}, {"layer": LayerMoments(fit, fit.like())})(model)
    assert nonzeros(model) == 30
