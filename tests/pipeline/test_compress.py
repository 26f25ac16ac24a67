"""compress from end to end: what it promises of the model it writes and of the report it gives."""

import importlib
import os
import subprocess
import sys
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
from perceptron_models import (
    DIGITS,
    FAST,
    ROOT,
    UNIFORM,
    Array,
    built,
    inputs,
    perceptron,
    proto_bytes,
    random,
    run_model,
    top1,
)

from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.pipeline import compress as compress_module
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.verification.validation import Scores


def test_path_proto_and_model_give_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(perceptron(), path)
    for name, model in (("a", path), ("b", str(path)), ("c", onnx.load(path)), ("d", ir.load(path))):
        compress(model, inputs(), output=tmp_path / name, sparsity=0.7, **FAST)
    written = {(tmp_path / name).read_bytes() for name in "abcd"}
    assert len(written) == 1


def test_model_in_memory_is_the_model_on_disk(tmp_path: Path) -> None:
    result = compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.7, **FAST)
    np.testing.assert_array_equal(run_model(result.model, inputs()), run_model(tmp_path / "small.onnx", inputs()))


def test_every_process_writes_the_same_bytes(tmp_path: Path) -> None:
    onnx.save(perceptron(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=inputs())
    arguments = ["compress", f"{tmp_path}/model.onnx", "--data", f"{tmp_path}/data.npz", "--sparsity", "0.7"]
    for seed in ("1", "2"):
        command = [sys.executable, str(ROOT / "cli.py"), *arguments, "-o", f"{tmp_path}/{seed}.onnx"]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=60, capture_output=True)
    result = compress(tmp_path / "model.onnx", tmp_path / "data.npz", output=tmp_path / "3.onnx", sparsity=0.7)
    assert len({(tmp_path / f"{name}.onnx").read_bytes() for name in "123"}) == 1
    assert result.report.options["method"] == "auto"


def test_another_seed_may_give_another_model() -> None:
    found = {proto_bytes(compress(perceptron(), inputs(400), sparsity=0.7, seed=seed, **FAST)) for seed in (0, 1)}
    assert len(found) == 2


