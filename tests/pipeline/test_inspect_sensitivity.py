"""Which layer costs what: the order is that of what really is lost, and the picture shows it."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx_ir as ir
import pytest
from masked_models import encoder, padded, sentences
from printed_text import printed

from netsurgeon.cli import run
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.inspect_sensitivity import draw_sensitivity, inspect_sensitivity
from netsurgeon.pipeline.terminal.console import print_sensitivity

WEIGHTS = {"w1": (32, 48), "w2": (48, 10), "w3": (32, 48), "w4": (48, 10)}


def network(faint: float = 0.01) -> ir.Model:
    """Two branches of two layers from x (N, 32), added; the second one's output is scaled down."""
    rng = np.random.default_rng(0)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32] x, float[32,48] w1, float[48,10] w2, '
        "float[32,48] w3, float[48,10] w4, float s) => (float[N,10] y) "
        "{ a = Gemm(x, w1) b = Relu(a) c = Gemm(b, w2) d = Gemm(x, w3) e = Relu(d) f = Gemm(e, w4) "
        "g = Mul(f, s) y = Add(c, g) }"
    )
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in WEIGHTS.items()}
    for value in list(model.graph.inputs)[1:]:
        array = values.get(value.name or "", np.float32(faint))
        value.const_value = ir.tensor(np.asarray(array), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    for at, name in ((0, "first"), (2, "second"), (3, "faint first"), (5, "<faint> $second$")):
        model.graph[at].name = name
    return model


def inputs(count: int = 96) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 32)).astype(np.float32)


def test_layers_that_matter_little_cost_little() -> None:
    found = inspect_sensitivity(network(), inputs())
    assert found.samples == 96
    losses = {layer.name: layer.losses for layer in found.layers}
    assert min(losses["first"][0], losses["second"][0]) > 100 * max(
        losses["faint first"][0], losses["<faint> $second$"][0]
    )
    for layer in found.layers:
        assert 0.0 < layer.losses[0] < layer.losses[1] < layer.losses[2] <= 1.0 or layer.name.startswith(("faint", "<"))
        assert 0.0 < layer.errors[0] < layer.errors[1] < layer.errors[2]
        np.testing.assert_allclose(layer.losses, np.minimum(layer.sensitivity * np.array(layer.errors), 1.0))


def test_branches_that_count_alike_cost_alike() -> None:
    losses = {layer.name: layer.losses[0] for layer in inspect_sensitivity(network(faint=1.0), inputs()).layers}
    assert losses["first"] == pytest.approx(losses["faint first"], rel=1.0)


def test_what_the_inputs_give_to_think_about_is_said() -> None:
    integers = np.rint(8.0 * inputs()).astype(np.int64)
    found = inspect_sensitivity(network(), integers)
    assert [warning.code for warning in found.warnings] == ["integers-for-floats"]
    assert f"warning: {found.warnings[0]}" in found.summary()
    assert f"warning: {found.warnings[0]}"[:80] in printed(print_sensitivity, found, width=400)
    assert inspect_sensitivity(network(), inputs()).warnings == ()


def test_how_padding_is_taken_off_is_said() -> None:
    found = inspect_sensitivity(encoder(), padded(sentences()))
    (note,) = [note for note in found.notes if note.code == "padding-taken-off"]
    assert f"note: {note}" in found.summary()
    assert f"note: {note}" in printed(print_sensitivity, found, width=400)


def test_the_picture_names_every_layer() -> None:
    found = inspect_sensitivity(network(), inputs())
    picture = draw_sensitivity(found)
    root = ElementTree.fromstring(picture)
    texts = {"".join(each.itertext()).strip() for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {layer.name for layer in found.layers} <= texts
    assert set(re.findall(r"var\(--(\w+)\)", picture)) <= set(re.findall(r"--(\w+):#", picture))
    assert draw_sensitivity(found) == picture


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data, picture = tmp_path / "model.onnx", tmp_path / "data.npy", tmp_path / "layers.svg"
    ir.save(network(), model)
    np.save(data, inputs())
    order = ["inspect", str(model), "--sensitivity", "--data", str(data), "--limit", "64"]
    assert run([*order, "--picture", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "measured on 64 inputs" in shown
    assert shown.index("first") < shown.index("faint")
    assert picture.read_text("utf-8").startswith("<svg xmlns")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            ["--sensitivity", "--data", "DATA", "--picture", "layers.png"],
            "drawn as SVG: give it a name that ends in .svg",
        ),
        (["--picture", "layers.svg"], "--picture draws what --sensitivity measures: give both"),
        (["--sensitivity"], "--sensitivity measures on inputs of the model: give them with --data"),
    ],
)
def test_what_cannot_be_measured(tmp_path: Path, capsys: Any, more: list[str], problem: str) -> None:
    ir.save(network(), tmp_path / "model.onnx")
    np.save(tmp_path / "data.npy", inputs(8))
    given = [str(tmp_path / "data.npy") if each == "DATA" else each for each in more]
    assert run(["inspect", str(tmp_path / "model.onnx"), *given]) == 2
    assert problem in capsys.readouterr().err


def test_a_model_without_layers() -> None:
    plain = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32] x) => (float[N,32] y) { y = Relu(x) }'
    )
    with pytest.raises(InputError, match="no layer that can be pruned"):
        inspect_sensitivity(plain, inputs(8))
