"""ONNX Runtime leaves nothing behind: no command, training or benchmark lets it start with its telemetry on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from perceptron_models import inputs, perceptron

ROOT = Path(__file__).parent.parent
MODEL = str(ROOT / "models" / "digits" / "digits.onnx")
DOOR = "from netsurgeon.pipeline.runtime import onnxruntime\nonnxruntime().InferenceSession({model!r})"
TRAINED = """
import numpy as np, onnx
from netsurgeon.models.train_digits import run_onnx
assert run_onnx(onnx.load({model!r}), np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 10)
"""
PAST_THE_DOOR = "import onnxruntime\nonnxruntime.InferenceSession({model!r})"


def left_behind(folder: Path, *arguments: str) -> list[Path]:
    """What a child of a fresh Python leaves in its home and its folder of temporary files."""
    home, scratch = folder / "home", folder / "scratch"
    home.mkdir()
    scratch.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": "",
        "TMPDIR": str(scratch),
        "MPLCONFIGDIR": str(folder / "plots"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run(
        [sys.executable, "-B", *arguments], env=environment, check=True, timeout=240, stdout=subprocess.DEVNULL
    )
    return [*home.rglob("*"), *scratch.rglob("*")]


@pytest.mark.parametrize("code", [DOOR, TRAINED, f"import netsurgeon\n{PAST_THE_DOOR}"])
def test_a_session_leaves_nothing_behind(code: str, tmp_path: Path) -> None:
    assert left_behind(tmp_path, "-c", code.format(model=MODEL)) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "compress {model} --data {data} --sparsity 0.5 --quiet -o {folder}/small.onnx --report {folder}/report.json",
        "profile {model} --data {data} --runs 3",
    ],
)
def test_a_command_leaves_nothing_behind(arguments: str, tmp_path: Path) -> None:
    model, data = tmp_path / "model.onnx", tmp_path / "inputs.npy"
    onnx.save(perceptron(), model)
    np.save(data, inputs())
    words = arguments.format(model=model, data=data, folder=tmp_path).split()
    assert left_behind(tmp_path, str(ROOT / "cli.py"), *words) == []


def test_what_a_child_leaves_is_seen(tmp_path: Path) -> None:
    """Not shown with ONNX Runtime itself: whether its telemetry writes anything depends on the machine."""
    leave = (
        "import pathlib, tempfile\n"
        "(pathlib.Path.home() / 'cache').mkdir()\n"
        "(pathlib.Path(tempfile.gettempdir()) / 'session.ses').touch()"
    )
    assert [place.name for place in left_behind(tmp_path, "-c", leave)] == ["cache", "session.ses"]
