"""ONNX Runtime behind one door: what is said where it is missing, and how sessions run."""

import contextlib
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.runtime.session import Runtime, first_line, onnxruntime


def model() -> onnx.ModelProto:
    """y[i] = table[x[i]], a table of three numbers."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_where_it_is_missing_both_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        InputError, match=r"is not installed: run `pip install onnxruntime`, or `pip install onnxruntime-gpu`"
    ):
        onnxruntime()


def test_two_that_overwrote_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(InputError, match=r"is broken .* uninstall both"):
        onnxruntime()


@pytest.mark.parametrize("optimise", [True, False])
def test_a_session_runs(optimise: bool) -> None:
    session = Runtime().session(model(), optimise=optimise)
    feed = {"x": np.array([2, 0]), "unknown": np.zeros(1)}
    np.testing.assert_array_equal(session.run(feed)["y"], np.array([3, 1], np.float32))
    assert session.run(feed, []) == {}


def test_only_sessions_that_compress_a_small_model_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    ort, made = onnxruntime(), onnxruntime().InferenceSession

    def session(source: Any, options: Any, **keywords: Any) -> Any:
        with contextlib.suppress(RuntimeError):  # a key that was not set
            asked.append(options.get_session_config_entry("session.use_env_allocators") == "1")
            return made(source, options, **keywords)
        asked.append(False)
        return made(source, options, **keywords)

    monkeypatch.setattr(ort, "InferenceSession", session)
    in_memory, feed = ir.from_proto(model()), {"x": np.array([2, 0])}
    outputs = [
        Runtime().session(in_memory).run(feed)["y"],
        Runtime(deployed=True).session(in_memory).run(feed)["y"],
        Runtime().session(in_memory, is_of_large=True).run(feed)["y"],
    ]
    assert asked == [True, False, False]
    for output in outputs:
        np.testing.assert_array_equal(output, np.array([3, 1], np.float32))


def test_a_session_leaves_no_telemetry_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from netsurgeon.pipeline.runtime.session import Runtime\n"
        f"Runtime().session(Path({str(path)!r}))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": "", "TMPDIR": str(scratch), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-B", "-c", code], env=environment, check=True, timeout=120)
    assert list(home.rglob("*")) == list(scratch.rglob("*")) == []


def test_a_feed_that_fails_is_one_line() -> None:
    with pytest.raises(CheckFailedError, match="the model cannot run on this input") as error:
        Runtime().session(model()).run({"x": np.array([7])})
    assert "\n" not in str(error.value)


def test_first_line() -> None:
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 10_000))) == 400


def quantized_model() -> onnx.ModelProto:
    """A convolution between quantizers, its weight integers."""
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "s", "zero"], ["d"]),
        node("DequantizeLinear", ["w", "s"], ["v"]),
        node("Conv", ["d", "v"], ["c"], "layer"),
        node("QuantizeLinear", ["c", "s", "zero"], ["r"]),
        node("DequantizeLinear", ["r", "s", "zero"], ["y"]),
    ]
    weight = np.random.default_rng(0).integers(-60, 60, (8, 8, 1, 1)).astype(np.int8)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8, 4, 4])],
        [
            helper.make_tensor("s", TensorProto.FLOAT, [], [0.05]),
            helper.make_tensor("zero", TensorProto.UINT8, [], [128]),
            onnx.numpy_helper.from_array(weight, "w"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_integer_kernels_are_seen_in_the_optimised_graph_and_can_be_left_out() -> None:
    operators = [
        {node.op_type for node in Runtime(integer_kernels=kept).optimised_graph(quantized_model()).node}
        for kept in (True, False)
    ]
    assert "QLinearConv" in operators[0]
    assert "QLinearConv" not in operators[1]
    x = np.random.default_rng(1).standard_normal((2, 8, 4, 4)).astype(np.float32)
    on_kernels, as_said = (
        Runtime(integer_kernels=kept).session(quantized_model()).run({"x": x})["y"] for kept in (True, False)
    )
    assert np.abs(on_kernels - as_said).max() < 0.0501, "at most the integer next to it"


def test_a_model_that_is_refused_has_no_optimised_graph() -> None:
    broken = model()
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(CheckFailedError, match="ONNX Runtime cannot load the model"):
        Runtime().optimised_graph(broken)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list a process's threads")
@pytest.mark.skipif((os.cpu_count() or 1) == 1, reason="a machine of one core has nothing to be confined to")
def test_a_process_that_is_confined_to_a_core_starts_no_threads_elsewhere(tmp_path: Path) -> None:
    """ONNX Runtime by itself starts one for each core of the machine, and binds it to that core."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    code = (
        f"import os, sys; sys.path[:] = {sys.path!r}; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\n"
        "from pathlib import Path\n"
        "from netsurgeon.pipeline.runtime.session import Runtime, onnxruntime\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "onnxruntime(); before = threads()\n"
        f"session = Runtime().session(Path({str(path)!r})); print(threads() - before)\n"
        f"several = Runtime(threads=3).session(Path({str(path)!r})); print(threads() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "2"], "as many as were asked for are started anyway"
