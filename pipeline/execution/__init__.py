"""Where work is kept while it runs: the run folder."""

from netsurgeon.pipeline.execution.run_folder import RunFolder, Solutions
from netsurgeon.pipeline.execution.user_sources import file_digest, source_digest

__all__ = [
    "RunFolder",
    "Solutions",
    "file_digest",
    "source_digest",
]
