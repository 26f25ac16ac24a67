"""The report's JSON keeps to the schema that is shipped, and the schema says all of it."""

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

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.report.report import Report, as_json

ROOT = Path(__file__).parent.parent.parent.parent
DIGITS = ROOT / "models" / "digits"
OPTIONS: Any = {"method": "obs", "damping": 0.01, "uniform": True}


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
    np.savez(folder / "test.npz", x=test, labels=rng.integers(0, 10, 40))
    return folder


@pytest.fixture(scope="module")
def reports(folder: Path) -> list[Report]:
    """With and without units trimmed, latency, labels and test inputs."""
    model, data = folder / "model.onnx", folder / "data.npz"
    whole = netsurgeon.compress(model, data, test=folder / "test.npz", trim=0.2, sparsity=0.5, profile=True, **OPTIONS)
    return [whole.report, netsurgeon.compress(model, data, sparsity=0.5, **OPTIONS).report]


def problems(values: Any) -> list[str]:
    schema = netsurgeon.report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(values)]


def test_reports_keep_to_the_schema(reports: list[Report]) -> None:
    full, plain = reports
    assert full.latency is not None
    assert full.trim is not None
    assert full.trim.proof is not None
    assert (plain.latency, plain.test) == (None, None)
    assert plain.trim is None or plain.trim.asked is None
    for report in reports:
        assert problems(json.loads(as_json(report))) == []


def test_the_schema_finds_what_is_missing_unknown_or_of_another_type(reports: list[Report]) -> None:
    def changed(**values: Any) -> Any:
        return {**json.loads(as_json(reports[0])), **values}

    missing = changed()
    del missing["bound"]
    layer = json.loads(as_json(reports[0]))["layers"][0]
    for wrong in (
        missing,
        changed(schema=1),
        changed(extra=1),
        changed(ratio="6"),
        changed(layers=[{**layer, "x": 1}]),
    ):
        assert len(problems(wrong)) == 1


def test_what_is_not_finite_is_null(reports: list[Report]) -> None:
    outputs = (dataclasses.replace(reports[0].validation.outputs[0], snr_db=float("inf")),)
    report = dataclasses.replace(reports[0], validation=dataclasses.replace(reports[0].validation, outputs=outputs))
    values = json.loads(as_json(report))
    assert values["validation"]["outputs"][0]["snr_db"] is None
    assert problems(values) == []


def test_the_schema_describes_every_field_of_the_report() -> None:
    properties = netsurgeon.report_schema()["properties"]
    assert set(properties) == {field.name for field in dataclasses.fields(Report)} | {"schema", "ratio"}
    assert all(each.get("description") for each in properties.values())


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text("utf-8"), re.DOTALL)
    quicker = block.replace("sparsity=0.8", "sparsity=0.4, limit=80, uniform=True, method='obs', damping=0.01")
    assert quicker != block
    for name in ("digits.onnx", "calibration.npz", "test.npz"):
        (tmp_path / name).symlink_to(DIGITS / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(quicker, "deploy.md", "exec"), {})
    assert re.search(r"÷ \d\.\d, -?\d\.\d\d points, latency ÷ \d", capsys.readouterr().out)


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
    assert problems(json.loads(found.read_text("utf-8"))) == []
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
