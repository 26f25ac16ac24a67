"""From what `--cluster` says to an executor."""

from __future__ import annotations

import contextlib
import logging
import re
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netsurgeon.pipeline.data import NAMED_FUNCTION, import_function
from netsurgeon.pipeline.errors import InputError, NetsurgeonError
from netsurgeon.pipeline.execution.executors.executor import Executor
from netsurgeon.pipeline.execution.executors.in_process import InProcess

if TYPE_CHECKING:
    import distributed

MOST_WORKERS = 1024
"""Most processes that `local:N` starts."""
PATIENCE = 30.0
"""Seconds that a scheduler has to answer, and a first worker to be there."""
FORMS = "local:N, tcp://HOST:PORT, tls://HOST:PORT, or module:function that gives a distributed.Client"
_LOCAL = re.compile(r"local:([1-9][0-9]{0,8})")
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx)://\S+")
logger = logging.getLogger(__name__)
_CLIENTS: dict[str, distributed.Client] = {}
"""By the name of the function that gave it. Dask closes their clusters when the process ends, but only those that
somebody still has."""
_had_workers: weakref.WeakSet[distributed.Client] = weakref.WeakSet()
"""Those of functions whose first worker has come; one whose workers are all gone since gets no other by itself."""
_ALLOWED_DEATHS = 20
"""Of workers on this machine in one task: processes that somebody ends are no fault of the task's."""


def open_executor(cluster: str | None, store: str | Path | None = None) -> Executor:
    """Where tasks run.

    Args:
        cluster: "local:N" = N processes on this machine, of a thread each; the address of a scheduler;
            "module:function" = what the function gives, without arguments, a client of `distributed`, whose workers may
            still wait in a queue, and which is not closed: it is taken again as long as it runs and has workers; None =
            this process.
        store: folder, or address of an object store, that large arrays travel through; None = the scheduler.

    Raises:
        InputError: it is none of these, `distributed` is missing, nobody answers, a worker has other versions, or the
            store cannot be used.
    """
    check_cluster(cluster, store)
    if cluster is None:
        return InProcess()
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InputError(f"cluster is {cluster!r}, which needs Dask: run `pip install distributed`") from error

    from netsurgeon.pipeline.execution.executors.array_store import ArrayStore
    from netsurgeon.pipeline.execution.executors.on_dask import DaskExecutor

    array_store = None if store is None else ArrayStore(str(store))
    resources = contextlib.ExitStack()
    try:
        return DaskExecutor(_client(cluster, resources), resources, array_store)
    except BaseException as error:
        resources.close()
        if isinstance(error, NetsurgeonError) or not isinstance(error, Exception):
            raise
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"cluster is {cluster!r}, whose workers do not start ({why}): look into their logs") from error


def check_cluster(cluster: str | None, store: str | Path | None = None) -> None:
    """Check what can be checked without reaching it.

    Args:
        cluster: what the user has said.
        store: what large arrays are to travel through.

    Raises:
        InputError: it is none of `FORMS`, or too many processes; or there is a store without a cluster, or without a
            name.
    """
    if store == "":
        raise InputError("cluster-store is empty, expected a folder that all workers see, or an object store")
    if cluster is None and store is not None:
        raise InputError(f"cluster-store is {str(store)!r}, and there is no cluster: give one, or leave out the store")
    if cluster is None or _ADDRESS.fullmatch(cluster):
        return
    local = _LOCAL.fullmatch(cluster)
    if local is not None and int(local[1]) > MOST_WORKERS:
        raise InputError(f"cluster is {cluster!r}, expected at most {MOST_WORKERS} processes")
    if local is None and (cluster.startswith("local:") or not NAMED_FUNCTION.fullmatch(cluster)):
        raise InputError(f"cluster is {cluster!r}, expected {FORMS}")


def _client(cluster: str, resources: contextlib.ExitStack) -> distributed.Client:
    """A client with at least one worker; what is opened for it goes to `resources`."""
    local = _LOCAL.fullmatch(cluster)
    if local is not None:
        return _local_client(int(local[1]), resources)
    if _ADDRESS.fullmatch(cluster):
        client = _reach(cluster, resources)
        _wait_for_worker(client, cluster, PATIENCE)
        return client
    client = _client_of_function(cluster)
    if not client.scheduler_info()["workers"]:
        logger.warning("the cluster %s has no worker yet: waiting for its first one", cluster)
    _wait_for_worker(client, cluster, None)  # its jobs may wait in a queue for hours
    _had_workers.add(client)
    return client


def _local_client(workers: int, resources: contextlib.ExitStack) -> distributed.Client:
    import dask
    import distributed

    # The deaths that are allowed are read as the scheduler starts. Port 8787 may be that of somebody else's dashboard.
    with dask.config.set({"distributed.scheduler.allowed-failures": _ALLOWED_DEATHS}):
        started: Any = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    resources.callback(started.close)
    return resources.enter_context(distributed.Client(started, set_as_default=False))


def _reach(address: str, resources: contextlib.ExitStack) -> distributed.Client:
    import distributed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it would log we say in a sentence
    try:
        return resources.enter_context(distributed.Client(address, timeout=PATIENCE, set_as_default=False))
    except Exception as error:
        why = f"{error}".partition("\n")[0] or type(error).__name__
        raise InputError(
            f"no scheduler answers at {address} ({why}): start one with `dask scheduler`, and workers beside it"
        ) from error


def _client_of_function(name: str) -> distributed.Client:
    """What a function gives, or has given before where that is still of use: it stays open, as its cluster does."""
    import distributed

    if name in _CLIENTS and _is_of_use(_CLIENTS[name]):
        return _CLIENTS[name]
    function = import_function(name)
    try:
        client = function()
    except Exception as error:
        raise InputError(f"{name} gives no client: it raises {type(error).__name__}: {error}") from error
    if not isinstance(client, distributed.Client):
        raise InputError(f"{name} gives a {type(client).__name__}, expected a distributed.Client")
    _CLIENTS[name] = client
    return client


def _is_of_use(client: distributed.Client) -> bool:
    """Whether a client runs, and has workers or still waits for its first: theirs may be jobs whose time is over."""
    return client.status == "running" and (client not in _had_workers or bool(client.scheduler_info()["workers"]))


def _wait_for_worker(client: distributed.Client, cluster: str, seconds: float | None) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except Exception as error:
        if seconds is None:  # of a function, which starts its own
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise InputError(f"the cluster {cluster} has no worker ({why}): look into the logs of its jobs") from error
        raise InputError(
            f"the cluster {cluster} has no worker after {seconds:.0f} seconds: start one with `dask worker {cluster}`"
        ) from error
