"""How a number of parameters to keep is spread over layers: one threshold of magnitude for each, from one knob for all.

* ``common``: ``t_l = μ_l + (c_l + δ) s_l``, the rule of dynamic network surgery with one δ added to every c;
* ``fisher``: ``t_l = δ / √g_l`` with g the mean square of the gradient of a layer's parameters: what Optimal Brain
  Damage (LeCun, Denker and Solla, 1990) says a parameter is worth, ``w² · E[g²]``, with the mean over the layer;
* ``lamp``: the parameters with the largest share of what is left of their layer, ``w² / Σ_{v ≥ w} v²``, are kept
  (layer-adaptive magnitude pruning, Lee et al., arXiv 2010.07611).

Arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

ALLOCATIONS = ("common", "fisher", "lamp")
HALVINGS = 40

Magnitudes = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Standing:
    """One layer, as it is now.

    Attributes:
        kept: magnitudes of the parameters that take part, ascending.
        pruned: those of the others, ascending.
        start: μ + c · s.
        spread: s.
        curvature: mean square of the gradient.
    """

    kept: Magnitudes = field(repr=False)
    pruned: Magnitudes = field(repr=False)
    start: float
    spread: float
    curvature: float

    def count(self, low: float, high: float) -> int:
        """How many take part once those up to `low` are pruned and those above `high` spliced."""
        return _above(self.kept, low) + _above(self.pruned, high)


def find_thresholds(allocation: str, layers: Sequence[Standing], count: int, low: float, high: float) -> list[float]:
    """The smallest thresholds that leave no more than `count` parameters.

    Args:
        allocation: one of `ALLOCATIONS`.
        layers: at least one.
        count: of all layers together.
        low: share of a threshold up to which a parameter is pruned.
        high: share of a threshold above which a parameter is spliced.
    """
    thresholds, least, most = {"common": _common, "fisher": _fisher, "lamp": _lamp}[allocation](layers)

    def left(knob: float) -> int:
        return sum(layer.count(low * t, high * t) for layer, t in zip(layers, thresholds(knob), strict=True))

    if left(least) <= count:
        return thresholds(least)
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        least, most = (middle, most) if left(middle) > count else (least, middle)
    return thresholds(most)


Family = tuple[Callable[[float], list[float]], float, float]
"""Thresholds for a value of the knob, and the values that prune nothing and all."""


def _common(layers: Sequence[Standing]) -> Family:
    spread = [max(layer.spread, 1e-12) for layer in layers]
    tops = [max(_top(layer.kept), _top(layer.pruned)) for layer in layers]
    ends = [(2 * top - layer.start) / s for layer, top, s in zip(layers, tops, spread, strict=True)]
    least = min(-layer.start / s for layer, s in zip(layers, spread, strict=True))
    return (
        lambda delta: [max(layer.start + delta * s, 0.0) for layer, s in zip(layers, spread, strict=True)],
        least,
        max(ends),
    )


def _fisher(layers: Sequence[Standing]) -> Family:
    roots = [max(layer.curvature, 1e-30) ** 0.5 for layer in layers]
    tops = [max(_top(layer.kept), _top(layer.pruned)) for layer in layers]
    most = max(2 * top * root for top, root in zip(tops, roots, strict=True))
    return lambda delta: [delta / root for root in roots], 0.0, most


def _lamp(layers: Sequence[Standing]) -> Family:
    ascending = [np.sort(np.concatenate([layer.kept, layer.pruned])) for layer in layers]
    shares = [_shares(layer) for layer in ascending]

    def thresholds(knob: float) -> list[float]:
        places = [int(np.searchsorted(share, np.exp(knob))) for share in shares]
        return [
            float(layer[place]) if place < len(layer) else 2 * _top(layer)
            for layer, place in zip(ascending, places, strict=True)
        ]

    return thresholds, -60.0, 1.0


def _shares(ascending: Magnitudes) -> Magnitudes:
    """``w² / Σ_{v ≥ w} v²`` of ascending magnitudes."""
    squares = ascending.astype(np.float64) ** 2
    rest = np.cumsum(squares[::-1])[::-1]
    return np.divide(squares, rest, out=np.zeros_like(squares), where=rest > 0)


def _above(ascending: Magnitudes, limit: float) -> int:
    return len(ascending) - int(np.searchsorted(ascending, limit, side="right"))


def _top(ascending: Magnitudes) -> float:
    return float(ascending[-1]) if len(ascending) else 0.0
