"""Training from end to end: seeded, resumable, on several processes, exported and compressed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from netsurgeon.models.runs import load_run
from netsurgeon.models.surgery.allocation import ALLOCATIONS
from netsurgeon.models.surgery.masks import Count
from netsurgeon.models.training import loop
from netsurgeon.models.training.checkpoints import load_checkpoint
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.training.exporting import export
from netsurgeon.pipeline.training.training_run import Training

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parent.parent.parent.parent


def weights(folder: Path) -> dict[str, torch.Tensor]:
    groups, _ = load_checkpoint(folder / loop.CHECKPOINT)
    return {f"{group}/{name}": value for group, members in groups.items() for name, value in members.items()}


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    equal = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    names = (loop.LOG, loop.HISTORY)
    return equal and all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_network_learns_under_surgery(fit: Callable[..., Training], tmp_path: Path) -> None:
    result = fit(tmp_path / "run", steps=150)
    assert result.test_error is not None
    assert result.test_error < 0.15
    assert result.nonzero == sum(layer.kept for layer in result.layers) < 0.3 * result.parameters
    assert (tmp_path / "run" / "surgery.png").read_bytes().startswith(b"\x89PNG")
    rows = loop.read_rows(tmp_path / "run" / loop.HISTORY, Count)
    assert sum(row.pruned for row in rows) - sum(row.spliced for row in rows) == result.parameters - result.nonzero
    assert sum(row.spliced for row in rows) > 0


def test_a_ratio_is_spread_as_the_validation_split_says(fit: Callable[..., Training], tmp_path: Path) -> None:
    result = fit(tmp_path / "run", surgery_ratio=20.0)
    errors = load_run(tmp_path / "run").found["rehearsed errors"]
    assert set(errors) == set(ALLOCATIONS)
    assert errors[result.found["allocation"]] == min(errors.values())
    assert result.parameters / 22 < result.nonzero <= result.parameters / 20
    assert {layer.c for layer in result.layers}.isdisjoint({1.0})  # that of the settings


def test_surgery_goes_on_from_what_compress_has_pruned(
    fit: Callable[..., Training], mnist: Path, tmp_path: Path
) -> None:
    fit(tmp_path / "dense", surgery=False, steps=120)
    export(tmp_path / "dense", tmp_path / "dense.onnx")
    with np.load(mnist / "train.npz") as archive:
        images = {"image": archive["x"][:, None] / np.float32(256)}
    pruned = tmp_path / "pruned.onnx"
    compress(tmp_path / "dense.onnx", images, output=pruned, sparsity=0.8, keep_unread=True, damping=0.01)
    result = fit(tmp_path / "run", init=pruned, surgery_ratio=20.0)
    first = loop.read_rows(tmp_path / "run" / loop.HISTORY, Count)
    assert first[0].kept <= 0.25 * first[0].size  # the masks of the file, not those of a dense network
    assert result.parameters == 266_610
    assert result.nonzero <= result.parameters / 20
    assert result.test_error is not None
    assert result.test_error < 0.2


def test_a_network_learns_in_bfloat16(fit: Callable[..., Training], tmp_path: Path) -> None:
    result = fit(tmp_path / "run", steps=100, surgery=False, bfloat16=True)
    assert result.test_error is not None
    assert result.test_error < 0.3
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "run").values())


def test_a_run_is_a_function_of_its_seed(fit: Callable[..., Training], tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        fit(tmp_path / name, seed=seed)
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "other")


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [37, 45])  # while surgery goes on, and after it
def test_a_run_that_is_stopped_and_started_again_ends_the_same(
    fit: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    def die(stage: str, done: int, count: int) -> None:
        if stage == "training" and done == at:
            raise KilledError

    whole = fit(tmp_path / "whole", surgery_ratio=20.0)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", surgery_ratio=20.0, progress=die)
    assert load_checkpoint(tmp_path / "killed" / loop.CHECKPOINT)[1]["step"] == at // 10 * 10
    again = fit(tmp_path / "killed", surgery_ratio=20.0)
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert again.test_error == whole.test_error


def test_a_process_that_is_killed_goes_on_where_it_was(
    mnist: Path, fit: Callable[..., Training], settings: Path, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    save_often = (
        "from netsurgeon.models.training import loop; loop.SAVE_EVERY = 0; from netsurgeon import cli; cli.main()"
    )
    arguments = ["train", "lenet300", "--data", mnist, "--out", killed, "--surgery"]
    arguments += ["--settings", settings, "--steps", "250"]
    command = [sys.executable, "-c", save_often, *map(str, arguments)]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 100
        while not (killed / loop.CHECKPOINT).is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert 0 < load_checkpoint(killed / loop.CHECKPOINT)[1]["step"] < 250
    fit(killed, steps=250)
    fit(whole, steps=250)
    assert same(killed, whole)


def test_another_run_in_the_folder_is_not_gone_on_with(fit: Callable[..., Training], tmp_path: Path) -> None:
    fit(tmp_path / "run")
    with pytest.raises(InputError, match="other settings \\(seed: 0, now 1\\)"):
        fit(tmp_path / "run", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds no run"):
        fit(tmp_path / "mine")


def test_two_processes_train_like_one(
    mnist: Path, fit: Callable[..., Training], settings: Path, two_processes: Callable[..., str], tmp_path: Path
) -> None:
    settings.write_text(settings.read_text().replace("shift = 1", "shift = 0"))  # each process draws its own shifts
    fit(tmp_path / "one")
    arguments = ["train", "lenet300", "--data", mnist, "--out", tmp_path / "two", "--surgery", "--device", "cpu"]
    arguments += ["--settings", settings, "--steps", "50"]
    assert two_processes(ROOT / "cli.py", *arguments).count("lenet300 after 50 steps") == 1  # only one process speaks
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    masks = [name for name in one if name.endswith(".mask")]
    assert masks
    differing = sum(int((one[name] != two[name]).sum()) for name in masks)
    assert differing <= 0.001 * sum(one[name].numel() for name in masks)  # sums in another order, near a threshold
    originals = [name for name in one if name.endswith(".original")]
    gap = max(float((one[name] - two[name]).abs().max()) for name in originals)
    assert gap < 1e-2 * max(float(one[name].abs().max()) for name in originals)


def test_training_starts_from_an_onnx_file_or_a_run(fit: Callable[..., Training], tmp_path: Path) -> None:
    dense = fit(tmp_path / "dense", surgery=False, steps=120)
    export(tmp_path / "dense", tmp_path / "dense.onnx")
    for name, init in (("file", tmp_path / "dense.onnx"), ("run", tmp_path / "dense")):
        result = fit(tmp_path / name, init=init, surgery=False, steps=1)
        assert abs(result.validation_error - dense.validation_error) < 0.1
    masked = fit(tmp_path / "masked", init=tmp_path / "dense")
    again = fit(tmp_path / "again", init=tmp_path / "masked", steps=1, surgery=False)
    assert masked.nonzero < again.nonzero
    with pytest.raises(InputError, match="do not fill a network"):
        fit(tmp_path / "five", network="lenet5", init=tmp_path / "dense.onnx")


def test_weights_of_another_function_are_refused(fit: Callable[..., Training], tmp_path: Path) -> None:
    fit(tmp_path / "dense", surgery=False, steps=1)
    export(tmp_path / "dense", tmp_path / "dense.onnx")
    model = onnx.load(tmp_path / "dense.onnx")
    for node in model.graph.node:
        node.op_type = "Sigmoid" if node.op_type == "Relu" else node.op_type
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CheckFailedError, match="fit the network, but its outputs differ"):
        fit(tmp_path / "run", init=tmp_path / "other.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "lenet6"}, "'lenet6' is not a network, expected one of lenet300"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 1000}, "fewer than one batch of 1000"),
        ({"steps": 30}, "surgery would end after 40 steps, but there are 30"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"surgery_ratio": 1.0}, "ratio is 1.0"),
        ({"init": Path("none.onnx")}, "none.onnx does not exist"),
        ({"learning_rate": 1e9}, "the loss is"),
    ],
)
def test_bad_input_is_one_sentence(
    fit: Callable[..., Training], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(tmp_path / "run", **changes)
