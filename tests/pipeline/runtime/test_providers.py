"""Execution providers: names, what is said where one is not active, and what the CPU takes over."""

import importlib.metadata
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from perceptron_models import built, random

import netsurgeon
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.profiling.kernel_times import left_to_the_cpu
from netsurgeon.pipeline.profiling.model_profile import profile
from netsurgeon.pipeline.runtime.providers import SHORT_NAMES, full_name, measure_rates
from netsurgeon.pipeline.runtime.session import Runtime, can_run, onnxruntime

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"
MODEL = DIGITS / "digits.onnx"


def one_node() -> ir.Model:
    """y = relu(x)."""
    return ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> graph (float[N,4] x) => (float[N,4] y) { y = Relu(x) }'
    )


def test_short_and_full_names() -> None:
    assert full_name("cpu") == full_name("CPU") == "CPUExecutionProvider"
    assert full_name("tensorrt") == "TensorrtExecutionProvider"
    assert full_name("QNNExecutionProvider") == "QNNExecutionProvider"
    for name in ("gpu", "", "Execution"):
        with pytest.raises(InputError, match=r"expected one of cpu, cuda, tensorrt"):
            Runtime(provider=name)


def refusal(provider: str) -> str:
    """What is said where a provider is not active; a skip where it is."""
    try:
        Runtime(provider=provider).session(one_node())
    except InputError as error:
        return str(error)
    pytest.skip(f"{provider} is active here")


@pytest.mark.parametrize("name", [name for name in SHORT_NAMES if name != "cpu"])
def test_one_that_is_not_active_is_named_with_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if Path(folder).name != "kernels"])
    monkeypatch.delitem(sys.modules, "netsurgeon_sparse", raising=False)  # tests of the kernels take it from there
    said = refusal(name)
    assert full_name(name) in said
    assert "it needs pip install" in said
    available = full_name(name) in onnxruntime().get_available_providers()
    assert ("was asked for and is not active: " in said) == available
    assert ("this ONNX Runtime has no" in said) != available


class Unusable(types.ModuleType):
    """The package of a provider, on a processor that it has no kernels for."""

    class UnsupportedError(RuntimeError):
        pass

    def register(self) -> None:
        raise self.UnsupportedError("it needs a processor with AVX2")


def test_a_provider_of_a_package_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netsurgeon_sparse", Unusable("netsurgeon_sparse"))
    said = "NetsurgeonSparse was asked for and is not active: it needs a processor with AVX2"
    assert refusal("netsurgeon-sparse") == said
    assert not can_run("netsurgeon-sparse")


def test_a_provider_of_a_package_can_run_once_it_is_registered_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = types.ModuleType("netsurgeon_sparse")
    package.UnsupportedError = RuntimeError
    package.register, package.provider_options = (list), (lambda: {"claim": "auto"})
    monkeypatch.setitem(sys.modules, "netsurgeon_sparse", package)
    for listed in (True, False):  # ONNX Runtime 1.23 and 1.24 register it, and give it to no list of providers
        names = ["CPUExecutionProvider", *(["NetsurgeonSparse"] if listed else [])]
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda names=names: names)
        assert can_run("netsurgeon-sparse") == listed
    monkeypatch.setitem(sys.modules, "netsurgeon_sparse", None)
    assert not can_run("netsurgeon-sparse")
    assert not can_run("cuda")


