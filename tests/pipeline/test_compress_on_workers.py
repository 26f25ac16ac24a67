"""compress with --cluster: the same model as alone, also where workers die, and a sentence for what cannot be."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from executor_tasks import Elsewhere

from netsurgeon.cli import run
from netsurgeon.pipeline.calibration import shards
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution import Executor, InProcess, Pending, open_executor
from netsurgeon.pipeline.execution.executors import array_store, lost_workers, no_workers, task_log
from netsurgeon.pipeline.run import calibrating

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
LINE = ["compress", str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz"), "--limit", "160"]
OPTIONS = ["--batch-size", "20", "--sparsity", "80%", "--uniform", "--method", "lobs", "--quiet", "-o"]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 30_000)


@pytest.mark.usefixtures("quick_workers")
def test_a_model_has_the_same_bytes_as_alone_though_workers_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*LINE, *OPTIONS, str(tmp_path / "alone.onnx")]) == 0
    begun, over, killed, clusters = threading.Event(), threading.Event(), list[int](), list[Any]()

    take = task_log.TaskLog.take

    def kill_the_first(log: task_log.TaskLog, event: Mapping[str, Any]) -> None:
        take(log, event)
        if not begun.is_set() and event["name"].startswith("run_segment"):
            begun.set()
            (worker,) = (nanny for nanny in clusters[0].workers.values() if nanny.worker_address == event["worker"])
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    def open_and_tell(*where: str | None) -> Executor:
        executor: Any = open_executor(*where)
        clusters.append(executor._client.cluster)
        return cast(Executor, executor)

    def kill_now_and_then() -> None:
        rng = random.Random(0)
        begun.wait()
        while not over.wait(rng.uniform(0.2, 1.0)) and len(killed) < 10:
            for worker in workers_that_ran_for_a_while(clusters[0])[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    monkeypatch.setattr(task_log.TaskLog, "take", kill_the_first)
    monkeypatch.setattr(calibrating, "open_executor", open_and_tell)
    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        told = ["--cluster", "local:2", "--report", str(tmp_path / "two.json")]
        assert run([*LINE, *OPTIONS, str(tmp_path / "two.onnx"), *told]) == 0
    finally:
        begun.set()
        over.set()
        killer.join()
    assert killed
    assert (tmp_path / "two.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()
    cluster = json.loads((tmp_path / "two.json").read_text())["cluster"]
    assert {"run_segment", "shard_moments"} < {kind["kind"] for kind in cluster["tasks"]}
    assert 0 < len(cluster["lost"]) <= len(killed)


def test_solves_costs_and_trials_elsewhere_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = [*LINE[:-1], "80", "--batch-size", "20", "--sparsity", "70%", "--trim", "20%", "--quiet", "-o"]
    assert run([*line, str(tmp_path / "here.onnx")]) == 0
    executor = Elsewhere()
    monkeypatch.setattr(calibrating, "open_executor", lambda *_: executor)
    assert run([*line, str(tmp_path / "elsewhere.onnx")]) == 0
    assert {"measure_cost", "generator_behind", "solve_layer"} <= executor.kinds
    assert (tmp_path / "elsewhere.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()


@pytest.mark.usefixtures("quick_workers")
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_does_not_change_the_bytes(workers: int, tmp_path: Path) -> None:
    line = [*LINE, "--batch-size", "40", "--sparsity", "70%", "--effort", "fast", "--quiet", "-o"]
    assert run([*line, str(tmp_path / "alone.onnx")]) == 0
    assert run([*line, str(tmp_path / "many.onnx"), "--cluster", f"local:{workers}"]) == 0
    assert (tmp_path / "many.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()


@pytest.mark.usefixtures("quick_workers")
def test_a_scheduler_that_ends_is_a_sentence_and_the_run_goes_on_from_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed")
    line = [*LINE, *OPTIONS, str(tmp_path / "out.onnx"), "--work", str(tmp_path / "work")]
    cluster = distributed.LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", silence_logs=50)
    kept = tmp_path / "work" / "whole-layers"
    closer = threading.Thread(target=call_once, args=(cluster.close, kept))
    closer.start()
    try:
        assert run([*line, "--cluster", cluster.scheduler_address]) == 1
    finally:
        closer.join()
    assert "is gone" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()
    assert list(kept.iterdir())
    assert run(line) == 0
    assert run([*LINE, *OPTIONS, str(tmp_path / "alone.onnx")]) == 0
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()


@pytest.mark.usefixtures("quick_workers")
def test_a_cluster_that_loses_all_workers_is_a_sentence_and_the_run_goes_on_from_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    monkeypatch.setattr(lost_workers, "POLLING_SECONDS", 0.1)
    line = [*LINE, *OPTIONS, str(tmp_path / "out.onnx"), "--work", str(tmp_path / "work")]
    kept = tmp_path / "work" / "whole-layers"
    patience = {no_workers.SETTING: "1 s"}  # the scheduler's, too: either fails what waits first
    with (
        dask.config.set(patience),
        distributed.LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
    ):
        closer = threading.Thread(target=call_once, args=(lambda: cluster.scale(0), kept))
        closer.start()
        try:
            assert run([*line, "--cluster", cluster.scheduler_address]) == 2
        finally:
            closer.join()
        assert capsys.readouterr().err.startswith(
            f"error: the cluster at {cluster.scheduler_address} has had no workers for 1 second: start some and give"
        )
        assert not (tmp_path / "out.onnx").exists()
        before = {file.name for file in kept.iterdir()}
        assert before
        cluster.scale(1)
        assert run([*line, "--cluster", cluster.scheduler_address]) == 0
        assert before < {file.name for file in kept.iterdir()}
    assert run([*LINE, *OPTIONS, str(tmp_path / "alone.onnx")]) == 0
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()


def call_once(function: Callable[[], object], folder: Path) -> None:
    """Call a function as soon as a layer is kept in a folder."""
    deadline = time.monotonic() + 240.0
    while time.monotonic() < deadline and not (folder.is_dir() and any(folder.iterdir())):
        time.sleep(0.02)
    function()


def workers_that_ran_for_a_while(cluster: Any) -> list[int]:
    """Processes of a cluster on this machine, the oldest first."""
    began = dict[int, float]()
    for pid in [nanny.pid for nanny in cluster.workers.values()]:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has died and is not replaced yet
            if pid is not None:
                began[pid] = psutil.Process(pid).create_time()
    return sorted((pid for pid, start in began.items() if time.time() - start > 2.0), key=began.__getitem__)


class Apart(InProcess):
    """Has nothing of this process, until it is closed."""

    is_here = False
    is_open = True

    def submit(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Pending[Any]:
        assert self.is_open
        return super().submit(function, *arguments, **more)

    def close(self) -> None:
        self.is_open = False


def test_workers_are_there_until_the_last_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Apart()
    monkeypatch.setattr(calibrating, "open_executor", lambda *_: executor)
    few = [*LINE[:-1], "60", *OPTIONS, str(tmp_path / "few.onnx")]  # without a test set, pruned in halves to be judged
    assert run([*few, "--cluster", "local:1"]) == 0
    assert not executor.is_open


def test_a_folder_that_is_refused_is_refused_before_workers_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(*_: str | None) -> Executor:
        raise AssertionError("workers are waited for")

    monkeypatch.setattr(calibrating, "open_executor", wait)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("mine")
    line = [*LINE, *OPTIONS, str(tmp_path / "out.onnx"), "--work", str(tmp_path / "work"), "--cluster", "local:1"]
    assert run(line) == 2
    assert "the work folder" in capsys.readouterr().err


@pytest.mark.parametrize("cluster", ["local:none", "everywhere"])
def test_a_bad_cluster_is_a_sentence(cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LINE, *OPTIONS, str(tmp_path / "out.onnx"), "--cluster", cluster]) == 2
    assert f"error: cluster is '{cluster}', expected local:N" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_workers")
def test_a_large_model_travels_through_files_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "is_large", lambda _: True)
    with pytest.raises(InputError, match=r"weights of more than 1.5 GB travel through files: give work, a folder"):
        compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", limit=40, sparsity=0.5, cluster="local:1")
    monkeypatch.setattr(array_store, "STORED_BYTES", 10_000)
    line = [*LINE[:-1], "80", *OPTIONS]
    assert run([*line, str(tmp_path / "alone.onnx")]) == 0
    work = ["--work", str(tmp_path / "work"), "--cluster", "local:2"]
    assert run([*line, str(tmp_path / "two.onnx"), *work]) == 0
    assert (tmp_path / "two.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()
    assert len(list((tmp_path / "work" / "sent").iterdir())) > 3


@pytest.mark.usefixtures("quick_workers")
def test_a_store_that_workers_do_not_see_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [*LINE, *OPTIONS, str(tmp_path / "out.onnx"), "--cluster", "local:1"]
    assert run([*line, "--cluster-store", "memory://of-this-process"]) == 2
    assert "cannot read what was sent to it from memory://of-this-process" in capsys.readouterr().err
