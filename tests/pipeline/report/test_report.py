"""JSON from the command line and from Python: what the guide to pipelines promises."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx_ir as ir
import pytest
from matplotlib.axes import Axes
from report_files import point, searched, smaller

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.runtime import Runtime

ROOT = Path(__file__).parent.parent.parent.parent
DIGITS = ROOT / "models" / "digits"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with its data: Gemm, Relu and Gemm from x (N, 32) to 10 classes."""
    folder, rng = tmp_path_factory.mktemp("report"), np.random.default_rng(0)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32] x, float[32,64] w1, float[64,10] w2) '
        "=> (float[N,10] y) { h = Gemm(x, w1) r = Relu(h) y = Gemm(r, w2) }"
    )
    for value, shape in zip(list(model.graph.inputs)[1:], ((32, 64), (64, 10)), strict=True):
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    ir.save(model, folder / "model.onnx")
    np.savez(folder / "data.npz", x=rng.standard_normal((80, 32)).astype(np.float32))
    test = rng.standard_normal((40, 32)).astype(np.float32)
    labels = Runtime().session(model).run({"x": test})["y"].argmax(axis=1)
    np.savez(folder / "test.npz", x=test, labels=np.where(np.arange(40) % 4, labels, (labels + 1) % 10))
    return folder


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text("utf-8"), re.DOTALL)
    quicker = block.replace("sparsity=0.8", "sparsity=0.4, limit=80, uniform=True, method='obs', damping=0.01")
    assert quicker != block
    for name in ("digits.onnx", "calibration.npz", "test.npz"):
        (tmp_path / name).symlink_to(DIGITS / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(quicker, "deploy.md", "exec"), {})
    assert re.search(r"÷ \d\.\d, -?\d\.\d\d points, latency ÷ \d", capsys.readouterr().out)


def legend_of(axes: Axes) -> set[str]:
    return set(axes.get_legend_handles_labels()[1])


def test_a_report_draws_its_search_and_several_beside_each_other(delivered: tuple[Path, Compression]) -> None:
    report = searched(delivered[1].report, point(9000, 0.02), point(9500, 0.0, chosen=True))
    alone = report.plot()
    assert [axes.get_xlabel() for axes in alone.axes] == ["file, kB", "milliseconds a run"]
    assert {"tried", "chosen", "delivered, measured", "goal"} <= legend_of(alone.axes[0])
    other = smaller(report, 5000)
    other = dataclasses.replace(other, compressed=dataclasses.replace(other.compressed, name="other.onnx"))
    both = report.plot(other)
    assert {"small.onnx", "other.onnx"} <= legend_of(both.axes[0])
    assert "goal" not in legend_of(both.axes[0]), "each has its own"
    sizes = {round(x, 3) for line in both.axes[0].lines for x in np.asarray(line.get_xdata(), float)}
    assert {report.compressed.bytes / 1000, 5.0} <= sizes
    judged = dataclasses.replace(other, validation=dataclasses.replace(other.validation, measure="metric"))
    with pytest.raises(netsurgeon.InputError, match="draw them apart"):
        report.plot(judged)


def test_json_to_standard_output_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(folder / "model.onnx"), "--json", "-"]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["layers"]) == 2
    assert not shown.err
    assert run(["inspect", str(folder / "model.onnx"), "--units", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"]


def test_quiet_writes_files_and_prints_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, found, compared = tmp_path / "small.onnx", tmp_path / "report.json", tmp_path / "compared.json"
    model, data = str(folder / "model.onnx"), ["--data", str(folder / "test.npz"), "--quiet"]
    fast = ["--method", "obs", "--damping", "0.01", "--uniform", "--sparsity", "0.5", "--json", str(found)]
    assert run(["compress", model, "-o", str(small), *data, *fast]) == 0
    jsonschema.Draft202012Validator(netsurgeon.report_schema()).validate(json.loads(found.read_text("utf-8")))
    assert run(["compare", model, str(small), *data, "--json", str(compared)]) == 0
    assert json.loads(compared.read_text("utf-8"))["validation"]["samples"] == 40
    assert run(["unpack", str(small), "-o", str(tmp_path / "plain.onnx"), "--quiet"]) == 0
    shown = capsys.readouterr()
    assert not shown.out
    assert not shown.err


def all_strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from all_strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from all_strings(each)
    elif isinstance(value, str):
        yield value


def test_report_is_strict_json(delivered: tuple[Path, Compression]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    report = json.loads((delivered[0] / "report.json").read_text("utf-8"), parse_constant=refuse)
    assert report["schema"] == 2
    assert report["options"]["sparsity"] == 0.9
    assert set(report["versions"]) >= {"netsurgeon", "python", "onnxruntime", "numpy", "onnx"}
    assert set(report["seconds"]) == {"open", "measure", "prune", "validate", "pack", "write"}
    assert report["ratio"] == report["dense"]["bytes"] / report["compressed"]["bytes"]
    assert report["peak_bytes"] > 0
    assert report["warnings"] == []


def test_report_and_model_name_no_absolute_path(delivered: tuple[Path, Compression]) -> None:
    folder, _ = delivered
    report = json.loads((folder / "report.json").read_text("utf-8"))
    for text in all_strings(report):
        assert not text.startswith("/")
        assert not any(str(place) in text for place in (folder, ROOT))
    content = (folder / "small.onnx").read_bytes()
    assert str(folder).encode() not in content
    assert str(ROOT).encode() not in content
