"""What models are measured by: the names of measures, their units, and which way is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from netsurgeon.pipeline.notation import MeasureName

COUNTED: frozenset[MeasureName] = frozenset({"top-1", "agreement", "f1", "auc", "metric"})
"""Measures of answers that are right or wrong, the same or not, as far as is known."""
MEANS: frozenset[MeasureName] = frozenset({"top-1", "agreement", "token-agreement", "cosine", "outputs"})
"""Measures that are the mean of what they are on parts of the inputs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """How the figures of a measure are read.

    Attributes:
        title: what it is called.
        unit: "%" = a share, shown in hundredths of the whole; else what stands behind a plain number, such as "dB".
        lower_is_better: whether less is better.
        is_relative: whether a drop is a share of the dense model's figure; else it is the difference.
        most: no figure is above it; None = there is no such limit.
    """

    title: str
    unit: str = ""
    lower_is_better: bool = False
    is_relative: bool = False
    most: float | None = None

    @property
    def factor(self) -> float:
        """By which figures are multiplied to be in the unit."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def axis(self) -> str:
        """What is written beside an axis of figures."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.title}{unit}" + (" (less is better)" if self.lower_is_better else "")

    def drop(self, dense: Any, other: Any) -> Any:
        """How much worse `other` is, numbers or arrays of them: positive where it is."""
        lost = other - dense if self.lower_is_better else dense - other
        if not self.is_relative:
            return lost
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(lost == 0.0, 0.0, np.divide(lost, np.abs(dense)))[()]

    def after(self, dense: float, drop: float) -> float:
        """The figure of a model that loses so much."""
        lost = drop * abs(dense) if self.is_relative else drop
        return dense + lost if self.lower_is_better else dense - lost

    def text(self, figure: float) -> str:
        """A figure as people read it."""
        return f"{figure:.2%}" if self.unit == "%" else f"{figure:.4g} {self.unit}".rstrip()

    def change(self, dense: float, other: float) -> str:
        """How far the second figure is from the first, as people read it; of what is better the less says so."""
        if self.unit == "%":
            return f"{100.0 * (other - dense):+.2f} points"
        share = f" ({(other - dense) / abs(dense):+.2%})" if self.is_relative and dense else ""
        return f"{other - dense:+.4g} {self.unit}".rstrip() + share


SCALES: Mapping[MeasureName, Scale] = {
    "top-1": Scale(title="top-1", unit="%", most=1.0),
    "agreement": Scale(title="same top class", unit="%", most=1.0),
    "token-agreement": Scale(title="same next token", unit="%", most=1.0),
    "cosine": Scale(title="cosine to the dense model", most=1.0),
    "outputs": Scale(title="energy of the outputs kept", unit="%", most=1.0),
    "spearman": Scale(title="Spearman correlation", most=1.0),
    "perplexity": Scale(title="perplexity", lower_is_better=True, is_relative=True),
    "f1": Scale(title="F1", unit="%", most=1.0),
    "auc": Scale(title="area under the ROC curve", most=1.0),
    "mse": Scale(title="mean squared error", lower_is_better=True, is_relative=True),
    "psnr": Scale(title="PSNR", unit="dB", is_relative=True),
    "metric": Scale(title="metric"),
}
