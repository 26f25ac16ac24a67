"""The wheel holds every module and data file: it works where the repository is not; the sdist holds the repository."""

import email
import email.message
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("pipeline", "passes", "models")
LEFT_OUT = {"build", "dist", "LICENSE"}
"""At the top, what is no part of the source distribution by its name: LICENSE is put there by setuptools."""
SOURCES = {
    ".py",
    ".ipynb",
    ".md",
    ".json",
    ".npz",
    ".onnx",
    ".html",
    ".css",
    ".js",
    ".svg",
    ".mjs",
    ".toml",
    ".txt",
    ".yml",
    ".typed",
    ".cpp",
    ".h",
    ".inl",
}
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # which setuptools changes
print(build_meta.build_sdist(folder), build_meta.build_wheel(folder))
"""
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


def files_of_the_repository() -> Iterator[Path]:
    """Files of the source, relative to its root; not what builds, editors and tests leave there."""
    for top in ROOT.iterdir():
        if top.is_dir() and not top.name.startswith(".") and top.name not in LEFT_OUT:
            paths = (path for path in top.rglob("*") if path.suffix in SOURCES and "egg-info" not in str(path))
            yield from (path.relative_to(ROOT) for path in paths)
        elif top.is_file() and top.suffix in SOURCES:
            yield top.relative_to(ROOT)
    yield from map(
        Path,
        ("Makefile", "MANIFEST.in", ".ci/run", ".pre-commit-config.yaml", ".gitignore", "LICENSE", "kernels/LICENSE"),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, the wheel, and what was said while they were built in `log`."""
    if not find_spec("setuptools"):
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"  # setuptools leaves a build folder, and takes up what an older one has left
    for name in files_of_the_repository():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-c", BUILD, str(folder)]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=source, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "log").write_text(done.stdout + done.stderr, "utf-8")
    return folder


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """A folder that the wheel alone was installed into; it comes before the environment's own netsurgeon."""
    site, (wheel,) = built / "site", built.glob("netsurgeon-*.whl")
    run_python("-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, folder=built)
    return site


def description_of(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_nothing_is_warned_of_while_it_is_built(built: Path) -> None:
    lines = (built / "log").read_text("utf-8").splitlines()
    assert len(lines) > 100
    warned = [line for line in lines if re.search(r"\bwarning\b|deprecat|absent from", line, re.IGNORECASE)]
    assert [line for line in warned if "byte-compiling is disabled" not in line] == []


def test_the_source_distribution_is_the_repository(built: Path) -> None:
    (sdist,) = built.glob("netsurgeon-*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {Path(*Path(member.name).parts[1:]) for member in archive.getmembers() if member.isfile()}
    files = set(files_of_the_repository())
    assert len(files) > 600
    assert files - packed == set()
    assert {path for path in packed - files if "egg-info" not in str(path)} == {Path("PKG-INFO"), Path("setup.cfg")}


def test_the_page_of_an_index_links_to_nothing_that_is_not_there(built: Path) -> None:
    (wheel,) = built.glob("netsurgeon-*.whl")
    text = str(description_of(wheel).get_payload())
    assert text.startswith("# netsurgeon\n")
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []
    assert "docs/start.md" in text
    links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)#]+)", (ROOT / "README.md").read_text("utf-8"))
    assert len(links) > 10
    assert [link for link in links if link not in text] == []


def test_the_metadata_names_every_python_and_system_that_it_was_tested_on(built: Path) -> None:
    (wheel,) = built.glob("netsurgeon-*.whl")
    metadata = description_of(wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    classifiers = metadata.get_all("Classifier") or []
    versions = [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)]
    assert [entry for entry in classifiers if ":: Python :: 3." in entry] == versions
    assert [entry for entry in classifiers if entry.startswith("Operating System")] == [
        "Operating System :: POSIX :: Linux"
    ]
    assert metadata["Requires-Python"] == project["requires-python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Keywords"]


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
