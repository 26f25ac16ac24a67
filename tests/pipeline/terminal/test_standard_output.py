"""`-o -`: the model's bytes on standard output and nothing else there, or one sentence."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from searched_models import labelled, small_network

from netsurgeon.cli import run
from netsurgeon.pipeline import result
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import large_models
from netsurgeon.pipeline.terminal.standard_output import STANDARD_OUTPUT, model_file

FAST = ("--sparsity", "0.5", "--method", "obs", "--damping", "0.01", "--uniform")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model and its data."""
    monkeypatch.chdir(tmp_path)
    model = small_network()
    ir.save(model, "model.onnx")
    data: dict[str, Any] = labelled(model, 96, seed=1)
    np.savez("data.npz", **data)
    return tmp_path


def compress(*more: str) -> list[str]:
    return ["compress", "model.onnx", "--data", "data.npz", *FAST, *more]


def in_a_process(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of the shell, in which NS is the program."""
    program = f"{sys.executable} -m netsurgeon.cli"
    return subprocess.run(
        ["bash", "-c", command.replace("NS", program)], cwd=folder, capture_output=True, check=False, timeout=300
    )


def test_models_go_to_standard_output_and_all_else_to_standard_error(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = sorted(folder.iterdir())
    assert run(compress("-o", "-", "--report", "report.html")) == 0
    streamed = capfdbinary.readouterr()
    assert b"weights that are zero 50.0%" in streamed.err
    assert sorted(folder.iterdir()) == [*before, folder / "report.html"]
    assert run(compress("-o", "small.onnx")) == 0
    shown = capfdbinary.readouterr()
    assert b"weights that are zero 50.0%" in shown.out
    assert streamed.out == Path("small.onnx").read_bytes()

    assert run(["unpack", "small.onnx", "-o", "-"]) == 0
    streamed = capfdbinary.readouterr()
    assert run(["unpack", "small.onnx", "-o", "plain.onnx"]) == 0
    assert streamed.out == Path("plain.onnx").read_bytes()
    size = len(streamed.out)
    assert streamed.err.splitlines()[-1].decode() == f"weights unpacked: 3; {size:,} bytes written to -"


def test_what_the_users_code_prints_stays_out_of_the_model(folder: Path) -> None:
    text = """
        import os, subprocess, sys
        print("imported")
        def score(outputs, labels):
            print("printed")
            sys.__stdout__.write("written")
            os.write(1, b"by C code")
            subprocess.run(["echo", "by a child"])
            return 0.0
    """
    (folder / "talks.py").write_text(textwrap.dedent(text), "utf-8")
    done = in_a_process(f"NS {' '.join(compress('-o', '-', '--metric', 'talks:score'))}", folder)
    assert done.returncode == 0, done.stderr
    (folder / "small.onnx").write_bytes(done.stdout)
    onnx.checker.check_model(folder / "small.onnx")
    for word in (b"imported", b"printed", b"written", b"by C code", b"by a child"):
        assert word in done.stderr
        assert word not in done.stdout


def test_a_report_that_fails_leaves_the_model_delivered(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(text: str, output: Path) -> None:
        raise InputError(f"{output} cannot be written: No space left on device")

    monkeypatch.setattr(result, "write_text", full)
    assert run(compress("-o", "-", "--report", "report.json")) == 2
    written = capfdbinary.readouterr()
    onnx.checker.check_model(onnx.load_model_from_string(written.out))
    problem = b"error: report.json cannot be written: No space left on device; the model is at standard output"
    assert [line for line in written.err.splitlines() if not line.startswith(b"[")] == [problem]


def test_nothing_goes_out_where_nothing_is_delivered(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run([*compress("-o", "-"), "--max-size", "10B"]) == 2
    written = capfdbinary.readouterr()
    assert written.out == b""
    assert len(written.err.splitlines()) == 1
    assert run(["unpack", "model.onnx", "-o", "-"]) == 2
    written = capfdbinary.readouterr()
    assert written.out == b""
    assert b"holds no packed weights" in written.err


@pytest.mark.parametrize("option", ["--report", "--json"])
def test_a_report_is_printed_as_json(option: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run(compress("-o", "small.onnx", option, "-", *(["--json", "kept.json"] if option == "--report" else []))) == 0
    )
    assert json.loads(capfd.readouterr().out)["compressed"]["name"] == "small.onnx"
    assert not (folder / "-").exists()
    assert (folder / "kept.json").exists() == (option == "--report")


@pytest.mark.parametrize("outputs", [("-o", "--json"), ("-o", "--report"), ("--json", "--report")])
def test_two_results_do_not_share_standard_output(
    outputs: tuple[str, ...], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = {"-o": "small.onnx", **dict.fromkeys(outputs, "-")}
    assert run(compress(*(word for pair in paths.items() for word in pair))) == 2
    assert "two results would both go to standard output: give one of them a path" in capfd.readouterr().err


def test_the_folder_of_a_run_is_no_stream(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "lenet300", "--data", str(folder), "--out", "-"]) == 2
    assert "--out - is not a folder" in capfd.readouterr().err
    assert not (folder / "-").exists()


@pytest.mark.parametrize(
    ("shell", "problem"),
    [
        ("NS unpack small.onnx -o - >&-", b"standard output is closed"),
        ("NS unpack small.onnx -o - > /dev/full", b"standard output does not take the model: No space left"),
    ],
)
def test_standard_output_that_takes_nothing(
    shell: str, problem: bytes, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(compress("-o", "small.onnx", "--quiet")) == 0
    done = in_a_process(shell, folder)
    assert done.returncode == 2
    assert problem in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_a_terminal_shows_no_model(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    assert run(compress("-o", "-")) == 2
    assert (
        "standard output is a terminal, which shows no model: redirect it, or give -o a path" in capfd.readouterr().err
    )


def test_a_model_of_two_files_needs_a_path(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 0)
    monkeypatch.setattr(large_models, "EXTERNAL_BYTES", 256)
    assert run(compress("-o", "-", "--quiet")) == 2
    written = capfdbinary.readouterr()
    assert written.out == b""
    assert b"take a second file, which standard output cannot hold: give -o a path" in written.err


def test_a_process_that_writes_no_model_streams_none(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with model_file(STANDARD_OUTPUT) as file:
        print("said")
    assert not file.parent.exists()
    print("again")
    written: Any = capfdbinary.readouterr()
    assert (written.out, written.err) == (b"again\n", b"said\n")
