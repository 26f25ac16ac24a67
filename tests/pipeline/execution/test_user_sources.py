"""Digests of the user's code: they change with all that a function does, and with nothing else."""

import functools
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.data import import_function
from netsurgeon.pipeline.execution import source_digest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, a module and a package that it imports, and one that nobody does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digest_helpers" / "inner").mkdir(parents=True)
    sources = {
        "digest_scores.py": "import json, digest_beside\n\ndef score():\n    return digest_beside\n",
        "digest_beside.py": "def helper():\n    from digest_helpers import inner\n    return inner\n",
        "digest_helpers/__init__.py": "",
        "digest_helpers/inner/__init__.py": "from ..deep import value\n",
        "digest_helpers/deep.py": "value = 1\n",
        "digest_alone.py": "value = 1\n",
    }
    for name, text in sources.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["digest_scores.py", "digest_beside.py", "digest_helpers/deep.py"])
def test_the_digest_changes_with_the_module_and_with_what_it_imports(name: str, here: Path) -> None:
    before = source_digest("digest_scores:score")
    assert source_digest("digest_scores:score") == before
    with (here / name).open("a") as file:
        file.write("value = 2\n")
    assert source_digest("digest_scores:score") != before


def test_the_digest_knows_neither_what_nobody_imports_nor_where_it_lies(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = source_digest("digest_scores:score")
    (here / "digest_alone.py").write_text("value = 2\n", "utf-8")
    os.utime(here / "digest_scores.py", (1, 1))
    assert source_digest("digest_scores:score") == before
    moved = here.rename(tmp_path_factory.mktemp("elsewhere") / "here")
    monkeypatch.chdir(moved)
    assert source_digest("digest_scores:score") == before


@pytest.mark.parametrize("name", ["digest_scores.py", "digest_beside.py", "digest_helpers/deep.py"])
def test_the_digest_of_a_function_changes_with_the_sources_of_its_module(name: str, here: Path) -> None:
    sys.modules.pop("digest_scores", None)
    function = import_function("digest_scores:score")
    before = source_digest(function)
    with (here / name).open("a") as file:
        file.write("value = 2\n")
    assert source_digest(function) != before


def without_a_file(text: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {"__name__": "nowhere"}
    exec(text, namespace)
    function: Callable[..., Any] = namespace["f"]
    return function


def closed_over(value: Any) -> Callable[[], Any]:
    return lambda: value


class Threshold:
    """A metric that is an object."""

    def __init__(self, at: float):
        self.at = at

    def __call__(self) -> float:
        return self.at


FUNCTIONS: dict[str, Callable[[], Callable[..., Any]]] = {
    "code": lambda: without_a_file("def f(): return 1"),
    "other code": lambda: without_a_file("def f(): return 1 + len('')"),
    "other constant": lambda: without_a_file("def f(): return 2"),
    "other default": lambda: without_a_file("def f(x=3): return 1"),
    "closure": lambda: closed_over(1.0),
    "other closure": lambda: closed_over(2.0),
    "array": lambda: closed_over(np.arange(9)),
    "other array": lambda: closed_over(np.arange(9)[::-1]),
    "partial": lambda: functools.partial(closed_over, 1),
    "other partial": lambda: functools.partial(closed_over, value={"a": {1, 2}}),
    "object": lambda: Threshold(0.5),
    "other object": lambda: Threshold(0.25),
    "method": lambda: Threshold(0.5).__call__,
    "built in": lambda: len,
    "library": lambda: json.dumps,
}


def test_functions_that_differ_in_anything_have_different_digests() -> None:
    digests = {name: source_digest(make()) for name, make in FUNCTIONS.items()}
    assert digests == {name: source_digest(make()) for name, make in FUNCTIONS.items()}
    alike = [pair for pair in itertools.combinations(digests, 2) if digests[pair[0]] == digests[pair[1]]]
    assert not alike
