"""The wheel holds every module and data file: it works where the repository is not."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("pipeline", "passes", "models")
BUILT_FROM = ("__init__.py", "cli.py", "py.typed", "setup.py", "pyproject.toml", "README.md", "LICENSE", *FOLDERS)
IMPORT_ALL = """
import importlib, sys
import netsurgeon
print(netsurgeon.__file__)
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


def run_python(*arguments: object, folder: Path, path: Path | None = None) -> str:
    """Runs Python in a folder with nothing but `path` before the installed packages, and gives what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules() -> list[str]:
    """Every module of the repository; those of models only where PyTorch is."""
    folders = FOLDERS if find_spec("torch") else tuple(folder for folder in FOLDERS if folder != "models")
    files = [ROOT / "cli.py", *(file for folder in folders for file in (ROOT / folder).rglob("*.py"))]
    names = [".".join(("netsurgeon", *file.relative_to(ROOT).with_suffix("").parts)) for file in files]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel alone was installed into; it comes before the environment's own netsurgeon."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools leaves a build folder, and takes up what an older one has left
    source.mkdir()
    for name in BUILT_FROM:
        copy_of(ROOT / name, source / name)
    isolation = ["--no-build-isolation"] if find_spec("setuptools") else []
    run_python("-m", "pip", "wheel", "--quiet", "--no-deps", *isolation, "-w", folder, source, folder=folder)
    (wheel,) = folder.glob("netsurgeon-*.whl")
    site = folder / "site"
    run_python("-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, folder=folder)
    return site


def copy_of(source: Path, goal: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, goal)


def test_every_module_of_the_repository_is_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    names = modules()
    assert len(names) > 100
    files = run_python("-c", IMPORT_ALL, *names, folder=tmp_path, path=installed).split()
    assert len(files) == len(names) + 1
    assert [file for file in files if installed not in Path(file).parents] == []


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        *(str(file.relative_to(ROOT)) for file in sorted((ROOT / "models" / "digits").iterdir())),
        *(
            str(file.relative_to(ROOT))
            for folder in ("report", "side_by_side")
            for file in sorted((ROOT / "pipeline" / folder).glob("*/*"))
            if file.suffix != ".pyc"
        ),
    ],
)
def test_data_files_are_in_the_wheel(installed: Path, name: str) -> None:
    assert (installed / "netsurgeon" / name).read_bytes() == (ROOT / name).read_bytes()


def test_tests_and_benchmarks_are_not_in_the_wheel(installed: Path) -> None:
    assert {file.name for file in installed.iterdir() if file.suffix != ".dist-info"} <= {"netsurgeon", "bin"}
    assert not (installed / "netsurgeon" / "tests").exists()


def test_the_command_compresses_the_digits_in_another_folder(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "netsurgeon"
    version = run_python(command, "--version", folder=tmp_path, path=installed)
    assert "0.1.0" in version
    digits = installed / "netsurgeon" / "models" / "digits"
    goals = ("-o", "small.onnx", "--report", "report.html")
    choices = ("--sparsity", "0.5", "--method", "magnitude")
    data = ("--data", digits / "calibration.npz")
    run_python(command, "compress", digits / "digits.onnx", *data, *choices, *goals, folder=tmp_path, path=installed)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert "digits.onnx" in page
    assert (tmp_path / "small.onnx").stat().st_size < (digits / "digits.onnx").stat().st_size
