"""The public names: shown before anything is loaded, all there, and all documented."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import netsurgeon
from netsurgeon.pipeline.options import OPTION_GROUPS

ROOT = Path(netsurgeon.__file__).parent
LIGHT = """
import sys, netsurgeon
shown = dir(netsurgeon)
print(*shown)
print(*sorted(name for name in ("numpy", "onnx", "onnxruntime", "scipy", "torch") if name in sys.modules))
"""


def test_the_public_names_are_shown_before_anything_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    shown, loaded = done.stdout.splitlines()
    assert set(shown.split()) == set(netsurgeon.__all__)
    assert not loaded


@pytest.mark.parametrize("name", netsurgeon.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(netsurgeon, name)
    assert name == "__version__" or inspect.getdoc(value)
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert name == "__version__" or re.search(rf"^::: netsurgeon\.{name}$", page, re.MULTILINE)


@pytest.mark.parametrize("group", OPTION_GROUPS, ids=lambda group: group.__name__)
def test_every_group_of_options_is_documented(group: type) -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert f"\n::: {group.__module__}.{group.__name__}\n" in page


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'netsurgeon' has no attribute 'compres'"):
        _ = netsurgeon.compres
