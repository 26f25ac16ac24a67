"""docs/times.md is what docs/run_times.py writes today, and docs/runtimes.md names the versions that were measured."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_page_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "run_times.py"))["times_page"]()
    assert (DOCS / "times.md").read_text("utf-8") == page, "docs/times.md is stale: run make times"


def test_a_cell_is_the_median_and_the_most_memory() -> None:
    cost = runpy.run_path(str(DOCS / "run_times.py"))["_cost"]
    runs = [{"status": "ok", "seconds": seconds, "peak_bytes": seconds * 2**20} for seconds in (1, 2, 60)]
    assert cost([*runs, {"status": "infeasible"}, None]) == "2 s<br>60 MiB"
    assert cost([None]) == ""


def measured_versions() -> list[tuple[str, str]]:
    results = json.loads((ROOT / "benchmarks" / "results" / "runtimes.json").read_text("utf-8"))
    return sorted({(name, run["version"]) for case in results.values() for name, run in case["runtimes"].items()})


@pytest.mark.parametrize(("runtime", "version"), measured_versions())
def test_the_table_of_runtimes_has_the_measured_versions(runtime: str, version: str) -> None:
    table = (DOCS / "runtimes.md").read_text("utf-8").partition("| runtime | version |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith(f"| {runtime}")]
    assert [row.split("|")[2].strip() for row in rows] == [version]
