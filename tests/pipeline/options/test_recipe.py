"""Recipes on the command line: every option, the command line wins, and what is wrong is said before any work."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from netsurgeon import cli
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.recipe import Kind, read_recipe
from netsurgeon.pipeline.terminal import command_options

ROOT = Path(__file__).parent.parent.parent.parent
KINDS: dict[str, Kind] = {
    "sparsity": "number", "seed": "whole number", "uniform": "flag", "trim": "text",
    "exclude": "list", "mean": "numbers", "layer": "table",
}  # fmt: skip
Given = dict[str, Any]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What `compress` is called with, instead of a run."""
    found: Given = {}

    def compress(model: Path, data: str, **options: Any) -> None:
        found.update(model=model, data=data, **options)
        raise InputError("stopped here")

    monkeypatch.setattr(cli, "compress", compress)
    return found


def test_values_are_what_the_command_line_would_give(write: Callable[[str], Path]) -> None:
    text = """sparsity = 0.5\nseed = 3\nuniform = true\ntrim = 0.3\nexclude = ["a", "b"]\nmean = [0.5, 1]
    [layer]\n"conv*" = 0.8\n"""
    assert read_recipe(write(text), KINDS) == {
        "sparsity": "0.5", "seed": "3", "uniform": True, "trim": "0.3",
        "exclude": ["a", "b"], "mean": "0.5,1", "layer": ["conv*=0.8"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sparsty = 0.5", "unknown key 'sparsty': did you mean 'sparsity'?"),
        ("zzz = 1", "unknown key 'zzz': known are exclude, layer"),
        ("sparsity = true", "has sparsity = True, expected a number"),
        ("sparsity = 'much'", "has sparsity = 'much', expected a number"),
        ("seed = 1.5", "has seed = 1.5, expected a whole number"),
        ("uniform = 1", "has uniform = 1, expected true or false"),
        ("exclude = 'a'", "has exclude = 'a', expected a list of strings"),
        ("mean = ['a']", "expected a list of numbers"),
        ("layer = {a = 'b'}", "expected a table of names and numbers"),
        ("sparsity = ", "recipe.toml cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence(write: Callable[[str], Path], text: str, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)) as error:
        read_recipe(write(text), KINDS)
    assert "\n" not in str(error.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape("none.toml does not exist: give a TOML file")):
        read_recipe(tmp_path / "none.toml", KINDS)


def test_every_option_of_compress_can_be_given(given: Given, write: Callable[[str], Path]) -> None:
    """A value unlike the default for each, by its kind; what arrives is that value."""
    params = [each for each in cli.compress_command.params if each.name not in ("recipe", "verbose")]
    texts: dict[str, Any] = {
        "channels": "BGR", "layout": "NHWC", "importance": "apoz", "save": "macs", "method": "lobs",
        "values": "float32", "layer": {"a": 0.5}, "mean": [0.5], "std": [0.25], "pictures": None, "mlflow": None,
    }  # fmt: skip
    values: dict[str, Any] = {}
    for each in params:
        name = command_options.long_name(each)
        by_kind = {"flag": name != "pack", "whole number": 7, "number": 0.125, "list": ["q"], "text": f"the-{name}"}
        values[name] = texts.get(name, by_kind.get(command_options.kind(each)))
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    assert cli.run(["compress", "--recipe", str(write("\n".join(lines)))]) == 2
    pictures = given.pop("pictures")
    expected = {each.name: values[command_options.long_name(each)] for each in params}
    for name, value in {**given, **{n: getattr(pictures, n) for n in ("resize", "crop", "mean", "layout")}}.items():
        if name not in ("progress", "pictures"):
            assert str(value).strip("(),'") == str(expected[name]).strip("[]'") or value == expected[name], name
    assert {"model", "data", "test", "output", "report", "sparsity", "provider", "profile", "pack"} <= set(given)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {each}" for key, each in value.items()) + "}"
    return json.dumps(value)


def test_the_command_line_wins(given: Given, write: Callable[[str], Path]) -> None:
    recipe = write('data = "a.npz"\noutput = "a.onnx"\nsparsity = 0.5\nuniform = true\nexclude = ["a"]\npack = false')
    assert cli.run(["compress", "m.onnx", "--recipe", str(recipe), "--sparsity", "0.9", "--data", "b", "--pack"]) == 2
    assert (given["sparsity"], given["data"], given["pack"]) == (0.9, "b", True)
    assert (given["output"], given["uniform"], given["exclude"]) == (Path("a.onnx"), True, ("a",))
    assert given["seed"] == 0


def test_the_recipe_of_the_guide_is_read() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    names = {
        command_options.long_name(each) for each in cli.compress_command.params if isinstance(each, click.Parameter)
    }
    assert set(tomllib.loads(block)) <= names
