"""The files of examples/cluster do what docs/cluster.md says, with processes of this machine in place of a cluster."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from netsurgeon.cli import run
from netsurgeon.pipeline.execution import open_executor

distributed: Any = pytest.importorskip("distributed")

EXAMPLES = Path(__file__).parent.parent / "examples" / "cluster"
DIGITS = Path(__file__).parent.parent / "models" / "digits"
LINE = ["compress", str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz"), "--limit", "64"]
OPTIONS = ["--sparsity", "80%", "--uniform", "--method", "lobs", "--quiet", "-o"]
HERE = "127.0.0.1"


class Queue(distributed.LocalCluster):  # type: ignore[misc]
    """What starts workers at a site, with one process of this machine for all of them."""

    options: dict[str, Any]
    opened: ClassVar[list[Any]] = []

    def __init__(self, **options: Any):
        type(self).options = options
        super().__init__(n_workers=0, threads_per_worker=1, dashboard_address=f"{HERE}:0", silence_logs=50)
        self.opened.append(self)

    def scale(self, n: int = 0, *, jobs: int = 0) -> None:
        super().scale(min(n + jobs, 1))  # none where it is closed, which would else wait for the one that is left


class Pods(Queue):
    """Starts its workers at once."""

    def __init__(self, custom_cluster_spec: dict[str, Any]):
        super().__init__(spec=custom_cluster_spec)
        self.scale(4)


def make_cluster_spec(**options: Any) -> dict[str, Any]:
    """As far as the example looks at it."""
    container = {"args": options.pop("worker_command"), **options}
    return {"spec": {"worker": {"replicas": options["n_workers"], "spec": {"containers": [container]}}}}


@pytest.fixture
def site(quick_workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Copies an example into the current folder and names its function."""
    monkeypatch.chdir(tmp_path)
    for name in ("dask_jobqueue", "dask_kubernetes", "dask_kubernetes.operator"):
        module: Any = types.ModuleType(name)
        module.SLURMCluster, module.KubeCluster, module.make_cluster_spec = Queue, Pods, make_cluster_spec
        monkeypatch.setitem(sys.modules, name, module)

    def copy(name: str) -> str:
        shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        return f"{name}:client"

    yield copy
    for cluster in Queue.opened:  # as the end of a process does
        cluster.close()
    Queue.opened.clear()
    for name in (path.stem for path in EXAMPLES.glob("*.py")):
        sys.modules.pop(name, None)


def free_port() -> str:
    with socket.socket() as one:
        one.bind((HERE, 0))
        return str(one.getsockname()[1])


def test_workers_of_this_machine_give_the_same_bytes(site: Callable[[str], str], tmp_path: Path) -> None:
    assert run([*LINE, *OPTIONS, str(tmp_path / "alone.onnx")]) == 0
    assert run([*LINE, *OPTIONS, str(tmp_path / "two.onnx"), "--cluster", site("local_workers")]) == 0
    assert (tmp_path / "two.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()


def test_jobs_of_slurm_are_workers_of_one_task(site: Callable[[str], str]) -> None:
    with open_executor(site("slurm_workers")) as executor:
        assert list(executor.map(len, ["a", "bc"])) == [1, 2]
    assert Queue.options["processes"] == 1
    assert Queue.options["worker_extra_args"] == ["--nthreads", "1"]


def test_pods_see_the_volume_under_the_same_path(site: Callable[[str], str]) -> None:
    with open_executor(site("kubernetes_workers")) as executor:
        assert list(executor.map(len, ["a", "bc"])) == [1, 2]
    worker = Pods.options["spec"]["spec"]["worker"]["spec"]
    (container,) = worker["containers"]
    assert container["args"][-2:] == ["--nthreads", "1"]
    (mount,), (volume,) = container["volumeMounts"], worker["volumes"]
    assert mount["name"] == volume["name"]
    assert mount["mountPath"].startswith("/")


def test_workers_come_over_ssh(tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')  # -tt HOST COMMAND …
    (tmp_path / "ssh").chmod(0o755)
    port, path = free_port(), f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", str(EXAMPLES / "ssh_workers.sh"), "node1"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "ENVIRONMENT": sys.prefix, "HERE": HERE, "PORT": port},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port)
        with open_executor(f"tcp://{HERE}:{port}") as executor:
            assert list(executor.map(len, ["a", "bc"])) == [1, 2]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(port: str) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex((HERE, int(port))) == 0:
                return
        time.sleep(0.1)


@pytest.mark.skipif(find_spec("torch") is None, reason="training needs torch")
def test_training_and_compression_share_a_cluster(mnist: Path, tmp_path: Path) -> None:
    with np.load(mnist / "train.npz") as archive:
        image = archive["x"][:60, None].astype(np.float32) / np.float32(256.0)
    np.savez(tmp_path / "calibration.npz", image=image)
    (tmp_path / "settings.toml").write_text("[recipe]\nbatch_size = 16\n")
    steps = f"--steps 40 --device cpu --settings {tmp_path / 'settings.toml'}"
    done = subprocess.run(
        ["sh", str(EXAMPLES / "train_and_compress.sh")],
        cwd=tmp_path,
        env={
            **os.environ,
            "ENVIRONMENT": sys.prefix,
            "HERE": HERE,
            "PORT": free_port(),
            "NETWORK": "lenet300",
            "TRAINING": str(mnist),
            "CALIBRATION": str(tmp_path / "calibration.npz"),
            "OUT": str(tmp_path / "out"),
            "TRAIN_OPTIONS": steps,
            "COMPRESS_OPTIONS": "--sparsity 80% --uniform --method magnitude --quiet",
            "RETRAIN_OPTIONS": "--steps 4 --device cpu --batch-size 16 --learning-rate 0.00001 "
            "--scale 0.00390625 --channels grey",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("dense.onnx", "small.onnx", "retrained.onnx")}
    assert sizes["small.onnx"] < 0.5 * sizes["dense.onnx"]


def test_every_file_is_tested() -> None:
    text = Path(__file__).read_text("utf-8")
    names = [path.stem if path.suffix == ".py" else path.name for path in EXAMPLES.iterdir() if path.is_file()]
    assert len(names) >= 5
    assert not [name for name in names if f'"{name}"' not in text]
