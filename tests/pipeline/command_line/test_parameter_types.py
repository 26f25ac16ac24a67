"""What options take: how values are read from the line, and what is said of those that cannot be."""

import click
import pytest
from command_lines import called

from netsurgeon.pipeline.command_line.parameter_types import (
    COUNT,
    FACTOR,
    SHARE,
    Data,
    FilePath,
    batch_sizes,
    dropped_rows,
    layer_sparsities,
    numbers,
    shapes,
)
from netsurgeon.pipeline.command_line.recipes import kind
from netsurgeon.pipeline.command_line.shared_options import combine_options

LISTS = combine_options(
    click.option("--batch", callback=batch_sizes),
    click.option("--mean", callback=numbers),
    click.option("--layer", multiple=True, callback=layer_sparsities),
    click.option("--shape", multiple=True, callback=shapes),
    click.option("--drop-rows", multiple=True, callback=dropped_rows),
    click.option("--sparsity", type=SHARE),
    click.option("--ratio", type=FACTOR),
    click.option("--limit", type=COUNT),
    click.option("--steps", type=COUNT, default=500),
)


def test_lists_and_names_with_values_are_read() -> None:
    values, _ = called(
        *("--batch", "1,8, 32", "--mean", "0.5,1,-2e-1", "--layer", "conv*=0.8", "--layer", "a=b=50%"),
        *("--shape", "image=1x3x224x224", "--shape", "length=7"),
        options=LISTS,
    )
    assert values["batch"] == (1, 8, 32)
    assert values["mean"] == (0.5, 1.0, -0.2)
    assert values["layer"] == {"conv*": 0.8, "a=b": 0.5}
    assert values["shape"] == {"image": (1, 3, 224, 224), "length": (7,)}


def test_counts_take_the_forms_of_other_numbers() -> None:
    values, _ = called("--limit", "10k", options=LISTS)
    assert (values["limit"], values["steps"]) == (10_000, 500)
    assert all(isinstance(values[name], int) for name in ("limit", "steps"))
    assert kind(click.Option(["--limit"], type=COUNT)) == "text", "a recipe may have limit = 100 and limit = '10k'"


def test_what_is_not_given_is_nothing() -> None:
    values, _ = called(options=LISTS)
    assert (values["batch"], values["mean"], values["layer"], values["shape"]) == (None, None, {}, {})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--batch", "1,x", "'1,x' is not a list of batch sizes such as 1,8,32"),
        ("--batch", "1.5", "is not a list of batch sizes"),
        ("--batch", "", "'' is not a list of batch sizes"),
        ("--mean", "0.5,,1", "'0.5,,1' is not a list of numbers such as 0.485,0.456,0.406"),
        ("--layer", "first", "'first', expected NAME=SHARE such as 'conv*=80%'"),
        ("--layer", "first=", "'first=', expected NAME=SHARE"),
        ("--layer", "first=half", "'first=half', expected NAME=SHARE"),
        ("--shape", "x=3by4", "'x=3by4', expected NAME=SIZES such as image=1x3x224x224"),
        ("--shape", "x=1x2.5", "expected NAME=SIZES"),
    ],
)
def test_values_that_cannot_be_read(option: str, value: str, message: str) -> None:
    values, result = called(option, value, options=LISTS)
    assert (values, result.exit_code) == ({}, 2)
    assert message in " ".join(result.output.split())


def test_rows_of_a_table_are_given_once() -> None:
    values, result = called("--drop-rows", "a=1", "--drop-rows", "b=2", "--drop-rows", "a=3-5", options=LISTS)
    assert (values, result.exit_code) == ({}, 2)
    assert "'a' is given twice: give all that belongs to it at once" in " ".join(result.output.split())
    values, _ = called("--drop-rows", "a=1", "--drop-rows", "b=2", options=LISTS)
    assert values["drop_rows"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("value", "problem"), [("", "is an empty path"), ("a\0b", "is 'a\\x00b', and no path holds a NUL")]
)
def test_what_no_path_can_be_is_refused_under_the_option_s_name(value: str, problem: str) -> None:
    options = combine_options(click.option("--json", "json_file", type=FilePath()), click.argument("model"))
    _, result = called("model.onnx", "--json", value, options=options)
    assert str(result.exception).startswith(f"--json {problem}")


@pytest.mark.parametrize(
    ("option", "value", "number"), [("--sparsity", "90%", 0.9), ("--sparsity", "0.9", 0.9), ("--ratio", "108x", 108.0)]
)
def test_shares_and_factors_become_numbers(option: str, value: str, number: float) -> None:
    assert called(option, value, options=LISTS)[0][option.strip("-")] == number


def test_a_share_that_is_none_is_refused_under_the_option_s_name() -> None:
    _, result = called("--sparsity", "much", options=LISTS)
    assert str(result.exception) == "sparsity is 'much', expected a share such as 90% or 0.9"


def test_where_inputs_are_missing_it_is_said_what_they_can_be() -> None:
    option = click.option("--data", type=Data(), required=True)
    _, result = called(options=option)
    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert "Missing option '--data'. Give inputs of the model: an .npz, an .npy" in text
    assert called("--data", "random", options=option)[0] == {"data": "random"}