@pytest.mark.parametrize(("rates", "problem", "measured"), [({}, None, 1), ({"slots": 1.0}, None, 0), ({}, OSError, 1)])
def test_a_package_measures_the_processor_once(
    rates: dict[str, float], problem: type[Exception] | None, measured: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []

    def measure() -> None:
        calls.append(None)
        if problem:
            raise problem("the cache cannot be written")

    package: Any = types.ModuleType("netsurgeon_sparse")
    package.read_rates, package.measure_rates = (lambda: rates), measure
    monkeypatch.setitem(sys.modules, "netsurgeon_sparse", package)
    measure_rates("netsurgeon-sparse")
    measure_rates("cpu")
    assert len(calls) == measured


def test_the_cpu_stands_in_for_a_package_alone() -> None:
    sparse = Runtime(provider="netsurgeon-sparse", provider_options=(("claim", "all"),), threads=2)
    assert sparse.without_package() == Runtime(threads=2)
    assert Runtime(provider="cuda").without_package() == Runtime(provider="cuda")


def convolutions() -> onnx.ModelProto:
    """Three convolutions of 64 channels."""
    nodes, value = [], "x"
    for name in ("first", "second", "third"):
        nodes.append(onnx.helper.make_node("Conv", [value, name], [f"{name} sum"], name, pads=[1, 1, 1, 1]))
        value = "y" if name == "third" else f"{name} out"
        nodes.append(onnx.helper.make_node("Relu", [f"{name} sum"], [value]))
    weights = {name: 0.1 * random(64, 64, 3, 3, seed=at) for at, name in enumerate(("first", "second", "third"))}
    return built(nodes, weights, entry=("N", 64, 14, 14), end=("N", 64, 14, 14))


def test_sparse_layers_run_in_the_provider_of_the_package(tmp_path: Path) -> None:
    try:  # installed: tests of the kernels import it from the repository, where processes that profile do not find it
        importlib.metadata.version("netsurgeon-sparse")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("netsurgeon-sparse is not installed")
    small, x = tmp_path / "small.onnx", random(16, 64, 14, 14)
    options: Any = {"quantize": "int8", "target": "openvino", "method": "magnitude", "uniform": True}
    netsurgeon.compress(convolutions(), x, output=small, sparsity=0.9, pattern="k:64", **options)
    here, there = (Runtime(provider=name).session(small).run({"x": x})["y"] for name in ("cpu", "netsurgeon-sparse"))
    np.testing.assert_array_equal(here, there)
    profiled = profile(small, data={"x": x}, provider="netsurgeon-sparse", rounds=3, per_operator=True)
    assert profiled.provider == "NetsurgeonSparse"
    assert "NetsurgeonSparse" in {node.provider for node in profiled.model.nodes}
    left = left_to_the_cpu(ir.load(small), {"x": x}, Runtime(provider="netsurgeon-sparse"))
    assert len([node for node in left if node.startswith("Conv")]) == 1, "the last one, whose output is floats"


def test_the_missing_library_is_named() -> None:
    if "CUDAExecutionProvider" not in onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime is built without CUDA")
    said = refusal("cuda")
    if "no device" in said:
        pytest.skip("the libraries are there, the GPU is not")
    assert "lib" in said.partition("is not active: ")[2].partition(" cannot be loaded")[0]


def test_the_cpu_takes_over_nothing_where_it_was_asked_for() -> None:
    assert left_to_the_cpu(one_node(), {"x": np.ones((1, 4), np.float32)}, Runtime()) == ()


def test_what_another_provider_leaves_to_the_cpu_is_listed() -> None:
    if "AzureExecutionProvider" not in onnxruntime().get_available_providers():
        pytest.skip("only onnxruntime, not onnxruntime-gpu, has a provider that is always active and runs nothing")
    runtime = Runtime(provider="AzureExecutionProvider")
    (node,) = left_to_the_cpu(one_node(), {"x": np.ones((1, 4), np.float32)}, runtime)
    assert node.startswith("Relu")


@pytest.mark.cuda
def test_compress_on_a_gpu(tmp_path: Path) -> None:
    """The GPU's numbers steer the same way: as accurate as what the CPU makes, and it runs on both."""
    options = {"sparsity": 0.8, "uniform": True, "method": "obs", "damping": 0.01}
    data, test = DIGITS / "calibration.npz", DIGITS / "test.npz"
    small = tmp_path / "small.onnx"
    here = netsurgeon.compress(MODEL, data, test=test, **options).report  # type: ignore[arg-type]
    there = netsurgeon.compress(MODEL, data, test=test, output=small, provider="cuda", **options).report  # type: ignore[arg-type]
    assert there.options["provider"] == "cuda"
    assert not [node for node in there.on_the_cpu if node.startswith(("Conv", "Gemm", "MatMul"))]
    assert here.validation.compressed.top1 is not None
    assert there.validation.compressed.top1 == pytest.approx(here.validation.compressed.top1, abs=0.02)
    with np.load(test) as arrays:
        feed = {name: arrays[name][:8] for name in arrays if name != "labels"}
    on_cpu, on_gpu = (Runtime(provider=name).session(small).run(feed) for name in ("cpu", "cuda"))
    for name, value in on_cpu.items():
        np.testing.assert_allclose(on_gpu[name], value, rtol=1e-3, atol=1e-3 * float(np.abs(value).max()))


@pytest.mark.cuda
def test_profile_on_a_gpu() -> None:
    found = profile(MODEL, MODEL, provider="cuda", rounds=5, per_operator=True)
    assert found.provider == "CUDAExecutionProvider"
    ran = {node.provider for node in found.model.nodes if node.operator in ("Conv", "Gemm", "MatMul")}
    assert ran == {"CUDAExecutionProvider"}
