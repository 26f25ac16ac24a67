"""The Python package: three lines for users, and one sentence where it cannot run."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from _sparse_models import resnet50
from onnxruntime.capi import onnxruntime_pybind11_state
from sparse_kernels import library, library_file
from sparse_sessions import inputs, package


def test_three_lines_run_a_model() -> None:
    sparse = package()
    model = resnet50(0.9, size=32, narrower=8)
    feed = inputs(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), sparse.session_options())
    dense = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert sparse.NAME in session.get_providers()
    assert np.array_equal(session.run(None, feed)[0], dense.run(None, feed)[0])


def test_it_registers_once_and_adds_to_options_that_are_there() -> None:
    sparse = package()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    assert sparse.session_options(options) is options
    assert options.intra_op_num_threads == 3
    assert [device.ep_name for device in sparse.register()] == [sparse.NAME]


def test_options_may_be_given_again_and_the_last_claim_counts(tmp_path: Path) -> None:
    model = resnet50(0.9, size=32, narrower=8)
    feed = inputs(model)
    options = package().session_options(claim="all")
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "trace")
    options.log_severity_level = 3
    for claim, runs_sparse in (("all", True), ("none", False)):
        options = package().session_options(options, claim=claim)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        session.run(None, feed)
        assert (package().NAME in Path(session.end_profiling()).read_text("utf-8")) == runs_sparse


def test_claim_is_one_of_its_words() -> None:
    with pytest.raises(ValueError, match="claim is 'some', expected one of auto, all, none"):
        package().session_options(claim="some")


def test_an_older_runtime_is_named_and_the_model_runs_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = package()
    old = types.SimpleNamespace(__version__="1.22.1", SessionOptions=onnxruntime.SessionOptions)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", old)
    with pytest.raises(
        sparse.UnsupportedError, match=r"needs ONNX Runtime 1.23 or later, and this is 1.22.1: pip install"
    ):
        sparse.register()
    with pytest.warns(RuntimeWarning, match=r"1\.22\.1.*runs dense"):
        assert not sparse.session_options().has_providers()


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sparse = package()
    monkeypatch.setenv(sparse.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(sparse.UnsupportedError, match=r"none\.so is not there"):
        sparse.library_path()


def test_a_library_that_is_another_one_has_no_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = package()
    from netsurgeon_sparse.rates import measured_on

    monkeypatch.setenv(sparse.LIBRARY_VARIABLE, onnxruntime_pybind11_state.__file__)
    assert not measured_on()[1]


def test_the_library_is_small_and_needs_no_other_one() -> None:
    assert library_file().stat().st_size < 2_000_000
    assert "scalar" in library().isas
