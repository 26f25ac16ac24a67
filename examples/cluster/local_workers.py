"""Two workers on this machine, for `--cluster local_workers:client`: to see that a function of one's own is found."""

from __future__ import annotations

import distributed


def client() -> distributed.Client:
    """A client of workers that end with the process."""
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    return distributed.Client(cluster, set_as_default=False)
