"""A dense network that is not run, because what it gives lies in the feed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn


class Recorded(nn.Module):
    """What a dense network gave, recorded beside the inputs under the names of its values.

    Args:
        outputs: names of its outputs.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        super().__init__()
        self.outputs = list(outputs)

    def weights(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def values(
        self,
        feed: Mapping[str, Tensor],
        names: Collection[str] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor | None]:
        """The values of these names, or all: the feed."""
        del weights
        return {name: feed[name] for name in (feed if names is None else names)}
