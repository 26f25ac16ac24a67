"""What integers would do to each layer: ranges that hold its input, errors by bits, kernels, and reasons to stay."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from printed_text import printed

from netsurgeon.cli import run
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect_quantization import inspect_quantization
from netsurgeon.pipeline.profiling import timing_table
from netsurgeon.pipeline.terminal.console_integers import print_quantization

SHAPES = {
    "w1": (8, 3, 3, 3),
    "b1": (8,),
    "w2": (16, 8, 3, 3),
    "b2": (16,),
    "w3": (16, 4),
    "b3": (4,),
    "w4": (2, 8, 1, 1),
}
NAMES = ("first", "second", "classes", "map")
ONE_THREAD: Any = {"threads": 1}


def with_weights(text: str, shapes: dict[str, tuple[int, ...]]) -> ir.Model:
    """The model of a text, whose inputs of these names become random weights."""
    model, rng = ir.from_onnx_text(text), np.random.default_rng(0)
    for value in list(model.graph.inputs):
        if value.name in shapes:
            array = rng.standard_normal(shapes[value.name]).astype(np.float32)
            value.const_value = ir.tensor(array, name=value.name)
            model.graph.register_initializer(value)
            model.graph.inputs.remove(value)
    return model


def network(side: str = "8") -> ir.Model:
    """Two convolutions with Relu and a classifier, and a convolution whose output is one of the model."""
    model = with_weights(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,{side},{side}] x, float[8,3,3,3] w1, float[8] b1, '
        "float[16,8,3,3] w2, float[16] b2, float[16,4] w3, float[4] b3, float[2,8,1,1] w4) "
        "=> (float[N,4] y, float[N,2,I,J] m) { a = Conv(x, w1, b1) r = Relu(a) c = Conv(r, w2, b2) s = Relu(c) "
        "p = GlobalAveragePool(s) f = Flatten(p) y = Gemm(f, w3, b3) m = Conv(r, w4) }",
        SHAPES,
    )
    for at, name in zip((0, 2, 6, 7), NAMES, strict=True):
        model.graph[at].name = name
    return model


def inputs(count: int = 48) -> np.ndarray:
    """Between -1 and 3; both ends are reached."""
    x = np.random.default_rng(1).uniform(-1.0, 3.0, (count, 3, 8, 8)).astype(np.float32)
    x.flat[:2] = -1.0, 3.0
    return x


@pytest.fixture(scope="module")
def inspection() -> Any:
    return inspect_quantization(network(), inputs(), ranges="min-max", **ONE_THREAD)


def test_ranges_hold_what_each_layer_takes(inspection: Any) -> None:
    layers = {layer.name: layer for layer in inspection.layers}
    assert (layers["first"].low, layers["first"].high) == pytest.approx((-1.0, 3.0), rel=0.01)
    assert layers["first"].zero_point == 64
    for name in ("second", "classes"):
        assert (layers[name].low, layers[name].zero_point) == (0.0, 0)
        assert layers[name].high > 1.0


def test_fewer_bits_cost_more(inspection: Any) -> None:
    assert inspection.bits == (7, 4)
    for layer in inspection.layers[:3]:
        fine, coarse = layer.errors
        assert 0.0 < fine < 0.01
        assert coarse > 8.0 * fine


def test_the_model_is_run_once_for_all_numbers_of_bits() -> None:
    stages: list[str] = []
    inspect_quantization(
        network(), inputs(), lambda stage, *_: stages.append(stage), target="cpu-vnni", exclude=("map",), **ONE_THREAD
    )
    begun = [stage for stage, before in zip(stages, ["", *stages], strict=False) if stage != before]
    assert [begun.count(stage) for stage in ("measuring ranges", "quantizing layers")] == [1, 1]


def test_every_layer_says_what_runs_it_or_why_it_stays(inspection: Any) -> None:
    assert [layer.kernel for layer in inspection.layers] == ["QLinearConv", "QLinearConv", "QGemm", None]
    last = inspection.layers[-1]
    assert last.reason == "its output is an output of the model"
    assert (last.low, last.high, last.zero_point, last.errors, last.integers_ms) == (None, None, None, (), None)


def test_the_whole_model_is_timed(inspection: Any) -> None:
    assert inspection.untimed is None
    assert inspection.timed.dense > 0.0
    assert inspection.timed.model > 0.0
    staying = [layer for layer in inspection.layers if layer.reason is not None]
    assert inspection.gains is (len(staying) < len(inspection.layers))


def test_without_inputs_there_is_no_range_and_no_error() -> None:
    inspection = inspect_quantization(network(), exclude=("second",), target="cpu-vnni", **ONE_THREAD)
    assert (inspection.samples, inspection.bits) == (0, (8, 4))
    assert inspection.timed is not None
    first, second, *_ = inspection.layers
    assert (first.kernel, first.low, first.errors) == ("QLinearConv", None, ())
    assert (second.kernel, second.reason) == (None, "excluded by the user")


def test_for_a_target_that_is_not_here_nothing_is_timed_and_integers_are_as_it_wants_them() -> None:
    inspection = inspect_quantization(network(), inputs(), target="cuda", ranges="min-max")
    assert (inspection.timed, inspection.untimed) == (None, "what is fast on 'cuda' cannot be told here")
    first = inspection.layers[0]
    assert (first.zero_point, inspection.bits) == (0, (8, 4))
    assert (first.low, first.high) == pytest.approx((-3.0 * 128 / 127, 3.0), rel=0.01)


def test_made_up_inputs_are_not_timed_where_that_says_nothing() -> None:
    free = inspect_quantization(network(side="S"))
    assert free.untimed == "the input 'x' leaves more than its batch open"
    words = with_weights(
        '<ir_version: 8, opset_import: ["" : 17]> g (int64[N,4] x, float[9,8] e, float[8,8] w) => (float[N,4,8] y) '
        "{ v = Gather(e, x) y = MatMul(v, w) }",
        {"e": (9, 8), "w": (8, 8)},
    )
    counted = inspect_quantization(words)
    assert counted.untimed is not None
    assert counted.untimed.startswith("the input 'x' holds")
    for inspection in (free, counted):
        assert (inspection.timed, inspection.gains) == (None, None)
        assert all(layer.floats_ms is None for layer in inspection.layers)
    assert [layer.kernel for layer in counted.layers] == ["MatMulIntegerToFloat"]
    assert [layer.reason for layer in counted.layers] == [None]


def test_what_the_inputs_give_to_think_about_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing_table, "time_models", lambda *_: (None, [np.tile([2e-3, 1e-3], (2, 3, 1))]))
    inspection = inspect_quantization(network(), np.rint(8.0 * inputs()).astype(np.int64))
    assert "integers-for-floats" in [warning.code for warning in inspection.warnings]
    for text in (inspection.summary(), printed(print_quantization, inspection, width=400)):
        assert f"warning: {inspection.warnings[0]}" in text


def test_a_model_of_which_nothing_can_be_integers() -> None:
    model = with_weights(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,8] x, float[8,4] w) => (float[N,4] y) '
        "{ y = Gemm<alpha = 0.5>(x, w) }",
        {"w": (8, 4)},
    )
    inspection = inspect_quantization(model, np.ones((8, 8), np.float32))
    assert (inspection.untimed, inspection.timed) == ("no layer can run on integers", None)
    assert inspection.layers[0].reason == "its factors alpha and beta are not 1"


def test_another_provider_is_refused() -> None:
    with pytest.raises(InputError, match="integers run on the CPU, not on 'cuda': leave the provider out"):
        inspect_quantization(network(), provider="cuda")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantization") / "model.onnx"
    ir.save(network(), path)
    np.save(path.with_name("data.npy"), inputs())
    return path


def test_on_the_command_line(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["inspect", str(model_file), "--quantization", "--data", str(model_file.with_name("data.npy"))]
    assert run([*order, "--limit", "32", "--threads", "1", "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["samples"], document["bits"]) == (32, [7, 4])
    assert [layer["name"] for layer in document["layers"]] == list(NAMES)
    assert document["timed"].keys() == {"dense", "model", "speedup", "low", "high"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--quantization", "--sensitivity"], "--sensitivity and --quantization are two views of a model: give one"),
        (["--quantization", "--units"], "--units and --quantization are two views of a model: give one of them"),
        (["--target", "cpu-vnni"], "--target is where the integers of --quantization run: give both"),
        (["--threads", "2"], "--threads is for the times that --quantization measures: give both"),
        (["--quantization", "--picture", "a.svg"], "--picture draws what --sensitivity measures: give both"),
        (["--provider", "cuda"], "--provider runs the model of --sensitivity: give both"),
        (["--units", "--provider", "cuda"], "--provider runs the model of --sensitivity: give both"),
        (["--data", "x.npz"], "--data are inputs for --sensitivity, --quantization or --units: give one of them"),
        (["--quantization", "--provider", "cuda"], "integers run on the CPU, not on 'cuda': leave the provider out"),
    ],
)
def test_what_does_not_go_together_is_refused(
    model_file: Path, more: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(model_file), *more]) == 2
    assert problem in capsys.readouterr().err
