"""Where work is kept while it runs: the run folder, and a file for the weights of large models."""

from netsurgeon.pipeline.execution.run_folder import RunFolder, Solutions
from netsurgeon.pipeline.execution.user_sources import file_digest, source_digest
from netsurgeon.pipeline.execution.weight_file import WeightFile

__all__ = [
    "RunFolder",
    "Solutions",
    "WeightFile",
    "file_digest",
    "source_digest",
]