def test_inputs_are_never_written_to(tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    onnx.save(perceptron(), path)
    np.savez(data, x=inputs())
    files = (path.read_bytes(), data.read_bytes())
    proto, model, arrays = onnx.load(path), ir.load(path), inputs()
    before = ir.to_proto(model).SerializeToString()
    compress(path, data, sparsity=0.7, **FAST)
    compress(proto, arrays, sparsity=0.7, **FAST)
    compress(model, arrays, sparsity=0.7, **FAST)
    assert (path.read_bytes(), data.read_bytes()) == files
    assert proto.SerializeToString() == onnx.load(path).SerializeToString()
    assert ir.to_proto(model).SerializeToString() == before
    np.testing.assert_array_equal(arrays, inputs())


def gives_feeds() -> Iterator[dict[str, Array]]:
    yield from ({"x": inputs()[at : at + 10]} for at in range(0, 80, 10))


def as_npz(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=inputs())
    return folder / "data.npz"


def as_module(folder: Path) -> str:
    (folder / "feeds_of_mine.py").write_text(
        "import numpy as np\ndef give():\n"
        f"    x = np.load({str(as_npz(folder))!r})['x']\n"
        "    for at in range(0, 80, 10):\n        yield {'x': x[at:at + 10]}\n"
    )
    return "feeds_of_mine:give"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (lambda folder: inputs(), "ndarray"),
        (lambda folder: {"x": inputs()}, "dict"),
        (lambda folder: list(gives_feeds()), "list"),
        (lambda folder: gives_feeds(), "generator"),
        (lambda folder: gives_feeds, "function"),
        (as_npz, "data.npz"),
        (as_module, "feeds_of_mine:give"),
    ],
)
def test_every_source_of_the_same_inputs_gives_the_same_model(
    source: Callable[[Path], Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    result = compress(perceptron(), source(tmp_path), sparsity=0.7, **FAST)
    sys.modules.pop("feeds_of_mine", None)
    assert proto_bytes(result) == proto_bytes(compress(perceptron(), inputs(), sparsity=0.7, **FAST))
    assert result.report.calibration.source == name


def test_random_inputs_only_by_name() -> None:
    result = compress(perceptron(), "random:96", sparsity=0.5, **FAST)
    assert result.report.calibration.source == "random:96"
    assert result.report.calibration.samples + result.report.validation.samples == 96


def test_limit() -> None:
    report = compress(perceptron(), inputs(), test=inputs(7), limit=20, sparsity=0.5, **UNIFORM).report
    assert (report.calibration.samples, report.validation.samples) == (20, 7)


def test_a_compressed_model_can_be_compressed_again(tmp_path: Path) -> None:
    compress(perceptron(), inputs(), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    result = compress(tmp_path / "small.onnx", inputs(), sparsity=0.8, **UNIFORM)
    assert result.report.sparsity == pytest.approx(0.8, abs=1e-3)
    assert [layer.name for layer in result.report.layers] == ["first", "second"]
    assert result.report.dense.parameters == 32 * 64 + 64 + 64 * 10 + 10


def test_model_that_cannot_run_on_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the values"):
        compress(looked_up(), np.array([7, 8, 9]), output=tmp_path / "small.onnx", sparsity=0.5, **UNIFORM)
    assert not list(tmp_path.iterdir())


def looked_up(at_the_end: bool = False) -> onnx.ModelProto:
    """x (N,) picks rows of a table of 5, for the only layer or beside its output."""
    nodes = [
        onnx.helper.make_node("Gather", ["table", "x"], ["h"], name="gather"),
        onnx.helper.make_node("MatMul", ["h", "w"], ["y"], name="first"),
    ]
    if at_the_end:
        nodes = [
            onnx.helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            onnx.helper.make_node("Unsqueeze", ["f", "one"], ["u"]),
            onnx.helper.make_node("MatMul", ["u", "v"], ["m"], name="first"),
            onnx.helper.make_node("Gather", ["table", "x"], ["h"], name="gather"),
            onnx.helper.make_node("Add", ["m", "h"], ["y"]),
        ]
    weights = {"table": random(5, 32), "w": random(32, 10), "v": random(1, 32)}
    model = built(nodes, weights, entry=("N",), end=("N", 32 if at_the_end else 10))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("where", ["calibration", "test", "split"])
def test_model_that_cannot_run_on_a_later_batch(tmp_path: Path, where: str, at_the_end: bool) -> None:
    good = np.arange(100) % 5
    bad = np.where(np.arange(100) == 95, 7, good)
    data, test = {"calibration": (bad, good), "test": (good, bad), "split": (bad, None)}[where]
    with pytest.raises(InputError, match=r"as given cannot run on batch \d \(sample \d+ of the array to .*idx=7"):
        compress(
            looked_up(at_the_end),
            data,
            test=test,
            output=tmp_path / "small.onnx",
            uniform=not at_the_end,
            sparsity=0.5,
            **FAST,
        )
    assert not list(tmp_path.iterdir())


def test_the_failing_batch_is_named() -> None:
    bad = np.where(np.arange(100) == 95, 7, 0)
    with pytest.raises(InputError, match=r"batch 2 \(sample 64 of the array to sample 95 of the array\)"):
        compress(looked_up(), bad, test=bad[:9], sparsity=0.5, **UNIFORM)
    with pytest.raises(InputError, match=r"cannot run on sample 95 of the array: "):
        compress(looked_up(), bad, test=bad[:9], batch_size=1, sparsity=0.5, **UNIFORM)


def test_labels_that_are_no_classes_are_refused_before_the_work() -> None:
    stages: list[str] = []
    test = {"x": inputs(20), "labels": np.full(20, 10)}
    with pytest.raises(InputError, match=r"label 10 .* is not a class of the model, which has 10"):
        compress(
            perceptron(), inputs(), test=test, progress=lambda stage, *_: stages.append(stage), sparsity=0.5, **UNIFORM
        )
    assert set(stages) == {"opening"}


def test_custom_operators_that_are_missing() -> None:
    with pytest.raises(InputError, match=r"no-such\.so"):
        compress(perceptron(), inputs(), custom_ops=("no-such.so",), sparsity=0.5, **UNIFORM)


def test_a_hessian_without_factor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise FactorizationError("layer 'first', damping 1e-09: no Cholesky factor")

    monkeypatch.setattr(compress_module, "apply_plan", fails)
    with pytest.raises(CheckFailedError, match=r"layer 'first'.*--damping"):
        compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM)


@pytest.mark.parametrize(("count", "codes"), [(1, {"few-inputs", "not-held-out"}), (15, {"few-inputs"}), (16, set())])
def test_what_rests_on_hardly_any_inputs_says_so(count: int, codes: set[str]) -> None:
    warnings = compress(perceptron(), inputs(count), sparsity=0.5, **UNIFORM).report.warnings
    assert codes == {warning.code for warning in warnings} & {"few-inputs", "not-held-out"}


def test_inputs_of_one_class_prove_nothing() -> None:
    alike = {"x": np.tile(random(1, 32, seed=3), (200, 1)) + 1e-3 * random(200, 32, seed=4)}
    with pytest.raises(InputError, match=r"one and the same class to .* check how the inputs are prepared"):
        compress(perceptron(), alike, **FAST)
    report = compress(perceptron(), alike, sparsity=0.5, **UNIFORM).report
    assert report.warnings[0].code == "answers-alike"
    promise = report.validation.promise
    assert (promise.outputs, promise.margin_loss, promise.agreement) == ((), None, None)
    assert promise.withheld is not None
    assert promise.withheld.code == "answers-alike"


def test_digits_stay_accurate_without_nine_of_ten_weights(delivered: tuple[Path, Compression]) -> None:
    report = delivered[1].report
    dense, compressed = top1(report.validation)
    assert dense >= 0.99
    assert compressed >= dense - 0.02
    assert report.ratio > 5.0
    assert report.validation.compressed != Scores(None, None, None)
    assert report.validation.agreement is not None
    assert report.validation.agreement >= 0.97


def test_a_small_network_can_be_made_smaller(delivered: tuple[Path, Compression]) -> None:
    folder, first = delivered
    result = compress(
        folder / "small.onnx", DIGITS / "calibration.npz", test=DIGITS / "test.npz", sparsity=0.93, **FAST
    )
    assert 0.93 <= result.report.sparsity < 0.95
    assert result.report.dense == first.report.compressed
    dense, compressed = top1(result.report.validation)
    assert compressed >= dense - 0.02


def test_public_names_are_there() -> None:
    module = importlib.import_module("netsurgeon")
    assert module.compress is compress
    with pytest.raises(AttributeError, match="shrink"):
        module.shrink  # noqa: B018
