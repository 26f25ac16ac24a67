"""Models on which ONNX Runtime ends the process that runs them: the run survives it, and says so."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from netsurgeon import cli
from netsurgeon.pipeline.errors import CheckFailedError, RunError
from netsurgeon.pipeline.runtime import trial
from netsurgeon.pipeline.runtime.session import Runtime

GATES = {"LSTM": 4, "GRU": 3}
SLICE = "h = Slice (x, from, from, axis)"


def recurrent(operator: str = "LSTM", shape: str = "5, n, 6", before: str = "h = Relu (x)") -> onnx.ModelProto:
    """``y = LSTM(h)``, of (steps, batch, 6) values."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> recurrent (float[{shape}] x) => (float[steps, 1, batch, 8] y) '
        "<int64[1] from = {0}, int64[1] axis = {1}> "
        f"{{ {before}  y = {operator} <hidden_size = 8> (h, w, r) }}"
    )
    rng = np.random.default_rng(0)
    for name, columns in (("w", 6), ("r", 8)):
        values = rng.standard_normal((1, 8 * GATES[operator], columns)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def feed(*shape: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}


@pytest.fixture(autouse=True)
def verdicts(monkeypatch: pytest.MonkeyPatch) -> dict[Any, str | None]:
    """Those of one test."""
    monkeypatch.setattr(trial, "_verdicts", {})
    return trial._verdicts


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (recurrent(), (5, 0, 6)),
        (recurrent("GRU"), (5, 0, 6)),
        (recurrent("GRU", "steps, n, 6"), (0, 2, 6)),
        (recurrent(before=SLICE), (5, 2, 6)),
    ],
    ids=["batch", "batch of a GRU", "sequence of a GRU", "inside of the graph"],
)
@pytest.mark.parametrize("form", ["proto", "model", "file"])
def test_an_empty_batch_that_crashes_a_kernel_is_an_error(
    model: onnx.ModelProto, shape: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    session = Runtime().session({"proto": model, "model": ir.from_proto(model), "file": path}[form])  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(RunError, match=r"ONNX Runtime crashes \(SIGABRT\), as it does where an LSTM or GRU"):
            session.run(feed(*shape))


def test_a_crash_while_constants_are_folded_is_an_error() -> None:
    model = recurrent(before="h = Identity (none)")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((5, 0, 6), np.float32), "none"))
    with pytest.raises(CheckFailedError, match=r"cannot load the model: it crashes \(SIGABRT\)"):
        Runtime().session(model)


def test_bodies_and_functions_are_looked_through() -> None:
    call = "GRU <hidden_size = 8> (h, w, r)"
    body = f"y = If (yes) <then_branch = t () => (p) {{ p = {call} }}, else_branch = e () => (q) {{ q = Relu (h) }}>"
    graph = f"(float[5, n, 6] x, bool yes, float[1, 24, 6] w, float[1, 24, 8] r) => (y) {{ h = Relu (x)  {body} }}"
    function = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]> g (float[5, n, 6] x) => (y) { y = own.f (x) }
    <domain: "own", opset_import: ["" : 17]> f (h) => (y) { y = LSTM <hidden_size = 8> (h, h, h) }"""
    for text in (f'<ir_version: 8, opset_import: ["" : 17]> g {graph}', function):
        model = onnx.parser.parse_model(text)
        operators = trial.operators_that_crash(model)
        assert {"LSTM", "GRU"} & set(operators)
        assert sorted(operators) == sorted(trial.operators_that_crash(ir.from_proto(model)))


def test_what_does_not_crash_runs_here_and_is_tried_once(verdicts: dict[Any, str | None]) -> None:
    model = recurrent()
    session = Runtime().session(model)
    once = session.run(feed(5, 2, 6))["y"]
    count = len(verdicts)
    again = Runtime().session(model).run(feed(5, 2, 6))["y"]
    assert once.shape == (5, 1, 2, 8)
    np.testing.assert_array_equal(once, again)
    assert len(verdicts) == count == 2
    assert Runtime().session(model).run(feed(5, 3, 6))["y"].shape == (5, 1, 3, 8)
    assert len(verdicts) == 3


def test_an_error_is_no_crash() -> None:
    with pytest.raises(RunError, match="Got invalid dimensions for input"):
        Runtime().session(recurrent()).run(feed(5, 2, 7))


def test_models_without_such_operators_are_not_tried(verdicts: dict[Any, str | None], tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> LSTM (float[n] GRU) => (y) { y = Relu (GRU) }'
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    for model in (path, onnx.parser.parse_model(text)):
        assert Runtime().session(model).run({"GRU": np.zeros(0, np.float32)})["y"].size == 0
    assert not verdicts


@pytest.mark.parametrize(
    "command", ["inspect --units --json -", "profile --runs 1", "compare model.onnx --data random:4"]
)
def test_commands_end_in_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(recurrent(shape="5, 0, 6").SerializeToString())
    name, *options = command.split()
    assert cli.run([name, "model.onnx", *options]) in (1, 2)
    assert capsys.readouterr().err.startswith("error: ")


def test_a_name_between_two_chunks_of_a_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CHUNK", 7)
    path = tmp_path / "model.onnx"
    for model, count in ((recurrent(), 2), (recurrent("GRU"), 2), (onnx.ModelProto(), 0)):
        path.write_bytes(model.SerializeToString())
        assert len(trial.operators_that_crash(path)) == count
    assert trial.operators_that_crash(tmp_path / "missing.onnx") == ()
