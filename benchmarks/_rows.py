"""Rows of a benchmark by name: chosen on the command line, kept in a file as they come, and read back."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from _process import Row
from _tables import write

RESULTS = Path(__file__).parent / "results"


def row_parser(document: str | None, name: str, *, shared: str, only: str) -> argparse.ArgumentParser:
    """The options that benchmarks of rows share.

    Args:
        document: docstring of the benchmark.
        name: of its files.
        shared: what the folder of `--shared` holds.
        only: what rows are chosen by.
    """
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=lambda text: Path(text).resolve(), required=True, help=f"folder with {shared}")
    parser.add_argument("--only", type=lambda text: text.split(","), help=only)
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"folder of {name}.json and {name}.md")
    parser.add_argument("--render", action="store_true", help=f"only write {name}.md anew")
    return parser


def refuse_unknown(parser: argparse.ArgumentParser, words: Sequence[str], names: Sequence[str]) -> None:
    """End with a sentence where a word is not one of these names."""
    if unknown := [word for word in words if word not in names]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(names)}")


def matching(parser: argparse.ArgumentParser, words: Sequence[str] | None, names: Sequence[str]) -> list[str]:
    """The names that hold one of the words, all without words; a word that none holds is refused."""
    refuse_unknown(parser, [word for word in words or () if not any(word in name for name in names)], names)
    return [name for name in names if any(word in name for word in words or [""])]


def read_rows(folder: Path, name: str) -> dict[str, Row]:
    """The rows kept so far."""
    path = folder / f"{name}.json"
    rows: dict[str, Row] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return rows


def keep_rows(folder: Path, name: str, rows: dict[str, Row]) -> None:
    """Write all rows, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{name}.json", json.dumps(dict(sorted(rows.items())), indent=1, ensure_ascii=False) + "\n")


def report_misses(page: Path, missed: Sequence[str]) -> int:
    """Say where the table is and what it misses; the exit code, 1 where it misses something."""
    print("\n".join([str(page), *(f"missed: {miss}" for miss in missed)]))
    return 1 if missed else 0
