"""Compressions as jobs: each in a folder of its own, run where an executor says, kept while nothing has changed."""

from netsurgeon.pipeline.jobs.job import Job, JobResult, failed, run_job
from netsurgeon.pipeline.jobs.record import JobFolder

__all__ = ["Job", "JobFolder", "JobResult", "failed", "run_job"]
