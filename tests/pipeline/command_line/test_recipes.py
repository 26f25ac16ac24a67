"""Recipes: what every option takes in one, and that the command line wins."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from command_lines import Values, called

from netsurgeon import cli
from netsurgeon.pipeline.command_line.compress import compress_command
from netsurgeon.pipeline.command_line.parameter_types import SHARE, batch_sizes, layer_sparsities
from netsurgeon.pipeline.command_line.recipes import kind, long_name, recipe_option
from netsurgeon.pipeline.command_line.shared_options import combine_options, picture_options
from netsurgeon.pipeline.errors import InputError

ROOT = Path(__file__).parent.parent.parent.parent
LISTS = combine_options(
    click.option("--batch", callback=batch_sizes),
    click.option("--layer", multiple=True, callback=layer_sparsities),
    picture_options,
)


@pytest.mark.parametrize(
    ("option", "expected_kind", "name"),
    [
        (click.Option(["--uniform"], is_flag=True), "flag", "uniform"),
        (click.Option(["--pack/--no-pack"]), "flag", "pack"),
        (click.Option(["-x", "--exclude"], multiple=True), "list", "exclude"),
        (click.Option(["--batch-size"], type=int), "whole number", "batch-size"),
        (click.Option(["--damping"], type=float), "number", "damping"),
        (click.Option(["--sparsity"], type=SHARE), "text", "sparsity"),
        (click.Option(["-o", "--output"], type=click.Path()), "text", "output"),
        (click.Option(["--method"], type=click.Choice(["a"])), "text", "method"),
        (click.Argument(["model"]), "text", "model"),
    ],
)
def test_what_an_option_takes_and_is_called_in_a_recipe(option: click.Parameter, expected_kind: str, name: str) -> None:
    assert (kind(option), long_name(option)) == (expected_kind, name)


def test_a_recipe_may_hold_every_kind_of_value(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('batch = "1,8"\nmean = [0.5, 1]\ncrop = 8\n[layer]\n"conv*" = 0.8\n')
    options = combine_options(LISTS, recipe_option)
    values, _ = called("--recipe", str(recipe), "--crop", "9", options=options)
    assert (values["batch"], values["mean"], values["crop"]) == ((1, 8), (0.5, 1.0), 9)
    assert (values["layer"], values["recipe"]) == ({"conv*": 0.8}, recipe)
    recipe.write_text('recipe = "other.toml"\n')
    _, result = called("--recipe", str(recipe), options=options)
    assert "unknown key 'recipe'" in str(result.exception)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Values:
    """What `compress` is called with, instead of a run."""
    values: Values = {}

    def compress(model: Path, data: str, **options: Any) -> None:
        values.update(model=model, data=data, **options)
        raise InputError("stopped here")

    monkeypatch.setattr("netsurgeon.pipeline.compress.compress", compress)
    return values


def test_every_option_of_compress_can_be_given(call: Values, write: Callable[[str], Path]) -> None:
    """A value unlike the default for each, by its kind; what arrives is that value."""
    params = [parameter for parameter in compress_command.params if parameter.name not in ("recipe", "verbose")]
    texts: dict[str, Any] = {
        "channels": "BGR", "layout": "NHWC", "importance": "apoz", "save": "macs", "method": "lobs",
        "values": "float32", "quantize": "int8", "target": "cpu-vnni", "ranges": "min-max", "prefer": "size",
        "sparsity": 0.125, "layer": {"a": 0.5}, "drop-rows": {"a": "5"}, "effort": "fast", "names": "short",
        "mean": [0.5], "std": [0.25], "pictures": None, "mlflow": None, "tables": "int8", "augment": "none",
        "limit": 7, "batch-size": 7,
    }  # fmt: skip
    values: dict[str, Any] = {}
    for parameter in params:
        name = long_name(parameter)
        by_kind = {"flag": name != "pack", "whole number": 7, "number": 0.125, "list": ["q"]}
        values[name] = texts.get(name, by_kind.get(kind(parameter), f"the-{name}"))
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    assert cli.run(["compress", "--recipe", str(write("\n".join(lines)))]) == 2
    pictures = call.pop("pictures")
    expected = {parameter.name: values[long_name(parameter)] for parameter in params}
    for name, value in {**call, **{n: getattr(pictures, n) for n in ("resize", "crop", "mean", "layout")}}.items():
        if name not in ("progress", "pictures"):
            assert str(value).strip("(),'") == str(expected[name]).strip("[]'") or value == expected[name], name
    assert {"model", "data", "test", "output", "report", "sparsity", "provider", "profile", "pack"} <= set(call)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {number}" for key, number in value.items()) + "}"
    return json.dumps(value)


def test_the_command_line_wins(call: Values, write: Callable[[str], Path]) -> None:
    recipe = write('data = "a.npz"\noutput = "a.onnx"\nsparsity = 0.5\nuniform = true\nexclude = ["a"]\npack = false')
    assert cli.run(["compress", "m.onnx", "--recipe", str(recipe), "--sparsity", "0.9", "--data", "b", "--pack"]) == 2
    assert (call["sparsity"], call["data"], call["pack"]) == (0.9, "b", True)
    assert (call["output"], call["uniform"], call["exclude"]) == (Path("a.onnx"), True, ("a",))
    assert call["seed"] == 0


@pytest.mark.parametrize("name", ["work", "output", "report", "data", "model"])
def test_no_number_is_a_path(
    name: str, call: Values, write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A work folder "inf" was made."""
    assert cli.run(["compress", "--recipe", str(write(f"{name} = 1e400"))]) == 2
    assert f"has {name} = inf, expected a string" in capsys.readouterr().err
    assert not call


def test_the_recipe_of_the_guide_is_read() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    names = {long_name(parameter) for parameter in compress_command.params if isinstance(parameter, click.Parameter)}
    assert set(tomllib.loads(block)) <= names
