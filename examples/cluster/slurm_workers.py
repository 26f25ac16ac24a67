"""Workers as jobs of Slurm, for `--cluster slurm_workers:client`: pip install dask-jobqueue.

Change queue, account, cores and memory to those of your site. The jobs end with the command.
"""

from __future__ import annotations

import distributed
from dask_jobqueue import SLURMCluster


def client() -> distributed.Client:
    """A client whose workers may still wait in the queue; the command waits for the first one."""
    cluster = SLURMCluster(
        queue="batch",
        account="project",
        cores=8,
        processes=1,  # a worker a job: netsurgeon uses all cores for one task
        worker_extra_args=["--nthreads", "1"],  # and does one task at a time
        memory="32GB",
        walltime="08:00:00",
        job_script_prologue=["source ~/netsurgeon/bin/activate"],
    )
    cluster.scale(jobs=4)
    return distributed.Client(cluster, set_as_default=False)
