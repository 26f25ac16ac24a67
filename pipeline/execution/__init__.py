"""Where work is kept while it runs: the run folder."""

from netsurgeon.pipeline.execution.run_folder import RunFolder, Solutions

__all__ = [
    "RunFolder",
    "Solutions",
]
