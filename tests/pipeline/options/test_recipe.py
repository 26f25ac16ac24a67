"""Recipes: their values are what the command line would give, and what is wrong is one sentence."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.recipe import Kind, read_recipe

KINDS: dict[str, Kind] = {
    "sparsity": "number", "seed": "whole number", "uniform": "flag", "trim": "text", "work": "path",
    "exclude": "list", "mean": "numbers", "layer": "table",
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(text, "utf-8")
        return path

    return write


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
        ("work = 1e400", "has work = inf, expected a string"),
        ("mean = ['a']", "expected a list of numbers"),
        ("layer = {a = true}", "expected a table of names and values"),
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
