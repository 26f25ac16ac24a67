"""Which positions and entries count."""

import numpy as np
import pytest

from netsurgeon.passes.dependencies import PositionAxes
from netsurgeon.pipeline.data.position_mask import PositionMask

FEED = {"mask": np.array([[1, 1, 0], [1, 0, 0]])}


@pytest.mark.parametrize("keeps", [0, 1])
def test_what_is_kept_is_what_the_mask_holds_there(keeps: int) -> None:
    mask = PositionMask("mask", keeps, {"y": PositionAxes(0, 1)})
    kept = mask.kept(FEED)
    assert kept.tolist() == (FEED["mask"] == keeps).tolist()
    entries = mask.entries("y", kept, (2, 3, 4))
    assert entries is not None
    assert entries.shape == (2, 3, 1)
    assert mask.entries("other", kept, (2, 3, 4)) is None
    assert mask.entries("y", kept, (2, 4)) is None


def test_texts_and_lists_stay_as_they_are() -> None:
    mask = PositionMask("mask", 1, {"text": PositionAxes(0, 1), "maps": PositionAxes(0, 1)})
    outputs = {"text": np.full((2, 3), "a", object), "maps": [{0: 1.0}]}
    counted = mask.counted(outputs, FEED)
    assert counted["text"] is outputs["text"]
    assert counted["maps"] is outputs["maps"]
