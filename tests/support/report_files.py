"""Reports of several runs, made from one compression."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.report import Report
from netsurgeon.pipeline.search import Point, SearchFacts
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate

HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">&'\u2028\x1b[2J"
"""A name that writes elements, leaves its string, and steers a terminal."""


def point(size: int, drop: float, **more: Any) -> Point:
    """A candidate of so many bytes that loses so much."""
    facts: dict[str, Any] = {"macs": None, "milliseconds": None, "speedup": None, "form": "int8", "kept": 0.5}
    return Point(kind="candidate", bytes=size, drop=drop, bound=drop + 0.01, **{**facts, **more})


def searched(report: Report, *points: Point, speedup: float | None = 2.0) -> Report:
    """A report as a search for at most one point of top-1 would have it."""
    evidence = DropEstimate(measure="top-1", samples=300, dense=1.0, drop=0.0, low=-0.01, high=0.01, spread=0.0)
    facts = SearchFacts(
        goals=Goals(max_drop=0.01),
        guide=report.calibration,
        folds=1,
        evidence=evidence,
        form="int8",
        proven=True,
        needed=None,
        measured=dataclasses.replace(evidence, dense=report.validation.dense.top1 or 0.0, drop=0.005, high=0.015),
        timed=None if speedup is None else Timed(4.0, 4.0 / speedup, speedup, speedup, speedup),
        points=points,
    )
    return dataclasses.replace(report, search=facts)


def smaller(report: Report, size: int, **more: Any) -> Report:
    """The same with another size of the file."""
    return dataclasses.replace(report, compressed=dataclasses.replace(report.compressed, bytes=size), **more)


def written(report: Report, path: Path) -> Path:
    """The report in a file, as compress writes it."""
    path.write_text(report.to_json(), "utf-8")
    return path
