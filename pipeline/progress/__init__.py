"""What a run is doing, what is left of it, and how that is shown."""

from netsurgeon.pipeline.progress.follow import ProgressLike, following
from netsurgeon.pipeline.progress.forecast import CANDIDATES, Step, Work
from netsurgeon.pipeline.progress.run_progress import RunProgress, Status
from netsurgeon.pipeline.progress.ticks import Progress, Ticks, no_ticks, part_of, silent, ticking

__all__ = [
    "CANDIDATES",
    "Progress",
    "ProgressLike",
    "RunProgress",
    "Status",
    "Step",
    "Ticks",
    "Work",
    "following",
    "no_ticks",
    "part_of",
    "silent",
    "ticking",
]
