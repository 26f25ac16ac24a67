"""A small network, inputs for it, and one search without a goal that tests of several modules look at."""

from pathlib import Path

import onnx_ir as ir
import pytest
from searched_models import FAST, Data, labelled, small_network

import netsurgeon
from netsurgeon.pipeline.report.report import Report


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemm, Relu and Gemm from x (N, 24) by 48 neurons to 6 classes."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    ir.save(small_network(), path)
    return path


@pytest.fixture(scope="session")
def guiding(network: Path) -> Data:
    """Inputs that calibration and the search see."""
    return labelled(network, 400, seed=1)


@pytest.fixture(scope="session")
def final(network: Path) -> Data:
    """Inputs that only the final measurement sees."""
    return labelled(network, 300, seed=2)


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "report.html"


@pytest.fixture(scope="session")
def report(page: Path, network: Path, final: Data) -> Report:
    """Without a goal: a drop of 1 %."""
    return netsurgeon.compress(network, labelled(network, 450, seed=1), test=final, report=page, **FAST).report
