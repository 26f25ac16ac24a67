"""Compressions of the embedded network that tests of several modules look at, each made once; and a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, running

from netsurgeon.pipeline.compress import Compression, compress

DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compression]:
    """The folder with small.onnx and report.json, and what `compress` has returned: nine of ten weights gone."""
    folder = tmp_path_factory.mktemp("digits")
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        output=folder / "small.onnx",
        report=folder / "report.json",
        sparsity=0.9,
        damping=0.01,
    )
    return folder, result


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compression]:
    """A packed model of the same shape as the dense one, with one weight in five left, and its compression."""
    path = tmp_path_factory.mktemp("digits") / "small.onnx"
    solver: dict[str, Any] = {"method": "obs", "damping": 0.01, "uniform": True, "limit": 100}
    result = compress(
        DIGITS / "digits.onnx",
        DIGITS / "calibration.npz",
        test=DIGITS / "test.npz",
        output=path,
        sparsity=0.8,
        keep_unread=True,
        **solver,
    )
    return path, result


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; tests that look at pages are skipped where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium")
    with running(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
