"""docs/operators.md is what docs/operators.py writes today."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
STALE = "docs/operators.md is stale: run make operators"


def write_page() -> str:
    """The page as the script would write it now."""
    return str(runpy.run_path(str(DOCS / "operators.py"))["operator_page"]())


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "operators.md").read_text("utf-8") == write_page(), STALE


def test_rows_tell_what_the_registries_know() -> None:
    rows = write_page().splitlines()
    assert "| Conv | yes | yes | layer | yes | yes |" in rows
    assert "| Concat | yes |  | joins | yes | yes |" in rows
    assert "| Tanh | yes |  |  | yes | yes |" in rows


def test_a_new_rule_makes_the_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    from netsurgeon.passes.axes import DECLARATIONS

    before = write_page()
    monkeypatch.setitem(DECLARATIONS, "com.microsoft.Trilu", DECLARATIONS["Relu"])
    assert "| com.microsoft.Trilu | yes |  |  |  |  |" in write_page().splitlines()
    assert "com.microsoft.Trilu" not in before
