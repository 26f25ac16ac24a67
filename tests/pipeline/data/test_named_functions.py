"""A function named "module:function": imported from the current folder, or one sentence says why not."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_sources import X

from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    monkeypatch.chdir(tmp_path)
    names = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_function_named_by_a_string(write_module: Callable[[str, str], None]) -> None:
    write_module(
        "feeds_for_test",
        "import numpy as np\n"
        "def good():\n    return [{'x': np.ones((2, 3), 'f4')}]\n"
        "def names():\n    yield 'one'\n"
        "def nothing():\n    return []\n"
        "def none():\n    pass\n"
        "def fails():\n    raise KeyError('no such column')\n"
        "number = 3\n",
    )
    path = list(sys.path)
    assert open_samples("feeds_for_test:good", X).count == 2
    assert sys.path == path
    for name, message in {
        "names": "feed 0 of feeds_for_test:names is of type str: expected an array, a picture, a pair of inputs and",
        "nothing": "gave no samples",
        "none": "'NoneType' object is not iterable",
        "fails": "failed with KeyError",
        "number": "is of type int: expected a function",
        "missing": "cannot be imported",
    }.items():
        with pytest.raises(InputError, match=message):
            open_samples(f"feeds_for_test:{name}", X)


def test_modules_that_do_not_import(write_module: Callable[[str, str], None]) -> None:
    write_module("broken_for_test", "1 / 0")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        open_samples("broken_for_test:feeds", X)
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        open_samples("no_such_module_for_test:feeds", X)
