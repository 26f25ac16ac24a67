"""Where tasks run: in this process, or on the workers of a Dask cluster; nothing outside knows which."""

from netsurgeon.pipeline.execution.executors.executor import Executor, Pending, as_is
from netsurgeon.pipeline.execution.executors.in_process import InProcess
from netsurgeon.pipeline.execution.executors.opening import check_cluster, open_executor
from netsurgeon.pipeline.execution.executors.task_log import ClusterFacts

__all__ = ["ClusterFacts", "Executor", "InProcess", "Pending", "as_is", "check_cluster", "open_executor"]
