"""What ran on the workers of a cluster, and what was lost there, in sentences."""

from __future__ import annotations

from netsurgeon.pipeline.execution import ClusterFacts
from netsurgeon.pipeline.notation import counted


def cluster_summary(facts: ClusterFacts | None) -> tuple[str, ...]:
    """How much workers did, and which of them were lost, a sentence each; nothing without a cluster."""
    if facts is None:
        return ()
    tasks, seconds = sum(kind.tasks for kind in facts.tasks), sum(kind.seconds for kind in facts.tasks)
    return (
        f"workers of {facts.scheduler} ran {counted(tasks, 'task')} in {seconds:.1f} s of their time",
        *(f"worker {lost.worker} was lost: {lost.why}; {_done_again(lost.tasks)}" for lost in facts.lost),
    )


def _done_again(tasks: int) -> str:
    if tasks == 0:
        return "it had no tasks"
    return "others did its one task again" if tasks == 1 else f"others did its {tasks:,} tasks again"
