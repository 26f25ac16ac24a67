"""README and docs/transformers.md say what benchmarks/results/transformer.json has measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROWS: dict[str, Any] = json.loads((RESULTS / "transformer.json").read_text("utf-8"))
OTHERS: dict[str, Any] = json.loads((RESULTS / "vision_and_speech.json").read_text("utf-8"))
IN_README = {
    "MiniLM-L3, `--max-drop 1% --metric spearman` (1,500 pairs with scores)": "l3 --max-drop 1% --metric spearman",
    "MiniLM-L3, `--quantize int8`": "l3 --quantize int8",
    "MiniLM-L3, `--sparsity 0.5`": "l3 --sparsity 0.5",
    "MiniLM-L6, `--quantize w4`": "l6 --quantize w4",
}


def cells(page: str, first: str) -> list[str]:
    """The other cells of the row of a page's table that begins so."""
    (line,) = [line for line in (ROOT / page).read_text("utf-8").splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def latency(row: dict[str, Any]) -> str:
    """Compressed over dense, with its interval."""
    timed = row["latency"][0]
    return f"{timed['ratio']:.2f} ({timed['interval'][0]:.2f} to {timed['interval'][1]:.2f})"


def rows_of_the_page() -> list[str]:
    names = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "transformers.md").read_text("utf-8"), re.MULTILINE)
    return [name for name in names if name not in OTHERS]


def test_the_page_has_rows() -> None:
    assert len(rows_of_the_page()) >= len(IN_README)


@pytest.mark.parametrize("name", rows_of_the_page())
def test_a_row_of_the_page_is_measured(name: str) -> None:
    row = ROWS[name]
    figures = [f"{row['dense']} → {row['figure']}", f"{row['ratio']:.2f}", latency(row)]
    assert cells("docs/transformers.md", f"`{name}`") == figures


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_of_vision_and_speech_is_measured(name: str) -> None:
    row = OTHERS[name]
    right, same, error, ratio = cells("docs/transformers.md", f"`{name}`")
    assert right == f"{100 * row['dense']:.2f} % → {100 * row['small']:.2f} %"
    assert same == f"{100 * row['same']:.2f} %"
    assert float(error) == pytest.approx(row["error"], abs=5e-5)
    assert ratio == f"{row['ratio']:.2f}"


@pytest.mark.parametrize(("title", "name"), IN_README.items())
def test_a_row_of_the_readme_is_measured(title: str, name: str) -> None:
    row = ROWS[name]
    figures = [f"{row['dense']} → {row['figure']}", latency(row), f"{row['ratio']:.2f}"]
    assert cells("README.md", title) == figures


def test_the_sentence_on_repair_is_measured() -> None:
    before, after = ROWS["l3 --sparsity 0.8"], ROWS["l3 --sparsity 0.8 --repair"]
    page = " ".join((ROOT / "docs" / "repair.md").read_text("utf-8").split())
    assert f"Spearman {before['figure']} → {after['figure']} on STS-B ({after['dense']} dense)" in page
