"""compress with --cluster: the same model as alone, also where workers die, and a sentence for what cannot be."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from netsurgeon.cli import run
from netsurgeon.pipeline.calibration import shards
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.run import calibrating

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
LINE = ["compress", str(DIGITS / "digits.onnx"), "--data", str(DIGITS / "calibration.npz"), "--limit", "200"]
OPTIONS = ["--batch-size", "20", "--sparsity", "80%", "--trim", "20%", "--quiet", "-o"]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 30_000)


@pytest.fixture
def alone(tmp_path: Path) -> bytes:
    assert run([*LINE, *OPTIONS, str(tmp_path / "alone.onnx")]) == 0
    return (tmp_path / "alone.onnx").read_bytes()


def test_a_model_has_the_same_bytes_on_any_number_of_workers(alone: bytes, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    for workers in (1, 3):
        out = tmp_path / f"{workers}.onnx"
        assert run([*LINE, *OPTIONS, str(out), "--cluster", f"local:{workers}"]) == 0
        assert out.read_bytes() == alone


def test_a_model_has_the_same_bytes_though_workers_die(alone: bytes, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    over, killed = threading.Event(), list[int]()

    def kill_now_and_then() -> None:
        rng = random.Random(0)
        while not over.wait(rng.uniform(0.5, 2.0)) and len(killed) < 10:
            for worker in workers_of_this_process()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        assert run([*LINE, *OPTIONS, str(tmp_path / "two.onnx"), "--cluster", "local:2"]) == 0
    finally:
        over.set()
        killer.join()
    assert killed
    assert (tmp_path / "two.onnx").read_bytes() == alone


def workers_of_this_process() -> list[int]:
    """Processes that Dask has started, those first that have run for a while."""
    children = [
        child
        for child in psutil.Process().children()
        if "spawn_main" in " ".join(child.cmdline()) and time.time() - child.create_time() > 3.0
    ]
    return [child.pid for child in sorted(children, key=lambda child: child.create_time())]


@pytest.mark.parametrize("cluster", ["local:none", "everywhere"])
def test_a_bad_cluster_is_a_sentence(cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LINE, *OPTIONS, str(tmp_path / "out.onnx"), "--cluster", cluster]) == 2
    assert f"error: cluster is '{cluster}', expected local:N" in capsys.readouterr().err


def test_a_model_that_is_too_large_to_travel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "is_large", lambda _: True)
    with pytest.raises(InputError, match=r"weights of more than 1.5 GB do not travel: leave out cluster"):
        compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", limit=40, sparsity=0.5, cluster="local:1")
