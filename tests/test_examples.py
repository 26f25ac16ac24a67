"""The examples run as they are, each in a process of its own, and end as they say."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from loaded_server import run_script

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
NEEDS = {
    "loader_and_metric.py": ("torch",),
    "scikit_learn_model.py": ("skl2onnx", "sklearn"),
    "how_far_it_goes.ipynb": ("ipykernel", "nbclient"),
    "surgery_to_onnx.ipynb": ("ipykernel", "nbclient", "sklearn", "torch"),
}
"""What an example needs beyond netsurgeon; it is skipped without."""
MOST_BYTES = 250_000
"""Of a notebook with its outputs."""
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, record_timing=False).execute()
nbformat.write(notebook, sys.argv[2])
"""


def run_notebook(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook's cells into a copy in a folder, with nothing of Jupyter written outside of it."""
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "jupyter")}
    return subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path), str(folder / path.name)],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def example(name: str) -> Path:
    """The file of an example whose packages are there."""
    missing = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    return EXAMPLES / name


def run_example(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints that must end well."""
    done = run_script(folder, example(name), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def execute(name: str, folder: Path) -> Any:
    """A notebook whose cells have all been run anew."""
    done = run_notebook(example(name), folder)
    assert done.returncode == 0, done.stderr
    return read(folder / name)


def read(path: Path) -> Any:
    """A notebook, which is JSON; its texts are lists of lines."""
    return json.loads(path.read_text("utf-8"))


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs_of(notebook: Any, kind: str) -> list[str]:
    """Outputs of all cells of one MIME type."""
    outputs = [output.get("data", {}) for cell in code_cells(notebook) for output in cell["outputs"]]
    return ["".join(output[kind]) for output in outputs if kind in output]


def printed_by(notebook: Any) -> list[str]:
    """What each cell prints that prints anything."""
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    return ["".join(output["text"]) for output in outputs if output.get("name") == "stdout"]


def test_a_goal_is_met_or_its_doubts_are_told(tmp_path: Path) -> None:
    printed = run_example("compress_to_a_goal.py", tmp_path)
    assert "--max-drop 1%" in printed
    assert "--effort fast" in printed
    for name in ("goal-small.onnx", "goal-report.html", "goal-frontier.png"):
        assert (tmp_path / name).stat().st_size > 1000


def test_a_metric_is_printed_beside_accuracy(tmp_path: Path) -> None:
    rows = [line.split() for line in run_example("loader_and_metric.py", tmp_path).splitlines()[1:]]
    assert [row[0] for row in rows] == ["90%", "95%", "dense"]
    for _, _, top1, worst in rows:
        assert 50.0 < float(worst.rstrip("%")) <= float(top1.rstrip("%"))


def test_a_gate_lets_a_good_model_through_where_a_user_starts_it(tmp_path: Path) -> None:
    command = [sys.executable, str(example("ci_gate.py"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "written: small.onnx, report.json" in done.stdout
    assert (tmp_path / "small.onnx").exists()
    assert (tmp_path / "report.json").exists()


def test_a_gate_stops_what_is_not_good_enough(tmp_path: Path) -> None:
    done = run_script(tmp_path, example("ci_gate.py"), "--sparsity", "98%")
    assert done.returncode == 1, done.stderr
    assert done.stderr == "not good enough: no model is written\n"
    assert not (tmp_path / "small.onnx").exists()
    assert (tmp_path / "report.json").exists()


def test_a_gate_cannot_judge_what_is_not_there(tmp_path: Path) -> None:
    done = run_script(tmp_path, example("ci_gate.py"), "--model", "nothing.onnx")
    assert done.returncode == 2
    assert "nothing.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_models_are_timed_and_compared(tmp_path: Path) -> None:
    printed = run_example("profile_and_compare.py", tmp_path)
    assert "int8-small.onnx beside digits.onnx" in printed
    assert "batch 1: " in printed
    assert "batch 32: " in printed
    assert "slowest node of int8-small.onnx" in printed


def test_a_scikit_learn_pipeline_becomes_small(tmp_path: Path) -> None:
    printed = run_example("scikit_learn_model.py", tmp_path)
    assert "sklearn.onnx is" in printed
    before, after = ((tmp_path / name).stat().st_size for name in ("sklearn.onnx", "sklearn-small.onnx"))
    assert before > 8 * after


def test_a_notebook_shows_how_far_it_goes(tmp_path: Path) -> None:
    notebook = execute("how_far_it_goes.ipynb", tmp_path)
    assert len(outputs_of(notebook, "image/png")) == 4
    assert sum("<table" in page for page in outputs_of(notebook, "text/html")) == 3
    assert "pictures are lost" in "".join(printed_by(notebook))
    assert [text for text in outputs_of(notebook, "text/html") if re.fullmatch(r"done in \d:\d\d:\d\d", text)]


def test_a_notebook_takes_surgery_to_onnx(tmp_path: Path) -> None:
    notebook = execute("surgery_to_onnx.ipynb", tmp_path)
    assert len(outputs_of(notebook, "image/png")) == 2
    top1 = {row[:17].strip(): float(row.split()[-1].rstrip("%")) for row in printed_by(notebook)[-1].splitlines()}
    assert top1["surgery"] > top1["without training"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_with_its_outputs(path: Path) -> None:
    cells = code_cells(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert path.stat().st_size < MOST_BYTES


def test_every_example_is_tested() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    text = Path(__file__).read_text("utf-8")
    assert names
    assert not {name for name in names if f'("{name}"' not in text}
