"""What became of a cluster, in sentences."""

from netsurgeon.pipeline.execution.executors.task_log import ClusterFacts, KindOfTask, LostWorker
from netsurgeon.pipeline.report.sentences.cluster import cluster_summary


def test_nothing_is_said_without_a_cluster() -> None:
    assert cluster_summary(None) == ()


def test_what_workers_did_and_which_were_lost() -> None:
    kinds = (KindOfTask(kind="run_segment", tasks=1200, seconds=40.0), KindOfTask(kind="joined", tasks=30, seconds=2.5))
    lost = tuple(LostWorker(worker="tcp://b:2", why="it had stalled", tasks=tasks) for tasks in (4, 1, 0))
    did, loss, *fewer = cluster_summary(ClusterFacts(scheduler="tcp://a:1", tasks=kinds, lost=lost))
    assert did == "workers of tcp://a:1 ran 1,230 tasks in 42.5 s of their time"
    assert loss == "worker tcp://b:2 was lost: it had stalled; others did its 4 tasks again"
    assert [sentence.partition("; ")[2] for sentence in fewer] == ["others did its one task again", "it had no tasks"]
