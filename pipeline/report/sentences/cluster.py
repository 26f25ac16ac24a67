"""What ran on the workers of a cluster, and what was lost there, in sentences."""

from __future__ import annotations

from netsurgeon.pipeline.execution import ClusterFacts


def cluster_summary(facts: ClusterFacts | None) -> tuple[str, ...]:
    """How much workers did, and which of them were lost, a sentence each; nothing without a cluster."""
    if facts is None:
        return ()
    tasks, seconds = sum(kind.tasks for kind in facts.tasks), sum(kind.seconds for kind in facts.tasks)
    return (
        f"workers of {facts.scheduler} ran {tasks:,} tasks in {seconds:.1f} s of their time",
        *(f"worker {lost.worker} was lost: {lost.why}; others did its {lost.tasks} tasks again" for lost in facts.lost),
    )
