"""ONNX Runtime behind one door: what is said where it is missing, and how sessions run."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnx
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


def test_where_it_is_missing_both_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"ONNX Runtime is not installed: .*netsurgeon\[gpu\].*netsurgeon\[cpu\]"):
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
