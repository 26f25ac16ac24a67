"""What `--cluster` takes, and the sentence for what it does not."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from executor_tasks import process_of

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution.executors import InProcess, check_cluster, open_executor, opening


@pytest.mark.parametrize(
    "cluster", [None, "local:1", "local:64", "tcp://host:8786", "tls://[::1]:8786", "my.site:client"]
)
def test_what_is_a_cluster_by_its_form(cluster: str | None) -> None:
    check_cluster(cluster)


@pytest.mark.parametrize("cluster", ["", "local", "local:0", "local:two", "host:8786", "http://host", "a b:c"])
def test_another_form_is_refused(cluster: str) -> None:
    with pytest.raises(InputError, match=r"expected local:N, tcp://HOST:PORT, tls://HOST:PORT, or module:function"):
        open_executor(cluster)


def test_too_many_processes_are_refused() -> None:
    with pytest.raises(InputError, match="expected at most 1024 processes"):
        open_executor("local:1025")


@pytest.mark.parametrize(
    ("cluster", "store", "sentence"),
    [
        (None, "/shared/sent", "cluster-store is '/shared/sent', and there is no cluster: give one, or leave out the"),
        (None, Path("sent"), "cluster-store is 'sent', and there is no cluster"),
        ("local:1", "", "cluster-store is empty, expected a folder that all workers see, or an object store"),
    ],
)
def test_a_store_that_nothing_would_travel_through_is_refused(
    cluster: str | None, store: str | Path, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        open_executor(cluster, store)


def test_without_a_cluster_tasks_run_here() -> None:
    assert isinstance(open_executor(None), InProcess)


def test_without_distributed_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="which needs Dask: run `pip install distributed`"):
        open_executor("local:1")


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(opening, "PATIENCE", 0.5)
    with pytest.raises(InputError, match=r"no scheduler answers at tcp://127.0.0.1:9"):
        open_executor("tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [("return 1", "gives a int, expected a distributed.Client"), ("raise OSError('full')", "it raises OSError: full")],
)
def test_a_function_that_gives_no_client_is_told(
    body: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "my_site_of_workers.py").write_text(f"def client():\n    {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_site_of_workers", raising=False)
    with pytest.raises(InputError, match=sentence):
        open_executor("my_site_of_workers:client")


def test_a_function_is_asked_for_one_client_as_long_as_that_has_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "site_of_one_client.py").write_text(
        "import distributed\n\nclass Client(distributed.Client):\n    status, workers = 'running', {}\n"
        "    __init__ = __del__ = lambda _: None\n    wait_for_workers = lambda *_, **__: None\n"
        "    scheduler_info = lambda self: {'workers': self.workers}\n\n"
        "def client():\n    return Client()\n\nother = client\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(opening, "_CLIENTS", {})

    def opened(function: str = "client") -> Any:
        return opening._client(f"site_of_one_client:{function}", contextlib.ExitStack())

    queued = opening._client_of_function("site_of_one_client:client")
    client = opened()
    assert client is queued, "where the first worker is still waited for, nothing is queued again"
    client.workers = {"tcp://10.0.0.1:1": {}}
    assert opened() is client
    assert opened("other") is not client
    client.workers = {}  # the jobs have come to the end of their time
    another = opened()
    assert another is not client
    another.workers, another.status = {"tcp://10.0.0.1:2": {}}, "closed"
    assert opened() is not another


def test_workers_that_do_not_start_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed: Any = pytest.importorskip("distributed")

    def refuse(**_: Any) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with pytest.raises(InputError, match=r"whose workers do not start \(RuntimeError: Nanny failed to start\.\)"):
        open_executor("local:1")


def test_workers_start_from_nothing_as_those_of_a_user_do() -> None:
    """Elsewhere they are forked from a process that has loaded everything, which takes a moment."""
    dask: Any = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    assert dask.config.get("distributed.worker.multiprocessing-method") == "spawn"
    with open_executor("local:1") as executor:
        assert list(executor.map(len, ["a", "bc"])) == [1, 2]
        assert executor.submit(process_of, 0).result() != os.getpid()


def test_a_scheduler_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed: Any = pytest.importorskip("distributed")
    monkeypatch.setattr(opening, "PATIENCE", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        pytest.raises(InputError, match="has no worker after 1 seconds: start one with `dask worker tcp://"),
    ):
        open_executor(cluster.scheduler_address)


def test_a_function_whose_workers_never_come_is_told() -> None:
    pytest.importorskip("distributed")

    class Client:
        def wait_for_workers(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("the cluster was closed")

    client: Any = Client()
    with pytest.raises(InputError, match=r"site:client has no worker \(RuntimeError: the cluster was closed\): look"):
        opening._wait_for_worker(client, "site:client", None)


@pytest.mark.usefixtures("quick_workers")
def test_certificates_of_dask_s_configuration_are_used() -> None:
    pytest.importorskip("cryptography")
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    security = distributed.Security.temporary()
    own = {
        "distributed.comm.tls.ca-file": security.tls_ca_file,
        "distributed.comm.tls.client.cert": security.tls_client_cert,
        "distributed.comm.tls.client.key": security.tls_client_key,
    }
    with distributed.LocalCluster(
        n_workers=1, protocol="tls", security=security, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        with dask.config.set(own), open_executor(cluster.scheduler_address) as executor:
            assert executor.submit(len, "abc").result() == 3
