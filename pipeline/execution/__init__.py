"""Where work runs and is kept: executors, the run folder, and a file for the weights of large models."""

from netsurgeon.pipeline.execution.executors import (
    ClusterFacts,
    Executor,
    InProcess,
    Pending,
    as_is,
    check_cluster,
    open_executor,
)
from netsurgeon.pipeline.execution.run_folder import SENT_FOLDER, RunFolder, Solutions, wait_until_free
from netsurgeon.pipeline.execution.user_sources import file_digest, source_digest
from netsurgeon.pipeline.execution.weight_file import WeightFile

__all__ = [
    "SENT_FOLDER",
    "ClusterFacts",
    "Executor",
    "InProcess",
    "Pending",
    "RunFolder",
    "Solutions",
    "WeightFile",
    "as_is",
    "check_cluster",
    "file_digest",
    "open_executor",
    "source_digest",
    "wait_until_free",
]
