"""A value of the wrong type is told where it is given: what fits an annotation, and the words for what does not."""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.options.type_checks import check_types


@dataclasses.dataclass
class Settings:
    """A field of every kind."""

    share: float = 0.5
    count: int = 1
    text: str = ""
    flag: bool = False
    names: tuple[str, ...] = ()
    table: Mapping[str, float] = dataclasses.field(default_factory=dict)
    file: Path | None = None
    metric: str | Callable[..., float] | None = None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("share", value) for value in (0.5, 1, np.float16(0.5), np.int8(1), Fraction(1, 2), float("nan"))),
        *(("count", value) for value in (-3, np.int64(3), np.uint8(3))),
        *(("flag", value) for value in (True, np.True_)),
        *(("names", value) for value in ((), ("a", "b"), ["a"], [])),
        *(("table", value) for value in ({}, {"a": 1}, {"a": np.float32(0.5)})),
        *(("file", value) for value in (None, Path("a"))),
        *(("metric", value) for value in (None, "a:b", len, functools.partial(max, 1), lambda: 0.0, dict)),
        ("text", np.str_("a")),
    ],
)
def test_what_fits(name: str, value: Any) -> None:
    check_types(Settings(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *(("share", value, "a number") for value in ("0.5", True, np.False_, None, 1j, [0.5], np.ones(1))),
        *(("count", value, "a whole number") for value in (1.0, np.float64(1), False, "1")),
        *(("text", value, "a string") for value in (b"a", Path("a"), 1)),
        *(("flag", value, "True or False") for value in (0, 1, "no", None)),
        *(("names", value, "a tuple of strings") for value in ("ab", {"a"}, ("a", 1), [["a"]], None)),
        *(("table", value, "a mapping from strings to numbers") for value in ([("a", 1)], {1: 1}, {"a": "b"})),
        ("table", {"a": True}, "a mapping from strings to numbers"),
        *(("file", value, "a pathlib.Path or None") for value in ("a", b"a")),
        *(("metric", value, "a string or a function or None") for value in (1, ("a", "b"))),
    ],
)
def test_what_does_not_fit(name: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is {re.escape(repr(value))}, expected {re.escape(expected)}$"):
        check_types(Settings(**{name: value}))


def test_a_class_is_called_by_its_package() -> None:
    @dataclasses.dataclass
    class Pictures:
        pictures: PictureOptions | None = None

    check_types(Pictures(PictureOptions(crop=8)))
    with pytest.raises(InputError, match=r"expected a netsurgeon\.PictureOptions or None$"):
        check_types(Pictures({"crop": 8}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sparsity", "a", "sparsity is 'a', expected a share"),
        ("sparsity", True, "sparsity is True, expected a number or a string"),
        ("sparsity", "half", "sparsity is 'half', expected a share such as 90% or 0.9"),
        ("method", 3, "method is 3, expected a string"),
        ("pattern", 2.4, "pattern is 2.4, expected a string or None"),
        ("uniform", "yes", "uniform is 'yes', expected True or False"),
        ("layers", {"first": "half"}, "sparsity of layer 'first' is 'half', expected a share"),
        ("layers", [("first", 0.5)], "expected a mapping from strings to numbers"),
        ("exclude", 3, "exclude is 3, expected a tuple of strings"),
        ("exclude", "first", "exclude is 'first', expected a tuple of strings"),
        ("exclude", (3,), r"exclude is \(3,\), expected a tuple of strings"),
        ("custom_ops", "first", "custom_ops is 'first', expected a tuple of strings"),
        ("damping", "auto", "damping is 'auto', expected a number or None"),
        ("values", 3, "values is 3, expected a string or None"),
        ("pack", "no", "pack is 'no', expected True or False"),
        ("batch_size", "32", "batch_size is '32', expected a whole number or None"),
        ("limit", 2.5, "limit is 2.5, expected a whole number or None"),
        ("seed", None, "seed is None, expected a whole number"),
        ("pictures", {"crop": 224}, "expected a netsurgeon.PictureOptions or None"),
        ("classes", "classes.txt", "classes is 'classes.txt', expected a pathlib.Path or None"),
        ("label_offset", 0.5, "label_offset is 0.5, expected a whole number"),
        ("metric", 3, "metric is 3, expected a string or a function or None"),
    ],
)
def test_an_option_of_the_wrong_type(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**{name: value})


def test_every_option_is_checked() -> None:
    for field in dataclasses.fields(Options):
        wrong: dict[str, Any] = {field.name: object()}
        with pytest.raises(InputError, match=f"{field.name} is <object"):
            Options(**wrong)
