"""The command line: what it prints, its exit codes, and one clear sentence for every bad input."""

import errno
import functools
import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
from onnx import TensorProto

from netsurgeon import __version__, cli
from netsurgeon.cli import run
from netsurgeon.pipeline import compress as compress_module
from netsurgeon.pipeline.calibration import store
from netsurgeon.pipeline.command_line import exits
from netsurgeon.pipeline.compression import steps
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.profiling import timing_table
from netsurgeon.pipeline.report import Report
from netsurgeon.pipeline.run import final_validation
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.terminal import results

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "models" / "digits"
FAST = ["--method", "obs", "--damping", "0.01", "--uniform", "--sparsity", "0.5"]


def network(*nodes: onnx.NodeProto, opsets: dict[str, int] | None = None, seed: int = 0) -> onnx.ModelProto:
    """``nodes`` from x (N, 32) to y, or else Gemm, Relu, Gemm on 64 neurons to 10 classes."""
    rng = np.random.default_rng(seed)
    arrays = {"w1": (32, 64), "b1": (64,), "w2": (64, 10)}
    initializers = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in arrays.items()
    ]
    chain = nodes or (
        onnx.helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("Gemm", ["r", "w2"], ["y"], name="second"),
    )
    graph = onnx.helper.make_graph(
        list(chain),
        "network",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 32])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [] if nodes else initializers,
    )
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 17}).items()]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def inputs(count: int = 80) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 32)).astype(np.float32)


def without_progress(errors: str) -> list[str]:
    """The lines on stderr but for those that say how far a run is."""
    return [line for line in errors.splitlines() if line.strip() and not re.match(r"\[\d+:\d\d:\d\d\] ", line)]


