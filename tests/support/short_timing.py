"""Timing that lasts a moment, for tests of other things."""

import pytest

from netsurgeon.pipeline.profiling import model_profile
from netsurgeon.pipeline.profiling.memory import Footprint


def time_for_a_moment(patch: pytest.MonkeyPatch) -> None:
    """Profiles run their models a few times, and have made-up memory: to measure it takes a process for each model."""
    patch.setattr(model_profile, "BUDGET", 0.1)
    patch.setattr(model_profile, "TRACE_SECONDS", 0.01)
    patch.setattr(model_profile, "footprint", lambda *_: Footprint(before=1 << 26, peak=1 << 27))
