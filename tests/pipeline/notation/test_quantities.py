"""Numbers as people write them: one form a kind, wherever they are given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import read_bytes, read_count, read_factor, read_milliseconds, read_share
from netsurgeon.pipeline.options import Options, read_recipe


@pytest.mark.parametrize(
    ("read", "given", "number"),
    [
        (read_share, "90%", 0.9),
        (read_share, "0.9", 0.9),
        (read_share, 0.9, 0.9),
        (read_share, " 90 % ", 0.9),
        (read_share, ".5", 0.5),
        (read_share, "7%", 0.07),
        (read_share, "1e-2", 0.01),
        (read_bytes, "50KB", 50_000),
        (read_bytes, "50k", 50_000),
        (read_bytes, "50 KiB", 51_200),
        (read_bytes, "50Ki", 51_200),
        (read_bytes, "1.5 MB", 1_500_000),
        (read_bytes, "2GiB", 2 * 2**30),
        (read_bytes, "300 bytes", 300),
        (read_milliseconds, "5ms", 5.0),
        (read_milliseconds, "0.005s", 5.0),
        (read_milliseconds, "800 us", 0.8),
        (read_milliseconds, "800\N{MICRO SIGN}s", 0.8),
        (read_milliseconds, "800\N{GREEK SMALL LETTER MU}s", 0.8),
        (read_factor, "2x", 2.0),
        (read_factor, "2\N{MULTIPLICATION SIGN}", 2.0),
        (read_factor, 2, 2.0),
        (read_count, "40M", 40_000_000),
        (read_count, "40000000", 40_000_000),
        (read_count, 4e7, 40_000_000),
        (read_count, "1.5k", 1_500),
    ],
)
def test_every_form_is_read(read: Callable[[str, Any], float], given: Any, number: float) -> None:
    assert read("it", given) == number


def test_a_percentage_is_the_float_that_the_share_is() -> None:
    assert all(read_share("it", f"{percent}%") == percent / 100 for percent in range(101))


@pytest.mark.parametrize("given", ["50", 50, 50.5, "5e4"])
@pytest.mark.parametrize(("read", "example"), [(read_bytes, "500KB"), (read_milliseconds, "5ms")])
def test_what_has_several_units_never_stands_without_one(
    read: Callable[[str, Any], float], example: str, given: Any
) -> None:
    with pytest.raises(InputError, match=rf"^it is {given!r}, expected a \w+ with its unit, such as {example}"):
        read("it", given)


@pytest.mark.parametrize("given", ["1.5", 2.5, "0.0001k"])
def test_half_a_thing_is_no_count(given: Any) -> None:
    with pytest.raises(InputError, match=r"^it is .*, expected a whole number above 0, such as 500, 10k or 40M$"):
        read_count("it", given)


@pytest.mark.parametrize("read", [read_share, read_bytes, read_milliseconds, read_factor, read_count])
@pytest.mark.parametrize(
    "given", ["", "much", "1,5", "1 000", "5 parsecs", "nan", "inf", "--1", "1e99999x", float("nan"), True]
)
def test_what_is_no_number_is_refused(read: Callable[[str, Any], float], given: Any) -> None:
    with pytest.raises(InputError, match=r"^it is .*, expected a "):
        read("it", given)


@pytest.mark.parametrize(
    ("read", "unit"), [(read_bytes, "B"), (read_milliseconds, "ms"), (read_factor, ""), (read_count, "")]
)
@pytest.mark.parametrize("number", ["0", "-2", "1e9999"])
def test_what_must_be_above_0_is(read: Callable[[str, Any], float], unit: str, number: str) -> None:
    with pytest.raises(InputError, match=r"^it is "):
        read("it", number + unit)


def test_python_takes_the_forms_of_the_command_line() -> None:
    text = Options(sparsity="90%", layers={"conv*": "80%", "fc": 0.5}, exclude=())
    number = Options(sparsity=0.9, layers={"conv*": 0.8, "fc": 0.5}, exclude=())
    assert text == number
    assert text.described() == number.described()
    assert Options(trim="up-to:30%").trim_goal == Options(trim="30%").trim_goal == Options(trim=0.3).trim_goal == 0.3


def test_a_recipe_takes_them_too(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('sparsity = "90%"\n[layer]\n"conv*" = "80%"\nfc = 0.5\n', "utf-8")
    assert read_recipe(recipe, {"sparsity": "text", "layer": "table"}) == {
        "sparsity": "90%",
        "layer": ["conv*=80%", "fc=0.5"],
    }
