"""Execution providers: names, what is said where one is not active, and what the CPU takes over."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import netsurgeon
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.profiling.kernel_times import left_to_the_cpu
from netsurgeon.pipeline.profiling.model_profile import profile
from netsurgeon.pipeline.runtime.providers import SHORT_NAMES, full_name
from netsurgeon.pipeline.runtime.session import Runtime, onnxruntime

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
def test_one_that_is_not_active_is_named_with_what_to_install(name: str) -> None:
    said = refusal(name)
    assert full_name(name) in said
    assert "it needs pip install" in said
    available = full_name(name) in onnxruntime().get_available_providers()
    assert ("was asked for and is not active: " in said) == available
    assert ("this ONNX Runtime has no" in said) != available


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
