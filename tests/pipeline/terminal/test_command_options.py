"""Options that commands share: how their values are read from the line and from recipes, and what help says of them."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from netsurgeon import cli
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.terminal import command_options
from netsurgeon.pipeline.terminal.command_options import (
    Data,
    FilePath,
    batch_sizes,
    combine_options,
    data_options,
    layer_sparsities,
    picture_options,
    recipe_option,
    shapes,
    with_pictures,
)

ROOT = Path(__file__).parent.parent.parent.parent
Values = dict[str, Any]


def called(*arguments: str, options: Callable[..., Any]) -> tuple[Values, Result]:
    """What a command with these options is called with, and how it ended."""
    values: Values = {}

    @click.command()
    @options
    def command(**arguments: Any) -> None:
        values.update(arguments)

    return values, CliRunner().invoke(command, arguments)


LISTS = combine_options(
    click.option("--batch", callback=batch_sizes),
    click.option("--layer", multiple=True, callback=layer_sparsities),
    click.option("--shape", multiple=True, callback=shapes),
    picture_options,
)


def test_lists_and_names_with_values_are_read() -> None:
    values, _ = called(
        *("--batch", "1,8, 32", "--mean", "0.5,1,-2e-1", "--layer", "conv*=0.8", "--layer", "a=b=0.5"),
        *("--shape", "image=1x3x224x224", "--shape", "length=7"),
        options=LISTS,
    )
    assert values["batch"] == (1, 8, 32)
    assert values["mean"] == (0.5, 1.0, -0.2)
    assert values["layer"] == {"conv*": 0.8, "a=b": 0.5}
    assert values["shape"] == {"image": (1, 3, 224, 224), "length": (7,)}


def test_what_is_not_given_is_nothing() -> None:
    values, _ = called(options=LISTS)
    assert (values["batch"], values["mean"], values["layer"], values["shape"]) == (None, None, {}, {})
    assert with_pictures(values) == {"batch": None, "layer": {}, "shape": {}, "pictures": None}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--batch", "1,x", "'1,x' is not a list of batch sizes such as 1,8,32"),
        ("--batch", "1.5", "is not a list of batch sizes"),
        ("--batch", "", "'' is not a list of batch sizes"),
        ("--mean", "0.5,,1", "'0.5,,1' is not a list of numbers such as 0.485,0.456,0.406"),
        ("--layer", "first", "'first', expected NAME=SPARSITY such as 'conv*=0.8'"),
        ("--layer", "first=", "'first=', expected NAME=SPARSITY"),
        ("--layer", "first=half", "'first=half', expected NAME=SPARSITY"),
        ("--shape", "x=3by4", "'x=3by4', expected NAME=SIZES such as image=1x3x224x224"),
        ("--shape", "x=1x2.5", "expected NAME=SIZES"),
    ],
)
def test_values_that_cannot_be_read(option: str, value: str, message: str) -> None:
    values, result = called(option, value, options=LISTS)
    assert (values, result.exit_code) == ({}, 2)
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("value", "problem"), [("", "is an empty path"), ("a\0b", "is 'a\\x00b', and no path holds a NUL")]
)
def test_what_no_path_can_be_is_refused_under_the_option_s_name(value: str, problem: str) -> None:
    options = combine_options(click.option("--json", "json_file", type=FilePath()), click.argument("model"))
    _, result = called("model.onnx", "--json", value, options=options)
    assert str(result.exception).startswith(f"--json {problem}")


def test_picture_options_become_one_object() -> None:
    values, _ = called("--resize", "256", "--crop", "224", "--channels", "BGR", "--std", "2", options=picture_options)
    assert with_pictures(values) == {"pictures": PictureOptions(resize=256, crop=224, channels="BGR", std=(2.0,))}


def test_picture_options_of_a_file_give_way_to_the_line(tmp_path: Path) -> None:
    file = tmp_path / "pictures.toml"
    file.write_text('crop = 224\nscale = 1\nchannels = "BGR"\nmirror = true\n')
    values, _ = called("--pictures", str(file), "--crop", "8", options=data_options)
    options = with_pictures(values)
    assert options["pictures"] == PictureOptions(crop=8, scale=1.0, channels="BGR", mirror=True)
    assert (options["batch_size"], options["provider"], options["seed"], options["custom_ops"]) == (32, "cpu", 0, ())
    with pytest.raises(InputError, match=r"none\.toml"):
        with_pictures({"pictures": tmp_path / "none.toml"})


def test_help_lists_the_options_in_their_order() -> None:
    _, result = called("--help", options=combine_options(click.option("--b"), click.option("--a"), picture_options))
    names = re.findall(r"^  --([\w-]+)", result.output, re.MULTILINE)
    assert names == ["b", "a", "pictures", "resize", "crop", "channels", "scale", "mean", "std", "layout", "help"]


def test_where_inputs_are_missing_it_is_said_what_they_can_be() -> None:
    option = click.option("--data", type=Data(), required=True)
    _, result = called(options=option)
    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert "Missing option '--data'. Give inputs of the model: an .npz, an .npy" in text
    assert called("--data", "random", options=option)[0] == {"data": "random"}


@pytest.mark.parametrize(
    ("option", "kind", "name"),
    [
        (click.Option(["--uniform"], is_flag=True), "flag", "uniform"),
        (click.Option(["--pack/--no-pack"]), "flag", "pack"),
        (click.Option(["-x", "--exclude"], multiple=True), "list", "exclude"),
        (click.Option(["--batch-size"], type=int), "whole number", "batch-size"),
        (click.Option(["--sparsity"], type=float), "number", "sparsity"),
        (click.Option(["-o", "--output"], type=click.Path()), "text", "output"),
        (click.Option(["--method"], type=click.Choice(["a"])), "text", "method"),
        (click.Argument(["model"]), "text", "model"),
    ],
)
def test_what_an_option_takes_and_is_called_in_a_recipe(option: click.Parameter, kind: str, name: str) -> None:
    assert (command_options.kind(option), command_options.long_name(option)) == (kind, name)


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

    monkeypatch.setattr(cli, "compress", compress)
    return values


def test_every_option_of_compress_can_be_given(call: Values, write: Callable[[str], Path]) -> None:
    """A value unlike the default for each, by its kind; what arrives is that value."""
    params = [parameter for parameter in cli.compress_command.params if parameter.name not in ("recipe", "verbose")]
    texts: dict[str, Any] = {
        "channels": "BGR", "layout": "NHWC", "importance": "apoz", "save": "macs", "method": "lobs",
        "values": "float32", "quantize": "int8", "target": "cpu-vnni", "ranges": "min-max", "prefer": "size",
        "layer": {"a": 0.5}, "mean": [0.5], "std": [0.25], "pictures": None, "mlflow": None,
    }  # fmt: skip
    values: dict[str, Any] = {}
    for parameter in params:
        name = command_options.long_name(parameter)
        by_kind = {"flag": name != "pack", "whole number": 7, "number": 0.125, "list": ["q"]}
        values[name] = texts.get(name, by_kind.get(command_options.kind(parameter), f"the-{name}"))
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    assert cli.run(["compress", "--recipe", str(write("\n".join(lines)))]) == 2
    pictures = call.pop("pictures")
    expected = {parameter.name: values[command_options.long_name(parameter)] for parameter in params}
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
    names = {
        command_options.long_name(parameter)
        for parameter in cli.compress_command.params
        if isinstance(parameter, click.Parameter)
    }
    assert set(tomllib.loads(block)) <= names
