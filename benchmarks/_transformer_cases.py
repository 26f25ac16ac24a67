"""What `transformer.py` measures, and what must be reached."""

from __future__ import annotations

import dataclasses
from typing import Any

PADDED, UNPADDED, MORE = "calibration.npz", "calibration", "more"
"""The same training sentences, padded to one length with a mask, and each in a feed of its own; these and others."""


@dataclasses.dataclass(frozen=True)
class Must:
    """What a row has to reach.

    Attributes:
        figure: Spearman's rank correlation on the test split at least; for the language model, perplexity over dense at
            most.
        ratio: file bytes, dense over compressed, at least.
        latency: time over dense at most.
        apart: share by which the error of the embeddings may differ from that of the same row without padding.
    """

    figure: float | None = None
    ratio: float | None = None
    latency: float | None = None
    apart: float | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """A compression of one model.

    Attributes:
        model: l3, l6 or language.
        options: of `netsurgeon.compress`.
        must: what has to come out.
        data: what calibrates, of the folder with the models.
        guided: whether training pairs with their scores guide a goal.
    """

    model: str
    options: dict[str, Any]
    must: Must = Must()
    data: str = UNPADDED
    guided: bool = False

    @property
    def name(self) -> str:
        """As the table has it."""
        return self.unpadded + (" (padded)" if self.data == PADDED else "")

    @property
    def unpadded(self) -> str:
        """The row of the same compression, calibrated without padding."""
        return " ".join([self.model, *(_written(key, value) for key, value in self.options.items())])


def _written(name: str, value: object) -> str:
    """An option as the command line has it."""
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return flag
    return f"{flag} {','.join(f'{key}={part}' for key, part in value.items()) if isinstance(value, dict) else value}"


L3_DENSE, L6_DENSE = 0.8241, 0.8203
GOAL = {"max_drop": "1%", "metric": "spearman"}
FASTER = {"speedup": 1.5, "max_drop": "2%", "metric": "spearman", "quantize": "none"}
UNIFORM = {"sparsity": 0.7, "uniform": True}
UNUSED = {"model.0.auto_model.embeddings.word_embeddings.weight": "1-99,104-998"}
"""Rows of tokens that BERT's vocabulary holds in reserve."""
CASES = (
    Case("l3", {"sparsity": 0.5}, Must(0.820, 2.6)),
    Case("l3", {"quantize": "int8"}, Must(0.821, 3.8, 0.55)),
    Case("l3", {"quantize": "w4"}),
    Case("l3", GOAL, Must(L3_DENSE - 0.01, 6.0, 0.5), guided=True),
    Case("l3", FASTER, Must(0.812, latency=1 / 1.5), guided=True),
    Case("l3", {**FASTER, "repair": True}, Must(0.812, latency=1 / 1.5), guided=True),
    Case("l3", {"trim": 0.3, "quantize": "int8"}),
    Case("l3", {"sparsity": 0.5, "drop_rows": UNUSED}),
    Case("l3", UNIFORM),
    Case("l3", UNIFORM, Must(apart=0.02), data=PADDED),
    Case("l3", {"sparsity": 0.8}, data=MORE),
    Case("l3", {"sparsity": 0.8, "repair": True}, Must(0.81), data=MORE),
    Case("l6", {"sparsity": 0.5}, Must(L6_DENSE - 0.005)),
    Case("l6", {"pattern": "2:4"}, Must(L6_DENSE - 0.010)),
    Case("l6", {"quantize": "w4"}, Must(L6_DENSE - 0.006)),
    Case("language", {"sparsity": 0.5}, Must(1.03)),
    Case("language", {"quantize": "w4"}, Must(1.02)),
)
LANGUAGE_PEERS: dict[str, dict[str, Any]] = {
    "language SparseGPT at 0.5": {"kind": "sparsegpt", "sparsity": 0.5},
    "language to the nearest of 16": {"kind": "nearest"},
}
"""Published methods beside the rows of the language model, and what `_language_peers.py` is told."""
