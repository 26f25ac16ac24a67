"""Fixtures that several test modules share."""

import own_core  # noqa: F401  first, since libraries count the cores when they are imported

# isort: split
import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import numpy as np
import onnx_ir as ir
import pytest
from loaded_server import forked_workers
from process_pairs import run_pair

from netsurgeon.passes.dependencies.analysis import Dependencies, Unit, analyse
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.equivalence import check_equivalence

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


class Trimming:
    """A model, masked and trimmed of the same units, and the proof that both are one function."""

    def __init__(self, model: ir.Model, feed: Mapping[str, Any], share: float, seed: int):
        runtime = Runtime()
        self.model = model.clone()
        self.model.ir_version = max(model.ir_version, 4)
        normal_form()(self.model)
        self.found: Dependencies = analyse(self.model, observe(self.model, feed, runtime))
        self.units = self._draw(share, np.random.default_rng(seed))
        self.masked = self.model.clone()
        MaskUnits(self.units)(self.masked)
        self.trimmed = self.masked.clone()
        TrimNeurons(self.found, self.units)(self.trimmed)
        self.proof = check_equivalence(self.masked, self.trimmed, [dict(feed)], runtime)
        self.sizes = [sum(v.size for v in weights(m).values()) for m in (self.model, self.trimmed)]

    def _draw(self, share: float, rng: np.random.Generator) -> list[Unit]:
        """Up to `share` of each group, but one unit of each stays."""
        drawn: list[Unit] = []
        for group in self.found.groups:
            count = min(round(share * len(group.units)), len(group.units) - 1)
            drawn += [self.found.units[at] for at in rng.permutation(group.units)[:count]]
        return drawn


def weights(model: ir.Model) -> dict[str, Any]:
    """Float constants by name."""
    held = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {n: c.numpy() for n, c in held.items() if c is not None and c.dtype == ir.DataType.FLOAT}


class Trim(Protocol):
    """Masks and trims a model."""

    def __call__(self, model: ir.Model, feed: Mapping[str, Any], share: float = 0.5, seed: int = 0) -> Trimming:
        """Draw units, mask and trim them."""


@pytest.fixture(scope="session")
def trim() -> Trim:
    def run(model: ir.Model, feed: Mapping[str, Any], share: float = 0.5, seed: int = 0) -> Trimming:
        return Trimming(model, feed, share, seed)

    return run


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits of the repository as MNIST has them: 300 to train on and 450 to test on, 28 by 28 pixels."""
    folder = tmp_path_factory.mktemp("mnist")
    digits = Path(__file__).parent.parent / "models" / "digits"
    for source, part in (("calibration", "train"), ("test", "test")):
        with np.load(digits / f"{source}.npz") as archive:
            pixels = np.kron(np.rint(archive["image"][:, 0] * 255).astype(np.uint8), np.ones((3, 3), np.uint8))
            np.savez(folder / f"{part}.npz", x=np.pad(pixels, ((0, 0), (2, 2), (2, 2))), y=archive["labels"])
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: sums are in the same order in every process, and small networks train faster."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def _cuda_is_active() -> bool:
    try:
        Runtime(provider="cuda").session(
            ir.from_onnx_text('<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) { y = Relu(x) }')
        )
    except InputError:
        return False
    return True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are made without a look for garbage, and later looks leave them out: each takes 0.3 s."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked cuda are skipped without a GPU."""
    if item.get_closest_marker("cuda") and not _cuda_is_active():
        pytest.skip("CUDAExecutionProvider is not active")


@pytest.fixture(scope="session")
def open_files() -> Callable[..., list[str]]:
    """Numbers of the files that a process holds open in a folder, also of those that have no name."""

    def found(folder: Path, process: int | str = "self") -> list[str]:
        opened = Path(f"/proc/{process}/fd")
        if not opened.exists():
            pytest.skip("the system does not say which files are open")
        numbers = []
        for each in opened.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process may just close it
                if str(each.readlink()).startswith(str(folder)):
                    numbers.append(each.name)
        return numbers

    return found


@pytest.fixture(scope="module")
def quick_workers() -> Iterator[None]:
    """Workers of Dask that start in a moment, for the tests of a module; they are skipped without Dask."""
    pytest.importorskip("distributed")
    with forked_workers():
        yield


@pytest.fixture(scope="session")
def two_processes() -> Callable[..., str]:
    """Runs a script with arguments in two processes, as torchrun starts them, and gives what they print."""
    return run_pair