class Desk:
    """A folder with a model and its data, and one for outputs that must stay empty when a run fails."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        self.folder, self.capsys = folder, capsys
        self.model, self.data, self.out = folder / "model.onnx", folder / "data.npz", folder / "out"
        self.out.mkdir()
        onnx.save(network(), self.model)
        self.give(x=inputs())

    def give(self, **arrays: Any) -> Path:
        np.savez(self.data, **arrays)
        return self.data

    def compress(self, *more: str | Path, model: Path | None = None, output: Path | None = None) -> list[str]:
        paths = [model or self.model, "--data", self.data, "-o", output or self.out / "small.onnx"]
        return ["compress", *map(str, paths), *FAST, *map(str, more)]

    def refused(self, arguments: list[str], code: int = 2) -> str:
        """Run, and hold what every refusal promises; the one line on stderr but for those of progress."""
        before = self.files()
        assert run(arguments) == code
        captured = self.capsys.readouterr()
        lines = without_progress(captured.err)
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in captured.err
        assert not captured.out
        assert self.files() == before
        return lines[0]

    def files(self) -> dict[str, bytes]:
        """Everything that is there, hidden files as well."""
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in self.folder.rglob("*")}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Desk(tmp_path, capsys)


# What works


def test_a_goal_that_cannot_be_met_ends_with_one(desk: Desk) -> None:
    goal = ["compress", str(desk.model), "--data", str(desk.data), "-o", str(desk.out / "small.onnx"), "--uniform"]
    goal += ["--method", "obs", "--damping", "0.01"]
    assert "is the smallest model found: give a larger --max-size" in desk.refused([*goal, "--max-size", "300B"], 1)
    assert "decides how many weights go" in desk.refused([*goal, "--max-drop", "1%", "--sparsity", "0.5"])
    assert run([*goal, "--max-size", "100KB", "--quiet"]) == 0
    assert (desk.out / "small.onnx").stat().st_size <= 100_000


def test_profile_one_model_against_another(desk: Desk) -> None:
    found = desk.out / "profile.json"
    both = ["profile", str(desk.model), "--against", str(desk.model), "--batch", "1,4", "--runs", "5", "--per-op"]
    assert run([*both, "--data", str(desk.data), "--json", str(found)]) == 0
    shown = desk.capsys.readouterr().out
    assert "faster (95 %" in shown
    assert "Gemm" in shown
    measured = json.loads(found.read_text("utf-8"))
    assert [each["batch"] for each in measured["timings"]] == [1, 4]
    assert measured["provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--batch", "1,x"], "'1,x' is not a list of batch sizes such as 1,8,32"),
        (["--shape", "x=3by4"], "'x=3by4', expected NAME=SIZES such as image=1x3x224x224"),
        (["--batch", "200", "--data", "DATA"], "the data holds 80 samples, batch 200 needs as many"),
        (["--runs", "1"], "runs is 1, expected 3 or more"),
        (["--provider", "gpu"], "provider is 'gpu', expected one of cpu, cuda"),
        (["--provider", "coreml"], "this ONNX Runtime has no CoreMLExecutionProvider"),
        (["--against", "missing.onnx"], "missing.onnx is not a file"),
        (["--json", "MODEL"], "is an input: inputs are never written to"),
    ],
)
def test_a_profile_that_cannot_be_had(desk: Desk, arguments: list[str], problem: str) -> None:
    names = {"DATA": str(desk.data), "MODEL": str(desk.model)}
    given = [names.get(each, each) for each in arguments]
    assert problem in desk.refused(["profile", str(desk.model), *given])


@pytest.mark.parametrize("taken", ["DATA", "MODEL", "small.onnx", "report.json"])
def test_json_goes_over_nothing_that_is_read_or_written(desk: Desk, taken: str) -> None:
    place = {"DATA": desk.data, "MODEL": desk.model}.get(taken, desk.out / taken)
    order = desk.compress("--report", desk.out / "report.json", "--json", place)
    assert ("is an input" if taken.isupper() else "two results would both go to") in desk.refused(order)


@pytest.mark.parametrize("provider", ["coreml", "cuda", "openvino"])
def test_a_provider_that_is_not_active_stops_every_command(desk: Desk, provider: str) -> None:
    try:
        Runtime(provider=provider).session(desk.model)
    except InputError as error:
        said = str(error)
    else:
        pytest.skip(f"{provider} is active here")
    compare = ["compare", str(desk.model), str(desk.model), "--data", str(desk.data)]
    for command in (desk.compress(), compare, ["profile", str(desk.model)]):
        assert desk.refused([*command, "--provider", provider]) == f"error: {said}"


def test_compress_inspect_compare_unpack(desk: Desk) -> None:
    small, plain, report = desk.out / "small.onnx", desk.out / "plain.onnx", desk.out / "report.json"
    assert run(desk.compress("--sparsity", "0.8", "--keep-unread", "--report", report)) == 0
    shown = desk.capsys.readouterr()
    assert not without_progress(shown.err)
    assert "weights that are zero 80.0%" in shown.out
    assert report.exists()
    assert run(["inspect", str(small)]) == 0
    assert "first" in desk.capsys.readouterr().out
    assert run(["inspect", str(desk.model), "--units"]) == 0
    assert "groups of units that can be removed" in desk.capsys.readouterr().out
    assert run(["compare", str(desk.model), str(small), "--data", str(desk.data)]) == 0
    assert "relative error" in desk.capsys.readouterr().out
    assert run(["unpack", str(small), "-o", str(plain)]) == 0
    assert "weights unpacked" in desk.capsys.readouterr().out
    assert sorted(path.name for path in desk.out.iterdir()) == ["plain.onnx", "report.json", "small.onnx"]


@pytest.mark.parametrize(
    ("mode", "layers", "kernel"), [("int8", 2, "QGemm"), ("w4a8", 2, "QGemm"), ("w4", 2, "MatMulNBits")]
)
def test_compress_on_integers(desk: Desk, monkeypatch: pytest.MonkeyPatch, mode: str, layers: int, kernel: str) -> None:
    monkeypatch.setattr(timing_table, "time_models", lambda *_: (None, [np.tile([2e-3, 1e-3], (2, 3, 1))]))
    small, report = desk.out / "small.onnx", desk.out / "report.json"
    paths = [str(desk.model), "--data", str(desk.data), "-o", str(small), "--json", str(report)]
    assert run(["compress", *paths, "--quantize", mode]) == 0
    shown = desk.capsys.readouterr().out
    what = "have integer weights" if mode == "w4" else "run on integers"
    assert f"{layers} of {layers} layers {what} (" in shown
    assert f"On this machine ONNX Runtime runs {layers} as {kernel}" in shown
    integers = json.loads(report.read_text("utf-8"))["integers"]
    assert [layer["kernel"] for layer in integers["layers"]] == [kernel] * layers
    assert small.stat().st_size < 0.6 * desk.model.stat().st_size
    outputs = [Runtime().session(path).run({"x": inputs()})["y"] for path in (desk.model, small)]
    assert np.linalg.norm(outputs[1] - outputs[0]) < 0.2 * np.linalg.norm(outputs[0])


def test_compare_lays_several_models_side_by_side(desk: Desk) -> None:
    small, page, values = desk.out / "small.onnx", desk.out / "page.html", desk.out / "values.json"
    assert run(desk.compress("--sparsity", "0.8", "--keep-unread")) == 0
    desk.capsys.readouterr()
    command = ["compare", str(desk.model), str(small), str(desk.model), "--data", str(desk.data)]
    assert run([*command, "--report", str(page), "--json", str(values)]) == 0
    shown = desk.capsys.readouterr().out
    assert f"{small.stat().st_size:,}" in shown
    assert "small.onnx" in shown
    assert "2 models side by side" in page.read_text("utf-8")
    entries = json.loads(values.read_text("utf-8"))["comparisons"]
    assert [entry["compressed"]["name"] for entry in entries] == ["small.onnx", desk.model.name]
    assert run([*command[:3], *command[4:], "--json", str(values), "--quiet"]) == 0
    alone = json.loads(values.read_text("utf-8"))
    assert alone["compressed"] == entries[0]["compressed"], "of one model as it always was"
    assert desk.refused([*command, "--report", str(desk.out / "page.pdf")]).endswith("that ends in .html")


def test_unpack_counts_the_bytes_of_external_data(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    small, plain = desk.out / "small.onnx", desk.out / "plain.onnx"
    assert run(desk.compress("--sparsity", "0.8")) == 0
    for name, limit in (("IN_MEMORY_LIMIT", 0), ("EXTERNAL_BYTES", 256)):
        monkeypatch.setattr(f"netsurgeon.pipeline.runtime.large_models.{name}", limit)
    desk.capsys.readouterr()
    assert run(["unpack", str(small), "-o", str(plain)]) == 0
    size = plain.stat().st_size + (desk.out / "plain.onnx.data").stat().st_size
    assert f"weights unpacked: 4; {size:,} bytes written to {plain}" in desk.capsys.readouterr().out


def test_every_line_fits_the_terminal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = {"model": DIGITS / "digits.onnx"}
    desk.data = DIGITS / "calibration.npz"
    assert run(desk.compress("--sparsity", "0.9", **names)) == 0
    lines = desk.capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("node_conv2d_2" in line and "gaps, float16" in line for line in lines)


@pytest.mark.parametrize("command", [[], ["compress"], ["inspect"], ["compare"], ["unpack"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert "Usage: netsurgeon" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_missing_folders_of_outputs_are_made(desk: Desk) -> None:
    output, report = desk.out / "a" / "b" / "small.onnx", desk.out / "c" / "report.json"
    assert run(desk.compress("--report", report, output=output)) == 0
    assert output.exists()
    assert report.exists()


# Usage errors, which click words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["compress", "model.onnx", "-o", "small.onnx"],
            "Missing option '--data'. Give inputs of the model: an .npz, ",
        ),
        (["compare", "model.onnx", "small.onnx"], "module:function, or random by that name (see netsurgeon compare"),
        (["compress", "model.onnx", "--data", "data.npz"], "--output"),
        (["compress", "--method", "guess"], "guess"),
        (["compress", "--sparsity", "much"], "much"),
        (["compress", "--layer", "first"], "NAME=SHARE"),
        (["compress", "--mean", "a,b"], "list of numbers"),
        (["shrink"], "shrink"),
        (["compres"], "Did you mean one of: 'compare', 'compress', 'compress-many'?"),
        (["compress", "--sparsty", "0.5"], "No such option '--sparsty'. Did you mean '--sparsity'?"),
        (["compress"], "see netsurgeon compress --help"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "compress" in capsys.readouterr().err


# Bad models


def test_model_is_missing(desk: Desk) -> None:
    assert "is not a file" in desk.refused(desk.compress(model=desk.folder / "none.onnx"))


@pytest.mark.parametrize("content", [b"", b"hello, this is no model", b"\x00" * 100, b"PK\x03\x04" * 20])
def test_not_an_onnx_file(desk: Desk, content: bytes) -> None:
    desk.model.write_bytes(content)
    assert "model.onnx" in desk.refused(desk.compress())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated(desk: Desk, share: float) -> None:
    content = desk.model.read_bytes()
    desk.model.write_bytes(content[: int(share * len(content))])
    assert "model.onnx" in desk.refused(desk.compress())


def external(desk: Desk, location: str = "weights.bin") -> Path:
    onnx.save(network(), desk.model, save_as_external_data=True, location="weights.bin", size_threshold=0)
    proto = onnx.load(desk.model, load_external_data=False)
    for tensor in proto.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    onnx.save(proto, desk.model)
    return desk.folder / "weights.bin"


def test_external_data_is_missing(desk: Desk) -> None:
    external(desk).unlink()
    assert "'weights.bin', which is missing" in desk.refused(desk.compress())


def test_external_data_is_truncated(desk: Desk) -> None:
    weights = external(desk)
    weights.write_bytes(weights.read_bytes()[:100])
    assert "100 bytes" in desk.refused(desk.compress())


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "deep/../../weights.bin"])
def test_external_data_outside_the_folder(desk: Desk, location: str) -> None:
    external(desk, location)
    assert "outside the model's folder" in desk.refused(desk.compress())


def test_external_data_behind_a_link(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    weights = external(desk)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights.bin"
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    assert "outside the model's folder" in desk.refused(desk.compress())


def test_no_layer_can_be_pruned(desk: Desk) -> None:
    onnx.save(network(onnx.helper.make_node("Relu", ["x"], ["y"])), desk.model)
    assert "no layer that can be pruned" in desk.refused(desk.compress())


def test_unknown_operator(desk: Desk) -> None:
    onnx.save(network(onnx.helper.make_node("Nonsense", ["x"], ["y"])), desk.model)
    assert "Nonsense" in desk.refused(desk.compress())


def test_unknown_domain(desk: Desk) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"], domain="my.domain")
    onnx.save(network(node, opsets={"": 17, "my.domain": 1}), desk.model)
    assert "--custom-ops" in desk.refused(desk.compress())


def test_opset_too_old(desk: Desk) -> None:
    onnx.save(network(onnx.helper.make_node("Dropout", ["x"], ["y"], is_test=1), opsets={"": 1}), desk.model)
    assert "opset 1, which ONNX Runtime does not run" in desk.refused(desk.compress())


def test_custom_operator_library_is_missing(desk: Desk) -> None:
    assert "no-such.so" in desk.refused(desk.compress("--custom-ops", "no-such.so"))


# Bad data


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": inputs()}, "rename or add 'x'"),
        ({"x": inputs(), "z": inputs()}, "'z'"),
        ({"x": inputs()[:, :31]}, "(80, 31)"),
        ({"x": inputs()[0, :31]}, "(31,)"),
        ({"x": inputs().astype(str)}, "<U"),
        ({"x": inputs().astype(complex)}, "complex"),
        ({"x": np.where(inputs() > 2.0, np.nan, inputs())}, "NaN"),
        ({"x": np.where(inputs() > 2.0, np.inf, inputs())}, "Inf"),
        ({"x": inputs(0)}, "no samples"),
        ({"x": inputs(), "labels": np.zeros(79, int)}, "(79,)"),
        ({"x": inputs(), "labels": np.full(80, np.nan)}, "labels"),
        ({"x": inputs(), "labels": np.full(80, 10)}, "label 10"),
        ({"x": inputs(), "labels": np.full(80, -1)}, "label -1"),
        ({"x": np.array([{"a": 1}] * 80, dtype=object)}, "pickle"),
        ({}, "'x'"),
    ],
)
def test_bad_arrays(desk: Desk, arrays: dict[str, np.ndarray], message: str) -> None:
    desk.give(**arrays)
    assert message in desk.refused(desk.compress())


def test_labels_that_are_no_classes_are_left_out_with_a_warning(desk: Desk) -> None:
    desk.give(x=inputs(), labels=np.linspace(0.0, 1.0, 80))
    assert run(desk.compress()) == 0
    printed = " ".join(desk.capsys.readouterr().out.split())
    assert "the labels (float64, of 1 axis) are no classes of scores that the model gives: they are left out" in printed
    assert "same top class" in printed


def test_a_pickle_is_never_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.mkdir, (str(desk.folder / "trapped"),)

    desk.give(x=np.array([Trap()], dtype=object))
    desk.refused(desk.compress())
    assert not (desk.folder / "trapped").exists()


@pytest.mark.parametrize("text", ["raise SystemExit(5)", "def feeds():\n    raise SystemExit(7)"])
def test_a_function_that_ends_the_process(desk: Desk, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ends_the_process", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (desk.folder / "ends_the_process.py").write_text(text, "utf-8")
    desk.data = Path("ends_the_process:feeds")
    assert "SystemExit" in desk.refused(desk.compress())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("options", [(), ("--method", "magnitude"), ("--exclude", "second")])
def test_a_weight_is_not_finite(desk: Desk, value: float, options: tuple[str, ...]) -> None:
    model = network()
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[3, 5] = value
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w1"))
    onnx.save(model, desk.model)
    assert "the weight of layer 'first' holds NaN or Inf" in desk.refused(desk.compress(*options))
    assert run(["inspect", str(desk.model)]) == 0
    assert "its weight holds NaN or Inf" in desk.capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_data_is_no_archive(desk: Desk, content: bytes) -> None:
    desk.data.write_bytes(content)
    assert "data.npz" in desk.refused(desk.compress())


def test_data_is_truncated(desk: Desk) -> None:
    desk.data.write_bytes(desk.data.read_bytes()[:3000])
    assert "data.npz" in desk.refused(desk.compress())


@pytest.mark.parametrize("data", ["none.npz", "none", "no_such_module:inputs", "random:none"])
def test_data_is_missing(desk: Desk, data: str) -> None:
    arguments = ["compress", str(desk.model), "--data", data, "-o", str(desk.out / "small.onnx")]
    assert data.partition(":")[0] in desk.refused(arguments)


def test_test_data_is_bad(desk: Desk) -> None:
    np.savez(desk.folder / "test.npz", x=np.full((4, 32), np.nan))
    assert "NaN" in desk.refused(desk.compress("--test", desk.folder / "test.npz"))


# Options out of range


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsity", "1"], "sparsity is 1.0"),
        (["--sparsity", "-0.1"], "sparsity is -0.1"),
        (["--sparsity", "nan"], "sparsity is 'nan', expected a share such as 90% or 0.9"),
        (["--layer", "first=1.5"], "'first' is 1.5"),
        (["--damping", "0"], "damping"),
        (["--damping", "-1"], "damping"),
        (["--damping", "inf"], "damping"),
        (["--batch-size", "0"], "batch-size is '0', expected a whole number above 0, such as 500, 10k or 40M"),
        (["--batch-size", "1.5"], "batch-size is '1.5', expected a whole number above 0"),
        (["--limit", "0"], "limit"),
        (["--seed", "-1"], "seed"),
        (["--pattern", "4:2"], "N:M"),
        (["--pattern", "half"], "N:M"),
        (["--pattern", "2:4"], "a pattern of 2:4 decides how many weights go: leave out sparsity"),
        (["--exclude", "conv*"], "'conv*' matches no layer"),
        (["--layer", "conv*=0.5"], "'conv*' matches no layer"),
        (["--exclude", "*"], "no layer is left that can be pruned (excluded by the user): leave at least one"),
        (["--layer", "fir*=0.8", "--exclude", "first"], "'fir*' is given a sparsity, but its layers are left alone"),
        (["--metric", "accuracy"], "module:function"),
        (["--metric", "no_such_module:accuracy"], "cannot be imported"),
        (["--resize", "8"], "picture"),
        (["--pictures", "none.toml"], "none.toml"),
    ],
)
def test_options_out_of_range(desk: Desk, options: list[str], message: str) -> None:
    assert message in desk.refused(desk.compress(*options))


# Outputs


def test_output_is_the_input(desk: Desk) -> None:
    assert "never written to" in desk.refused(desk.compress(output=desk.model))


def test_output_is_a_link_to_the_input(desk: Desk) -> None:
    (desk.out / "small.onnx").symlink_to(desk.model)
    assert "never written to" in desk.refused(desk.compress())


def test_output_is_the_external_data_of_the_input(desk: Desk) -> None:
    assert "never written to" in desk.refused(desk.compress(output=external(desk)))


def test_output_is_the_data(desk: Desk) -> None:
    assert "never written to" in desk.refused(desk.compress(output=desk.data))


@pytest.mark.parametrize("name", ["model.onnx", "data.npz", "test.npz"])
def test_report_is_an_input(desk: Desk, name: str) -> None:
    np.savez(desk.folder / "test.npz", x=inputs(8))
    options = ("--test", str(desk.folder / "test.npz"), "--report", str(desk.folder / name))
    assert "never written to" in desk.refused(desk.compress(*options))


@pytest.mark.parametrize("option", ["--recipe", "--pictures", "--metric", "--classes", "--timings"])
@pytest.mark.parametrize("result", ["-o", "--report", "--json"])
def test_a_result_is_a_file_of_the_options(
    desk: Desk, option: str, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    given = desk.folder / ("mine_of_cli.py" if option == "--metric" else "given.toml")
    given.write_text("def metric(outputs, labels): return 0" if option == "--metric" else "", "utf-8")
    named = "mine_of_cli:metric" if option == "--metric" else given
    assert f"{given} is an input" in desk.refused([*desk.compress(option, named), result, str(given)])


@pytest.mark.parametrize("result", ["-o", "--report", "--json"])
def test_a_result_is_a_file_of_the_data(desk: Desk, result: str) -> None:
    (desk.folder / "feeds").mkdir()
    feed = desk.folder / "feeds" / "0.npz"
    np.savez(feed, x=inputs())
    desk.data = feed.parent
    assert f"{feed} is an input" in desk.refused([*desk.compress(), result, str(feed)])
    other = ["compare", str(desk.model), str(desk.model), "--data", str(desk.data), "--json", str(feed)]
    assert f"{feed} is an input" in desk.refused(other)


@pytest.mark.parametrize("name", ["small.onnx", "../out/small.onnx"])
def test_report_is_the_output(desk: Desk, name: str) -> None:
    assert "would both go to" in desk.refused(desk.compress("--report", desk.out / name))


def test_output_of_unpack_is_the_input(desk: Desk) -> None:
    small = desk.out / "small.onnx"
    assert run(desk.compress("--sparsity", "0.8")) == 0
    desk.capsys.readouterr()
    assert "never written to" in desk.refused(["unpack", str(small), "-o", str(small)])


def test_output_is_a_folder(desk: Desk) -> None:
    assert "is a folder" in desk.refused(desk.compress(output=desk.out))


def test_output_lies_under_a_file(desk: Desk) -> None:
    assert "cannot be written" in desk.refused(desk.compress(output=desk.data / "small.onnx"))


def test_unwritable_folder(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access  # for root every folder is writable
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert f"{desk.out} cannot be written to" in desk.refused(desk.compress())


@pytest.mark.skipif(os.geteuid() == 0, reason="for root every folder is writable")
def test_folder_without_permission(desk: Desk) -> None:
    desk.out.chmod(0o555)
    assert f"{desk.out} cannot be written to" in desk.refused(desk.compress())
    desk.out.chmod(0o755)


def test_disk_full_while_writing_the_model(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(model: ir.Model, path: Path, **options: Any) -> None:
        del model, options
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ir, "save", save)
    assert "small.onnx cannot be written: No space left" in desk.refused(desk.compress())


def test_disk_full_while_writing_the_report(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if ".report.json" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run(desk.compress("--report", desk.out / "report.json")) == 2
    assert "report.json cannot be written: No space left" in desk.capsys.readouterr().err
    assert [path.name for path in desk.out.iterdir()] == ["small.onnx"]


def test_disk_full_while_activations_are_spilled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    arguments = desk.compress()
    monkeypatch.setattr(store, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(store._Spilled, "append", full)
    assert "TMPDIR" in desk.refused(arguments)


@pytest.mark.parametrize("name", ["r.pdf", "r.txt", "report"])
def test_a_report_in_no_known_form_is_refused_before_the_model_is_looked_at(desk: Desk, name: str) -> None:
    order = desk.compress("--report", desk.out / name, model=desk.folder / "none.onnx")
    assert f"{name} cannot be told from its name: end it in .html for a page" in desk.refused(order)


# More than is ever needed, and what is no file


@pytest.mark.parametrize("output", ["", ".", "..", "/", "out"])
def test_an_output_without_a_name_is_refused(desk: Desk, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    assert "is a folder: give the path of a file" in desk.refused(desk.compress(output=Path(output)))


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        ('output = "a\\u0000b"', "no path holds a NUL"),
        ('report = "a\\u0000b"', "no path holds a NUL"),
        ('work = "a\\u0000b"', "no path holds a NUL"),
        ('test = "a\\u0000b"', "no path holds a NUL"),
        ('test = ""', "is an empty path"),
        (f"sparsity = {'[' * 3000}{']' * 3000}", "too deep"),
        (f"seed = 1{'0' * 400}", "expected less than"),
        (f"limit = 1{'0' * 400}", "expected a whole number above 0"),
        (f"label-offset = 1{'0' * 400}", "expected less than"),
        (f"sparsity = 1{'0' * 400}", "expected a share such as 90% or 0.9"),
        (f'pattern = "2:{"9" * 5000}"', "expected N:M"),
        ("threads = 100000", "at most 1024"),
        ("resize = 100000", "at most 16384"),
        (f"scale = 1{'0' * 400}", "expected a finite number"),
        (f'exclude = [{{a = "{"b" * 5000}"}}]', "expected a list of strings"),
    ],
)
def test_recipes_beyond_all_measure(desk: Desk, recipe: str, problem: str) -> None:
    (desk.folder / "recipe.toml").write_text(recipe, "utf-8")
    arguments = desk.compress("--recipe", desk.folder / "recipe.toml")
    words = {"output": ("-o", 2), "sparsity": ("--sparsity", 2)}
    for key, (option, width) in words.items():
        if recipe.startswith(key):
            at = arguments.index(option)
            del arguments[at : at + width]
    assert problem in desk.refused(arguments)


@pytest.mark.parametrize("option", ["--recipe", "--pictures", "--data", "--test", "--custom-ops", "MODEL", "--timings"])
@pytest.mark.parametrize("is_pipe", [True, False])
def test_what_is_no_file_is_not_read(desk: Desk, option: str, is_pipe: bool) -> None:
    path = desk.folder / "input"
    if is_pipe:
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    arguments = desk.compress(*(() if option == "MODEL" else (option, path)), model=path if option == "MODEL" else None)
    if option == "--timings":
        arguments += ["--speedup", "2"]
        arguments[arguments.index("--sparsity") : arguments.index("--sparsity") + 2] = []
    assert run(arguments) == 2
    *stages, error = desk.capsys.readouterr().err.strip().splitlines()
    assert error.startswith("error: ")
    assert all(stage.startswith("[0:") for stage in stages)
    assert not list(desk.out.iterdir())


def test_warnings_of_libraries_do_not_reach_the_terminal(desk: Desk) -> None:
    text = """
        import warnings, numpy
        def score(outputs, labels):
            numpy.mean([]), numpy.float32(3e38) * numpy.float32(10)
            warnings.warn("of a library", DeprecationWarning)
            warnings.warn("of a library")
            return 1.0
    """
    (desk.folder / "warns.py").write_text(textwrap.dedent(text), "utf-8")
    command = [sys.executable, "-m", "netsurgeon.cli", "compare", str(desk.model), str(desk.model)]
    done = subprocess.run(
        [*command, "--data", str(desk.data), "--metric", "warns:score", "--quiet"],
        cwd=desk.folder,
        env={key: value for key, value in os.environ.items() if key not in ("PYTHONWARNINGS", "NETSURGEON_DEBUG")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Names that are not UTF-8


@pytest.fixture
def escaped(desk: Desk) -> tuple[Path, Path, Path]:
    """A model, its data and a file for the output, in a folder whose name is not UTF-8 either."""
    folder = desk.folder / os.fsdecode(b"folder-\xff")
    folder.mkdir()
    model, data, output = (
        folder / name for name in ("model.onnx", os.fsdecode(b"data-\xfe.npz"), os.fsdecode(b"small-\xfd.onnx"))
    )
    desk.model.rename(model)
    desk.data.rename(data)
    return model, data, output


@pytest.mark.parametrize("report", ["report.json", "report.html", os.fsdecode(b"report-\xff.json")])
def test_paths_that_are_not_utf8_are_written_escaped(desk: Desk, escaped: tuple[Path, Path, Path], report: str) -> None:
    model, data, output = escaped
    path = model.with_name(report)
    arguments = ["compress", *map(str, (model, "--data", data, "-o", output)), *FAST, "--report", str(path)]
    assert run([*arguments, "--json", "-"]) == 0, desk.capsys.readouterr().err
    printed = json.loads(desk.capsys.readouterr().out)
    assert printed["compressed"]["name"] == output.name
    assert printed["calibration"]["source"] == data.name
    text = path.read_bytes().decode("utf-8")
    assert r"small-\udcfd.onnx" in text
    assert report.endswith(".html") or json.loads(text) == printed
    assert Runtime().session(output).run({"x": inputs()})["y"].shape == (80, 10)


def test_models_whose_paths_are_not_utf8_are_profiled(escaped: tuple[Path, Path, Path]) -> None:
    model, data, output = escaped
    assert run(["compress", *map(str, (model, "--data", data, "-o", output)), *FAST]) == 0
    assert run(["profile", str(output), "--against", str(model), "--runs", "15", "--quiet"]) == 0


@pytest.mark.parametrize("error", [ValueError("no such style"), OSError(errno.EIO, "Input/output error")])
def test_what_fails_once_the_model_is_written_does_not_say_that_nothing_was_delivered(
    desk: Desk, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Report, "to_html", fail)
    assert run(desk.compress("--report", desk.out / "report.html")) == 2
    message = desk.capsys.readouterr().err
    assert f"error: the model is at {desk.out / 'small.onnx'}, but what is told about it is not: " in message
    assert str(error.args[-1]) in message
    assert [path.name for path in desk.out.iterdir()] == ["small.onnx"]


def test_json_that_cannot_be_written_says_where_the_model_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "write_text", functools.partial(fail_with, InputError("no room")))
    assert run(desk.compress("--json", desk.out / "result.json")) == 2
    assert f"no room; the model is at {desk.out / 'small.onnx'}" in desk.capsys.readouterr().err


def fail_with(error: Exception, *_: object) -> None:
    raise error


# Interrupted


@pytest.mark.parametrize(
    "stage", ["open_model", "open_inputs", "make_plan", "apply_plan", "validate_folds", "measure_bound", "pack"]
)
def test_ctrl_c_in_any_stage(desk: Desk, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    for module in (steps, compress_module, final_validation):
        monkeypatch.setattr(module, stage, interrupted, raising=False)
    assert "interrupted" in desk.refused(desk.compress(), 130)


@pytest.mark.parametrize("name", ["numpy.load", "onnx_ir.save", "netsurgeon.passes.solvers.prune"])
def test_ctrl_c_deep_inside(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    arguments = desk.compress()
    monkeypatch.setattr(name, interrupted)
    assert "interrupted" in desk.refused(arguments, 130)


@pytest.fixture
def restored_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(exits, "_received", [])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("restored_signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_library_makes_an_error_of(
    desk: Desk, sent: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallows(*arguments: Any, **options: Any) -> None:
        try:
            signal.raise_signal(sent)
        except KeyboardInterrupt:
            raise TypeError("expected str, bytes or os.PathLike object, not BufferedReader") from None

    monkeypatch.setattr(steps, "pack", swallows)
    monkeypatch.setattr(sys, "argv", ["netsurgeon", *desk.compress()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert without_progress(desk.capsys.readouterr().err) == ["error: interrupted: no file was left half-written"]
    assert not list(desk.out.iterdir())


def test_a_bug_is_one_line_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(steps, "pack", broken)
    assert "unexpected RuntimeError: first second" in desk.refused(desk.compress(), 1)
    monkeypatch.setenv("NETSURGEON_DEBUG", "1")
    with pytest.raises(RuntimeError):
        run(desk.compress())


# As a process


def environment(folder: Path) -> dict[str, str]:
    (folder / "tmp").mkdir()
    return {**os.environ, "TMPDIR": str(folder / "tmp")}


def test_process_refuses_in_one_line_and_hides_what_libraries_log(tmp_path: Path) -> None:
    onnx.save(network(onnx.helper.make_node("Relu", ["nowhere"], ["y"])), tmp_path / "model.onnx")
    command = [sys.executable, str(ROOT / "cli.py"), "inspect", str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")


def test_process_stops_at_ctrl_c_while_it_loads(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(ROOT / "cli.py"), "inspect", "model.onnx"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert [line for line in done.stderr.splitlines() if line] == ["error: interrupted: no file was left half-written"]


def test_process_compresses_on_a_terminal_without_unicode(desk: Desk) -> None:
    env = {**environment(desk.folder), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, str(ROOT / "cli.py"), *desk.compress("--sparsity", "0.8")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, without_progress(done.stderr)) == (0, [])
    assert [path.name for path in desk.out.iterdir()] == ["small.onnx"]
    assert not list((desk.folder / "tmp").glob("*netsurgeon*"))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_process_that_is_stopped_leaves_nothing(
    tmp_path: Path, open_files: Any, sent: signal.Signals, code: int
) -> None:
    (tmp_path / "out").mkdir()
    env = environment(tmp_path)
    paths = (DIGITS / "digits.onnx", "--data", DIGITS / "calibration.npz", "-o", tmp_path / "out" / "small.onnx")
    on_disk = "import runpy; from netsurgeon.pipeline.calibration import store; store.MEMORY_SHARE = 0.0; "
    run_cli = f"{on_disk}runpy.run_path({str(ROOT / 'cli.py')!r}, run_name='__main__')"
    with subprocess.Popen(
        [sys.executable, "-c", run_cli, "compress", *map(str, paths)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell may have it ignored
    ) as process:
        deadline = time.monotonic() + 60
        while not open_files(tmp_path / "tmp", process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, "activations are spilled before it ends"
        process.send_signal(sent)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()  # one that hangs must not hang the tests
    assert process.returncode == code
    assert without_progress(stderr) == ["error: interrupted: no file was left half-written"]
    assert not list((tmp_path / "out").iterdir())
    assert not list((tmp_path / "tmp").glob("*netsurgeon*"))


@pytest.fixture
def quiet_again() -> Iterator[logging.Logger]:
    """The package's logger, set back to silence afterwards."""
    logger = logging.getLogger("netsurgeon")
    handlers, level = logger.handlers, logger.level
    yield logger
    logger.handlers, logger.level = handlers, level


@pytest.mark.parametrize(("flag", "says_damping"), [("-v", False), ("-vv", True)])
def test_verbose_runs_log_stages_and_choices(
    desk: Desk, flag: str, says_damping: bool, quiet_again: logging.Logger
) -> None:
    assert run(desk.compress("--sparsity", "0.8", flag)) == 0
    log = desk.capsys.readouterr().err
    assert "netsurgeon.pipeline.compress: stage measure: " in log
    assert "step prune: applied and verified in " in log
    assert ("damping" in log) == says_damping
    assert ("session made" in log) == says_damping


def test_without_verbose_nothing_is_logged(desk: Desk) -> None:
    assert run(desk.compress("--sparsity", "0.8")) == 0
    assert "stage" not in desk.capsys.readouterr().err
